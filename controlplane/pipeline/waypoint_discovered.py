"""Endpoints of waypoints: where each service port lands comes in, what is discovered goes out.

Those of services that prefer near ones are the business of ``waypoint_near``.
docs/protocol/waypoint-config.md WC-10, WC-13, WC-24.
"""

from collections.abc import Iterator
from functools import partial

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.encode.endpoint import encode_endpoints
from controlplane.encode.waypoint_names import service_name
from controlplane.mesh.backend_tls import PortKey
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.world import World
from controlplane.model.waypoint_traffic import ServedService, ServiceEndpoints
from controlplane.pipeline.refusals import Sent, attempt
from controlplane.pipeline.waypoint_foreign import build_foreign_endpoints
from controlplane.pipeline.waypoint_resources import Resources, WaypointResource


def build_discovered_endpoints(
    graph: Graph, world: World, sendable: Collection[WaypointHost, ServedService]
) -> Collection[WaypointResource, Sent]:
    """Declare the endpoints of every waypoint on ``graph``."""

    def rule(fetch: Fetch, value: ServiceEndpoints) -> Resources:
        service = fetch.one(sendable, WaypointHost(value.waypoint, value.hostname))
        if service is None or value.are_looked_up or value.nearness is not None:
            return {}
        tls = fetch.one(world.backend_tls.by_port, PortKey(value.owner, value.port.number))
        if tls is not None and not tls.is_usable:
            # Its cluster leads nowhere and asks for no endpoints.
            return {}
        return dict(_endpoints_by_layer(value))

    return graph.union(
        "endpoints sent to waypoints",
        graph.derive_many("encoded endpoints of waypoints", world.traffic.endpoints, rule),
        build_foreign_endpoints(graph, world),
    )


def _endpoints_by_layer(value: ServiceEndpoints) -> Iterator[tuple[WaypointResource, Sent]]:
    for layer in value.port.layers:
        name = service_name(value.port.number, layer, value.hostname)
        sent = attempt(value.owner, partial(encode_endpoints, value, layer))
        yield WaypointResource(value.waypoint, name), sent
