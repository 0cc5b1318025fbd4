"""What asks a server ends when it is cancelled, also where the call ends in the same moment.

The library tells of the call alone then, seldom; a call here does the first time it is cancelled.
"""

import asyncio
from types import SimpleNamespace
from typing import Any, Self

import grpc
import pytest

from controlplane.lab.certificates import fetch_certificate
from controlplane.lab.ztunnel.client import Target, ZtunnelClient
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session

SECONDS = 5.0


class UnheedfulChannel:
    """Its calls answer nothing; the first that is cancelled ends as if its server had gone then."""

    def __init__(self, *, says_why: bool) -> None:
        self.asked = asyncio.Event()
        self._says_why = says_why
        self._is_heedful = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def unary_unary(self, *_: object, **__: object) -> Any:
        return self._end

    def stream_stream(self, *_: object, **__: object) -> Any:
        return lambda *_, **__: SimpleNamespace(
            read=self._end, code=self._code, details=self._details
        )

    async def _end(self, *_: object, **__: object) -> object:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self._is_heedful:
                raise
            self._is_heedful = True
            if self._says_why:
                raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE) from None
        return grpc.aio.EOF

    async def _code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    async def _details(self) -> str:
        return "gone"


class UnheedfulTarget(Target):
    """Leads to such a channel."""

    def __init__(self, channel: UnheedfulChannel) -> None:
        super().__init__(address="127.0.0.1:0")
        object.__setattr__(self, "_channel", channel)

    def channel(self) -> Any:
        return self._channel  # type: ignore[attr-defined]


@pytest.mark.parametrize("says_why", [True, False])
async def test_a_discovery_client_ends(says_why: bool) -> None:
    channel = UnheedfulChannel(says_why=says_why)
    client = ZtunnelClient(UnheedfulTarget(channel), Session(NodeIdentity(node_name="n1")))
    async with asyncio.timeout(SECONDS):
        async with client:
            await channel.asked.wait()
    assert client.ends == []


async def test_a_request_for_a_certificate_ends() -> None:
    channel = UnheedfulChannel(says_why=True)
    target = UnheedfulTarget(channel)
    request = asyncio.create_task(fetch_certificate(target, "spiffe://a/ns/b/sa/c", lambda: "t"))
    await channel.asked.wait()
    request.cancel()
    await asyncio.wait({request}, timeout=SECONDS)
    assert request.cancelled()
