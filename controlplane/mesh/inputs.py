"""The inputs of the mesh graph: one collection per kind, filled by the sources."""

from dataclasses import dataclass
from typing import Any, Final

from controlplane.dataflow import Collection, Graph, Input
from controlplane.manifests.connections import BackendTLSPolicy, ConnectionRoute
from controlplane.manifests.core import (
    ConfigMap,
    EndpointSlice,
    Namespace,
    Node,
    Pod,
    Service,
    ServiceAccount,
    WorkloadTemplate,
)
from controlplane.manifests.gateway import Gateway, GatewayClass
from controlplane.manifests.http_route import Route
from controlplane.manifests.istio import (
    AuthorizationPolicy,
    PeerAuthentication,
    RequestAuthentication,
    ServiceEntry,
    WorkloadEntry,
)
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.traffic_rules import DestinationRule, VirtualService
from controlplane.model.names import Name
from controlplane.model.token_rule import FetchedKeySet
from controlplane.model.waypoint_traffic import ServedBefore

MESH: Final = Name("", "mesh")
"""Key of the one mesh configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """What the mesh rules read: the inputs, or the inputs joined with what was expanded.

    Keys are those of ``Inputs``. ``mesh_config`` holds at most one value, under ``MESH``.
    """

    mesh_config: Collection[Name, MeshConfig]
    namespaces: Collection[Name, Namespace]
    nodes: Collection[Name, Node]
    service_accounts: Collection[Name, ServiceAccount]
    pods: Collection[Name, Pod]
    services: Collection[Name, Service]
    endpoint_slices: Collection[Name, EndpointSlice]
    gateways: Collection[Name, Gateway]
    gateway_classes: Collection[Name, GatewayClass]
    routes: Collection[tuple[str, Name], Route]
    connection_routes: Collection[tuple[str, Name], ConnectionRoute]
    backend_tls_policies: Collection[Name, BackendTLSPolicy]
    config_maps: Collection[Name, ConfigMap]
    service_entries: Collection[Name, ServiceEntry]
    workload_entries: Collection[Name, WorkloadEntry]
    authorization_policies: Collection[Name, AuthorizationPolicy]
    peer_authentications: Collection[Name, PeerAuthentication]
    request_authentications: Collection[Name, RequestAuthentication]
    virtual_services: Collection[Name, VirtualService]
    destination_rules: Collection[Name, DestinationRule]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What sources fill. ``mesh_config`` holds at most one value, under ``MESH``.

    ``key_sets`` are no objects but what was fetched because objects name it, by URI;
    ``served_before`` is what a running process remembers, nothing elsewhere.

    Kinds that share a type (templates, routes) are keyed by ``TemplateKey``-like tuples of kind,
    namespace and name; everything else by ``Name``.
    """

    namespaces: Input[Name, Namespace]
    nodes: Input[Name, Node]
    service_accounts: Input[Name, ServiceAccount]
    pods: Input[Name, Pod]
    services: Input[Name, Service]
    endpoint_slices: Input[Name, EndpointSlice]
    workload_templates: Input[tuple[str, Name], WorkloadTemplate]
    gateways: Input[Name, Gateway]
    gateway_classes: Input[Name, GatewayClass]
    routes: Input[tuple[str, Name], Route]
    connection_routes: Input[tuple[str, Name], ConnectionRoute]
    backend_tls_policies: Input[Name, BackendTLSPolicy]
    config_maps: Input[Name, ConfigMap]
    service_entries: Input[Name, ServiceEntry]
    workload_entries: Input[Name, WorkloadEntry]
    authorization_policies: Input[Name, AuthorizationPolicy]
    peer_authentications: Input[Name, PeerAuthentication]
    request_authentications: Input[Name, RequestAuthentication]
    virtual_services: Input[Name, VirtualService]
    destination_rules: Input[Name, DestinationRule]
    mesh_config: Input[Name, MeshConfig]
    key_sets: Input[str, FetchedKeySet]
    served_before: Input[ServedBefore, ServedBefore]

    def all(self) -> tuple[Input[Any, Any], ...]:
        """Return every input, for sources and for marking them synced."""
        return tuple(getattr(self, name) for name in self.__slots__)

    def manifests(self) -> Manifests:
        """Return the inputs as the rules read them, nothing expanded."""
        return Manifests(
            mesh_config=self.mesh_config,
            namespaces=self.namespaces,
            nodes=self.nodes,
            service_accounts=self.service_accounts,
            pods=self.pods,
            services=self.services,
            endpoint_slices=self.endpoint_slices,
            gateways=self.gateways,
            gateway_classes=self.gateway_classes,
            routes=self.routes,
            connection_routes=self.connection_routes,
            backend_tls_policies=self.backend_tls_policies,
            config_maps=self.config_maps,
            service_entries=self.service_entries,
            workload_entries=self.workload_entries,
            authorization_policies=self.authorization_policies,
            peer_authentications=self.peer_authentications,
            request_authentications=self.request_authentications,
            virtual_services=self.virtual_services,
            destination_rules=self.destination_rules,
        )


def build_inputs(graph: Graph) -> Inputs:
    """Declare every input of the mesh graph, in the order rules may rely on."""
    return Inputs(
        mesh_config=graph.input("mesh config", MeshConfig, key=lambda _: MESH),
        namespaces=graph.input("namespaces", Namespace, key=lambda value: value.key),
        nodes=graph.input("nodes", Node, key=lambda value: value.key),
        service_accounts=graph.input(
            "service accounts", ServiceAccount, key=lambda value: value.key
        ),
        workload_templates=graph.input(
            "workload templates", WorkloadTemplate, key=lambda value: (value.kind, value.key)
        ),
        pods=graph.input("pods", Pod, key=lambda value: value.key),
        services=graph.input("services", Service, key=lambda value: value.key),
        endpoint_slices=graph.input("endpoint slices", EndpointSlice, key=lambda value: value.key),
        gateway_classes=graph.input("gateway classes", GatewayClass, key=lambda value: value.key),
        gateways=graph.input("gateways", Gateway, key=lambda value: value.key),
        routes=graph.input("routes", Route, key=lambda value: (value.kind, value.key)),
        connection_routes=graph.input(
            "connection routes", ConnectionRoute, key=lambda value: (value.kind, value.key)
        ),
        backend_tls_policies=graph.input(
            "backend TLS policies", BackendTLSPolicy, key=lambda value: value.key
        ),
        config_maps=graph.input("config maps", ConfigMap, key=lambda value: value.key),
        service_entries=graph.input("service entries", ServiceEntry, key=lambda value: value.key),
        workload_entries=graph.input(
            "workload entries", WorkloadEntry, key=lambda value: value.key
        ),
        authorization_policies=graph.input(
            "authorization policies", AuthorizationPolicy, key=lambda value: value.key
        ),
        peer_authentications=graph.input(
            "peer authentications", PeerAuthentication, key=lambda value: value.key
        ),
        request_authentications=graph.input(
            "request authentications", RequestAuthentication, key=lambda value: value.key
        ),
        key_sets=graph.input("key sets", FetchedKeySet, key=lambda value: value.uri),
        served_before=graph.input("services served before", ServedBefore, key=lambda value: value),
        virtual_services=graph.input(
            "virtual services", VirtualService, key=lambda value: value.key
        ),
        destination_rules=graph.input(
            "destination rules", DestinationRule, key=lambda value: value.key
        ),
    )
