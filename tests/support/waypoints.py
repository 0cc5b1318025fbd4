"""A graph with the waypoint rules alone, and what pods and services are bound to in it."""

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Pod, Service
from controlplane.manifests.istio import ServiceEntry
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.binding import (
    ServiceBinding,
    ServiceSubject,
    WorkloadBinding,
    bind_service,
    bind_workload,
)
from controlplane.mesh.inputs import Inputs, build_inputs
from controlplane.mesh.namespaces import build_membership
from controlplane.mesh.networks import build_networks
from controlplane.mesh.service_conditions import ServiceConditions, build_service_conditions
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.visibility import build_visibilities
from controlplane.mesh.waypoints import Waypoints, build_waypoints
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Condition

INPUT_OF = {
    "Namespace": "namespaces",
    "Node": "nodes",
    "Pod": "pods",
    "Service": "services",
    "Gateway": "gateways",
    "GatewayClass": "gateway_classes",
    "ServiceEntry": "service_entries",
    "WorkloadEntry": "workload_entries",
    "Deployment": "workload_templates",
    "StatefulSet": "workload_templates",
    "DaemonSet": "workload_templates",
}


def put(graph: Graph, inputs: Inputs, manifests: Iterable[Manifest | MeshConfig]) -> None:
    with graph.transaction():
        for manifest in manifests:
            kind = "mesh_config" if isinstance(manifest, MeshConfig) else INPUT_OF[manifest.kind]
            getattr(inputs, kind).put(manifest)


def remove(graph: Graph, inputs: Inputs, *manifests: Manifest) -> None:
    with graph.transaction():
        for manifest in manifests:
            kind = INPUT_OF[manifest.kind]
            is_template = kind == "workload_templates"
            key = (manifest.kind, manifest.key) if is_template else manifest.key
            getattr(inputs, kind).remove(key)


@dataclass
class WaypointMesh:
    """The collections under test. Pods and services are bound by probes that rules would be."""

    graph: Graph
    inputs: Inputs
    waypoints: Waypoints
    conditions: ServiceConditions
    pods: Collection[Name, WorkloadBinding]
    services: Collection[Name, ServiceBinding]

    def put(self, *manifests: Manifest | MeshConfig) -> None:
        put(self.graph, self.inputs, manifests)

    def remove(self, *manifests: Manifest) -> None:
        remove(self.graph, self.inputs, *manifests)

    def pod(self, name: str = "pod", namespace: str = "default") -> WorkloadBinding:
        found = self.pods.get(Name(namespace, name))
        assert found is not None
        return found

    def service(self, name: str = "service", namespace: str = "default") -> ServiceBinding:
        found = self.services.get(Name(namespace, name))
        assert found is not None
        return found

    def told(self, manifest: Manifest) -> dict[str, Condition]:
        """The conditions of one object by the last part of their type."""
        return {
            kind.rpartition("/")[2]: condition
            for (thing, kind), condition in self.conditions.conditions.items()
            if thing == manifest.reference
        }

    def problem_codes(self) -> dict[ObjectReference, str]:
        found = [*self.waypoints.problems.items(), *self.conditions.problems.items()]
        return {key.object: key.code for key, _ in found}


def a_waypoint_mesh(*manifests: Manifest | MeshConfig) -> WaypointMesh:
    graph = Graph(shuffle=7, run_twice=True)
    inputs = build_inputs(graph)
    settings = MeshSettings()
    given = inputs.manifests()
    membership = build_membership(graph, given, settings)
    networks = build_networks(graph, given, membership, settings)
    waypoints = build_waypoints(graph, membership, given, networks)
    visibilities = build_visibilities(graph, given, membership)

    def bound_pod(fetch: Fetch, pod: Pod) -> WorkloadBinding:
        metadata = pod.metadata
        return bind_workload(fetch, waypoints, metadata.namespace, metadata.labels)

    def bound_service(fetch: Fetch, manifest: Service | ServiceEntry) -> ServiceBinding:
        visibility = visibilities.of(fetch, manifest.metadata.namespace).sent
        return bind_service(fetch, waypoints, ServiceSubject.of(manifest, visibility))

    entries = graph.derive("bound entries", given.service_entries, bound_service)
    mesh = WaypointMesh(
        graph=graph,
        inputs=inputs,
        waypoints=waypoints,
        conditions=build_service_conditions(graph, membership, waypoints, visibilities),
        pods=graph.derive("bound pods", given.pods, bound_pod),
        services=graph.union(
            "bound services", graph.derive("bound", given.services, bound_service), entries
        ),
    )
    mesh.put(*manifests)
    return mesh
