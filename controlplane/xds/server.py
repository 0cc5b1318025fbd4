"""The discovery server: gRPC streams in, ``Stream`` objects over a transport, and their life.

Of this package only this module and ``grpc_transport`` know gRPC. Messages cross as bytes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import grpc
import grpc.aio
import structlog

from controlplane.authentication.caller import Caller
from controlplane.clock import Clock
from controlplane.model.names import Name
from controlplane.model.waypoint import WaypointPod
from controlplane.snapshots.catalog import Catalog
from controlplane.xds.address_hold import AddressHold
from controlplane.xds.debug import DebugAnswers, DebugStream
from controlplane.xds.door import Door
from controlplane.xds.errors import (
    DiscoveryError,
    ListenError,
    NotServingError,
    UnimplementedError,
)
from controlplane.xds.fleet import Fleet
from controlplane.xds.grpc_transport import GrpcTransport, is_loopback, server_options
from controlplane.xds.identity import Access
from controlplane.xds.lifetime import last_moment
from controlplane.xds.node import Node
from controlplane.xds.observer import Observer, SilentObserver
from controlplane.xds.secret_keeper import Holder, SecretIssuer, SecretKeeper
from controlplane.xds.session import Origin, Session
from controlplane.xds.settings import XdsSettings
from controlplane.xds.stream import Stream
from controlplane.xds.tls import HotCertificate
from controlplane.xds.transport import Transport

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

# Seconds after the last new stream for which the whole state stays at hand for the next one.
_FIRST_SYNCS_LAST = 10.0

_log = structlog.get_logger("xds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A port to serve: ``host:port``, port 0 for any; plaintext without a certificate."""

    address: str
    certificate: HotCertificate | None = None


class XdsServer:
    """Serves a catalog to every client that connects.

    ``ready`` returns why nothing can be served yet, in words, or None. Without
    ``access`` nobody is authenticated, and only loopback addresses are listened on; with it,
    callers of encrypted ports are. ``secrets`` makes the keys of waypoints; without it they get
    none. ``waypoint_pods`` tells how many pods a waypoint has.
    """

    def __init__(  # noqa: PLR0913 - what a server is made of, each replaceable
        self,
        catalog: Catalog,
        settings: XdsSettings,
        clock: Clock,
        *,
        ready: Callable[[], str | None] = lambda: None,
        access: Access | None = None,
        secrets: SecretIssuer | None = None,
        waypoint_pods: Callable[[Name], int] = lambda _: 0,
        observer: Observer | None = None,
    ) -> None:
        self.fleet = Fleet(clock, replica=settings.replica)
        self._debug: DebugAnswers | None = None
        self._catalog = catalog
        self._settings = settings
        self._clock = clock
        self._ready = ready
        self._access = access
        self._secrets = secrets
        self._observer: Observer = observer or SilentObserver()
        self._door = Door(
            rate=settings.new_streams_per_second, burst=settings.new_streams_at_once, clock=clock
        )
        self._hold = AddressHold(
            catalog,
            settings,
            clock,
            pods=waypoint_pods,
            on_open=self._wake_all,
            on_held=self._observer.held,
        )
        self._first_syncs = asyncio.Semaphore(settings.first_syncs_at_once)
        self._large_requests = asyncio.Lock()
        self._numbers = count(1)
        self._streams: dict[Stream, tuple[float, str]] = {}
        self._debug_streams: set[DebugStream] = set()
        self._last_opened: float | None = None
        self._is_draining = False
        self._server: grpc.aio.Server | None = None
        self._ticker: asyncio.Task[None] | None = None
        catalog.subscribe(self._committed)

    def answer_debug(self, answers: DebugAnswers) -> None:
        """Answer questions on state-of-the-world streams, which serve nothing else."""
        self._debug = answers

    async def start(
        self,
        listeners: Sequence[Listener],
        handlers: Sequence["grpc.GenericRpcHandler[bytes, bytes]"] = (),
    ) -> tuple[int, ...]:
        """Listen; return the port of each listener. ``handlers`` are of other services on them.

        Raises:
            ListenError: a port is taken, or would let anybody in from outside this machine.
        """
        server = grpc.aio.server(options=server_options(self._settings))
        server.add_generic_rpc_handlers((self._handlers(), *handlers))
        ports = tuple(self._listen(server, listener) for listener in listeners)
        await server.start()
        self._server = server
        self._ticker = asyncio.create_task(self._tick())
        return ports

    async def stop(self, grace: float) -> None:
        """Let no new stream in, end open ones cleanly, close within ``grace`` seconds."""
        self._is_draining = True
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        if self._server is None:
            return
        # Clients must hear that the connection closes before their stream ends, so that they come
        # back on a new one: stopping announces it at once and then waits.
        stopping = asyncio.create_task(self._server.stop(grace))
        await asyncio.sleep(0)
        for stream in tuple(self._streams):
            stream.end("shutting down")
        for questions in tuple(self._debug_streams):
            questions.end("shutting down")
        await stopping

    async def serve(self, transport: Transport) -> str:
        """Serve one stream; return why it ended.

        Raises:
            DiscoveryError: it ends with an error.
        """
        caller = await self._let_in(transport)
        session = Session(
            self._catalog,
            self._settings,
            self._clock,
            origin=Origin(
                number=next(self._numbers),
                peer=transport.peer,
                identity="" if caller is None else str(caller.account),
            ),
            authorize=self._authorization(caller),
            observer=self._observer,
            hold=self._hold,
        )
        stream = Stream(
            transport,
            session,
            first_syncs=self._first_syncs,
            large_requests=self._large_requests,
            hold=self._settings.first_sync_hold,
            keeper=self._keeper(session, Holder(caller=caller, peer=transport.peer)),
        )
        self._last_opened = self._clock.monotonic()
        self._streams[stream] = last_moment(caller, self._clock, age=self._settings.connection_age)
        self.fleet.add(session)
        ending = "the connection was lost"
        try:
            ending = await stream.run()
        except DiscoveryError as error:
            ending = str(error)
            raise
        finally:
            del self._streams[stream]
            self.fleet.remove(session)
            session.close()
            if session.node is not None:
                self._observer.disconnected(session.number, ending)
        return ending

    async def answer(self, transport: Transport) -> str:
        """Answer questions on one state-of-the-world stream; return why it ended.

        Raises:
            DiscoveryError: it ends with an error.
        """
        if self._debug is None:
            raise UnimplementedError(
                "state-of-the-world discovery is not served: use DeltaAggregatedResources"
            )
        caller = await self._let_in(transport)
        stream = DebugStream(transport, self._debug, caller, self._clock)
        self._debug_streams.add(stream)
        try:
            return await stream.run()
        finally:
            self._debug_streams.discard(stream)

    async def _let_in(self, transport: Transport) -> Caller | None:
        """Return who opened a new stream that may be served; None on ports where nobody is asked.

        Nobody takes from what all share before it is known who that is.
        """
        if self._is_draining:
            raise NotServingError("shutting down")
        self._door.knock(transport.peer)
        reason = self._ready()
        if reason is not None:
            raise NotServingError(f"not ready: {reason}")
        try:
            caller = await self._caller(transport)
        except DiscoveryError as error:
            self._door.refused(transport.peer, error)
            raise
        self._door.enter(caller, transport.peer)
        return caller

    async def _caller(self, transport: Transport) -> Caller | None:
        if self._access is None or not transport.is_encrypted:
            return None
        return await self._access.authenticate(transport.metadata, transport.peer)

    def _authorization(self, caller: Caller | None) -> Callable[[Node], WaypointPod | None]:
        """Return what checks the node of a stream's first request, and tells its waypoint."""
        if self._access is None:
            return lambda _: None
        if caller is None:
            return self._access.declared_waypoint
        return partial(self._access.authorize, caller)

    def _keeper(self, session: Session, holder: Holder) -> Callable[[Stream], SecretKeeper] | None:
        """Return what makes the keeper of a stream's secrets; None where nobody makes any."""
        issuer = self._secrets
        if issuer is None:
            return None
        return lambda stream: SecretKeeper(
            issuer,
            holder,
            subscription=lambda: session.secrets,
            wake=stream.wake,
            clock=self._clock,
        )

    def _wake_all(self) -> None:
        for stream in self._streams:
            stream.wake()

    def _committed(self, commit: int) -> None:
        self._hold.committed(commit, self._catalog.changed)
        changed = frozenset(self._catalog.changed)
        for stream in self._streams:
            if stream.session.is_concerned(changed):
                stream.wake()

    async def _tick(self) -> None:
        """Look over the streams for what only time brings about."""
        while True:
            await self._clock.sleep(self._settings.tick)
            self._hold.look()
            now = self._clock.monotonic()
            if self._last_opened is not None and now - self._last_opened > _FIRST_SYNCS_LAST:
                self._last_opened = None
                self._catalog.release()
            for stream, (until, why) in tuple(self._streams.items()):
                reason = why if now >= until else stream.session.ending()
                if reason is not None:
                    stream.end(reason)
                elif stream.session.has_work():
                    stream.wake()
            for questions in tuple(self._debug_streams):
                if (reason := questions.ending()) is not None:
                    questions.end(reason)

    def _listen(self, server: grpc.aio.Server, listener: Listener) -> int:
        is_open = self._access is None or listener.certificate is None
        if is_open and not is_loopback(listener.address):
            raise ListenError(
                f"{listener.address} is not a loopback address and nobody is authenticated"
            )
        try:
            if listener.certificate is None:
                port = server.add_insecure_port(listener.address)
            else:
                credentials = listener.certificate.credentials()
                port = server.add_secure_port(listener.address, credentials)
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {listener.address}: {error}") from error
        return port

    def _handlers(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
                "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                    self._state_of_the_world
                ),
            },
        )

    async def _delta(self, _: object, context: Any) -> None:
        await self._run(context, self.serve)

    async def _state_of_the_world(self, _: object, context: Any) -> None:
        await self._run(context, self.answer)

    async def _run(self, context: Any, serve: Callable[[Transport], Awaitable[str]]) -> None:
        transport = GrpcTransport(context)
        try:
            await serve(transport)
            await transport.may_end()
        except DiscoveryError as error:
            reason = f"{error} ({error.detail})" if error.detail else str(error)
            self._observer.refused(transport.peer, reason)
            await transport.may_end()
            await context.abort(grpc.StatusCode[error.status], str(error))
        except Exception:  # noqa: BLE001 - one stream must not take others down; it is logged
            _log.exception("stream.failed", peer=transport.peer)
            self._observer.refused(transport.peer, "internal error")
            await transport.may_end()
            await context.abort(grpc.StatusCode.INTERNAL, "internal error")
