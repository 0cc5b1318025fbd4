"""Workloads that can be reached around the waypoint that enforces policies for them.

What waypoints enforce, their workloads and the policies of node proxies come in; one Problem goes
out for each workload behind an enforcing waypoint that lets others in than waypoints. Where no
waypoint enforces anything this costs nothing per workload, and what a set of policies amounts to is
judged once for all workloads that have it. docs/protocol/guards.md BY-n.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph, Index
from controlplane.mesh.http_policies import HttpPolicies
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.waypoint_shields import lets_only_waypoints_in
from controlplane.mesh.waypoint_traffic import WaypointTraffic
from controlplane.mesh.waypoints import Waypoints
from controlplane.model.http_policy import HttpAction, HttpPolicy
from controlplane.model.names import Name, ObjectReference, ServiceName
from controlplane.model.policy import Authorization, Scope
from controlplane.model.problem import Problem, Severity
from controlplane.model.waypoint import Waypoint
from controlplane.model.waypoint_traffic import ServedService, WaypointFrame
from controlplane.model.workload import TunnelProtocol, Workload

BYPASSED: Final = "waypoint.can-be-bypassed"

_EVERYWHERE: Final = ""
_NAMED: Final = 5


class Enforced(NamedTuple):
    """A service for which a waypoint enforces something."""

    service: ServiceName
    place: WaypointHost


class Shield(NamedTuple):
    """What decides whom the node proxy of a workload lets in: its namespace, and what it lists."""

    namespace: str
    policies: tuple[Name, ...]


class Concerned(NamedTuple):
    """A workload behind a waypoint that enforces something for it, at ``place``.

    The hostname of a place is "" for traffic to the address of the workload.
    """

    uid: str
    object: ObjectReference
    place: WaypointHost
    shield: Shield
    has_proxy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What bypasses are found on; ``members`` are ``workloads`` by service."""

    membership: Membership
    waypoints: Waypoints
    traffic: WaypointTraffic
    http_policies: HttpPolicies
    workloads: Collection[str, Workload]
    members: Index[ServiceName, str, Workload]
    authorizations: Collection[Name, Authorization]


def build_bypasses(graph: Graph, ground: Ground) -> Collection[ProblemKey, Problem]:
    """Declare the Problems on ``graph``."""
    concerned = _build_concerned(graph, ground)
    authorizations = ground.authorizations
    shields = graph.distinct(
        "shields of workloads", concerned.index("workloads by shield", lambda each: (each.shield,))
    )
    by_breadth = authorizations.index("policies by breadth", _breadth)
    known = graph.distinct(
        "accounts of waypoints", ground.waypoints.ready.index("waypoints by account", _accounts)
    )

    def holds(fetch: Fetch, shield: Shield) -> bool:
        listed = (fetch.one(authorizations, name) for name in shield.policies)
        policies = [
            *(policy for policy in listed if policy is not None),
            *fetch.where(by_breadth, shield.namespace),
            *fetch.where(by_breadth, _EVERYWHERE),
        ]
        domain = ground.membership.mesh_config(fetch).trust_domain
        return lets_only_waypoints_in(
            policies, domain, lambda account: fetch.one(known, account) is not None
        )

    holding = graph.derive("shields that hold", shields, holds)
    by_uid = concerned.index("places by workload", lambda each: (each.uid,))

    def problems(fetch: Fetch, uid: str) -> Mapping[ProblemKey, Problem]:
        places = fetch.where(by_uid, uid)
        bypassed = [
            each for each in places if not (each.has_proxy and fetch.one(holding, each.shield))
        ]
        if not bypassed:
            return {}
        problem = _problem(bypassed)
        return {problem_key(problem): problem}

    return graph.derive_many(
        "bypasses of waypoints", graph.distinct("workloads behind policies", by_uid), problems
    )


def _build_concerned(
    graph: Graph, ground: Ground
) -> Collection[tuple[str, WaypointHost], Concerned]:
    traffic, http_policies = ground.traffic, ground.http_policies
    by_waypoint = ground.workloads.index(
        "workloads by waypoint behind policies",
        lambda workload: () if workload.served_by is None else (workload.served_by,),
    )

    def enforced(fetch: Fetch, service: ServedService) -> Enforced | None:
        place = WaypointHost(service.waypoint, service.hostname)
        if not _enforces(fetch.one(http_policies.by_service, place)):
            return None
        return Enforced(service.service, place)

    def enforcing(fetch: Fetch, frame: WaypointFrame) -> Name | None:
        policies = fetch.one(http_policies.by_waypoint, frame.waypoint)
        return frame.waypoint if _enforces(policies) else None

    def of_service(fetch: Fetch, value: Enforced) -> Mapping[tuple[str, WaypointHost], Concerned]:
        return _by_key(fetch.where(ground.members, value.service), value.place)

    def of_waypoint(fetch: Fetch, waypoint: Name) -> Mapping[tuple[str, WaypointHost], Concerned]:
        return _by_key(fetch.where(by_waypoint, waypoint), WaypointHost(waypoint, ""))

    return graph.union(
        "workloads at places of policies",
        graph.derive_many(
            "members of services behind policies",
            graph.derive("services behind policies", traffic.services, enforced),
            of_service,
        ),
        graph.derive_many(
            "workloads behind policies by address",
            graph.derive("waypoints that enforce policies", traffic.frames, enforcing),
            of_waypoint,
        ),
    )


def _accounts(waypoint: Waypoint) -> Iterator[tuple[str, str]]:
    for account in waypoint.service_accounts:
        yield waypoint.key.namespace, account


def _breadth(policy: Authorization) -> tuple[str, ...]:
    match policy.scope:
        case Scope.GLOBAL:
            return (_EVERYWHERE,)
        case Scope.NAMESPACE:
            return (policy.namespace,)
        case Scope.WORKLOAD_SELECTOR:
            return ()


def _enforces(policies: tuple[HttpPolicy, ...] | None) -> bool:
    return any(
        not policy.is_dry_run and policy.action is not HttpAction.AUDIT for policy in policies or ()
    )


def _by_key(
    workloads: Iterable[Workload], place: WaypointHost
) -> Mapping[tuple[str, WaypointHost], Concerned]:
    found = (_concerned(workload, place) for workload in workloads)
    return {(each.uid, each.place): each for each in found if each is not None}


def _concerned(workload: Workload, place: WaypointHost) -> Concerned | None:
    kind = _kind(workload)
    if kind is None:
        return None
    return Concerned(
        uid=workload.uid,
        object=ObjectReference(kind, workload.namespace, workload.name),
        place=place,
        shield=Shield(workload.namespace, workload.authorization_policies),
        has_proxy=workload.tunnel_protocol is not TunnelProtocol.NONE,
    )


def _kind(workload: Workload) -> str | None:
    """Return what declares the workload; None for what no node proxy of ours ever guards."""
    uid = workload.uid
    if uid.startswith(f"{workload.cluster_id}//Pod/"):
        return "Pod"
    if uid.startswith(f"{workload.cluster_id}/networking.istio.io/WorkloadEntry/"):
        return "WorkloadEntry"
    return None


def _problem(bypassed: list[Concerned]) -> Problem:
    places = sorted({each.place for each in bypassed})
    named = [
        f"{place.hostname or 'traffic to its address'} (waypoint {place.waypoint})"
        for place in places[:_NAMED]
    ]
    if len(places) > _NAMED:
        named.append(f"{len(places) - _NAMED} more")
    first = bypassed[0]
    reason = (
        "others than waypoints may connect to it"
        if first.has_proxy
        else "no node proxy stands in front of it"
    )
    return Problem(
        severity=Severity.WARNING,
        code=BYPASSED,
        message=f"the policies for {', '.join(named)} can be gone around: {reason}",
        object=first.object,
    )
