"""The last rules for waypoints: what each one serves comes in, its resources go out.

Every collection is keyed by waypoint and resource name, so that a change costs what it touches: a
pod one set of endpoints, a route one route configuration. ``publication`` hands them to the
catalog. docs/protocol/waypoint-config.md WC-10 to WC-13.
"""

from dataclasses import dataclass
from typing import Any

from controlplane.dataflow import Collection, Graph
from controlplane.encode.envelope import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
)
from controlplane.mesh.problems import ProblemKey
from controlplane.mesh.world import World
from controlplane.model.problem import Problem
from controlplane.pipeline.refusals import Sent, refusal_problems, refusals
from controlplane.pipeline.waypoint_chains import build_direct_chains, build_service_chains
from controlplane.pipeline.waypoint_clusters import build_waypoint_clusters
from controlplane.pipeline.waypoint_discovered import build_discovered_endpoints
from controlplane.pipeline.waypoint_listeners import build_sendable, build_waypoint_listeners
from controlplane.pipeline.waypoint_near import build_near_endpoints
from controlplane.pipeline.waypoint_policies import build_encoded_policies
from controlplane.pipeline.waypoint_resources import PlacedResource, WaypointResource
from controlplane.pipeline.waypoint_routes import (
    build_encoded_routes,
    build_route_problems,
    build_waypoint_routes,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedWaypoints:
    """What the pods of each waypoint are sent, secrets excepted, and what cannot be sent.

    ``near_endpoints`` are those that differ by where a pod runs; no name is among ``endpoints``
    too.
    """

    clusters: Collection[WaypointResource, Sent]
    endpoints: Collection[WaypointResource, Sent]
    near_endpoints: Collection[PlacedResource, Sent]
    listeners: Collection[WaypointResource, Sent]
    routes: Collection[WaypointResource, Sent]
    problems: Collection[ProblemKey, Problem]

    def by_type(self) -> tuple[tuple[str, Collection[WaypointResource, Sent]], ...]:
        """Return the collections of what all pods are sent, with their type URLs."""
        return (
            (CLUSTER_TYPE, self.clusters),
            (ENDPOINT_TYPE, self.endpoints),
            (LISTENER_TYPE, self.listeners),
            (ROUTE_TYPE, self.routes),
        )


def build_encoded_waypoints(graph: Graph, world: World) -> EncodedWaypoints:
    """Declare the resources of every waypoint on ``graph``."""
    chained = build_service_chains(graph, world)
    direct_chained = build_direct_chains(graph, world)
    sendable = build_sendable(graph, chained)
    policies = build_encoded_policies(graph, world, sendable)
    routes = build_encoded_routes(graph, world, sendable)
    encoded = {
        "clusters": build_waypoint_clusters(graph, world, sendable),
        "endpoints": build_discovered_endpoints(graph, world, sendable),
        "listeners": build_waypoint_listeners(graph, world, chained, direct_chained),
        "routes": build_waypoint_routes(graph, world, sendable, policies, routes),
    }
    near_endpoints = build_near_endpoints(graph, world, sendable)
    attempted: dict[str, Collection[Any, Any]] = {
        **encoded,
        "near endpoints": near_endpoints,
        "chains of services": chained,
        "chains of workloads": direct_chained,
        "policies of services": policies.by_service,
        "policies of workloads": policies.by_waypoint,
    }
    refused = [
        graph.distinct(
            f"refused {name} of waypoints", collection.index(f"refused {name}", refusals)
        )
        for name, collection in attempted.items()
    ]
    of_resources = graph.derive_many(
        "encoding problems of resources",
        graph.union("refusals of waypoints", *refused),
        lambda _, refusal: refusal_problems(refusal),
    )
    return EncodedWaypoints(
        **encoded,
        near_endpoints=near_endpoints,
        problems=graph.union(
            "encoding problems of waypoints",
            of_resources,
            build_route_problems(graph, routes),
        ),
    )
