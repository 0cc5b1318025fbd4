"""The root namespace on the graph: where policies for the whole mesh live.

The mesh configuration comes in; its root namespace alone goes out, so that rules for policies do
not depend on the rest of it.
"""

from dataclasses import dataclass

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.inputs import MESH
from controlplane.mesh.namespaces import DEFAULT_MESH_CONFIG, Membership
from controlplane.model.names import Name


@dataclass(frozen=True, slots=True)
class RootNamespace:
    """The root namespace, if the mesh is configured at all."""

    configured: Collection[Name, str]

    def of(self, fetch: Fetch) -> str:
        """Return the root namespace: the configured one or the default."""
        return fetch.one(self.configured, MESH) or DEFAULT_MESH_CONFIG.root_namespace


def build_root_namespace(graph: Graph, membership: Membership) -> RootNamespace:
    """Declare the root namespace on ``graph``."""
    return RootNamespace(graph.derive("root namespace", membership.configured, _root_namespace))


def _root_namespace(_: Fetch, config: MeshConfig) -> str:
    return config.root_namespace
