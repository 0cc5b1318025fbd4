"""Who sees the ServiceEntries of a namespace.

Namespace labels and the mesh configuration come in; one visibility per namespace goes out, to
the rules of ServiceEntries and of their conditions. docs/protocol/services.md, SV-30 to SV-32.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Namespace
from controlplane.manifests.mesh_config import MeshConfig, ServiceEntryVisibility, VisibilityPolicy
from controlplane.mesh.inputs import MESH, Manifests
from controlplane.mesh.namespaces import Membership
from controlplane.model.names import Name
from controlplane.model.service import Visibility


class EntryVisibility(Enum):
    """What the mesh configuration says; hidden entries make no service and no workload."""

    PUBLIC = "PUBLIC"
    NAMESPACE = "NAMESPACE"
    HIDDEN = "NONE"

    @property
    def sent(self) -> Visibility:
        """Return the visibility as services carry it."""
        is_public = self is EntryVisibility.PUBLIC
        return Visibility.PUBLIC if is_public else Visibility.NAMESPACE


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryVisibilities:
    """Visibility by namespace name, and the configuration that decides it (absent: all PUBLIC)."""

    configuration: Collection[Name, ServiceEntryVisibility]
    by_namespace: Collection[Name, EntryVisibility]

    def of(self, fetch: Fetch, namespace: str) -> EntryVisibility:
        """Return the visibility of ServiceEntries in ``namespace``."""
        known = fetch.one(self.by_namespace, Name("", namespace))
        if known is not None:
            return known
        return entry_visibility({}, fetch.one(self.configuration, MESH))

    def is_configured(self, fetch: Fetch) -> bool:
        """Return whether the mesh configuration decides visibility at all."""
        return fetch.one(self.configuration, MESH) is not None


def build_visibilities(
    graph: Graph, manifests: Manifests, membership: Membership
) -> EntryVisibilities:
    """Declare the visibilities on ``graph``."""

    def configured(_: Fetch, mesh: MeshConfig) -> ServiceEntryVisibility | None:
        return mesh.service_entry_visibility

    configuration = graph.derive("service entry visibility", manifests.mesh_config, configured)

    def visibility(fetch: Fetch, namespace: Namespace) -> EntryVisibility:
        return entry_visibility(namespace.metadata.labels, fetch.one(configuration, MESH))

    return EntryVisibilities(
        configuration=configuration,
        by_namespace=graph.derive("namespace visibilities", membership.namespaces, visibility),
    )


def entry_visibility(
    labels: Mapping[str, str], configuration: ServiceEntryVisibility | None
) -> EntryVisibility:
    """Return the visibility of entries in a namespace with ``labels``: the first policy's."""
    if configuration is None:
        return EntryVisibility.PUBLIC
    for policy in configuration.policies:
        if _matches(policy, labels):
            return _named(policy.visibility)
    return _named(configuration.default)


def _matches(policy: VisibilityPolicy, labels: Mapping[str, str]) -> bool:
    if policy.unknown_matcher:
        return False
    return all(selector.selects(labels) for selector in policy.selectors)


def _named(visibility: str) -> EntryVisibility:
    match visibility:
        case "NONE":
            return EntryVisibility.HIDDEN
        case "NAMESPACE":
            return EntryVisibility.NAMESPACE
        case _:
            return EntryVisibility.PUBLIC
