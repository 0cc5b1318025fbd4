"""The session carried over gRPC: a server's address comes in, a node kept current comes out.

Reconnects by itself and keeps what it holds. Whoever waits for something is woken by the response
that brings it; nothing polls (docs/protocol/ztunnel.md ZT-7, ZT-8).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeAlias

import grpc

from controlplane.clock import Clock, SystemClock
from controlplane.lab.cancellation import heed_cancellation
from controlplane.lab.ztunnel.backoff import Backoff, StreamEnd
from controlplane.lab.ztunnel.errors import UndecodableResponseError, WaitTimedOutError
from controlplane.lab.ztunnel.session import Applied, Session
from controlplane.lab.ztunnel.state import MeshState

StreamCall: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_END = b""
"""Ends the requests of a stream; no request is empty."""
_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 200 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where and how to connect.

    ``root_certificates`` (PEM) turns TLS on; ``server_name`` is what the server's certificate must
    be for when it is not the host of ``address``. ``token`` is asked at each connection.
    """

    address: str
    root_certificates: bytes | None = None
    server_name: str = ""
    token: Callable[[], str] | None = None
    cluster_id: str = "Kubernetes"
    headers: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, int], ...] = ()

    def channel(self) -> grpc.aio.Channel:
        """Return a new channel, with nothing shared between two of them."""
        options: list[tuple[str, int | str]] = [*_CHANNEL_OPTIONS, *self.options]
        if self.root_certificates is None:
            return grpc.aio.insecure_channel(self.address, options=options)
        if self.server_name:
            options.append(("grpc.ssl_target_name_override", self.server_name))
        credentials = grpc.ssl_channel_credentials(self.root_certificates)
        return grpc.aio.secure_channel(self.address, credentials, options=options)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the headers of one stream."""
        bearer = () if self.token is None else (("authorization", f"Bearer {self.token()}"),)
        return (*bearer, ("clusterid", self.cluster_id), *self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One applied response and when it had been applied, in seconds of the client's clock."""

    applied: Applied
    at: float


@dataclass(slots=True)
class _Waiter:
    condition: Callable[[], bool]
    came_true: asyncio.Future[None] = field(default_factory=asyncio.Future)


class ZtunnelClient:
    """One node proxy on a real connection; use it as ``async with ZtunnelClient(...) as client``.

    ``last`` is the response applied last, ``ends`` tell how each stream so far ended.
    """

    def __init__(self, target: Target, session: Session, *, clock: Clock | None = None) -> None:
        """Take where to connect, whom to keep current, and what time it is."""
        self.session = session
        self.last: Received | None = None
        self.ends: list[StreamEnd] = []
        self._target = target
        self._clock = clock or SystemClock()
        self._waiters: list[_Waiter] = []
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._reading = asyncio.Event()
        self._reading.set()
        self._call: StreamCall | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> MeshState:
        """Return what the node knows."""
        return self.session.state

    @property
    def nacks(self) -> list[str]:
        """Return the refusals so far, as sent."""
        return self.session.nacks

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"ztunnel {self.session.node.node_name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for waiter in self._waiters:
            waiter.came_true.cancel()

    async def wait_for(
        self, condition: Callable[["ZtunnelClient"], bool], seconds: float = 15.0
    ) -> None:
        """Return once the condition holds; it is asked now and after each applied response.

        Raises ``WaitTimedOutError`` after ``seconds``, and whatever broke the client.
        """
        if condition(self):
            return
        waiter = _Waiter(lambda: condition(self))
        self._waiters.append(waiter)
        waiting = {waiter.came_true, *([] if self._task is None else [self._task])}
        try:
            done, _ = await asyncio.wait(
                waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self._waiters.remove(waiter)
        if waiter.came_true in done:
            await waiter.came_true
            return
        if self._task is not None and self._task in done:
            self._task.result()
        raise WaitTimedOutError(f"The condition did not come true within {seconds} s.")

    async def demand(self, key: str, seconds: float = 15.0) -> None:
        """Ask for one Address key and return once a response has answered it."""
        self._outgoing.put_nowait(self.session.demand(key))
        await self.wait_for(lambda client: key not in client.session.demanded, seconds)

    def pause(self) -> None:
        """Stop reading: the server sees a slow client."""
        self._reading.clear()

    def resume(self) -> None:
        """Read again."""
        self._reading.set()

    def drop(self) -> None:
        """Break the current stream; the client reconnects."""
        if self._call is not None:
            self._call.cancel()

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            async with self._target.channel() as channel:
                end = await self._stream(channel)
            self.ends.append(end)
            self._wake()
            await self._clock.sleep(backoff.wait_after(end))

    async def _stream(self, channel: grpc.aio.Channel) -> StreamEnd:
        outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._outgoing = outgoing
        for request in self.session.connect():
            outgoing.put_nowait(request)
        call: StreamCall = channel.stream_stream(
            METHOD, request_serializer=None, response_deserializer=None
        )(_drained(outgoing), metadata=self._target.metadata())
        self._call = call
        was_established = False
        try:
            while True:
                await self._reading.wait()
                response = await call.read()
                if not isinstance(response, bytes):
                    break
                was_established = True
                outgoing.put_nowait(self.session.receive(response))
                if self.session.last is not None:
                    self.last = Received(applied=self.session.last, at=self._clock.monotonic())
                self._wake()
        except UndecodableResponseError as error:
            call.cancel()
            return StreamEnd(
                was_established=was_established,
                code=grpc.StatusCode.INTERNAL,
                details=str(error),
            )
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            pass  # the status is read below, as for a clean end
        finally:
            self._call = None
            outgoing.put_nowait(_END)
        heed_cancellation()
        code = await call.code()
        return StreamEnd(
            was_established=was_established,
            code=None if code is grpc.StatusCode.OK else code,
            details=await call.details() or "",
        )

    def _wake(self) -> None:
        for waiter in self._waiters:
            if waiter.came_true.done():
                continue
            try:
                holds = waiter.condition()
            except Exception as error:  # noqa: BLE001 - the waiter's own fault goes to the waiter
                waiter.came_true.set_exception(error)
            else:
                if holds:
                    waiter.came_true.set_result(None)


async def _drained(outgoing: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
    while request := await outgoing.get():
        yield request
