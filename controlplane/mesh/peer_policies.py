"""PeerAuthentications on the graph: the policies made of them, and who lists which.

PeerAuthentications come in; the static and the converted policies go out, with problems.
``peer_policies_of`` answers for one set of labels; ``controlplane.mesh.policies`` continues from
here. docs/protocol/policies.md PA-n.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.istio import PeerAuthentication
from controlplane.mesh.inputs import MESH
from controlplane.mesh.namespaces import Membership
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
from controlplane.mesh.policy_conditions import peer_problems
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.root_namespace import RootNamespace
from controlplane.mesh.selectors import Selectors, build_selectors
from controlplane.model.names import Name
from controlplane.model.policy import Authorization
from controlplane.model.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """What follows from all PeerAuthentications.

    ``static`` holds the policy for whoever is strict, ``converted`` those made of single objects.
    ``modes`` is the mode of the one that covers a whole namespace, by namespace. ``lists`` are the
    policies that workloads under one with labels list, by its name; ``selecting`` finds it.
    """

    static: Collection[Name, Authorization]
    converted: Collection[Name, Authorization]
    modes: Collection[str, str]
    lists: Collection[Name, tuple[Name, ...]]
    selecting: Selectors[PeerPolicy]
    problems: Collection[ProblemKey, Problem]


def peer_policies_of(
    fetch: Fetch, peers: Peers, root: str, namespace: str, labels: Mapping[str, str]
) -> tuple[Name, ...]:
    """Return what workloads in ``namespace`` with ``labels`` list; at most one name."""
    winner = None
    if namespace != root:
        winner = oldest(peers.selecting.select(fetch, namespace, labels))
    if winner is not None:
        return fetch.one(peers.lists, winner.key) or ()
    is_strict = _is_strict(fetch, peers.modes, root, namespace)
    return (static_strict_name(root),) if is_strict else ()


def build_peers(graph: Graph, membership: Membership, roots: RootNamespace) -> Peers:
    """Declare the policies of all PeerAuthentications on ``graph``."""
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
        root = roots.of(fetch)
        return peer_outcome(
            policy,
            inherits_strict=_is_strict(fetch, modes, root, policy.key.namespace),
            root_namespace=root,
        )

    def static(fetch: Fetch, _: Name) -> Mapping[Name, Authorization]:
        policy = static_strict(roots.of(fetch))
        return {policy.key: policy}

    def problems(fetch: Fetch, manifest: PeerAuthentication) -> Mapping[ProblemKey, Problem]:
        found = peer_problems(manifest, roots.of(fetch))
        return {problem_key(problem): problem for problem in found}

    outcomes = graph.derive("peer authentication outcomes", asked, outcome)
    existence = graph.distinct(
        "presence of peer authentications", asked.index("presence", lambda _: (MESH,))
    )
    return Peers(
        static=graph.derive_many("static strict policy", existence, static),
        converted=graph.derive_many("converted peer authentications", outcomes, _converted),
        lists=graph.derive("peer policy lists", outcomes, lambda _, value: value.listed),
        modes=modes,
        selecting=build_selectors(graph, "peer authentications", asked),
        problems=graph.derive_many("peer authentication problems", manifests, problems),
    )


def _is_strict(fetch: Fetch, modes: Collection[str, str], root: str, namespace: str) -> bool:
    """Return whether ``namespace``, else the mesh, requires an identity."""
    own = fetch.one(modes, namespace) or UNSET
    if own == UNSET and namespace != root:
        own = fetch.one(modes, root) or UNSET
    return own == STRICT


def _covered_namespace(policy: PeerPolicy) -> tuple[str, ...]:
    return (policy.key.namespace,) if policy.selector is None else ()


def _converted(_: Fetch, outcome: PeerOutcome) -> Mapping[Name, Authorization]:
    policy = outcome.authorization
    return {} if policy is None else {policy.key: policy}
