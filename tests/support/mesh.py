"""A graph with the whole world on it, fed with manifests, read as values and as resources."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from controlplane.dataflow import Graph, Input
from controlplane.encode.policy import encode_authorization
from controlplane.encode.resource import Resource
from controlplane.encode.service import encode_service
from controlplane.encode.workload import encode_workload
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.inputs import Inputs, build_inputs
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.world import World, build_world
from controlplane.model.names import Name
from controlplane.model.problem import Problem

INPUTS_BY_KIND: Final = {
    "Namespace": "namespaces",
    "Node": "nodes",
    "ServiceAccount": "service_accounts",
    "Pod": "pods",
    "Service": "services",
    "EndpointSlice": "endpoint_slices",
    "Deployment": "workload_templates",
    "StatefulSet": "workload_templates",
    "DaemonSet": "workload_templates",
    "Gateway": "gateways",
    "GatewayClass": "gateway_classes",
    "HTTPRoute": "routes",
    "GRPCRoute": "routes",
    "TCPRoute": "connection_routes",
    "TLSRoute": "connection_routes",
    "BackendTLSPolicy": "backend_tls_policies",
    "ConfigMap": "config_maps",
    "ServiceEntry": "service_entries",
    "WorkloadEntry": "workload_entries",
    "VirtualService": "virtual_services",
    "DestinationRule": "destination_rules",
    "AuthorizationPolicy": "authorization_policies",
    "PeerAuthentication": "peer_authentications",
    "RequestAuthentication": "request_authentications",
    "MeshConfig": "mesh_config",
}
KEYED_BY_KIND: Final = {"workload_templates", "routes", "connection_routes"}


@dataclass(slots=True)
class Mesh:
    """A graph with the whole world on it, and what it holds as resources."""

    settings: MeshSettings = field(default_factory=MeshSettings)
    graph: Graph = field(default_factory=lambda: Graph(run_twice=True))
    inputs: Inputs = field(init=False)
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.inputs = build_inputs(self.graph)
        self.world = build_world(self.graph, self.inputs, self.settings)

    def apply(
        self,
        manifests: Iterable[Manifest | MeshConfig],
        removed: Iterable[tuple[str, Name]] = (),
    ) -> None:
        """Put and remove objects in one transaction; no rule may fail or clash."""
        with self.graph.transaction():
            for kind, key in removed:
                source = self.input_of(kind)
                keyed_by_kind = INPUTS_BY_KIND[kind] in KEYED_BY_KIND
                source.remove((kind, key) if keyed_by_kind else key)
            for manifest in manifests:
                kind = "MeshConfig" if isinstance(manifest, MeshConfig) else manifest.kind
                self.input_of(kind).put(manifest)
        assert self.graph.failures == {}
        assert self.graph.clashes == ()

    def input_of(self, kind: str) -> Input[Any, Any]:
        source: Input[Any, Any] = getattr(self.inputs, INPUTS_BY_KIND[kind])
        return source

    def addresses(self) -> dict[str, Resource]:
        encoded = [
            *(encode_workload(value) for _, value in self.world.workloads.items()),
            *(encode_service(value) for _, value in self.world.services.items()),
        ]
        return {resource.name: resource for resource in encoded}

    def authorizations(self) -> dict[str, Resource]:
        encoded = (encode_authorization(value) for _, value in self.world.authorizations.items())
        return {resource.name: resource for resource in encoded}

    def conditions(self) -> dict[str, list[dict[str, Any]]]:
        """Conditions by object as users name it, each sorted by type."""
        found: dict[str, list[dict[str, Any]]] = {}
        for _, condition in sorted(self.world.conditions.items(), key=lambda item: item[0]):
            told = {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message,
            }
            found.setdefault(str(condition.object), []).append(told)
        return found

    def problems(self) -> list[Problem]:
        return [problem for _, problem in self.world.problems.items()]

    def node_policies(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for (node, policy), _ in sorted(self.world.node_policies.items()):
            found.setdefault(node, []).append(str(policy))
        return found
