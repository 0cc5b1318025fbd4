"""Where a waypoint sends what it accepts: the endpoints of each port of each service it serves.

Served services and workloads come in, one ``ServiceEndpoints`` per waypoint, hostname and port
goes out, so that a pod that comes or goes changes those of its services and nothing else.
docs/protocol/waypoint-config.md WC-20 to WC-25.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph, Index
from controlplane.mesh.networks import Networks
from controlplane.mesh.waypoint_reach import Reach, may_be_itself
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.model.identity import Identity
from controlplane.model.names import Name, ServiceName
from controlplane.model.waypoint_traffic import (
    Endpoint,
    EndpointWorkload,
    Resolution,
    ServedPort,
    ServedService,
    ServiceEndpoints,
)
from controlplane.model.workload import (
    Locality,
    TunnelProtocol,
    Workload,
    WorkloadStatus,
)

_DEFAULT_TRUST_DOMAIN: Final = "cluster.local"

# What has whatever addresses its author writes: those of services come from the cluster.
_ANY_ADDRESS: Final = "ServiceEntry"


class EndpointsKey(NamedTuple):
    """A service port as one waypoint knows it."""

    waypoint: Name
    hostname: str
    port: int


def index_members(workloads: Collection[str, Workload]) -> Index[ServiceName, str, Workload]:
    """Return the workloads by the services they are part of."""
    return workloads.index(
        "workloads by service", lambda workload: [name for name, _ in workload.services]
    )


def build_waypoint_endpoints(
    graph: Graph,
    served: Collection[WaypointHost, ServedService],
    members: Index[ServiceName, str, Workload],
    networks: Networks,
    *,
    reach: Reach,
) -> Collection[EndpointsKey, ServiceEndpoints]:
    """Declare the endpoints on ``graph``, without those that ``reach`` rules out."""

    def rule(fetch: Fetch, service: ServedService) -> Mapping[EndpointsKey, ServiceEndpoints]:
        if service.resolution is Resolution.ORIGINAL_DESTINATION:
            return {}
        return {
            EndpointsKey(service.waypoint, service.hostname, port.number): port_endpoints(
                fetch, service, port, members, networks, reach=reach
            )
            for port in service.ports
        }

    return graph.derive_many("endpoints of waypoints", served, rule)


def port_endpoints(
    fetch: Fetch,
    service: ServedService,
    port: ServedPort,
    members: Index[ServiceName, str, Workload],
    networks: Networks,
    *,
    reach: Reach,
) -> ServiceEndpoints:
    """Return the endpoints of one port of ``service``, for the waypoint it names."""
    network = networks.local(fetch)
    reached = [
        workload
        for workload in fetch.where(members, service.service)
        if workload.network == network
    ]
    endpoints = service_endpoints(service.service, port, reached, on_loopback=reach.on_loopback)
    if service.owner.kind == _ANY_ADDRESS:
        endpoints = tuple(each for each in endpoints if not reach.is_waypoint(fetch, each.address))
    return ServiceEndpoints(
        waypoint=service.waypoint,
        owner=service.owner,
        hostname=service.hostname,
        port=port,
        endpoints=endpoints,
        nearness=service.nearness,
    )


def service_endpoints(
    service: ServiceName,
    port: ServedPort,
    workloads: Iterable[Workload],
    *,
    on_loopback: bool = False,
) -> tuple[Endpoint, ...]:
    """Return where ``port`` of ``service`` lands on ``workloads``, sorted.

    What may be the waypoint itself is left out. Of several at one address and port the first is
    taken, a healthy one before others.
    """
    found = (
        endpoint
        for workload in workloads
        if (endpoint := _endpoint(service, port, workload)) is not None
        and not may_be_itself(endpoint.address, endpoint.port, on_loopback=on_loopback)
    )
    kept: dict[tuple[bytes | str, int], Endpoint] = {}
    for endpoint in sorted(found, key=lambda each: not each.is_healthy):
        kept.setdefault((endpoint.address, endpoint.port), endpoint)
    return tuple(sorted(kept.values(), key=_order))


def _endpoint(service: ServiceName, port: ServedPort, workload: Workload) -> Endpoint | None:
    address: bytes | str = workload.addresses[0] if workload.addresses else workload.hostname
    target = _target_port(service, port.number, workload)
    is_name_of_none = isinstance(address, str) and address.startswith("*")
    if not address or is_name_of_none or not target or workload.capacity == 0:
        return None
    is_healthy = workload.status is WorkloadStatus.HEALTHY or service in workload.unready_services
    return Endpoint(
        locality=workload.locality or Locality(),
        address=address,
        port=target,
        is_tunnelled=workload.tunnel_protocol is TunnelProtocol.HBONE,
        is_healthy=is_healthy,
        weight=workload.capacity or 1,
        workload=_who(workload),
        node=workload.node,
    )


def _who(workload: Workload) -> EndpointWorkload:
    name = workload.workload_name or workload.name
    if workload.tunnel_protocol is not TunnelProtocol.HBONE:
        return EndpointWorkload(name, workload.namespace)
    try:
        identity = Identity(
            trust_domain=workload.trust_domain or _DEFAULT_TRUST_DOMAIN,
            namespace=workload.namespace,
            service_account=workload.service_account,
        )
    except ValueError:
        return EndpointWorkload(name, workload.namespace)
    return EndpointWorkload(name, workload.namespace, str(identity))


def _target_port(service: ServiceName, number: int, workload: Workload) -> int:
    for name, ports in workload.services:
        if name == service:
            return next((port.target_port for port in ports if port.service_port == number), 0)
    return 0


def _order(endpoint: Endpoint) -> tuple[Locality, bool, bytes, int]:
    address = endpoint.address
    is_name = isinstance(address, str)
    # Any text sorts: a hostname that cannot be sent is refused where it is encoded.
    packed = address.encode(errors="surrogatepass") if isinstance(address, str) else address
    return endpoint.locality, is_name, packed, endpoint.port
