"""Routes that lead past policies of the services they send to.

Who is let in by the policies of one service gets where its routes lead, and nobody asks those of
the other service (docs/protocol/http-routes.md HR-21, HR-28). Where routes lead and what waypoints
enforce come in, one Problem goes out for each route, service and backend of that kind.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.mesh.http_policies import HttpPolicies
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.route_parents import RouteParents
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.model.http_policy import HttpAction, HttpPolicy
from controlplane.model.http_route import HttpRoute
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity

GOES_AROUND: Final = "route.goes-around-policies"

_NAMED: Final = 5


class Lead(NamedTuple):
    """That a route of the service at ``place`` sends to ``hostname``, which is another."""

    route: ObjectReference
    place: WaypointHost
    hostname: str


def leads_of(place: WaypointHost, routes: Iterable[HttpRoute]) -> Iterator[Lead]:
    """Yield where ``routes`` of ``place`` lead to, some of it more than once."""
    for route in routes:
        used = [backend.destination for backend in route.backends if backend.weight]
        for each in (*used, *(mirror.destination for mirror in route.mirrors)):
            if each.is_valid and each.hostname != place.hostname:
                yield Lead(route.owner, place, each.hostname)


def build_route_detours(
    graph: Graph, leads: Collection[Lead, Lead], parents: RouteParents, policies: HttpPolicies
) -> Collection[ProblemKey, Problem]:
    """Declare the Problems on ``graph``."""

    def rule(fetch: Fetch, lead: Lead) -> Mapping[ProblemKey, Problem]:
        waypoint = lead.place.waypoint
        backend = parents.backends.service_at(fetch, waypoint, lead.hostname)
        if backend is None:
            return {}
        places = {
            WaypointHost(each.waypoint, each.hostname)
            for each in fetch.where(parents.served, backend.owner)
        }
        passed = {
            name
            for place in sorted(places)
            for name in _enforced(fetch.one(policies.by_service, place))
        }
        passed.difference_update(_enforced(fetch.one(policies.by_service, lead.place)))
        if not passed:
            return {}
        problem = _problem(lead, sorted(passed))
        return {problem_key(problem): problem}

    return graph.derive_many("routes around policies", leads, rule)


def _enforced(policies: tuple[HttpPolicy, ...] | None) -> Iterator[Name]:
    for policy in policies or ():
        if not policy.is_dry_run and policy.action is not HttpAction.AUDIT:
            yield policy.key


def _problem(lead: Lead, policies: list[Name]) -> Problem:
    named = [str(name) for name in policies[:_NAMED]]
    if len(policies) > _NAMED:
        named.append(f"{len(policies) - _NAMED} more")
    return Problem(
        severity=Severity.WARNING,
        code=GOES_AROUND,
        message=(
            f"requests to {lead.place.hostname} get to {lead.hostname} without being asked about "
            f"by {', '.join(named)}"
        ),
        object=lead.route,
        field=f"{lead.place.waypoint}/{lead.place.hostname}/{lead.hostname}",
    )
