"""Model values as the words operators know."""

from typing import Final

from controlplane.model.network import NetworkAddress, text_from_address
from controlplane.model.policy import Action, Scope
from controlplane.model.service import LoadBalancing
from controlplane.model.workload import (
    GatewayAddress,
    Locality,
    TunnelProtocol,
    Workload,
    WorkloadStatus,
)

SCOPES: Final = {
    Scope.GLOBAL: "Global",
    Scope.NAMESPACE: "Namespace",
    Scope.WORKLOAD_SELECTOR: "WorkloadSelector",
}
ACTIONS: Final = {Action.ALLOW: "Allow", Action.DENY: "Deny"}
STATUSES: Final = {WorkloadStatus.HEALTHY: "Healthy", WorkloadStatus.UNHEALTHY: "Unhealthy"}

SHORT_TYPES: Final = {
    "type.googleapis.com/istio.workload.Address": "WDS",
    "type.googleapis.com/istio.workload.Workload": "WDS",
    "type.googleapis.com/istio.security.Authorization": "WADS",
    "type.googleapis.com/envoy.config.cluster.v3.Cluster": "CDS",
    "type.googleapis.com/envoy.config.listener.v3.Listener": "LDS",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration": "RDS",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment": "EDS",
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret": "SDS",
    "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig": "ECDS",
    "type.googleapis.com/istio.networking.nds.v1.NameTable": "NDS",
    "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig": "PCDS",
}


def short_type(type_url: str) -> str:
    """Return the short name of a type; its last part where nobody gave it one."""
    return SHORT_TYPES.get(type_url) or type_url.rpartition("/")[2].rpartition(".")[2]


def identity_of(workload: Workload) -> str:
    """Return the SPIFFE id of a workload; "" when it has no service account."""
    if not workload.service_account:
        return ""
    domain = workload.trust_domain or "cluster.local"
    return f"spiffe://{domain}/ns/{workload.namespace}/sa/{workload.service_account}"


def gateway_text(gateway: GatewayAddress | None) -> str:
    """Return where a gateway is: ``namespace/hostname`` or ``network/address``."""
    if gateway is None:
        return ""
    destination = gateway.destination
    if isinstance(destination, NetworkAddress):
        return str(destination)
    return f"{destination.namespace}/{destination.hostname}"


def locality_text(locality: Locality | None) -> str:
    """Return ``region/zone/subzone`` as far as it is known."""
    return "" if locality is None else "/".join(locality).rstrip("/")


def addresses_text(workload: Workload) -> tuple[str, ...]:
    """Return the addresses of a workload."""
    return tuple(map(text_from_address, workload.addresses))


def protocol_text(workload: Workload) -> str:
    """Return HBONE or TCP."""
    return "HBONE" if workload.tunnel_protocol is TunnelProtocol.HBONE else "TCP"


def balancing_text(balancing: LoadBalancing | None) -> str:
    """Return how workloads are picked, such as ``FAILOVER REGION,ZONE``; "" for any."""
    if balancing is None:
        return ""
    preference = ",".join(scope.name for scope in balancing.routing_preference)
    health = "" if not balancing.health_policy else balancing.health_policy.name
    mode = "" if not balancing.mode else balancing.mode.name
    return " ".join(filter(None, (mode, preference, health)))
