"""Clusters of waypoints: what each serves comes in, its own and those of services go out.

docs/protocol/waypoint-config.md WC-10, WC-13, WC-53.
"""

from functools import partial

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.encode.cluster import (
    encode_connect_originate_cluster,
    encode_encapsulate_cluster,
    encode_main_internal_cluster,
    encode_main_sniffed_cluster,
    encode_service_cluster,
)
from controlplane.encode.waypoint_names import (
    CONNECT_ORIGINATE,
    ENCAPSULATE,
    MAIN_INTERNAL,
    MAIN_SNIFFED,
    service_name,
)
from controlplane.mesh.backend_tls import PortKey
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.world import World
from controlplane.model.names import Name
from controlplane.model.waypoint_traffic import ServedService, WaypointFrame
from controlplane.pipeline.refusals import Sent, attempt
from controlplane.pipeline.waypoint_foreign import build_foreign_clusters
from controlplane.pipeline.waypoint_resources import Resources, WaypointResource, gateway_of


def build_waypoint_clusters(
    graph: Graph, world: World, sendable: Collection[WaypointHost, ServedService]
) -> Collection[WaypointResource, Sent]:
    """Declare the clusters of every waypoint on ``graph``."""
    return graph.union(
        "clusters of waypoints",
        _fixed_clusters(graph, world, sendable),
        _service_clusters(graph, world, sendable),
        build_foreign_clusters(graph, world),
    )


def _fixed_clusters(
    graph: Graph, world: World, sendable: Collection[WaypointHost, ServedService]
) -> Collection[WaypointResource, Sent]:
    main, onward = encode_main_internal_cluster(), encode_encapsulate_cluster()
    sniffed = encode_main_sniffed_cluster()
    # Narrow on purpose: that something is sniffed, not what.
    sniffing = graph.derive(
        "waypoints of sniffed services",
        sendable,
        lambda _, service: (
            service.waypoint if any(port.is_sniffed for port in service.ports) else None
        ),
    ).index("sniffed services by waypoint", _itself)

    def rule(fetch: Fetch, frame: WaypointFrame) -> Resources:
        waypoint = frame.waypoint
        found: dict[WaypointResource, Sent] = {
            WaypointResource(waypoint, MAIN_INTERNAL): main,
            WaypointResource(waypoint, CONNECT_ORIGINATE): attempt(
                gateway_of(waypoint), lambda: encode_connect_originate_cluster(frame)
            ),
        }
        has_direct = fetch.one(world.traffic.direct, waypoint) is not None
        if has_direct:
            found[WaypointResource(waypoint, ENCAPSULATE)] = onward
        if has_direct or fetch.where(sniffing, waypoint):
            found[WaypointResource(waypoint, MAIN_SNIFFED)] = sniffed
        return found

    return graph.derive_many("fixed clusters of waypoints", world.traffic.frames, rule)


def _itself(waypoint: Name) -> tuple[Name, ...]:
    return (waypoint,)


def _service_clusters(
    graph: Graph, world: World, sendable: Collection[WaypointHost, ServedService]
) -> Collection[WaypointResource, Sent]:
    # Narrow on purpose: the clusters of services that are discovered do not hear of their pods.
    looked_up = graph.derive(
        "endpoints that waypoints look up",
        world.traffic.endpoints,
        lambda _, value: value if value.are_looked_up else None,
    )

    def rule(fetch: Fetch, service: ServedService) -> Resources:
        found: dict[WaypointResource, Sent] = {}
        for port in service.ports:
            key = EndpointsKey(service.waypoint, service.hostname, port.number)
            endpoints = fetch.one(looked_up, key)
            tls = fetch.one(world.backend_tls.by_port, PortKey(service.owner, port.number))
            for layer in port.layers:
                name = service_name(port.number, layer, service.hostname)
                found[WaypointResource(service.waypoint, name)] = attempt(
                    service.owner,
                    partial(encode_service_cluster, service, port, layer, endpoints, tls=tls),
                )
        return found

    return graph.derive_many("clusters of served services", sendable, rule)
