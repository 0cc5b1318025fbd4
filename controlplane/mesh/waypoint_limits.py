"""What services ask for that a waypoint does not do for them, said instead of left out silently.

Served services come in, Problems go out. docs/protocol/waypoint-config.md WC-72, WC-73.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.mesh.hostnames import Services
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.model.names import Name
from controlplane.model.problem import Problem, Severity
from controlplane.model.waypoint_traffic import ServedService

_LOOKED_UP: Final = frozenset({"DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"})


def build_waypoint_limits(
    graph: Graph,
    membership: Membership,
    services: Services,
    served: Collection[WaypointHost, ServedService],
) -> Collection[ProblemKey, Problem]:
    """Declare what waypoints leave undone on ``graph``."""

    def rule(fetch: Fetch, service: ServedService) -> Mapping[ProblemKey, Problem]:
        found = (*_nearness(fetch, services, service), *_wildcard(fetch, membership, service))
        return {problem_key(problem): problem for problem in found}

    return graph.derive_many("limits of waypoints", served, rule)


def _nearness(fetch: Fetch, services: Services, service: ServedService) -> Iterator[Problem]:
    winner = fetch.one(services.winners, service.service)
    balancing = None if winner is None else winner.candidate.service.load_balancing
    if balancing is not None and balancing.routing_preference:
        yield Problem(
            severity=Severity.INFO,
            code="waypoint.nearness-not-applied",
            message=(
                f'waypoint "{service.waypoint}" spreads the connections to {service.hostname} over '
                "all endpoints: which are near counts only where no waypoint is between"
            ),
            object=service.owner,
            field=f"{service.waypoint}/{service.hostname}",
        )


def _wildcard(fetch: Fetch, membership: Membership, service: ServedService) -> Iterator[Problem]:
    if not service.hostname.startswith("*"):
        return
    entry = fetch.one(membership.service_entries, Name(service.owner.namespace, service.owner.name))
    if entry is None or entry.endpoints or entry.resolution not in _LOOKED_UP:
        return
    yield Problem(
        severity=Severity.WARNING,
        code="waypoint.wildcard-not-resolved",
        message=(
            f'waypoint "{service.waypoint}" does not look up names below {service.hostname}: it '
            "answers 503, and closes connections that are not HTTP"
        ),
        object=service.owner,
        field=f"{service.waypoint}/{service.hostname}",
    )
