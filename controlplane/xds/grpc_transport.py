"""Streams of gRPC as transports, and the options of the server they come in by.

The options are each there for a reason that was observed
(docs/decisions/0005-sessions-and-streams.md).
"""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

import grpc.aio

from controlplane.authentication.caller import Metadata
from controlplane.xds.settings import XdsSettings

# Missing from the type stubs.
_END: Any = getattr(grpc.aio, "EOF")  # noqa: B009 - see above

_HEADERS_SECONDS = 1.0


class GrpcTransport:
    """A stream of gRPC, of whose handler ``context`` is. Implements ``Transport``."""

    metadata: Metadata
    peer: str
    _open: Callable[[], Awaitable[None]]
    _read: Callable[[], Awaitable[Any]]
    _write: Callable[[bytes], Awaitable[None]]

    def __init__(self, context: Any) -> None:
        self._open = lambda: context.send_initial_metadata(())
        self._opening: asyncio.Future[None] | None = None
        self._read = context.read
        self._write = context.write
        self.peer = context.peer()
        self.is_encrypted = context.auth_context().get("transport_security_type") == [b"ssl"]
        headers: dict[str, list[str]] = {}
        for key, value in context.invocation_metadata() or ():
            if isinstance(value, str):
                headers.setdefault(key, []).append(value)
        self.metadata = headers

    async def send(self, message: bytes) -> None:
        """Send one response; return when flow control has taken it."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
            # It fails when the client has gone; whoever waits for it hears so, if anybody does.
            self._opening.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not self._opening.done():
            await asyncio.shield(self._opening)
        await self._write(message)

    async def may_end(self) -> None:
        """Wait until a status may be sent: gRPC refuses one while headers are on their way."""
        if self._opening is not None:
            await asyncio.wait({self._opening}, timeout=_HEADERS_SECONDS)

    async def receive(self) -> bytes | None:
        """Return the next request; None at the end."""
        message = await self._read()
        return None if message is _END else bytes(message)


def is_loopback(address: str) -> bool:
    """Tell whether only this machine reaches ``host:port``; of unknown names it is not believed."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def server_options(settings: XdsSettings) -> list[tuple[str, int]]:
    """Return the options of a gRPC server that node proxies and waypoints connect to."""
    age = int(settings.connection_age * 1000)
    return [
        # Node proxies ping every 30 s; by default a server answers that with GOAWAY.
        ("grpc.http2.min_ping_interval_without_data_ms", 1000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        # Dead peers: a connection that does not answer pings is dropped with all it holds.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A returning client lists every version it holds: megabytes.
        ("grpc.max_receive_message_length", 64 * 1024 * 1024),
        ("grpc.max_send_message_length", -1),
        # Bursts of more than about a thousand new streams are refused otherwise.
        ("grpc.server.max_pending_requests", 100_000),
        ("grpc.server.max_pending_requests_hard_limit", 100_000),
        # Pings every client with traffic: a third of the CPU with one connection per client.
        ("grpc.http2.bdp_probe", 0),
        # Two servers on one port would share it without a word.
        ("grpc.so_reuseport", 0),
        # gRPC adds its own jitter of a tenth; streams end a little later by themselves.
        ("grpc.max_connection_age_ms", age),
        ("grpc.max_connection_age_grace_ms", max(age // 2, 1000)),
    ]
