"""Pods as if a cluster ran them: address, node, identity, readiness and enrolment.

Pods without status come in, from manifests or from templates; running pods go out, and a Problem
for each whose address belongs to another. Pods that state a status are left as they are. Source:
docs/protocol/expansion.md EX-3, EX-20 to EX-24.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

import msgspec

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Namespace, Pod
from controlplane.manifests.metadata import Metadata
from controlplane.mesh.expansion_addresses import AddressRange, preferred
from controlplane.mesh.expansion_claims import build_address_claims
from controlplane.mesh.expansion_templates import DEFAULT_NODE, NodeLabels
from controlplane.mesh.problems import ProblemKey
from controlplane.model.names import Name
from controlplane.model.network import text_from_address
from controlplane.model.problem import Problem

DATAPLANE_MODE: Final = "istio.io/dataplane-mode"
REDIRECTION: Final = "ambient.istio.io/redirection"
_UIDS: Final = UUID("6f0d1c2e-6b1a-5a40-9a0e-3d5f1c7b8e21")
"""Namespace of the uids of expanded pods; any fixed value does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningPods:
    """The pods of the mesh without a cluster, and those that found no address."""

    pods: Collection[Name, Pod]
    problems: Collection[ProblemKey, Problem]


def build_running_pods(
    graph: Graph,
    pods: Collection[Name, Pod],
    namespaces: Collection[Name, Namespace],
    nodes: Collection[Name, NodeLabels],
    addresses: AddressRange,
) -> RunningPods:
    """Register ``pods`` on ``graph`` as running pods."""
    enrolled = graph.derive("enrolled namespaces", namespaces, _enrolment)
    claims = build_address_claims(pods, addresses, _stated)

    def run(fetch: Fetch, pod: Pod) -> Pod | None:
        if has_status(pod):
            return pod
        if not claims.is_kept(fetch, pod):
            return None
        is_enrolled = fetch.one(enrolled, Name("", pod.metadata.namespace)) is True
        node = pod.node or _place(fetch.all(nodes), pod)
        return running(pod, claims.address(pod), node, is_enrolled=is_enrolled)

    def refuse(fetch: Fetch, pod: Pod) -> Mapping[ProblemKey, Problem]:
        return claims.collision(fetch, pod, outcome="the pod is left out", field="status.podIP")

    return RunningPods(
        pods=graph.derive("running pods", pods, run),
        problems=graph.derive_many("pod address problems", pods, refuse),
    )


def has_status(pod: Pod) -> bool:
    """Return whether the manifest says how the pod runs."""
    return bool(pod.ips or pod.phase)


def running(pod: Pod, address: bytes, node: str, *, is_enrolled: bool) -> Pod:
    """Return ``pod`` as running at ``address`` on ``node``; ``is_enrolled`` is its namespace's."""
    metadata = pod.metadata
    annotations = metadata.annotations
    mode = metadata.labels.get(DATAPLANE_MODE)
    if not pod.host_network and (mode == "ambient" or (is_enrolled and mode != "none")):
        annotations = {REDIRECTION: "enabled", **annotations}
    return msgspec.structs.replace(
        pod,
        metadata=msgspec.structs.replace(
            metadata, annotations=annotations, uid=metadata.uid or _uid(metadata)
        ),
        phase="Running",
        ips=(text_from_address(address),),
        node=node,
        service_account=pod.service_account or "default",
        ready=True,
    )


def _stated(pod: Pod) -> tuple[str, ...] | None:
    return pod.ips if has_status(pod) else None


def _place(nodes: tuple[NodeLabels, ...], pod: Pod) -> str:
    names = tuple(node.name for node in nodes)
    return preferred(names, str(pod.key)) if names else DEFAULT_NODE


def _uid(metadata: Metadata) -> str:
    return str(uuid5(_UIDS, f"Pod/{metadata.namespace}/{metadata.name}"))


def _enrolment(_: Fetch, namespace: Namespace) -> bool:
    return namespace.metadata.labels.get(DATAPLANE_MODE) == "ambient"
