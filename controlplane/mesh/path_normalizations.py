"""How waypoints normalize paths: the mesh configuration comes in, that alone of it goes out.

docs/protocol/http-policies.md HP-30.
"""

from dataclasses import dataclass

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.mesh.inputs import MESH
from controlplane.mesh.namespaces import Membership
from controlplane.model.names import Name
from controlplane.model.path_normalization import PathNormalization


@dataclass(frozen=True, slots=True)
class PathNormalizations:
    """How paths are normalized, if the mesh is configured at all."""

    configured: Collection[Name, PathNormalization]

    def of(self, fetch: Fetch) -> PathNormalization:
        """Return how every waypoint of the mesh does it."""
        return fetch.one(self.configured, MESH) or PathNormalization.BASE


def build_path_normalizations(graph: Graph, membership: Membership) -> PathNormalizations:
    """Declare how waypoints normalize paths on ``graph``."""
    return PathNormalizations(
        graph.derive(
            "path normalization",
            membership.configured,
            lambda _, config: PathNormalization(config.path_normalization),
        )
    )
