"""The names of a waypoint's resources, which refer to each other by them.

docs/protocol/waypoint-config.md WC-10, WC-11.
"""

from typing import Final

from controlplane.model.waypoint_traffic import Layer

CONNECT_TERMINATE: Final = "connect_terminate"
MAIN_INTERNAL: Final = "main_internal"
MAIN_SNIFFED: Final = "main_sniffed"
CONNECT_ORIGINATE: Final = "connect_originate"
ENCAPSULATE: Final = "encap"
BLACKHOLE: Final = "blackhole"
IDENTITY_SECRET: Final = "default"  # noqa: S105 - the name of a secret
ROOTS_SECRET: Final = "ROOTCA"  # noqa: S105 - the name of a secret

LOCAL_ADDRESS: Final = "envoy.filters.listener.original_dst.local_ip"
REMOTE_ADDRESS: Final = "envoy.filters.listener.original_dst.remote_ip"
AUTHORITY: Final = "io.istio.connect_authority"
PEER_PRINCIPAL: Final = "io.istio.peer_principal"
OWN_PRINCIPAL: Final = "io.istio.local_principal"
SOURCE_ADDRESS: Final = "io.istio.source_ip"
ASKED: Final = "io.istio.asked_provider"

RBAC_CUSTOM: Final = "rbac-custom"
ASKING: Final = "envoy.filters.http.ext_authz"
CLIENT_NAMING: Final = "client-naming"
ASKED_MARK: Final = "asked-provider"
RBAC_AUDIT: Final = "rbac-audit"
RBAC_DENY: Final = "rbac-deny"
RBAC_ALLOW: Final = "rbac-allow"
TOKEN_CHECK: Final = "envoy.filters.http.jwt_authn"  # noqa: S105 - the name of a filter
TOKEN_PAYLOAD: Final = "payload"  # noqa: S105 - the name of what it leaves behind
CLAIM_HEADERS: Final = "claim-headers"


def service_name(port: int, layer: Layer, hostname: str) -> str:
    """Return the name of the chain, the cluster, the endpoints and the routes of one port."""
    return f"inbound-vip|{port}|{layer}|{hostname}"


def outbound_name(port: int, layer: Layer, hostname: str) -> str:
    """Return the name of the cluster and endpoints of a service that is only sent to."""
    return f"outbound|{port}|{layer}|{hostname}"


def direct_name(layer: Layer) -> str:
    """Return the name of the chain and routes of workloads that are reached by address."""
    return f"direct-{layer}"
