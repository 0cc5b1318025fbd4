"""Policies on the graph: which exist, who lists them, and what users are told about them.

AuthorizationPolicies, PeerAuthentications, RequestAuthentications and waypoints come in; every
``Authorization`` of the mesh goes out, with conditions and problems. The rules for workloads ask
``policies_of`` once per set of labels and ``waypoint_policies_of`` per workload;
``controlplane.mesh.scopes`` and the encoder continue from the authorizations.
docs/protocol/policies.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.istio import AuthorizationPolicy, RequestAuthentication
from controlplane.mesh.authorization import Translation, translate_authorization
from controlplane.mesh.inputs import Manifests
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.peer_policies import Peers, build_peers, peer_policies_of
from controlplane.mesh.policy_conditions import authorization_problems, ztunnel_condition
from controlplane.mesh.policy_targets import (
    TargetingPolicy,
    Targets,
    target_problems,
    waypoint_condition,
)
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.root_namespace import RootNamespace, build_root_namespace
from controlplane.mesh.selectors import Pairs, Selectors, build_selectors
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.visibility import EntryVisibilities
from controlplane.mesh.waypoint_admission import Admissions, build_admissions
from controlplane.mesh.waypoints import Waypoints
from controlplane.model.names import Name, ObjectReference
from controlplane.model.policy import Authorization
from controlplane.model.problem import Condition, Problem

ConditionKey = tuple[ObjectReference, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectingPolicy:
    """An AuthorizationPolicy that is sent and selects workloads; an empty selector takes all."""

    key: Name
    selector: Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What became of one policy: what is sent, and what its author is told."""

    authorization: Authorization | None
    selector: Pairs | None
    conditions: tuple[Condition, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """Every policy of the mesh, and what the look-ups below read."""

    authorizations: Collection[Name, Authorization]
    conditions: Collection[ConditionKey, Condition]
    problems: Collection[ProblemKey, Problem]
    root_namespace: RootNamespace
    selecting: Selectors[SelectingPolicy]
    peers: Peers
    admissions: Admissions


def policies_of(
    fetch: Fetch, policies: Policies, namespace: str, labels: Mapping[str, str]
) -> tuple[Name, ...]:
    """Return the policies that workloads in ``namespace`` with ``labels`` list.

    AuthorizationPolicies with a selector come first, then those made of PeerAuthentications, each
    part sorted by resource name.
    """
    root = policies.root_namespace.of(fetch)
    names = {
        policy.key
        for place in {namespace, root}
        for policy in policies.selecting.select(fetch, place, labels)
    }
    return (
        *sorted(names, key=str),
        *peer_policies_of(fetch, policies.peers, root, namespace, labels),
    )


def waypoint_policies_of(
    fetch: Fetch, policies: Policies, waypoints: Iterable[Name]
) -> tuple[Name, ...]:
    """Return the policies that let ``waypoints`` in, sorted, of those that are guarded."""
    names = policies.admissions.names
    found = (fetch.one(names, waypoint) for waypoint in set(waypoints))
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
    root = build_root_namespace(graph, membership)
    targets = Targets(
        membership=membership,
        waypoints=waypoints,
        visibilities=visibilities,
        gateway_classes=manifests.gateway_classes,
    )

    def judge(fetch: Fetch, policy: AuthorizationPolicy) -> Judgement:
        if policy.target_references:
            return _targeted(fetch, targets, policy)
        translation = translate_authorization(
            policy,
            root_namespace=root.of(fetch),
            sends_dry_run=settings.sends_dry_run_policies,
        )
        return _judgement(policy, translation)

    judgements = graph.derive(
        "authorization policy judgements", membership.authorization_policies, judge
    )

    def judge_request(fetch: Fetch, policy: RequestAuthentication) -> Judgement | None:
        return _targeted(fetch, targets, policy) if policy.target_references else None

    requests = graph.derive(
        "request authentication judgements", membership.request_authentications, judge_request
    )
    peers = build_peers(graph, membership, root)
    admissions = build_admissions(
        graph, membership, waypoints, is_usual=settings.allows_waypoints_implicitly
    )
    translated = graph.derive(
        "translated authorization policies", judgements, lambda _, value: value.authorization
    )
    selecting = graph.derive("selecting authorization policies", judgements, _selecting)
    return Policies(
        # Made policies come first: nobody can replace one by giving a policy its name.
        authorizations=graph.union(
            "authorizations",
            peers.static,
            peers.converted,
            admissions.authorizations,
            translated,
        ),
        conditions=graph.union(
            "policy conditions",
            graph.derive_many("authorization policy conditions", judgements, _conditions),
            graph.derive_many("request authentication conditions", requests, _conditions),
        ),
        problems=graph.union(
            "policy problems",
            graph.derive_many("authorization policy problems", judgements, _problems),
            graph.derive_many("request authentication problems", requests, _problems),
            peers.problems,
            admissions.problems,
        ),
        root_namespace=root,
        selecting=build_selectors(graph, "selecting authorization policies", selecting),
        peers=peers,
        admissions=admissions,
    )


def _targeted(fetch: Fetch, targets: Targets, policy: TargetingPolicy) -> Judgement:
    outcomes = tuple(
        targets.outcome(fetch, policy, reference) for reference in policy.target_references
    )
    return Judgement(
        authorization=None,
        selector=None,
        conditions=(waypoint_condition(policy, outcomes),),
        problems=target_problems(policy, outcomes),
    )


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
