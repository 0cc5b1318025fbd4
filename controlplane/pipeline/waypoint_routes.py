"""Routes of waypoints: what each serves comes in, one route configuration per HTTP chain goes out.

docs/protocol/waypoint-config.md WC-10, WC-31.
"""

from functools import partial

from controlplane.dataflow import Collection, Graph
from controlplane.encode.route import encode_direct_routes, encode_service_routes
from controlplane.encode.waypoint_names import direct_name, service_name
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.world import World
from controlplane.model.waypoint_traffic import DirectWorkloads, Layer, ServedService
from controlplane.pipeline.refusals import Sent, attempt
from controlplane.pipeline.waypoint_resources import Resources, WaypointResource


def build_waypoint_routes(
    graph: Graph, world: World, sendable: Collection[WaypointHost, ServedService]
) -> Collection[WaypointResource, Sent]:
    """Declare the routes of every waypoint on ``graph``."""
    return graph.union(
        "routes of waypoints",
        graph.derive_many("routes of served services", sendable, lambda _, value: _routes(value)),
        graph.derive_many(
            "routes of direct workloads", world.traffic.direct, lambda _, value: _direct(value)
        ),
    )


def _routes(service: ServedService) -> Resources:
    return {
        WaypointResource(
            service.waypoint, service_name(port.number, Layer.HTTP, service.hostname)
        ): attempt(service.owner, partial(encode_service_routes, service, port))
        for port in service.ports
        if Layer.HTTP in port.layers
    }


def _direct(value: DirectWorkloads) -> Resources:
    key = WaypointResource(value.waypoint, direct_name(Layer.HTTP))
    return {key: encode_direct_routes()}
