"""Which waypoints tell applications who their client is.

Gateways, their classes and which of them are waypoints come in.
docs/protocol/waypoint-config.md WC-52.
"""

from typing import Final

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.gateway import GatewayClass
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.waypoint_gateways import NotWaypoint
from controlplane.mesh.waypoints import Waypoints, gateway_of
from controlplane.model.names import Name
from controlplane.model.waypoint import Waypoint

CLIENT_NAMING: Final = "ambient.istio.io/xfcc-include-client-identity"


def build_client_naming(
    graph: Graph,
    membership: Membership,
    waypoints: Waypoints,
    gateway_classes: Collection[Name, GatewayClass],
) -> Collection[Name, bool]:
    """Declare the waypoints that name clients on ``graph``; others have no entry."""

    def rule(fetch: Fetch, waypoint: Waypoint | NotWaypoint) -> bool | None:
        gateway = gateway_of(fetch, membership, waypoint)
        if gateway is None:
            return None
        gateway_class = fetch.one(gateway_classes, Name("", gateway.class_name))
        inherited = {} if gateway_class is None else gateway_class.metadata.annotations
        annotations = {**inherited, **gateway.metadata.annotations}
        return annotations.get(CLIENT_NAMING) == "true" or None

    return graph.derive("waypoints that name clients", waypoints.expected, rule)
