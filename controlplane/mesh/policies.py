"""Policies on the graph: which exist, who lists them, and what users are told about them.

AuthorizationPolicies, PeerAuthentications and waypoints come in; every ``Authorization`` of the
mesh goes out, with conditions and problems. The rules for workloads ask ``policies_of`` once per
set of labels and ``waypoint_policies_of`` per workload; ``controlplane.mesh.scopes`` and the
encoder continue from the authorizations. docs/protocol/policies.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.istio import AuthorizationPolicy, PeerAuthentication
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.authorization import Translation, translate_authorization
from controlplane.mesh.inputs import MESH, Manifests
from controlplane.mesh.namespaces import DEFAULT_MESH_CONFIG, Membership
from controlplane.mesh.peer_authentication import (
    STRICT,
    UNSET,
    PeerOutcome,
    PeerPolicy,
    oldest,
    peer_outcome,
    peer_policy_from,
    static_strict,
    static_strict_name,
)
from controlplane.mesh.policy_conditions import (
    authorization_problems,
    peer_problems,
    ztunnel_condition,
)
from controlplane.mesh.policy_targets import Targets, target_problems, waypoint_condition
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.selectors import Pairs, Selectors, build_selectors
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.visibility import EntryVisibilities
from controlplane.mesh.waypoints import Waypoints
from controlplane.model.names import Name, ObjectReference
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
from controlplane.model.problem import Condition, Problem
from controlplane.model.waypoint import Waypoint

IMPLICIT_PREFIX: Final = "istio_allow_waypoint_"

ConditionKey = tuple[ObjectReference, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectingPolicy:
    """An AuthorizationPolicy that is sent and selects workloads; an empty selector takes all."""

    key: Name
    selector: Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What became of one AuthorizationPolicy: what is sent, and what its author is told."""

    authorization: Authorization | None
    selector: Pairs | None
    conditions: tuple[Condition, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """Every policy of the mesh, and what the look-ups below read.

    ``peer_modes`` holds the mode of the PeerAuthentication that covers a whole namespace, by
    namespace. ``peer_lists`` are the policies that workloads under a PeerAuthentication with a
    selector list. ``implicit`` maps a waypoint to the policy that lets it in.
    """

    authorizations: Collection[Name, Authorization]
    conditions: Collection[ConditionKey, Condition]
    problems: Collection[ProblemKey, Problem]
    root_namespaces: Collection[Name, str]
    selecting: Selectors[SelectingPolicy]
    selecting_peers: Selectors[PeerPolicy]
    peer_modes: Collection[str, str]
    peer_lists: Collection[Name, tuple[Name, ...]]
    implicit: Collection[Name, Name] | None


def policies_of(
    fetch: Fetch, policies: Policies, namespace: str, labels: Mapping[str, str]
) -> tuple[Name, ...]:
    """Return the policies that workloads in ``namespace`` with ``labels`` list.

    AuthorizationPolicies with a selector come first, then those made of PeerAuthentications, each
    part sorted by resource name.
    """
    root = _root(fetch, policies.root_namespaces)
    names = {
        policy.key
        for place in {namespace, root}
        for policy in policies.selecting.select(fetch, place, labels)
    }
    return (
        *sorted(names, key=str),
        *_peer_policies_of(fetch, policies, root, namespace, labels),
    )


def waypoint_policies_of(
    fetch: Fetch, policies: Policies, waypoints: Iterable[Name]
) -> tuple[Name, ...]:
    """Return the policies that let ``waypoints`` in, sorted; none unless settings ask for them."""
    if policies.implicit is None:
        return ()
    found = (fetch.one(policies.implicit, waypoint) for waypoint in set(waypoints))
    return tuple(sorted((name for name in found if name is not None), key=str))


def build_policies(
    graph: Graph,
    membership: Membership,
    waypoints: Waypoints,
    visibilities: EntryVisibilities,
    settings: MeshSettings,
    manifests: Manifests,
) -> Policies:
    """Declare the policies of the mesh on ``graph``."""
    roots = graph.derive("root namespace", membership.configured, _root_namespace)
    targets = Targets(
        membership=membership,
        waypoints=waypoints,
        visibilities=visibilities,
        gateway_classes=manifests.gateway_classes,
    )

    def judge(fetch: Fetch, policy: AuthorizationPolicy) -> Judgement:
        if policy.target_references:
            outcomes = tuple(
                targets.outcome(fetch, policy, reference) for reference in policy.target_references
            )
            return Judgement(
                authorization=None,
                selector=None,
                conditions=(waypoint_condition(policy, outcomes),),
                problems=target_problems(policy, outcomes),
            )
        translation = translate_authorization(
            policy,
            root_namespace=_root(fetch, roots),
            sends_dry_run=settings.sends_dry_run_policies,
        )
        return _judgement(policy, translation)

    judgements = graph.derive(
        "authorization policy judgements", membership.authorization_policies, judge
    )
    peers = _build_peers(graph, membership, roots)
    implicit = _build_implicit(graph, membership, waypoints, settings)
    sent = (
        peers.static,
        peers.converted,
        *(() if implicit is None else (implicit,)),
        graph.derive(
            "translated authorization policies", judgements, lambda _, value: value.authorization
        ),
    )
    return Policies(
        authorizations=graph.union("authorizations", *sent),
        conditions=graph.derive_many("policy conditions", judgements, _conditions),
        problems=graph.union(
            "policy problems",
            graph.derive_many("authorization policy problems", judgements, _problems),
            peers.problems,
        ),
        root_namespaces=roots,
        selecting=build_selectors(
            graph,
            "selecting authorization policies",
            graph.derive("selecting authorization policies", judgements, _selecting),
        ),
        selecting_peers=peers.selecting,
        peer_modes=peers.modes,
        peer_lists=peers.lists,
        implicit=None
        if implicit is None
        else graph.derive("implicit policy names", waypoints.ready, _implicit_name),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peers:
    """What follows from all PeerAuthentications."""

    static: Collection[Name, Authorization]
    converted: Collection[Name, Authorization]
    lists: Collection[Name, tuple[Name, ...]]
    modes: Collection[str, str]
    selecting: Selectors[PeerPolicy]
    problems: Collection[ProblemKey, Problem]


def _build_peers(graph: Graph, membership: Membership, roots: Collection[Name, str]) -> _Peers:
    manifests = membership.peer_authentications
    asked = graph.derive("peer policies", manifests, lambda _, manifest: peer_policy_from(manifest))
    covering = asked.index("peer authentications of namespaces", _covered_namespace)

    def winning_mode(fetch: Fetch, names: tuple[Name, ...]) -> str | None:
        found = (fetch.one(asked, name) for name in names)
        winner = oldest(policy for policy in found if policy is not None)
        return None if winner is None else winner.mode

    modes = graph.derive(
        "peer authentication modes",
        graph.group("peer authentications by namespace", covering),
        winning_mode,
    )

    def outcome(fetch: Fetch, policy: PeerPolicy) -> PeerOutcome | None:
        root = _root(fetch, roots)
        return peer_outcome(
            policy,
            inherits_strict=_is_strict(fetch, modes, root, policy.key.namespace),
            root_namespace=root,
        )

    def static(fetch: Fetch, _: Name) -> Mapping[Name, Authorization]:
        policy = static_strict(_root(fetch, roots))
        return {policy.key: policy}

    def problems(fetch: Fetch, manifest: PeerAuthentication) -> Mapping[ProblemKey, Problem]:
        found = peer_problems(manifest, _root(fetch, roots))
        return {problem_key(problem): problem for problem in found}

    outcomes = graph.derive("peer authentication outcomes", asked, outcome)
    existence = graph.distinct(
        "presence of peer authentications", asked.index("presence", lambda _: (MESH,))
    )
    return _Peers(
        static=graph.derive_many("static strict policy", existence, static),
        converted=graph.derive_many("converted peer authentications", outcomes, _converted),
        lists=graph.derive("peer policy lists", outcomes, lambda _, value: value.listed),
        modes=modes,
        selecting=build_selectors(graph, "peer authentications", asked),
        problems=graph.derive_many("peer authentication problems", manifests, problems),
    )


def _build_implicit(
    graph: Graph, membership: Membership, waypoints: Waypoints, settings: MeshSettings
) -> Collection[Name, Authorization] | None:
    if not settings.allows_waypoints_implicitly:
        return None

    def admission(fetch: Fetch, waypoint: Waypoint) -> Mapping[Name, Authorization]:
        name = _implicit_name(fetch, waypoint)
        if name is None:
            return {}
        domain = membership.mesh_config(fetch).trust_domain
        prefix = f"{domain}/ns/{waypoint.key.namespace}/sa/"
        principals = tuple(
            StringMatch(MatchType.EXACT, prefix + account) for account in waypoint.service_accounts
        )
        policy = Authorization(
            name=name.name,
            namespace=name.namespace,
            scope=Scope.WORKLOAD_SELECTOR,
            action=Action.ALLOW,
            groups=(Group((Rule((Match(principals=principals),)),)),),
        )
        return {name: policy}

    return graph.derive_many("implicit waypoint policies", waypoints.ready, admission)


def _peer_policies_of(
    fetch: Fetch, policies: Policies, root: str, namespace: str, labels: Mapping[str, str]
) -> tuple[Name, ...]:
    winner = None
    if namespace != root:
        winner = oldest(policies.selecting_peers.select(fetch, namespace, labels))
    if winner is not None:
        return fetch.one(policies.peer_lists, winner.key) or ()
    is_strict = _is_strict(fetch, policies.peer_modes, root, namespace)
    return (static_strict_name(root),) if is_strict else ()


def _is_strict(fetch: Fetch, modes: Collection[str, str], root: str, namespace: str) -> bool:
    """Return whether ``namespace``, else the mesh, requires an identity."""
    own = fetch.one(modes, namespace) or UNSET
    if own == UNSET and namespace != root:
        own = fetch.one(modes, root) or UNSET
    return own == STRICT


def _root_namespace(_: Fetch, config: MeshConfig) -> str:
    return config.root_namespace


def _root(fetch: Fetch, roots: Collection[Name, str]) -> str:
    return fetch.one(roots, MESH) or DEFAULT_MESH_CONFIG.root_namespace


def _covered_namespace(policy: PeerPolicy) -> tuple[str, ...]:
    return (policy.key.namespace,) if policy.selector is None else ()


def _judgement(policy: AuthorizationPolicy, translation: Translation) -> Judgement:
    is_selecting = translation.authorization is not None and policy.selector is not None
    return Judgement(
        authorization=translation.authorization,
        selector=frozenset((policy.selector or {}).items()) if is_selecting else None,
        conditions=(ztunnel_condition(policy, translation),),
        problems=authorization_problems(policy, translation),
    )


def _selecting(_: Fetch, judgement: Judgement) -> SelectingPolicy | None:
    if judgement.authorization is None or judgement.selector is None:
        return None
    return SelectingPolicy(key=judgement.authorization.key, selector=judgement.selector)


def _conditions(_: Fetch, judgement: Judgement) -> Mapping[ConditionKey, Condition]:
    return {(condition.object, condition.type): condition for condition in judgement.conditions}


def _problems(_: Fetch, judgement: Judgement) -> Mapping[ProblemKey, Problem]:
    return {problem_key(problem): problem for problem in judgement.problems}


def _converted(_: Fetch, outcome: PeerOutcome) -> Mapping[Name, Authorization]:
    policy = outcome.authorization
    return {} if policy is None else {policy.key: policy}


def _implicit_name(_: Fetch, waypoint: Waypoint) -> Name | None:
    namespace, name = waypoint.key
    if not waypoint.service_accounts:
        return None
    return Name(namespace, f"{IMPLICIT_PREFIX}{namespace}_{name}")
