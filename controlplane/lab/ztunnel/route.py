"""Where an outbound connection goes: client and destination in, a ``Route`` out.

Waypoints before endpoints, endpoints by locality and capacity, tunnel or plaintext by what the
chosen workload speaks (docs/protocol/ztunnel.md ZT-64 to ZT-73). Chance is an argument.
"""

from dataclasses import dataclass
from enum import Enum
from random import Random

from controlplane.lab.ztunnel.network import GatewayAddress, NetworkAddress
from controlplane.lab.ztunnel.resolve import gateway, service_at, usable_addresses
from controlplane.lab.ztunnel.service import BalancingMode, RoutingScope, Service
from controlplane.lab.ztunnel.services import Endpoint
from controlplane.lab.ztunnel.state import MeshState
from controlplane.lab.ztunnel.workload import Tunnel, Workload

HBONE_PORT = 15008


class Way(Enum):
    """How a connection travels."""

    PASSTHROUGH = "as it is, to where it was going"
    PLAINTEXT = "plaintext to a workload"
    HBONE = "a tunnel to a workload"
    WAYPOINT = "a tunnel to a waypoint"
    NETWORK_GATEWAY = "a tunnel through another network's gateway"
    FAILED = "nowhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a connection goes.

    ``dial`` is ``host:port`` to connect to, ``authority`` the target that a tunnel asks for (""
    without one), ``identities`` the SPIFFE ids of which the peer must present one.
    """

    way: Way
    dial: str = ""
    authority: str = ""
    workload: str = ""
    service: str = ""
    identities: frozenset[str] = frozenset()
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """Decides for one node; ``random`` samples waypoints and endpoints."""

    state: MeshState
    random: Random

    def route(self, client: Workload, destination: NetworkAddress, port: int) -> Route:
        """Return where a connection of the client to an address and port goes."""
        service = service_at(self.state, client.namespace, destination)
        authority = _target(str(destination.address), port)
        if service is not None:
            waypoint = self._waypoint_of(service)
            if waypoint is not None and not self._is_behind(client, waypoint):
                return self._through(client, waypoint, authority)
            if service.load_balancing.mode is BalancingMode.PASSTHROUGH:
                return Route(way=Way.PASSTHROUGH, dial=authority, service=str(service.key))
            return self._to_service(client, service, port)
        workload = self.state.workloads.at(destination)
        if workload is None:
            return Route(way=Way.PASSTHROUGH, dial=authority)
        if workload.waypoint is not None and not self._is_behind(client, workload.waypoint):
            return self._through(client, workload.waypoint, authority)
        return self._to_workload(client, workload, port, None)

    def endpoint(
        self, client: Workload, service: Service, port: int
    ) -> tuple[Workload, int] | None:
        """Return an endpoint of the service for the client and its target port, None for none.

        Those that rank highest by the routing preference share by capacity; 0 is never chosen.
        """
        candidates = [
            (workload, target)
            for endpoint in self.state.services.endpoints(service.key)
            for workload in [self.state.workloads.by_uid.get(endpoint.uid)]
            if workload is not None
            for target in [target_port(service, endpoint, workload, port)]
            if target
        ]
        best = _best(client, service, candidates)
        weights = [workload.capacity for workload, _ in best]
        if not any(weights):
            return None
        return self.random.choices(best, weights)[0]

    def _waypoint_of(self, service: Service) -> GatewayAddress | None:
        weights = [waypoint.weight for waypoint in service.weighted_waypoints]
        if not any(weights):
            return service.waypoint
        return self.random.choices(service.weighted_waypoints, weights)[0].destination

    def _is_behind(self, client: Workload, waypoint: GatewayAddress) -> bool:
        """Return whether the client is itself part of the waypoint."""
        found = gateway(self.state, waypoint)
        if isinstance(found, Service):
            return any(key == found.key for key, _ in client.services)
        return found is not None and found.uid == client.uid

    def _through(self, client: Workload, waypoint: GatewayAddress, authority: str) -> Route:
        port = waypoint.hbone_mtls_port or HBONE_PORT
        found = gateway(self.state, waypoint)
        if isinstance(found, Service):
            chosen = self.endpoint(client, found, port)
            if chosen is None:
                return _failed(f"waypoint {found.key} has no endpoint for port {port}")
            workload, port = chosen
            names = found.subject_alt_names
        elif found is not None:
            workload, names = found, ()
        else:
            return _failed("unknown waypoint")
        host = _host(workload, found if isinstance(found, Service) else None)
        if not host:
            return _failed(f"waypoint {workload.uid} has no usable address")
        return Route(
            way=Way.WAYPOINT,
            dial=_target(host, port),
            authority=authority,
            workload=workload.uid,
            service=str(found.key) if isinstance(found, Service) else "",
            identities=frozenset((workload.identity, *names)),
        )

    def _to_service(self, client: Workload, service: Service, port: int) -> Route:
        chosen = self.endpoint(client, service, port)
        if chosen is None:
            return _failed(f"service {service.key} has no endpoint for port {port}")
        workload, target = chosen
        if workload.network != client.network and workload.network_gateway is not None:
            asked = _target(service.hostname, port)
            return self._across(client, workload.network_gateway, workload, asked)
        return self._to_workload(client, workload, target, service)

    def _to_workload(
        self, client: Workload, workload: Workload, port: int, service: Service | None
    ) -> Route:
        if workload.network != client.network and workload.network_gateway is not None:
            return _failed(f"workload {workload.uid} of another network has no service to ask for")
        host = _host(workload, service)
        if not host:
            return _failed(f"workload {workload.uid} has no usable address")
        key = "" if service is None else str(service.key)
        if workload.tunnel is not Tunnel.HBONE:
            return Route(
                way=Way.PLAINTEXT, dial=_target(host, port), workload=workload.uid, service=key
            )
        names = () if service is None else service.subject_alt_names
        return Route(
            way=Way.HBONE,
            dial=_target(host, HBONE_PORT),
            authority=_target(host, port),
            workload=workload.uid,
            service=key,
            identities=frozenset((workload.identity, *names)),
        )

    def _across(
        self, client: Workload, address: GatewayAddress, workload: Workload, authority: str
    ) -> Route:
        route = self._through(client, address, authority)
        if route.way is Way.FAILED:
            return _failed(f"network gateway of {workload.uid}: {route.failure}")
        return Route(
            way=Way.NETWORK_GATEWAY,
            dial=route.dial,
            authority=authority,
            workload=workload.uid,
            service=route.service,
            identities=route.identities,
        )


def target_port(service: Service, endpoint: Endpoint, workload: Workload, port: int) -> int:
    """Return where an endpoint listens for a service port, 0 when it does not.

    The endpoint's own port map first, then the service's target port, then the port itself where
    the application ends the tunnel on a port of its own.
    """
    mapped = dict(endpoint.ports).get(port, 0)
    declared = dict(service.ports).get(port)
    if mapped or declared:
        return mapped or declared or 0
    tunnel = workload.application_tunnel
    return port if tunnel is not None and tunnel.port else 0


def _best(
    client: Workload, service: Service, candidates: list[tuple[Workload, int]]
) -> list[tuple[Workload, int]]:
    balancing = service.load_balancing
    if balancing.mode not in (BalancingMode.STRICT, BalancingMode.FAILOVER):
        return candidates
    ranked = [
        (rank(client, workload, balancing.routing_preference), (workload, target))
        for workload, target in candidates
    ]
    floor = len(balancing.routing_preference) if balancing.mode is BalancingMode.STRICT else 0
    highest = max((points for points, _ in ranked if points >= floor), default=None)
    return [candidate for points, candidate in ranked if points == highest]


def rank(client: Workload, workload: Workload, preference: tuple[RoutingScope, ...]) -> int:
    """Return how many leading scopes of the preference client and workload share."""
    points = 0
    for scope in preference:
        if _scoped(client, scope) != _scoped(workload, scope):
            break
        points += 1
    return points


def _scoped(workload: Workload, scope: RoutingScope) -> str:
    match scope:
        case RoutingScope.REGION:
            return workload.locality.region
        case RoutingScope.ZONE:
            return workload.locality.zone
        case RoutingScope.SUBZONE:
            return workload.locality.subzone
        case RoutingScope.NODE:
            return workload.node
        case RoutingScope.CLUSTER:
            return workload.cluster_id
        case RoutingScope.NETWORK:
            return workload.network


def _host(workload: Workload, service: Service | None) -> str:
    addresses = usable_addresses(workload, service)
    return str(addresses[0]) if addresses else workload.hostname


def _target(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _failed(why: str) -> Route:
    return Route(way=Way.FAILED, failure=why)
