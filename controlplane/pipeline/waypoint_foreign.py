"""Clusters and endpoints of services that waypoints only send to, because routes say so.

docs/protocol/http-routes.md HR-24, HR-25.
"""

from functools import partial

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.encode.cluster import encode_service_cluster
from controlplane.encode.endpoint import encode_endpoints
from controlplane.encode.waypoint_names import outbound_name
from controlplane.mesh.backend_tls import PortKey
from controlplane.mesh.foreign_services import ForeignKey, ForeignPort
from controlplane.mesh.world import World
from controlplane.pipeline.refusals import Sent, attempt
from controlplane.pipeline.waypoint_resources import Resources, WaypointResource


def build_foreign_clusters(graph: Graph, world: World) -> Collection[WaypointResource, Sent]:
    """Declare the clusters of what routes send to on ``graph``."""
    # Narrow on purpose: the clusters of services that are discovered do not hear of their pods.
    looked_up = graph.derive(
        "foreign endpoints that waypoints look up",
        world.foreign.endpoints,
        lambda _, value: value if value.are_looked_up else None,
    )

    def rule(fetch: Fetch, foreign: ForeignPort) -> Resources:
        key = foreign.key
        tls = fetch.one(world.backend_tls.by_port, PortKey(foreign.service.owner, key.port))
        encode = partial(
            encode_service_cluster,
            foreign.service,
            foreign.port,
            foreign.layer,
            fetch.one(looked_up, key),
            tls=tls,
            is_outbound=True,
        )
        return {_named(key): attempt(foreign.service.owner, encode)}

    return graph.derive_many("foreign clusters of waypoints", world.foreign.ports, rule)


def build_foreign_endpoints(graph: Graph, world: World) -> Collection[WaypointResource, Sent]:
    """Declare the endpoints of what routes send to on ``graph``."""

    def rule(fetch: Fetch, foreign: ForeignPort) -> Resources:
        endpoints = fetch.one(world.foreign.endpoints, foreign.key)
        if endpoints is None or endpoints.are_looked_up or endpoints.nearness is not None:
            return {}
        tls = fetch.one(world.backend_tls.by_port, PortKey(foreign.service.owner, foreign.key.port))
        if tls is not None and not tls.is_usable:
            return {}
        encode = partial(encode_endpoints, endpoints, foreign.layer, is_outbound=True)
        return {_named(foreign.key): attempt(foreign.service.owner, encode)}

    return graph.derive_many("foreign endpoints of waypoints", world.foreign.ports, rule)


def _named(key: ForeignKey) -> WaypointResource:
    return WaypointResource(key.waypoint, outbound_name(key.port, key.layer, key.hostname))
