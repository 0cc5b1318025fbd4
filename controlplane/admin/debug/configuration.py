"""The objects that users write, as they were read: trimmed to what the mesh needs of them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from controlplane.admin.viewer import Viewer
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.inputs import Inputs

_KINDS: Final = (
    "authorization_policies",
    "backend_tls_policies",
    "connection_routes",
    "destination_rules",
    "gateway_classes",
    "gateways",
    "peer_authentications",
    "request_authentications",
    "routes",
    "service_entries",
    "virtual_services",
    "workload_entries",
)
_VERSIONS: Final = {
    "AuthorizationPolicy": "security.istio.io/v1",
    "DestinationRule": "networking.istio.io/v1",
    "BackendTLSPolicy": "gateway.networking.k8s.io/v1",
    "Gateway": "gateway.networking.k8s.io/v1",
    "GatewayClass": "gateway.networking.k8s.io/v1",
    "GRPCRoute": "gateway.networking.k8s.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "PeerAuthentication": "security.istio.io/v1",
    "RequestAuthentication": "security.istio.io/v1",
    "ServiceEntry": "networking.istio.io/v1",
    "VirtualService": "networking.istio.io/v1",
    "TCPRoute": "gateway.networking.k8s.io/v1alpha2",
    "TLSRoute": "gateway.networking.k8s.io/v1alpha2",
    "WorkloadEntry": "networking.istio.io/v1",
}


def configuration_documents(inputs: Inputs, viewer: Viewer) -> Iterator[dict[str, Any]]:
    """Yield every configuration object that the viewer may see, by kind, namespace and name."""
    for name in _KINDS:
        for _, manifest in sorted(getattr(inputs, name).items(), key=lambda item: item[0]):
            if viewer.may_see(manifest.metadata.namespace):
                yield _document(manifest)


def _document(manifest: Manifest) -> dict[str, Any]:
    metadata = manifest.metadata
    spec = msgspec.to_builtins(manifest)
    spec.pop("metadata")
    if "spec" in spec:
        # Routes are kept whole, as their own JSON.
        whole = manifest.spec  # type: ignore[attr-defined]
        spec = msgspec.json.decode(whole) if isinstance(whole, bytes) else spec["spec"]
    created = datetime.fromtimestamp(metadata.created, UTC) if metadata.created else None
    return {
        "apiVersion": _VERSIONS[manifest.kind],
        "kind": manifest.kind,
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "labels": metadata.labels,
            "annotations": metadata.annotations,
            "uid": metadata.uid,
            "generation": metadata.generation,
            "creationTimestamp": None if created is None else created.isoformat(),
        },
        "spec": spec,
    }
