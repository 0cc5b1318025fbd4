"""Which waypoints there are, who may attach to them, and what namespaces ask for.

Gateways, their classes, waypoint pods and Namespace labels come in; narrow collections go out
that ``binding`` reads for each service and workload, so that an edit which does not concern
waypoints stops here. Source: docs/protocol/waypoints.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Namespace, Pod
from controlplane.manifests.gateway import Gateway
from controlplane.mesh.inputs import Manifests
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.networks import Networks
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.waypoint_gateways import (
    NotWaypoint,
    expected_waypoint,
    gateway_name,
    is_waypoint,
    problems_of,
    waypoint_from_gateway,
)
from controlplane.mesh.wishes import NamespaceWishes, namespace_wishes
from controlplane.model.names import Name
from controlplane.model.problem import Problem
from controlplane.model.waypoint import AllowedNamespaces, Waypoint

_FINISHED: Final = frozenset({"Failed", "Succeeded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Waypoints:
    """What the rules for services, workloads and policies read about waypoints.

    ``ready`` holds every usable waypoint with the service accounts of its pods. ``candidates``
    holds the same without service accounts, and Gateways that are no waypoints: attachment reads
    it, so that a waypoint's pods do not touch its users. ``admissions`` says for each waypoint
    that selects namespaces whether it admits one. ``namespaces`` is keyed by namespace name.
    ``expected`` is ``candidates`` with waypoints that are not ready yet: those get their
    configuration by it, or they would never become ready.
    """

    ready: Collection[Name, Waypoint]
    candidates: Collection[Name, Waypoint | NotWaypoint]
    expected: Collection[Name, Waypoint | NotWaypoint]
    admissions: Collection[tuple[Name, str], bool]
    namespaces: Collection[str, NamespaceWishes]
    problems: Collection[ProblemKey, Problem]

    def wishes(self, fetch: Fetch, namespace: str) -> NamespaceWishes:
        """Return what a namespace asks for; nothing when it has no Namespace object."""
        return fetch.one(self.namespaces, namespace) or NamespaceWishes()

    def as_expected(self) -> "Waypoints":
        """Return the same as if every waypoint were ready."""
        return replace(self, candidates=self.expected)


def build_waypoints(
    graph: Graph, membership: Membership, inputs: Manifests, networks: Networks
) -> Waypoints:
    """Register the waypoint collections on ``graph`` and return them."""
    pods = inputs.pods.index("gateway name of pods", _gateway_of_pod)

    def candidate(fetch: Fetch, gateway: Gateway) -> Waypoint | NotWaypoint | None:
        gateway_class = fetch.one(inputs.gateway_classes, Name("", gateway.class_name))
        if not is_waypoint(gateway, gateway_class):
            return NotWaypoint(gateway.class_name)
        return waypoint_from_gateway(gateway, gateway_class, networks.local(fetch))

    def problems(fetch: Fetch, gateway: Gateway) -> Mapping[ProblemKey, Problem]:
        gateway_class = fetch.one(inputs.gateway_classes, Name("", gateway.class_name))
        if not is_waypoint(gateway, gateway_class):
            return {}
        return {problem_key(problem): problem for problem in problems_of(gateway, gateway_class)}

    def selecting(_: Fetch, value: Waypoint | NotWaypoint) -> Waypoint | None:
        is_selecting = isinstance(value, Waypoint) and value.allowed is AllowedNamespaces.SELECTOR
        return value if isinstance(value, Waypoint) and is_selecting else None

    def admissions(fetch: Fetch, namespace: Namespace) -> Mapping[tuple[Name, str], bool]:
        name = namespace.metadata.name
        return {
            (waypoint.key, name): waypoint.selector is not None
            and waypoint.selector.selects(namespace.metadata.labels)
            for waypoint in fetch.all(selectors)
        }

    def ready(fetch: Fetch, value: Waypoint | NotWaypoint) -> Waypoint | None:
        if isinstance(value, NotWaypoint):
            return None
        accounts = {pod.service_account for pod in fetch.where(pods, value.key)} - {""}
        return replace(value, service_accounts=tuple(sorted(accounts)))

    candidates: Collection[Name, Waypoint | NotWaypoint] = graph.derive(
        "waypoint candidates", membership.gateways, candidate
    )
    expected = _build_expected(graph, membership, inputs, networks)
    selectors = graph.derive("waypoints that select namespaces", expected, selecting)
    return Waypoints(
        candidates=candidates,
        expected=expected,
        admissions=graph.derive_many("waypoint admissions", membership.namespaces, admissions),
        ready=graph.derive("waypoints", candidates, ready),
        namespaces=graph.derive_many("namespace wishes", membership.namespaces, _wishes),
        problems=graph.derive_many("waypoint problems", membership.gateways, problems),
    )


def _build_expected(
    graph: Graph, membership: Membership, inputs: Manifests, networks: Networks
) -> Collection[Name, Waypoint | NotWaypoint]:
    def expect(fetch: Fetch, gateway: Gateway) -> Waypoint | NotWaypoint:
        gateway_class = fetch.one(inputs.gateway_classes, Name("", gateway.class_name))
        if not is_waypoint(gateway, gateway_class):
            return NotWaypoint(gateway.class_name)
        return expected_waypoint(gateway, gateway_class, networks.local(fetch))

    return graph.derive("expected waypoints", membership.gateways, expect)


def gateway_of(
    fetch: Fetch, membership: Membership, waypoint: Waypoint | NotWaypoint
) -> Gateway | None:
    """Return the Gateway of one of ``expected``; None where it is no waypoint."""
    if isinstance(waypoint, NotWaypoint):
        return None
    return fetch.one(membership.gateways, waypoint.key)


def _gateway_of_pod(pod: Pod) -> tuple[Name, ...]:
    if pod.phase in _FINISHED:
        return ()
    key = gateway_name(pod.metadata.labels, pod.metadata.namespace)
    return () if key is None else (key,)


def _wishes(_: Fetch, namespace: Namespace) -> Mapping[str, NamespaceWishes]:
    metadata = namespace.metadata
    wishes = namespace_wishes(metadata.labels, metadata.annotations, metadata.name)
    return {metadata.name: wishes} if wishes != NamespaceWishes() else {}
