"""A TokenReview API that takes only so many reviews a second: a process of its own.

Orders: ``{"serve": reviews per second, "refuses": bool}`` answers with the port. Reviews beyond the
limit wait for their turn; where it refuses, they end with status 429 once a burst of two seconds
is used up. ``{"report": true}`` answers with the reviews made and refused. Tokens that
``certificate_fleet`` did not make are rejected.
"""

import asyncio
import json
import time
from base64 import urlsafe_b64decode
from contextlib import closing, suppress
from typing import Any

import uvloop

from tests.bench import certificate_fleet
from tests.bench.orders import Order, obey
from tests.support.authentication import REJECTED

_BURST_SECONDS = 2.0


class ReviewApi:
    """Serves on loopback."""

    def __init__(self) -> None:
        self._rate = 1.0
        self._refuses = False
        self._even_at = 0.0
        self._made = self._refused = 0
        self._server: asyncio.Server | None = None

    async def carry_out(self, order: Order) -> dict[str, Any]:
        """Serve, or report."""
        if "report" in order:
            return {"made": self._made, "refused": self._refused}
        self._rate, self._refuses = order["serve"], order["refuses"]
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return {"port": self._server.sockets[0].getsockname()[1]}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError), closing(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                review = json.loads(await reader.readexactly(length))
                code, answer = 429, b"{}"
                if await self._admitted():
                    status = _status(review["spec"]["token"])
                    code, answer = 201, json.dumps({**review, "status": status}).encode()
                writer.write(
                    b"HTTP/1.1 %d Told\r\ncontent-type: application/json\r\n"
                    b"content-length: %d\r\n\r\n%s" % (code, len(answer), answer)
                )
                await writer.drain()

    async def _admitted(self) -> bool:
        now = time.monotonic()
        ahead = max(self._even_at - now, 0.0)
        if self._refuses and ahead > _BURST_SECONDS:
            self._refused += 1
            return False
        self._even_at = now + ahead + 1 / self._rate
        self._made += 1
        if not self._refuses:
            await asyncio.sleep(ahead)
        return True


def _status(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    name = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"]
    return certificate_fleet.status(name) if name.startswith("node-") else REJECTED


if __name__ == "__main__":
    uvloop.run(obey(ReviewApi().carry_out))
