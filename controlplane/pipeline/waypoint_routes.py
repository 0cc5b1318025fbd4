"""Routes of waypoints: what each serves comes in, one route configuration per HTTP chain goes out.

docs/protocol/waypoint-config.md WC-10, WC-31.
"""

from functools import partial

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.encode.override import Overrides
from controlplane.encode.route import encode_direct_routes, encode_service_routes
from controlplane.encode.waypoint_names import direct_name, service_name
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.world import World
from controlplane.model.waypoint_traffic import DirectWorkloads, Layer, ServedService
from controlplane.pipeline.refusals import Sent, attempt
from controlplane.pipeline.waypoint_policies import EncodedPolicies
from controlplane.pipeline.waypoint_resources import Resources, WaypointResource


def build_waypoint_routes(
    graph: Graph,
    world: World,
    sendable: Collection[WaypointHost, ServedService],
    policies: EncodedPolicies,
) -> Collection[WaypointResource, Sent]:
    """Declare the routes of every waypoint on ``graph``."""

    def of_service(fetch: Fetch, service: ServedService) -> Resources:
        host = WaypointHost(service.waypoint, service.hostname)
        return _routes(service, policies.of_service(fetch, host))

    def of_waypoint(fetch: Fetch, value: DirectWorkloads) -> Resources:
        key = WaypointResource(value.waypoint, direct_name(Layer.HTTP))
        return {key: encode_direct_routes(policies.of_waypoint(fetch, value.waypoint))}

    return graph.union(
        "routes of waypoints",
        graph.derive_many("routes of served services", sendable, of_service),
        graph.derive_many("routes of direct workloads", world.traffic.direct, of_waypoint),
    )


def _routes(service: ServedService, overrides: Overrides) -> Resources:
    return {
        WaypointResource(
            service.waypoint, service_name(port.number, Layer.HTTP, service.hostname)
        ): attempt(service.owner, partial(encode_service_routes, service, port, overrides))
        for port in service.ports
        if Layer.HTTP in port.layers
    }
