"""What pods of a node ask for: a client and a destination come in, a connection comes out.

Where it goes is decided as ztunnel decides it (docs/protocol/ztunnel.md ZT-60 to ZT-73): to a
waypoint, over HBONE to the other node, or as it is. Nothing but loopback is ever connected to.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from controlplane.clock import Clock
from controlplane.lab.certificates import HeldCertificate
from controlplane.lab.errors import LabError
from controlplane.lab.hbone import HboneClient, Waypoint
from controlplane.lab.hbone_errors import (
    ConnectionEndedError,
    HboneError,
    StreamResetError,
)
from controlplane.lab.hbone_pipe import join
from controlplane.lab.hbone_stream import HboneStream
from controlplane.lab.node.access import OUTBOUND, AccessLog, AccessRecord
from controlplane.lab.node.pipe import joined
from controlplane.lab.plain import Plain, break_off
from controlplane.lab.ztunnel.network import IpAddress, NetworkAddress
from controlplane.lab.ztunnel.resolve import dns_answer, service_at
from controlplane.lab.ztunnel.route import Route, Router, Way
from controlplane.lab.ztunnel.service import Service
from controlplane.lab.ztunnel.state import MeshState
from controlplane.lab.ztunnel.workload import Tunnel, Workload

_PATIENCE: Final = 5.0
_BEGINNING: Final = 1.0
_PAUSE: Final = 0.05
_BREAKS: Final = (StreamResetError, ConnectionEndedError)


class UnreachableError(LabError):
    """A destination could not be connected to; the sentence says why."""

    code = "lab-unreachable"


@dataclass(slots=True, kw_only=True)
class Connected:
    """A connection that a pod asked for: a tunnel or a plain one, and what is told of it."""

    record: AccessRecord
    began: float
    tunnel: HboneStream | None = None
    plain: Plain | None = None

    def abandon(self) -> None:
        """Give it up before anything was carried."""
        if self.tunnel is not None:
            self.tunnel.reset()
        if self.plain is not None:
            break_off(self.plain[1])


class Outbound:
    """The connections of one node's pods. ``certificate`` gives the one of an identity."""

    def __init__(
        self,
        state: MeshState,
        router: Router,
        certificate: Callable[[str], Awaitable[HeldCertificate]],
        log: AccessLog,
        clock: Clock,
    ) -> None:
        self._state = state
        self._router = router
        self._certificate = certificate
        self._log = log
        self._clock = clock
        self._clients: dict[tuple[str, str, str], tuple[str, HboneClient]] = {}
        self._replaced: list[HboneClient] = []

    async def close(self) -> None:
        """Let go of every connection."""
        clients, self._clients = self._clients, {}
        for client in (*self._replaced, *(client for _, client in clients.values())):
            await client.__aexit__(None, None, None)
        self._replaced.clear()

    async def connect(self, client: Workload, host: str, port: int) -> Connected:
        """Return a connection of ``client`` to a host name or address and a port.

        Raises:
            UnreachableError: there is none; the access log says the same.
        """
        began = self._clock.monotonic()
        source = str(client.addresses[0])
        record = AccessRecord(
            direction=OUTBOUND,
            source=source,
            destination=_joined(host, port),
            source_identity=client.identity,
        )
        record.comes_from(client)
        is_captured = client.tunnel is Tunnel.HBONE
        if is_captured:
            self._log.begin(record)
        connected = Connected(record=record, began=began)
        try:
            address = NetworkAddress(client.network, self._resolved(client, host))
            service = service_at(self._state, client.namespace, address)
            if is_captured:
                route = self._router.route(client, address, port)
            else:
                route = self._uncaptured(client, service, address, port)
            record.service = "" if service is None else service.hostname
            record.goes_to(self._state.workloads.by_uid.get(route.workload))
            record.destination = route.dial or _joined(str(address.address), port)
            async with asyncio.timeout(_PATIENCE):
                await self._open_in_time(client, route, connected)
        except (HboneError, OSError, TimeoutError, LabError) as error:
            record.error = str(error) or type(error).__name__
            self._log.complete(record, self._clock.monotonic() - began)
            raise UnreachableError(record.error) from error
        return connected

    async def carry(self, connected: Connected, here: Plain) -> None:
        """Carry what comes from ``here`` until both sides have ended."""
        record = connected.record
        try:
            if connected.tunnel is not None:
                await join(connected.tunnel, *here)
                error = connected.tunnel.error
                record.error = str(error) if isinstance(error, _BREAKS) else ""
                record.bytes_sent = connected.tunnel.bytes_sent
                record.bytes_received = connected.tunnel.bytes_received
            elif connected.plain is not None:
                record.bytes_sent, record.bytes_received = await joined(here, connected.plain)
        except OSError as error:
            record.error = str(error) or type(error).__name__
            break_off(here[1])
        finally:
            self._log.complete(record, self._clock.monotonic() - connected.began)

    def _resolved(self, client: Workload, host: str) -> IpAddress:
        with suppress(ValueError):
            return ip_address(host.strip("[]"))
        for name in _search(host, client.namespace):
            answer = dns_answer(self._state, client, name)
            if answer:
                return self._router.random.choice(answer)
        raise UnreachableError(f"{host} is no name of the mesh")

    def _uncaptured(
        self, client: Workload, service: Service | None, address: NetworkAddress, port: int
    ) -> Route:
        """Return where the cluster itself leads a pod that no node proxy captures."""
        if service is None:
            return Route(way=Way.PASSTHROUGH, dial=_joined(str(address.address), port))
        chosen = self._router.endpoint(client, service, port)
        if chosen is None:
            return Route(way=Way.FAILED, failure=f"{service.key} has no endpoint")
        workload, target = chosen
        return Route(
            way=Way.PASSTHROUGH,
            dial=_joined(str(workload.addresses[0]), target),
            workload=workload.uid,
        )

    async def _open_in_time(self, client: Workload, route: Route, connected: Connected) -> None:
        """Open the connection; ask again for a moment where nobody listens.

        Elsewhere the address of a pod that begins is nobody's: nothing is refused, and TCP asks
        again. On loopback every address is there, and refuses.
        """
        ends = self._clock.monotonic() + _BEGINNING
        while True:
            try:
                await self._open(client, route, connected)
            except (HboneError, OSError) as error:
                if not _is_nobody(error) or self._clock.monotonic() >= ends:
                    raise
                await self._clock.sleep(_PAUSE)
            else:
                return

    async def _open(self, client: Workload, route: Route, connected: Connected) -> None:
        if route.way is Way.FAILED:
            raise UnreachableError(route.failure)
        host, _, port = route.dial.rpartition(":")
        if not ip_address(host.strip("[]")).is_loopback:
            raise UnreachableError(f"{route.dial} is outside this machine")
        source = str(client.addresses[0])
        if route.way in (Way.PLAINTEXT, Way.PASSTHROUGH):
            connected.plain = await asyncio.open_connection(
                host.strip("[]"), int(port), local_addr=(source, 0)
            )
            return
        connected.record.hbone = route.authority
        connected.record.destination_identity = min(route.identities, default="")
        hbone = await self._client(client, route, source)
        connected.tunnel = await hbone.open(route.authority)

    async def _client(self, client: Workload, route: Route, source: str) -> HboneClient:
        """Return the tunnels of one client to one place; others have other connections."""
        held = await self._certificate(client.identity)
        key = (source, route.dial, ",".join(sorted(route.identities)))
        serial, found = self._clients.get(key, ("", None))
        if found is None or serial != held.serial:
            if found is not None:
                # Tunnels of the certificate before stay where they are until they end.
                self._replaced.append(found)
            host, _, port = route.dial.rpartition(":")
            waypoint = Waypoint(
                host=host.strip("[]"), port=int(port), identities=set(route.identities)
            )
            found = HboneClient(waypoint, held, source=source)
            self._clients[key] = (held.serial, found)
        return found


def _is_nobody(error: BaseException) -> bool:
    """Return whether a connection failed because nobody listens."""
    return isinstance(error, ConnectionRefusedError) or isinstance(
        error.__cause__, ConnectionRefusedError
    )


def _search(host: str, namespace: str) -> tuple[str, ...]:
    """Return the names a pod's resolver would try."""
    suffixes = (f"{namespace}.svc.cluster.local", "svc.cluster.local", "cluster.local")
    if host.endswith("."):
        return (host.rstrip("."),)
    return (*(f"{host}.{suffix}" for suffix in suffixes), host)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
