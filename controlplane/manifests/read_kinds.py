"""The kinds that are read, and the API versions of each that mean the same to us.

One row per kind; ``reading`` looks a document up here by group and kind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from controlplane.manifests import (
    raw_http_route,
    read_connections,
    read_core,
    read_gateway,
    read_http_route,
    read_istio,
    read_pods,
    read_policies,
    read_tokens,
    read_traffic_rules,
)
from controlplane.manifests.gateway import GATEWAY_GROUP
from controlplane.manifests.metadata import Manifest, Metadata
from controlplane.manifests.read_metadata import RawObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How one kind is read: raw type first, then ``read(raw, metadata)``."""

    group: str
    kind: str
    versions: tuple[str, ...]
    raw: type[Any]
    read: Callable[[Any, Metadata], Manifest]
    namespaced: bool = True
    keeps_annotations: bool = False


_V1: Final = ("v1",)
_APPS: Final = ("v1", "v1beta2", "v1beta1")
_GATEWAY_VERSIONS: Final = ("v1", "v1beta1", "v1alpha2")
_TCP_VERSIONS: Final = ("v1", "v1alpha2")
_TLS_VERSIONS: Final = ("v1", "v1alpha3", "v1alpha2")
_BACKEND_VERSIONS: Final = ("v1", "v1alpha3")
_NETWORKING: Final = "networking.istio.io"
_NETWORKING_VERSIONS: Final = ("v1", "v1beta1", "v1alpha3")
SECURITY: Final = "security.istio.io"
_SECURITY_VERSIONS: Final = ("v1", "v1beta1")

_ROWS: Final = (
    Kind(group="", kind="Namespace", versions=_V1, raw=RawObject,
         read=read_core.read_namespace, namespaced=False),
    Kind(group="", kind="Node", versions=_V1, raw=RawObject,
         read=read_core.read_node, namespaced=False),
    Kind(group="", kind="Pod", versions=_V1, raw=read_pods.RawPod, read=read_pods.read_pod),
    Kind(group="", kind="Service", versions=_V1, raw=read_core.RawService,
         read=read_core.read_service),
    Kind(group="", kind="ServiceAccount", versions=_V1, raw=RawObject,
         read=read_core.read_service_account),
    Kind(group="discovery.k8s.io", kind="EndpointSlice", versions=("v1", "v1beta1"),
         raw=read_core.RawEndpointSlice, read=read_core.read_endpoint_slice),
    Kind(group="apps", kind="Deployment", versions=_APPS, raw=read_pods.RawWorkloadTemplate,
         read=read_pods.read_deployment),
    Kind(group="apps", kind="StatefulSet", versions=_APPS, raw=read_pods.RawWorkloadTemplate,
         read=read_pods.read_stateful_set),
    Kind(group="apps", kind="DaemonSet", versions=_APPS, raw=read_pods.RawWorkloadTemplate,
         read=read_pods.read_daemon_set),
    Kind(group=GATEWAY_GROUP, kind="Gateway", versions=_GATEWAY_VERSIONS,
         raw=read_gateway.RawGateway, read=read_gateway.read_gateway, keeps_annotations=True),
    Kind(group=GATEWAY_GROUP, kind="GatewayClass", versions=_GATEWAY_VERSIONS,
         raw=read_gateway.RawGatewayClass, read=read_gateway.read_gateway_class,
         namespaced=False, keeps_annotations=True),
    Kind(group=GATEWAY_GROUP, kind="HTTPRoute", versions=_GATEWAY_VERSIONS,
         raw=raw_http_route.RawHttpRoute, read=read_http_route.read_http_route),
    Kind(group=GATEWAY_GROUP, kind="GRPCRoute", versions=_GATEWAY_VERSIONS,
         raw=raw_http_route.RawGrpcRoute, read=read_http_route.read_grpc_route),
    Kind(group=GATEWAY_GROUP, kind="TCPRoute", versions=_TCP_VERSIONS,
         raw=read_connections.RawConnectionRoute, read=read_connections.read_tcp_route),
    Kind(group=GATEWAY_GROUP, kind="TLSRoute", versions=_TLS_VERSIONS,
         raw=read_connections.RawConnectionRoute, read=read_connections.read_tls_route),
    Kind(group=GATEWAY_GROUP, kind="BackendTLSPolicy", versions=_BACKEND_VERSIONS,
         raw=read_connections.RawBackendTLSPolicy,
         read=read_connections.read_backend_tls_policy),
    Kind(group=_NETWORKING, kind="ServiceEntry", versions=_NETWORKING_VERSIONS,
         raw=read_istio.RawServiceEntry, read=read_istio.read_service_entry),
    Kind(group=_NETWORKING, kind="WorkloadEntry", versions=_NETWORKING_VERSIONS,
         raw=read_istio.RawWorkloadEntry, read=read_istio.read_workload_entry),
    Kind(group=_NETWORKING, kind="VirtualService", versions=_NETWORKING_VERSIONS,
         raw=read_traffic_rules.RawVirtualService, read=read_traffic_rules.read_virtual_service),
    Kind(group=_NETWORKING, kind="DestinationRule", versions=_NETWORKING_VERSIONS,
         raw=read_traffic_rules.RawDestinationRule,
         read=read_traffic_rules.read_destination_rule),
    Kind(group=SECURITY, kind="AuthorizationPolicy", versions=_SECURITY_VERSIONS,
         raw=read_policies.RawAuthorizationPolicy, read=read_policies.read_authorization_policy),
    Kind(group=SECURITY, kind="PeerAuthentication", versions=_SECURITY_VERSIONS,
         raw=read_policies.RawPeerAuthentication, read=read_policies.read_peer_authentication),
    Kind(group=SECURITY, kind="RequestAuthentication", versions=_SECURITY_VERSIONS,
         raw=read_tokens.RawRequestAuthentication,
         read=read_tokens.read_request_authentication),
)  # fmt: skip

KINDS: Final = {(row.group, row.kind): row for row in _ROWS}
"""Every kind that is read, by API group and kind. ConfigMap ``istio`` is read apart."""
