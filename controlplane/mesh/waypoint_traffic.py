"""What waypoints serve, joined: the mesh comes in, collections keyed by waypoint go out.

``pipeline.waypoint_encoding`` turns them into resources. docs/protocol/waypoint-config.md.
"""

from dataclasses import dataclass

from controlplane.dataflow import Collection, Graph, Index
from controlplane.mesh.nearness import PlaceKey, build_places
from controlplane.mesh.parts import Parts
from controlplane.mesh.problems import ProblemKey
from controlplane.mesh.waypoint_endpoints import EndpointsKey, build_waypoint_endpoints
from controlplane.mesh.waypoint_reach import Reach
from controlplane.mesh.waypoint_services import Claim, WaypointHost, build_waypoint_services
from controlplane.mesh.waypoint_workloads import (
    build_direct_workloads,
    build_reach,
    build_waypoint_frames,
)
from controlplane.model.names import Name, ServiceName
from controlplane.model.problem import Problem
from controlplane.model.resident import Resident
from controlplane.model.waypoint_traffic import (
    DirectWorkloads,
    Place,
    ServedBefore,
    ServedService,
    ServiceEndpoints,
    WaypointFrame,
)
from controlplane.model.workload import Locality, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class WaypointTraffic:
    """What each waypoint serves; every key starts with the waypoint."""

    frames: Collection[Name, WaypointFrame]
    services: Collection[WaypointHost, ServedService]
    claims: Collection[ServedBefore, Claim]
    endpoints: Collection[EndpointsKey, ServiceEndpoints]
    direct: Collection[Name, DirectWorkloads]
    places: Collection[PlaceKey, Place]
    reach: Reach
    problems: Collection[ProblemKey, Problem]


def build_waypoint_traffic(
    graph: Graph,
    parts: Parts,
    workloads: Collection[str, Workload],
    members: Index[ServiceName, str, Workload],
    residents: Collection[Name, Resident],
    localities: Collection[str, Locality],
) -> WaypointTraffic:
    """Declare what every waypoint serves on ``graph``.

    ``workloads`` are those of the mesh, ``members`` the same by service; ``localities`` are by
    node.
    """
    frames = build_waypoint_frames(
        graph, parts.membership, parts.waypoints, parts.manifests.pods, parts.settings
    )
    reach = build_reach(graph, parts.waypoints, parts.manifests.pods, parts.settings)
    services = build_waypoint_services(graph, parts.services, parts.waypoints, parts.served_before)
    return WaypointTraffic(
        frames=frames,
        services=services.served,
        claims=services.claims,
        endpoints=build_waypoint_endpoints(
            graph, services.served, members, parts.networks, reach=reach
        ),
        direct=build_direct_workloads(graph, frames, workloads, reach=reach),
        places=build_places(graph, frames, residents, localities),
        reach=reach,
        problems=services.problems,
    )
