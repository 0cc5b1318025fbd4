"""The kinds that are watched in a cluster, where the API server keeps them, how one is read.

Workload templates are not among them: the cluster has turned them into pods already.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from controlplane.manifests.decoding import KINDS, Kind, decode_any_object, decode_object
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import MESH_CONFIG, identity_of
from controlplane.model.names import Name
from controlplane.model.problem import Problem

Readable = Manifest | MeshConfig
Found = tuple[Name | None, Readable | Problem | None]
"""One object as it was read: its key (None when it does not say) and what it is."""

DEFINITIONS_PATH: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_CONFIG_MAP: Final = "istio"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedKind:
    """One kind to watch at ``path``, narrowed by ``parameters``; ``read`` takes one object."""

    kind: str
    path: str
    read: Callable[[bytes | msgspec.Raw], Found]
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomKind:
    """A kind that is there while its CustomResourceDefinition ``definition`` is."""

    row: Kind
    definition: str

    @property
    def kind(self) -> str:
        """Return the Kubernetes kind."""
        return self.row.kind

    def at(self, versions: tuple[str, ...], plural: str) -> WatchedKind | None:
        """Return where to watch it, by the best of the served ``versions``; None if none is."""
        for version in self.row.versions:
            if version in versions:
                path = f"/apis/{self.row.group}/{version}/{plural}"
                return WatchedKind(kind=self.kind, path=path, read=reader(self.row))
        return None


def core_kinds(system_namespace: str) -> tuple[WatchedKind, ...]:
    """Return the kinds that every cluster has; failed pods are left out, they serve nothing."""
    config_maps = f"/api/v1/namespaces/{system_namespace}/configmaps"
    return (
        _core("", "Namespace", "/api/v1/namespaces"),
        _core("", "Node", "/api/v1/nodes"),
        _core("", "Service", "/api/v1/services"),
        _core("", "Pod", "/api/v1/pods", {"fieldSelector": "status.phase!=Failed"}),
        _core("discovery.k8s.io", "EndpointSlice", "/apis/discovery.k8s.io/v1/endpointslices"),
        WatchedKind(
            kind=MESH_CONFIG.kind,
            path=config_maps,
            read=_mesh_config_reader(system_namespace),
            parameters={"fieldSelector": f"metadata.name={_CONFIG_MAP}"},
        ),
    )


def custom_kinds() -> tuple[CustomKind, ...]:
    """Return the kinds that are there when their definitions are."""
    return tuple(
        CustomKind(row=KINDS[group, kind], definition=f"{plural}.{group}")
        for group, kind, plural in _CUSTOM
    )


def reader(row: Kind) -> Callable[[bytes | msgspec.Raw], Found]:
    """Return what reads one object of kind ``row``."""

    def read(text: bytes | msgspec.Raw) -> Found:
        found = decode_object(row, text)
        if isinstance(found, Manifest):
            return found.metadata.key, found
        about = found.object
        return None if about is None else Name(about.namespace, about.name), found

    return read


def _core(
    group: str, kind: str, path: str, parameters: dict[str, str] | None = None
) -> WatchedKind:
    return WatchedKind(
        kind=kind, path=path, read=reader(KINDS[group, kind]), parameters=parameters or {}
    )


def _mesh_config_reader(system_namespace: str) -> Callable[[bytes | msgspec.Raw], Found]:
    implied = {"apiVersion": "v1", "kind": "ConfigMap"}

    def read(text: bytes | msgspec.Raw) -> Found:
        found = decode_any_object(text, implied=implied, system_namespace=system_namespace)
        if isinstance(found, Manifest):
            return identity_of(found).key, found
        return MESH_CONFIG.key, found

    return read


_GATEWAY: Final = "gateway.networking.k8s.io"
_NETWORKING: Final = "networking.istio.io"
_SECURITY: Final = "security.istio.io"
_CUSTOM: Final = (
    (_GATEWAY, "GatewayClass", "gatewayclasses"),
    (_GATEWAY, "Gateway", "gateways"),
    (_GATEWAY, "HTTPRoute", "httproutes"),
    (_GATEWAY, "GRPCRoute", "grpcroutes"),
    (_GATEWAY, "TCPRoute", "tcproutes"),
    (_GATEWAY, "TLSRoute", "tlsroutes"),
    (_GATEWAY, "BackendTLSPolicy", "backendtlspolicies"),
    (_NETWORKING, "ServiceEntry", "serviceentries"),
    (_NETWORKING, "WorkloadEntry", "workloadentries"),
    (_NETWORKING, "VirtualService", "virtualservices"),
    (_NETWORKING, "DestinationRule", "destinationrules"),
    (_SECURITY, "AuthorizationPolicy", "authorizationpolicies"),
    (_SECURITY, "PeerAuthentication", "peerauthentications"),
    (_SECURITY, "RequestAuthentication", "requestauthentications"),
)
