"""Pods as if a cluster ran them: address, node, identity, readiness and enrolment.

Pods without status come in, from manifests or from templates; running pods go out, and a Problem
for each whose address belongs to another. Pods that state a status are left as they are. Source:
docs/protocol/expansion.md EX-3, EX-20 to EX-24.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

import msgspec

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Namespace, Pod
from controlplane.manifests.metadata import Metadata
from controlplane.mesh.expansion_addresses import AddressRange, preferred
from controlplane.mesh.expansion_templates import DEFAULT_NODE, NodeLabels
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.model.names import Name
from controlplane.model.network import address_from_text, text_from_address
from controlplane.model.problem import Problem, Severity

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
    claimed = pods.index("claimed address", lambda pod: _claims(pod, addresses))

    def holder(fetch: Fetch, pod: Pod) -> Pod:
        """Return who keeps the address that a pod without status leads to."""
        claimants = fetch.where(claimed, addresses.address(str(pod.key)))
        stated = (claimant for claimant in claimants if has_status(claimant))
        return next(stated, claimants[0])

    def run(fetch: Fetch, pod: Pod) -> Pod | None:
        if has_status(pod):
            return pod
        if holder(fetch, pod).key != pod.key:
            return None
        is_enrolled = fetch.one(enrolled, Name("", pod.metadata.namespace)) is True
        node = pod.node or _place(fetch.all(nodes), pod)
        return running(pod, addresses.address(str(pod.key)), node, is_enrolled=is_enrolled)

    def refuse(fetch: Fetch, pod: Pod) -> dict[ProblemKey, Problem]:
        if has_status(pod):
            return {}
        kept_by = holder(fetch, pod)
        if kept_by.key == pod.key:
            return {}
        address = text_from_address(addresses.address(str(pod.key)))
        problem = Problem(
            severity=Severity.ERROR,
            code="expansion.address-collision",
            message=f"its address {address} is kept by {kept_by.reference}: the pod is left out",
            object=pod.reference,
            field="status.podIP",
        )
        return {problem_key(problem): problem}

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


def _claims(pod: Pod, addresses: AddressRange) -> tuple[bytes, ...]:
    """Return the addresses a pod has, or the one its name leads to."""
    if not has_status(pod):
        return (addresses.address(str(pod.key)),)
    packed = (address_from_text(text) for text in pod.ips)
    return tuple(address for address in packed if address is not None)


def _place(nodes: tuple[NodeLabels, ...], pod: Pod) -> str:
    names = tuple(node.name for node in nodes)
    return preferred(names, str(pod.key)) if names else DEFAULT_NODE


def _uid(metadata: Metadata) -> str:
    return str(uuid5(_UIDS, f"Pod/{metadata.namespace}/{metadata.name}"))


def _enrolment(_: Fetch, namespace: Namespace) -> bool:
    return namespace.metadata.labels.get(DATAPLANE_MODE) == "ambient"
