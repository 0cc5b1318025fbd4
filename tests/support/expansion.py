"""A graph with the expansion alone, and builders of what only an expansion reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controlplane.dataflow import Graph
from controlplane.manifests.core import ContainerPort, Pod, PodTemplate, WorkloadTemplate
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.expansion import Expansion, expand
from controlplane.mesh.inputs import Inputs, build_inputs
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name, ObjectReference
from tests.support.builders import a_pod, some_metadata
from tests.support.waypoints import put, remove


def a_template(
    name: str = "web",
    namespace: str = "default",
    *,
    kind: str = "Deployment",
    replicas: int = 1,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    service_account: str = "",
    host_network: bool = False,
    node: str = "",
    node_selector: Mapping[str, str] | None = None,
    ports: Iterable[ContainerPort] = (),
) -> WorkloadTemplate:
    """A workload template whose pods are labelled with its name as app."""
    return WorkloadTemplate(
        metadata=some_metadata(name, namespace, created=5.0),
        template_kind=kind,
        replicas=replicas,
        template=PodTemplate(
            labels={"app": name, **(labels or {})},
            annotations=dict(annotations or {}),
            service_account=service_account,
            host_network=host_network,
            node=node,
            node_selector=dict(node_selector or {}),
            container_ports=tuple(ports),
        ),
    )


def a_bare_pod(name: str = "pod", namespace: str = "default", **rest: object) -> Pod:
    """A pod as users write it: without status, node or identity."""
    given = {"ips": (), "phase": "", "ready": False, "node": "", "service_account": ""}
    pod = a_pod(name, namespace, **(given | rest))  # type: ignore[arg-type]
    return Pod(
        metadata=some_metadata(
            name, namespace, labels=pod.metadata.labels, annotations=pod.metadata.annotations
        ),
        phase=pod.phase,
        ips=pod.ips,
        node=pod.node,
        service_account=pod.service_account,
        host_network=pod.host_network,
        ready=pod.ready,
        container_ports=pod.container_ports,
    )


def expanding(**ranges: str) -> MeshSettings:
    return MeshSettings(expands=True, **ranges)  # type: ignore[arg-type]


@dataclass
class ExpandedMesh:
    """An expansion alone."""

    graph: Graph
    inputs: Inputs
    expansion: Expansion

    def put(self, *manifests: Manifest) -> None:
        put(self.graph, self.inputs, manifests)

    def remove(self, *manifests: Manifest) -> None:
        remove(self.graph, self.inputs, *manifests)

    def problem_codes(self) -> dict[ObjectReference, str]:
        return {
            key.object: key.code
            for problems in self.expansion.problems
            for key, _ in problems.items()
        }

    def pods(self) -> dict[str, Pod]:
        """The pods that came out, by name."""
        return {key.name: pod for key, pod in self.expansion.manifests.pods.items()}

    def pod(self) -> Pod:
        """The only pod that came out."""
        (pod,) = self.pods().values()
        return pod

    def state(self) -> dict[str, dict[Name, Manifest]]:
        """Everything that came out, for comparison."""
        manifests = self.expansion.manifests
        kinds = ("namespaces", "pods", "services", "gateways", "service_entries")
        return {kind: dict(getattr(manifests, kind).items()) for kind in kinds}


def an_expanded_mesh(
    *manifests: Manifest, settings: MeshSettings | None = None, shuffle: int = 7
) -> ExpandedMesh:
    graph = Graph(shuffle=shuffle, run_twice=True)
    inputs = build_inputs(graph)
    mesh = ExpandedMesh(
        graph, inputs, expand(graph, inputs, settings or MeshSettings(expands=True))
    )
    mesh.put(*manifests)
    return mesh
