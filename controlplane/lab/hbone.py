"""An HBONE client: a certificate and a waypoint's address come in, tunnels go out.

All tunnels share one HTTP/2 connection, each is the answer to a CONNECT (``:authority`` is where
it leads: a service's address, a host name or a pod, with a port). ``forwarded`` puts tunnels behind
a port on loopback, where every client of HTTP, gRPC or anything else finds them.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from controlplane.lab.certificates import HeldCertificate
from controlplane.lab.hbone_connection import HboneConnection, Headers
from controlplane.lab.hbone_errors import (
    ConnectionEndedError,
    ConnectRefusedError,
    HandshakeError,
    HboneError,
    NotHandledError,
)
from controlplane.lab.hbone_pipe import join
from controlplane.lab.hbone_stream import HboneStream
from controlplane.lab.hbone_tls import anonymous_context, client_context, peer_identity
from controlplane.lab.listener import Listener

_OK: Final = 200
_REPETITIONS: Final = 2
_MOST_REFUSALS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Waypoint:
    """Where to connect and who has to be there; ``identities`` are SPIFFE ids."""

    host: str
    port: int
    identities: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """A port on loopback whose connections are tunnels; ``refusals`` is why some are not."""

    host: str
    port: int
    refusals: list[HboneError] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Return it as clients of HTTP want it."""
        return f"http://{self.host}:{self.port}"


class HboneClient:
    """Tunnels of one identity; use it as ``async with HboneClient(...) as client``.

    Args:
        waypoint: where to connect.
        held: who we are and whom we trust.
        shows_certificate: False for a client that has none.
        source: the address to connect from, for those who look at it.
        patience: seconds to wait for a handshake, or for the answer to a CONNECT.
    """

    def __init__(
        self,
        waypoint: Waypoint,
        held: HeldCertificate,
        *,
        shows_certificate: bool = True,
        source: str | None = None,
        patience: float = 5.0,
    ) -> None:
        self.waypoint = waypoint
        self.connections_made = 0
        self._context = client_context(held) if shows_certificate else anonymous_context(held)
        self._source = source
        self._patience = patience
        self._current: HboneConnection | None = None
        self._draining: list[HboneConnection] = []
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._connection()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        connections = [*self._draining, *([self._current] if self._current else [])]
        self._current, self._draining = None, []
        for connection in connections:
            await connection.close()

    async def open(self, authority: str, headers: Headers = ()) -> HboneStream:
        """Return a tunnel to ``authority``; asks again where nobody looked at the question.

        Raises:
            ConnectRefusedError: the answer is not 200.
            HandshakeError: there is no connection, and a new one does not come about.
            HboneError: the stream or the connection broke, or nothing came in time.
        """
        for _ in range(_REPETITIONS):
            with suppress(NotHandledError):
                return await self._begin(authority, [*_connect(authority), *headers])
        return await self._begin(authority, [*_connect(authority), *headers])

    async def request(self, method: str, path: str, *, authority: str = "waypoint") -> int:
        """Send a request that is no CONNECT; return the status of the answer.

        Raises:
            HboneError: as ``open`` does.
        """
        pseudo = ((":method", method), (":scheme", "https"))
        headers = [*pseudo, (":authority", authority), (":path", path)]
        connection = await self._connection()
        async with self._in_time():
            stream = await connection.open(headers, is_whole=True)
            try:
                return _status(await stream.headers)
            finally:
                stream.reset()

    async def abandon(self, authority: str, headers: Headers = ()) -> None:
        """Ask for a tunnel and give it up in the same breath, before there is an answer.

        Raises:
            HboneError: there is no connection, and a new one does not come about.
        """
        connection = await self._connection()
        await connection.abandon([*_connect(authority), *headers])

    @asynccontextmanager
    async def forwarded(self, authority: str, headers: Headers = ()) -> AsyncIterator[Forwarded]:
        """Listen on loopback: each connection is a tunnel of its own to ``authority``.

        A connection whose CONNECT is refused ends at once, without a byte.
        """
        refusals: list[HboneError] = []

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                stream = await self.open(authority, headers)
            except HboneError as error:
                del refusals[: -_MOST_REFUSALS + 1]
                refusals.append(error)
                return
            await join(stream, reader, writer)

        async with Listener(carry, "127.0.0.1", name=f"tunnel to {authority}") as listener:
            host, port = listener.address
            yield Forwarded(host=host, port=port, refusals=refusals)

    async def _begin(self, authority: str, headers: Headers) -> HboneStream:
        connection = await self._connection()
        stream: HboneStream | None = None
        try:
            async with self._in_time():
                stream = await connection.open(headers)
                status = _status(await stream.headers)
        except BaseException:
            if stream is not None:
                stream.reset()
            raise
        if status != _OK:
            stream.reset()
            raise ConnectRefusedError(authority, status)
        return stream

    async def _connection(self) -> HboneConnection:
        """Return the connection for new streams, a new one when the peer sends us away."""
        async with self._connecting:
            current = self._current
            if current is not None and not (current.is_over or current.is_draining):
                return current
            if current is not None:
                self._current = None
                self._draining.append(current)
            idle = [each for each in self._draining if each.is_over or each.is_idle]
            self._draining = [each for each in self._draining if each not in idle]
            for connection in idle:
                await connection.close()
            self._current = await self._connect()
            self.connections_made += 1
            return self._current

    async def _connect(self) -> HboneConnection:
        try:
            async with asyncio.timeout(self._patience):
                reader, writer = await asyncio.open_connection(
                    self.waypoint.host,
                    self.waypoint.port,
                    ssl=self._context,
                    local_addr=None if self._source is None else (self._source, 0),
                )
        except ssl.SSLError as error:
            raise HandshakeError(f"TLS: {error.reason or error}") from error
        except (OSError, TimeoutError) as error:
            raise HandshakeError(f"{type(error).__name__}: {error}") from error
        connection = HboneConnection(reader, writer)
        try:
            self._judge(peer_identity(writer))
            async with self._in_time():
                await connection.start()
        except BaseException as error:
            await connection.close()
            if isinstance(error, ConnectionEndedError):
                raise HandshakeError(str(error)) from error
            raise
        return connection

    def _judge(self, identity: str) -> None:
        if identity not in self.waypoint.identities:
            raise HandshakeError(f"the waypoint is {identity}, which is not wanted here")

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._patience):
                yield
        except TimeoutError as error:
            raise ConnectionEndedError(f"no answer within {self._patience} s") from error


def _connect(authority: str) -> Headers:
    return [(":method", "CONNECT"), (":authority", authority)]


def _status(headers: object) -> int:
    status = headers.get(":status", "") if isinstance(headers, dict) else ""
    return int(status) if status.isdecimal() else 0
