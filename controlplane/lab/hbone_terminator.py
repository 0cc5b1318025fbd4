"""What a node proxy does for pods that are called: HBONE comes in, applications are connected to.

Who may come and where an authority leads are asked of the caller of this module. Every tunnel
leaves an access record, with the names that ztunnel's access log has.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from controlplane.clock import Clock, SystemClock
from controlplane.lab.certificates import HeldCertificate
from controlplane.lab.hbone_connection import HboneConnection
from controlplane.lab.hbone_errors import HandshakeError
from controlplane.lab.hbone_pipe import join
from controlplane.lab.hbone_stream import HboneStream
from controlplane.lab.hbone_tls import peer_identity, prepare, server_context
from controlplane.lab.listener import Listener
from controlplane.lab.plain import Address, Plain

_PATIENCE: Final = 5.0
_MOST_RECORDS: Final = 10_000
_OK: Final = 200
_NOT_FOUND: Final = 404
_UNAVAILABLE: Final = 503


@dataclass(slots=True, kw_only=True)
class Access:
    """One request for a tunnel, from when it came.

    ``status`` is what it was answered, 0 before; ``duration`` is in seconds, None while it lasts.
    """

    source: Address
    identity: str
    destination: Address
    stream: HboneStream = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 0
    duration: float | None = None

    @property
    def authority(self) -> str:
        """Return where the tunnel was to lead."""
        return self.headers.get(":authority", "")

    def line(self) -> dict[str, str | int]:
        """Return it as the fields of an access log; bytes are counted from our side."""
        return {
            "src.addr": "{}:{}".format(*self.source),
            "src.identity": self.identity,
            "dst.addr": "{}:{}".format(*self.destination),
            "dst.hbone_addr": self.authority,
            "direction": "inbound",
            "response_code": self.status,
            "bytes_sent": self.stream.bytes_sent,
            "bytes_recv": self.stream.bytes_received,
            "duration": "" if self.duration is None else f"{self.duration * 1000:.0f}ms",
        }


class Terminator:
    """Ends tunnels at one address; use it as ``async with Terminator(...) as terminator``.

    Args:
        held: who we are and whom we trust.
        admits: whether a peer with this SPIFFE id may come; others are sent away before HTTP/2.
        application: where an authority leads, None where it leads nowhere.
        host: the address to listen on, port 0 for a free one.
        port: see ``host``.
        clock: measures durations.
        judge: where one request leads, or the status it is refused with; instead of
            ``application``, for who has to know more of it than its authority.
        completed: hears of every request that is over.
    """

    def __init__(  # noqa: PLR0913 - what a listener is made of, by name
        self,
        held: HeldCertificate,
        *,
        admits: Callable[[str], bool],
        application: Callable[[str], Address | None],
        host: str,
        port: int = 0,
        clock: Clock | None = None,
        judge: Callable[[Access], Address | int] | None = None,
        completed: Callable[[Access], None] = lambda _: None,
    ) -> None:
        self.accesses: deque[Access] = deque(maxlen=_MOST_RECORDS)
        self.refused: deque[str] = deque(maxlen=_MOST_RECORDS)
        self._held = held
        self._admits = admits
        self._judge = judge or (lambda access: application(access.authority) or _NOT_FOUND)
        self._completed = completed
        self._clock = clock or SystemClock()
        self._context = server_context(held)
        self._listener = Listener(
            self._serve, host, port, name="hbone terminator", context=self._context
        )
        self._connections: set[HboneConnection] = set()

    @property
    def address(self) -> Address:
        """Return where it listens."""
        return self._listener.address

    @property
    def serial(self) -> str:
        """Return the serial number of the certificate it shows, in hexadecimal."""
        return self._held.serial

    async def __aenter__(self) -> Self:
        await self._listener.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._listener.end()

    def renew(self, held: HeldCertificate) -> None:
        """Show another certificate to who connects from now on; roots are only ever added."""
        self._held = held
        prepare(self._context, held)

    def drain(self) -> None:
        """Tell every client to open new streams elsewhere; those there are go on."""
        for connection in self._connections:
            connection.drain()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            identity = peer_identity(writer)
        except HandshakeError as error:
            self.refused.append(str(error))
            writer.transport.abort()
            return
        if not self._admits(identity):
            self.refused.append(identity)
            writer.transport.abort()
            return
        source: Address = writer.get_extra_info("peername")[:2]
        destination: Address = writer.get_extra_info("sockname")[:2]

        def accept(stream: HboneStream) -> None:
            access = Access(
                source=source, identity=identity, destination=destination, stream=stream
            )
            self.accesses.append(access)
            self._listener.spawn(self._answer(connection, access))

        connection = HboneConnection(reader, writer, accept=accept)
        self._connections.add(connection)
        try:
            async with asyncio.timeout(_PATIENCE):
                await connection.start()
            await connection.ended()
        except (HandshakeError, TimeoutError) as error:
            self.refused.append(str(error))
        finally:
            self._connections.discard(connection)
            await connection.close()

    async def _answer(self, connection: HboneConnection, access: Access) -> None:
        began = self._clock.monotonic()
        stream = access.stream
        try:
            access.headers = await stream.headers
            access.status, plain = await self._reach(access)
            connection.respond(stream, access.status, is_whole=plain is None)
            if plain is not None:
                await join(stream, *plain)
        finally:
            access.duration = self._clock.monotonic() - began
            self._completed(access)

    async def _reach(self, access: Access) -> tuple[int, Plain | None]:
        if access.headers.get(":method") != "CONNECT":
            return _NOT_FOUND, None
        target = self._judge(access)
        if isinstance(target, int):
            return target, None
        try:
            async with asyncio.timeout(_PATIENCE):
                return _OK, await asyncio.open_connection(*target)
        except (OSError, TimeoutError):
            return _UNAVAILABLE, None
