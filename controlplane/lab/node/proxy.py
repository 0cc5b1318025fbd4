"""One node of the lab: a client of the control plane that carries the traffic of the node's pods.

Pods come and go with what the control plane says: each captured one gets its certificate, its
HBONE port, the ports of its applications and a SOCKS5 port for what it asks for itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Final, Protocol, Self

from controlplane.clock import Clock
from controlplane.lab.ending import ended
from controlplane.lab.errors import LabError
from controlplane.lab.node.access import AccessLog, AccessRecord
from controlplane.lab.node.certificates import NodeCertificates
from controlplane.lab.node.inbound import InboundPod
from controlplane.lab.node.outbound import Connected, Outbound
from controlplane.lab.node.plain_ports import PlainPorts, as_they_are
from controlplane.lab.node.socks import SocksPort
from controlplane.lab.node_proxies import NodeProxy
from controlplane.lab.plain import Address
from controlplane.lab.ztunnel.decode import AUTHORIZATION_TYPE
from controlplane.lab.ztunnel.route import Router
from controlplane.lab.ztunnel.session import Applied
from controlplane.lab.ztunnel.state import MeshState
from controlplane.lab.ztunnel.workload import Tunnel, Workload

_RENEW_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.2
_GRACE_SECONDS: Final = 2.0


class Applications(Protocol):
    """Where the applications of pods really listen."""

    def ports(self, workload: Workload) -> tuple[int, ...]:
        """Return the ports that clients know, none for a pod that nobody runs."""
        ...

    async def run(self, workload: Workload) -> None:
        """Have the applications of a pod listen. Raises OSError when they cannot."""
        ...

    def address(self, workload: Workload, port: int) -> Address | None:
        """Return where the application behind ``port`` listens, None where there is none."""
        ...


@dataclass(slots=True, kw_only=True)
class _Pod:
    """A pod of this node and all that is open for it.

    ``is_captured`` is None as long as its ports are nobody's. One that leaves the mesh keeps
    ``inbound``: who has not heard of it yet, or hears before us that it is back, comes that way.
    """

    workload: Workload
    stack: AsyncExitStack
    plain: PlainPorts
    inbound: InboundPod | None = None
    is_captured: bool | None = None


class Node:
    """A node proxy; use it as ``async with Node(...) as node``.

    Args:
        proxy: its client and what it shows.
        applications: where applications listen.
        clock: what time it is.
        listener: hears of every connection that begins.
        random: samples endpoints.
    """

    def __init__(
        self,
        proxy: NodeProxy,
        applications: Applications,
        clock: Clock,
        *,
        listener: Callable[[AccessRecord], None] = lambda _: None,
        random: Random | None = None,
    ) -> None:
        self.client = proxy.client
        self.name = proxy.client.session.node.node_name
        self.log = AccessLog(listener)
        self.certificates = NodeCertificates(proxy.target, proxy.token, clock)
        self.troubles: dict[str, str] = {}
        self._applications = applications
        self._clock = clock
        router = Router(
            state=self.state,
            random=random or Random(),  # noqa: S311 - a lab's load balancing
        )
        self._outbound = Outbound(self.state, router, self.certificates.of, self.log, clock)
        self._pods: dict[str, _Pod] = {}
        self._ending: dict[str, tuple[_Pod, asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        before = proxy.client.session.observer
        self._listeners = [] if before is None else [before]
        proxy.client.session.observer = self._applied

    @property
    def state(self) -> MeshState:
        """Return what the node knows."""
        return self.client.state

    @property
    def serves(self) -> frozenset[str]:
        """Return the uids of the pods that are ready for connections."""
        return frozenset(
            uid
            for uid, pod in self._pods.items()
            if pod.is_captured is (pod.workload.tunnel is Tunnel.HBONE)
        )

    def wanted(self) -> frozenset[str]:
        """Return the uids of the pods that applications run in here."""
        return frozenset(
            uid
            for uid, workload in self.state.workloads.by_uid.items()
            if workload.node == self.name
            and workload.addresses
            and self._applications.ports(workload)
        )

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        self._task = asyncio.create_task(self._keep(), name=f"node {self.name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await ended(asyncio.gather(self._task, return_exceptions=True))
        await ended(self.client.__aexit__(None, None, None))
        for uid in tuple(self._ending):
            await ended(self._end_now(uid))
        for uid in tuple(self._pods):
            await ended(self._drop(uid))
        await ended(self._outbound.close())

    async def connect(self, uid: str, host: str, port: int) -> Connected:
        """Return a connection of a pod of this node.

        Raises:
            LabError: it cannot be made, or there is no such pod.
        """
        workload = self.state.workloads.by_uid.get(uid)
        if workload is None or workload.node != self.name:
            raise LabError(f"no pod {uid} on {self.name}")
        return await self._outbound.connect(workload, host, port)

    def hears(self, listener: Callable[[Applied], None]) -> None:
        """Let ``listener`` hear of every response that is applied."""
        self._listeners.append(listener)

    @property
    def carry(self) -> Callable[..., Awaitable[None]]:
        """Return what carries the bytes of a connection."""
        return self._outbound.carry

    def _applied(self, applied: Applied) -> None:
        for listener in self._listeners:
            listener(applied)
        if applied.response.type_url == AUTHORIZATION_TYPE:
            for pod in self._pods.values():
                if pod.inbound is not None:
                    pod.inbound.policies_changed()
        self._changed.set()

    async def _keep(self) -> None:
        """Follow what the control plane says, and renew certificates in time."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_SECONDS if self.troubles else _RENEW_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            await self._follow()

    async def _follow(self) -> None:
        mine = {
            workload.uid: workload
            for workload in self.state.workloads.by_uid.values()
            if workload.node == self.name and workload.addresses
        }
        for uid in self._pods.keys() - mine.keys():
            # Applications that end go on for a while: clients hear of it later than we do.
            pod = self._pods.pop(uid)
            ending = asyncio.create_task(self._end(uid, pod), name=f"end of {uid}")
            self._ending[uid] = pod, ending
        for uid, workload in mine.items():
            await self._take_back(uid, workload)
            held = self._pods.get(uid)
            if held is not None and _same_place(held.workload, workload):
                held.workload = workload
            elif held is not None:
                await self._drop(uid)
            try:
                await self._see_to(uid, workload)
            except (LabError, OSError) as error:
                self.troubles[uid] = str(error) or type(error).__name__
            else:
                self.troubles.pop(uid, None)

    async def _see_to(self, uid: str, workload: Workload) -> None:
        pod = self._pods.get(uid)
        ports = self._applications.ports(workload)
        if pod is None:
            pod = _Pod(
                workload=workload,
                stack=AsyncExitStack(),
                plain=PlainPorts(str(workload.addresses[0]), ports),
            )
            if ports:
                await self._applications.run(workload)
                await pod.stack.enter_async_context(self._socks(workload))
                await pod.stack.enter_async_context(pod.plain)
            self._pods[uid] = pod
        if ports and workload.tunnel is not Tunnel.HBONE:
            await self._uncapture(pod, workload, ports)
        elif ports and not workload.native_tunnel:
            await self._capture(pod, workload)

    async def _uncapture(self, pod: _Pod, workload: Workload, ports: tuple[int, ...]) -> None:
        """Have the applications of a pod reached as they are."""
        if pod.is_captured is False:
            return
        found = {port: self._applications.address(workload, port) for port in ports}
        leads = {port: address for port, address in found.items() if address is not None}
        await pod.plain.given_to(as_they_are(leads))
        pod.is_captured = False

    async def _capture(self, pod: _Pod, workload: Workload) -> None:
        """Have what comes to a pod come through us."""
        held = await self.certificates.of(workload.identity)
        if pod.inbound is None:
            inbound = InboundPod(
                workload,
                held,
                state=self.state,
                application=self._applications.address,
                log=self.log,
                clock=self._clock,
            )
            pod.inbound = await pod.stack.enter_async_context(inbound)
        elif pod.inbound.terminator.serial != held.serial:
            pod.inbound.terminator.renew(held)
        if not pod.is_captured:
            await pod.plain.given_to(pod.inbound.plain)
            pod.is_captured = True

    def _socks(self, workload: Workload) -> SocksPort:
        async def connect(host: str, port: int) -> Connected:
            return await self.connect(workload.uid, host, port)

        return SocksPort(str(workload.addresses[0]), connect, self._outbound.carry)

    async def _take_back(self, uid: str, workload: Workload) -> None:
        """Keep a pod that has come back before it was ended; end it if it is not the same."""
        pod, ending = self._ending.get(uid, (None, None))
        if pod is None or ending is None:
            return
        if _same_place(pod.workload, workload):
            ending.cancel()
            del self._ending[uid]
            self._pods[uid] = pod
        else:
            await self._end_now(uid)

    async def _end(self, uid: str, pod: _Pod) -> None:
        await self._clock.sleep(_GRACE_SECONDS)
        # From here on it is too late to come back.
        del self._ending[uid]
        await pod.stack.aclose()

    async def _end_now(self, uid: str) -> None:
        pod, ending = self._ending.pop(uid)
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        await pod.stack.aclose()

    async def _drop(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        if pod is not None:
            await pod.stack.aclose()


def _same_place(one: Workload, other: Workload) -> bool:
    return (one.addresses, one.identity) == (other.addresses, other.identity)
