"""Which objects are in the mesh.

Manifests come in; the namespaces that the discovery selectors choose, and every namespaced kind
restricted to them, go out. The kinds that carry ``istio.io/rev`` are restricted to this revision
too. All other rules continue from here. docs/protocol/workloads.md, WL-1 to WL-3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import EndpointSlice, Namespace, Service
from controlplane.manifests.gateway import Gateway
from controlplane.manifests.istio import (
    AuthorizationPolicy,
    PeerAuthentication,
    RequestAuthentication,
    ServiceEntry,
    WorkloadEntry,
)
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.traffic_rules import DestinationRule, VirtualService
from controlplane.mesh.inputs import MESH, Manifests
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.trust_domains import TrustDomains, build_trust_domains
from controlplane.model.labels import LabelSelector
from controlplane.model.names import Name

REVISION_LABEL: Final = "istio.io/rev"
DEFAULT_MESH_CONFIG: Final = MeshConfig()

_DEFAULT_REVISION: Final = "default"

M = TypeVar("M", bound=Manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The objects of the mesh, and the facts of the whole mesh that rules ask for.

    ``memberships`` says of each existing namespace whether it is selected; the other fields are
    restricted collections. Pods are not restricted here: their rule asks ``includes``.
    """

    namespaces: Collection[Name, Namespace]
    services: Collection[Name, Service]
    endpoint_slices: Collection[Name, EndpointSlice]
    gateways: Collection[Name, Gateway]
    service_entries: Collection[Name, ServiceEntry]
    workload_entries: Collection[Name, WorkloadEntry]
    authorization_policies: Collection[Name, AuthorizationPolicy]
    peer_authentications: Collection[Name, PeerAuthentication]
    request_authentications: Collection[Name, RequestAuthentication]
    virtual_services: Collection[Name, VirtualService]
    destination_rules: Collection[Name, DestinationRule]
    configured: Collection[Name, MeshConfig]
    memberships: Collection[Name, bool]
    discovery: Collection[Name, tuple[LabelSelector, ...]]
    trust_domains: Collection[Name, str]
    every_trust_domain: TrustDomains

    def includes(self, fetch: Fetch, namespace: str) -> bool:
        """Return whether objects in ``namespace`` belong to the mesh.

        A namespace without an object of its own belongs while nothing is selected on purpose:
        without labels no selector could be judged.
        """
        return _includes(fetch, self.memberships, self.discovery, namespace)

    def mesh_config(self, fetch: Fetch) -> MeshConfig:
        """Return the mesh configuration in force: the given one or the defaults."""
        return fetch.one(self.configured, MESH) or DEFAULT_MESH_CONFIG

    def trust_domain(self, fetch: Fetch) -> str:
        """Return the trust domain as workloads carry it: "" stands for ``cluster.local``."""
        return fetch.one(self.trust_domains, MESH) or ""


def build_membership(graph: Graph, manifests: Manifests, settings: MeshSettings) -> Membership:
    """Declare the restricted collections on ``graph`` and return them."""
    discovery = graph.derive(
        "discovery selectors", manifests.mesh_config, lambda _, mesh: mesh.discovery_selectors
    )
    trust_domains = graph.derive("trust domain", manifests.mesh_config, _sent_trust_domain)

    def membership(fetch: Fetch, namespace: Namespace) -> bool:
        selectors = fetch.one(discovery, MESH)
        labels = namespace.metadata.labels
        return not selectors or any(selector.selects(labels) for selector in selectors)

    memberships = graph.derive("namespace memberships", manifests.namespaces, membership)

    def member(fetch: Fetch, namespace: Namespace) -> Namespace | None:
        return namespace if fetch.one(memberships, namespace.key) else None

    def restricted(name: str, source: Collection[Name, M]) -> Collection[Name, M]:
        def keep(fetch: Fetch, manifest: M) -> M | None:
            namespace = manifest.metadata.namespace
            return manifest if _includes(fetch, memberships, discovery, namespace) else None

        return graph.derive(f"{name} of the mesh", source, keep)

    of_revision = revision_filter(settings.revision)

    def revised(name: str, source: Collection[Name, M]) -> Collection[Name, M]:
        def keep(fetch: Fetch, manifest: M) -> M | None:
            namespace = manifest.metadata.namespace
            if not of_revision(manifest):
                return None
            return manifest if _includes(fetch, memberships, discovery, namespace) else None

        return graph.derive(f"{name} of the mesh", source, keep)

    return Membership(
        namespaces=graph.derive("namespaces of the mesh", manifests.namespaces, member),
        services=restricted("services", manifests.services),
        endpoint_slices=restricted("endpoint slices", manifests.endpoint_slices),
        gateways=restricted("gateways", manifests.gateways),
        service_entries=revised("service entries", manifests.service_entries),
        workload_entries=revised("workload entries", manifests.workload_entries),
        authorization_policies=revised("authorization policies", manifests.authorization_policies),
        peer_authentications=revised("peer authentications", manifests.peer_authentications),
        request_authentications=revised(
            "request authentications", manifests.request_authentications
        ),
        virtual_services=revised("virtual services", manifests.virtual_services),
        destination_rules=revised("destination rules", manifests.destination_rules),
        configured=manifests.mesh_config,
        memberships=memberships,
        discovery=discovery,
        trust_domains=trust_domains,
        every_trust_domain=build_trust_domains(graph, manifests.mesh_config),
    )


def revision_filter(revision: str) -> Callable[[Manifest], bool]:
    """Return the test of whether an object is meant for ``revision`` ("" takes everything)."""

    def is_of_revision(manifest: Manifest) -> bool:
        asked = manifest.metadata.labels.get(REVISION_LABEL)
        return asked is None or not revision or asked == revision

    return is_of_revision


def _includes(
    fetch: Fetch,
    memberships: Collection[Name, bool],
    discovery: Collection[Name, tuple[LabelSelector, ...]],
    namespace: str,
) -> bool:
    known = fetch.one(memberships, Name("", namespace))
    return not fetch.one(discovery, MESH) if known is None else known


def _sent_trust_domain(_: Fetch, mesh: MeshConfig) -> str:
    return "" if mesh.trust_domain == "cluster.local" else mesh.trust_domain


def is_kept_by(manifest: Manifest, revision: str) -> bool:
    """Return whether a control plane of ``revision`` keeps what the object asks for.

    Unlike what is merely read, such an object has one keeper: one without a revision keeps what
    is labelled ``default`` or not at all (docs/protocol/waypoint-deployment.md WO-29).
    """
    asked = manifest.metadata.labels.get(REVISION_LABEL)
    return asked is None or asked == (revision or _DEFAULT_REVISION)
