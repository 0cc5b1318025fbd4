"""Guards: policies that let nobody but waypoints in.

Ready waypoints come in; for each that is to be guarded one ALLOW policy for the identities of its
pods goes out, and its name, which the users of the waypoint list. ``controlplane.mesh.policies``
continues from here. docs/protocol/guards.md GP-1 to GP-6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.gateway import Gateway
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.waypoints import Waypoints
from controlplane.mesh.wishes import boolean
from controlplane.model.names import Name
from controlplane.model.policy import (
    Action,
    Authorization,
    Group,
    Match,
    MatchType,
    Rule,
    Scope,
    StringMatch,
)
from controlplane.model.problem import Problem, Severity
from controlplane.model.waypoint import Waypoint

NAME_PREFIX: Final = "istio_allow_waypoint_"
GUARD: Final = "istiod-lite.io/waypoint-guard"


class GuardWish(NamedTuple):
    """What the annotation of a Gateway says; ``wanted`` is None where it cannot be read."""

    wanted: bool | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admissions:
    """The policies that let waypoints in, and their names by waypoint."""

    authorizations: Collection[Name, Authorization]
    names: Collection[Name, Name]
    problems: Collection[ProblemKey, Problem]


def build_admissions(
    graph: Graph, membership: Membership, waypoints: Waypoints, *, is_usual: bool
) -> Admissions:
    """Declare one policy for each guarded waypoint on ``graph``.

    ``is_usual`` decides about waypoints that say nothing themselves.
    """
    wishes = graph.derive("guard wishes of gateways", membership.gateways, _wish)

    def name(fetch: Fetch, waypoint: Waypoint) -> Name | None:
        wish = fetch.one(wishes, waypoint.key)
        wanted = None if wish is None else wish.wanted
        if wanted is None:
            # A setting covers waypoints that nobody thought of: without a known pod not these.
            wanted = is_usual and bool(waypoint.service_accounts)
        return guard_of(waypoint.key) if wanted else None

    names = graph.derive("waypoint admission names", waypoints.ready, name)

    def admission(fetch: Fetch, waypoint: Waypoint) -> Mapping[Name, Authorization]:
        name = fetch.one(names, waypoint.key)
        if name is None:
            return {}
        domain = membership.mesh_config(fetch).trust_domain
        prefix = f"{domain}/ns/{waypoint.key.namespace}/sa/"
        principals = tuple(
            StringMatch(MatchType.EXACT, prefix + account) for account in waypoint.service_accounts
        )
        # While no pod of it runs, nobody is let in.
        groups = (Group((Rule((Match(principals=principals),)),)),) if principals else ()
        policy = Authorization(
            name=name.name,
            namespace=name.namespace,
            scope=Scope.WORKLOAD_SELECTOR,
            action=Action.ALLOW,
            groups=groups,
        )
        return {name: policy}

    def problems(fetch: Fetch, gateway: Gateway) -> Mapping[ProblemKey, Problem]:
        wish = fetch.one(wishes, gateway.key)
        if wish is None or wish.wanted is not None:
            return {}
        usual = "is guarded" if is_usual else "is not guarded"
        problem = Problem(
            severity=Severity.ERROR,
            code="waypoint.unreadable-guard",
            message=f'"{wish.text}" is neither true nor false: the waypoint {usual}, as is usual',
            object=gateway.reference,
            field=f"metadata.annotations[{GUARD}]",
        )
        return {problem_key(problem): problem}

    return Admissions(
        authorizations=graph.derive_many(
            "waypoint admissions by policy", waypoints.ready, admission
        ),
        names=names,
        problems=graph.derive_many("guard problems", membership.gateways, problems),
    )


def guard_of(waypoint: Name) -> Name:
    """Return the name of the policy that guards what is behind ``waypoint``."""
    namespace, name = waypoint
    return Name(namespace, f"{NAME_PREFIX}{namespace}_{name}")


def _wish(_: Fetch, gateway: Gateway) -> GuardWish | None:
    text = gateway.metadata.annotations.get(GUARD)
    return None if text is None else GuardWish(boolean(text), text)
