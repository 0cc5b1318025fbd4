"""Services that a waypoint does not serve but that routes there send to.

What routes want comes in; the ports and their endpoints go out, one for each waypoint, port and
layer, so that a waypoint knows of nothing that no route of its services needs.
docs/protocol/http-routes.md HR-24, HR-25.
"""

from dataclasses import dataclass
from typing import NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph, Index
from controlplane.mesh.networks import Networks
from controlplane.mesh.route_backends import RouteBackends
from controlplane.mesh.waypoint_endpoints import port_endpoints
from controlplane.mesh.waypoint_reach import Reach
from controlplane.model.names import Name, ServiceName
from controlplane.model.waypoint_traffic import (
    Layer,
    ServedPort,
    ServedService,
    ServiceEndpoints,
)
from controlplane.model.workload import Workload


class ForeignKey(NamedTuple):
    """A port of a service that routes at a waypoint want on one layer."""

    waypoint: Name
    hostname: str
    port: int
    layer: Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignPort:
    """A wanted port with its service; ``service.waypoint`` only sends there."""

    service: ServedService
    port: ServedPort
    layer: Layer

    @property
    def key(self) -> ForeignKey:
        """Return what was wanted."""
        service = self.service
        return ForeignKey(service.waypoint, service.hostname, self.port.number, self.layer)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignServices:
    """What routes send to beyond what their waypoint serves, and where that is."""

    ports: Collection[ForeignKey, ForeignPort]
    endpoints: Collection[ForeignKey, ServiceEndpoints]


def build_foreign_services(
    graph: Graph,
    backends: RouteBackends,
    members: Index[ServiceName, str, Workload],
    networks: Networks,
    *wanted: Collection[ForeignKey, ForeignKey],
    reach: Reach,
) -> ForeignServices:
    """Declare on ``graph`` what the routes of each layer want; no key is wanted twice.

    ``reach`` tells which endpoints are none.
    """

    def find(fetch: Fetch, key: ForeignKey) -> ForeignPort | None:
        service = backends.service_at(fetch, key.waypoint, key.hostname)
        ports = () if service is None else service.ports
        port = next((port for port in ports if port.number == key.port), None)
        if service is None or port is None:
            return None
        return ForeignPort(service=service, port=port, layer=key.layer)

    ports = graph.derive("foreign ports", graph.union("wanted foreign ports", *wanted), find)

    def locate(fetch: Fetch, foreign: ForeignPort) -> ServiceEndpoints:
        return port_endpoints(fetch, foreign.service, foreign.port, members, networks, reach=reach)

    return ForeignServices(
        ports=ports, endpoints=graph.derive("endpoints of foreign ports", ports, locate)
    )
