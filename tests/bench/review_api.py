"""A TokenReview API that takes only so many reviews a second: a process of its own.

Orders: ``{"serve": reviews per second}`` answers with the port; reviews beyond the limit wait for
their turn. ``{"report": true}`` answers with the number of reviews made. Tokens that
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


class ReviewApi:
    """Serves on loopback."""

    def __init__(self) -> None:
        self._rate = 1.0
        self._even_at = 0.0
        self._made = 0
        self._server: asyncio.Server | None = None

    async def carry_out(self, order: Order) -> dict[str, Any]:
        """Serve, or report."""
        if "report" in order:
            return {"made": self._made}
        self._rate = order["serve"]
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return {"port": self._server.sockets[0].getsockname()[1]}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError), closing(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                review = json.loads(await reader.readexactly(length))
                await self._turn()
                status = _status(review["spec"]["token"])
                answer = json.dumps({**review, "status": status}).encode()
                writer.write(
                    b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\n"
                    b"content-length: %d\r\n\r\n%s" % (len(answer), answer)
                )
                await writer.drain()

    async def _turn(self) -> None:
        now = time.monotonic()
        turn = max(self._even_at, now)
        self._even_at = turn + 1 / self._rate
        self._made += 1
        await asyncio.sleep(turn - now)


def _status(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    name = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"]
    return certificate_fleet.status(name) if name.startswith("node-") else REJECTED


if __name__ == "__main__":
    uvloop.run(obey(ReviewApi().carry_out))
