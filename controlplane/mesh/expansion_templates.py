"""Pods that a cluster would have made from Deployments, StatefulSets and DaemonSets.

A workload template and the nodes come in, pods without status go out; ``expansion_pods`` gives
them addresses. Source: docs/protocol/expansion.md EX-10 to EX-16.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Node, Pod, PodTemplate, WorkloadTemplate
from controlplane.manifests.metadata import Metadata, Owner
from controlplane.mesh.expansion_addresses import pod_suffix, preferred, template_hash
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.model.names import Name
from controlplane.model.problem import Problem, Severity

DEFAULT_NODE: Final = "node-1"
LARGEST_REPLICAS: Final = 10_000
_LONGEST_STEM: Final = 58
"""Of a generated name, before its suffix: Kubernetes cuts there too."""


class NodeLabels(NamedTuple):
    """A node as placement sees it."""

    name: str
    labels: Mapping[str, str]


class PodName(NamedTuple):
    """What names one pod of a template."""

    name: str
    generate_name: str
    owner: Owner
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplatePods:
    """The pods of all templates, and what kept some from being made."""

    pods: Collection[Name, Pod]
    problems: Collection[ProblemKey, Problem]


def build_nodes(graph: Graph, nodes: Collection[Name, Node]) -> Collection[Name, NodeLabels]:
    """Register the nodes as placement sees them: a heartbeat changes nothing here."""
    return graph.derive("placement nodes", nodes, _node_labels)


def build_template_pods(
    graph: Graph,
    templates: Collection[tuple[str, Name], WorkloadTemplate],
    nodes: Collection[Name, NodeLabels],
) -> TemplatePods:
    """Register the pods of ``templates`` on ``graph``."""

    def pods(fetch: Fetch, template: WorkloadTemplate) -> Mapping[Name, Pod]:
        eligible = eligible_nodes(template.template, fetch.all(nodes))
        return {pod.key: pod for pod in pods_of(template, eligible)}

    def problems(fetch: Fetch, template: WorkloadTemplate) -> Mapping[ProblemKey, Problem]:
        found = problems_of(template, eligible_nodes(template.template, fetch.all(nodes)))
        return {problem_key(problem): problem for problem in found}

    return TemplatePods(
        pods=graph.derive_many("template pods", templates, pods),
        problems=graph.derive_many("template problems", templates, problems),
    )


def eligible_nodes(template: PodTemplate, nodes: tuple[NodeLabels, ...]) -> tuple[str, ...]:
    """Return where pods of the template may run.

    Without any node in the folder there is one that takes everything. A stated node name is
    obeyed whether or not the node exists.
    """
    if template.node:
        return (template.node,)
    if not nodes:
        return (DEFAULT_NODE,)
    wanted = template.node_selector.items()
    return tuple(
        node.name for node in nodes if all(node.labels.get(key) == value for key, value in wanted)
    )


def pods_of(template: WorkloadTemplate, nodes: tuple[str, ...]) -> Iterator[Pod]:
    """Yield the pods of one template on its eligible ``nodes``, without status."""
    if not nodes:
        return
    if template.kind == "DaemonSet":
        for node in nodes:
            yield _pod(template, _daemon_pod_name(template, node), node)
        return
    digest = template_hash(msgspec.json.encode(template.template, order="deterministic"))
    for position in range(min(template.replicas, LARGEST_REPLICAS)):
        if template.kind == "StatefulSet":
            name = _ordinal_pod_name(template, position)
        else:
            name = _replica_pod_name(template, digest, position)
        yield _pod(template, name, preferred(nodes, f"{template.key.namespace}/{name.name}"))


def problems_of(template: WorkloadTemplate, nodes: tuple[str, ...]) -> Iterator[Problem]:
    """Yield what keeps pods of the template from being made."""
    if not nodes:
        yield Problem(
            severity=Severity.ERROR,
            code="expansion.no-node",
            message="no node has the labels that the node selector asks for: no pods are made",
            object=template.reference,
            field="spec.template.spec.nodeSelector",
        )
    if template.kind != "DaemonSet" and template.replicas > LARGEST_REPLICAS:
        yield Problem(
            severity=Severity.ERROR,
            code="expansion.too-many-replicas",
            message=f"only the first {LARGEST_REPLICAS} of {template.replicas} pods are made",
            object=template.reference,
            field="spec.replicas",
        )


def _replica_pod_name(template: WorkloadTemplate, digest: str, position: int) -> PodName:
    """Name as a Deployment's ReplicaSet does, so that workload names derive as in a cluster."""
    replica_set = f"{template.metadata.name}-{digest}"
    stem = f"{replica_set}-"
    suffix = pod_suffix(f"{template.key}/{digest}", position)
    return PodName(
        f"{stem[:_LONGEST_STEM]}{suffix}",
        stem,
        Owner(kind="ReplicaSet", name=replica_set),
        {"pod-template-hash": digest},
    )


def _ordinal_pod_name(template: WorkloadTemplate, position: int) -> PodName:
    name = f"{template.metadata.name}-{position}"
    labels = {
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": str(position),
    }
    owner = Owner(kind="StatefulSet", name=template.metadata.name)
    return PodName(name, f"{template.metadata.name}-", owner, labels)


def _daemon_pod_name(template: WorkloadTemplate, node: str) -> PodName:
    stem = f"{template.metadata.name}-"
    name = f"{stem[:_LONGEST_STEM]}{pod_suffix(f'{template.key}/{node}', 0)}"
    return PodName(name, stem, Owner(kind="DaemonSet", name=template.metadata.name), {})


def _pod(template: WorkloadTemplate, name: PodName, node: str) -> Pod:
    content = template.template
    return Pod(
        metadata=Metadata(
            name=name.name,
            namespace=template.metadata.namespace,
            labels={**content.labels, **name.labels},
            annotations=content.annotations,
            created=template.metadata.created,
            generate_name=name.generate_name,
            owner=name.owner,
        ),
        node=node,
        service_account=content.service_account,
        host_network=content.host_network,
        container_ports=content.container_ports,
    )


def _node_labels(_: Fetch, node: Node) -> NodeLabels:
    """Return the node with the labels that every node of a cluster carries."""
    name = node.metadata.name
    known = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    return NodeLabels(name, {**known, **node.metadata.labels})
