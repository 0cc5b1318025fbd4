"""Where things run.

Node labels and written localities come in, a ``Locality`` goes out to the workloads; an edit of a
node that does not move it stops here. docs/protocol/workloads.md, WL-11 and WL-43.
"""

from collections.abc import Mapping
from typing import Final

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Node
from controlplane.mesh.inputs import Manifests
from controlplane.model.workload import Locality

_UNKNOWN: Final = Locality()


def build_localities(graph: Graph, manifests: Manifests) -> Collection[str, Locality]:
    """Declare the locality of each node that has one, by node name."""

    def rule(_: Fetch, node: Node) -> Mapping[str, Locality]:
        locality = node_locality(node)
        return {} if locality is None else {node.metadata.name: locality}

    return graph.derive_many("localities", manifests.nodes, rule)


def node_locality(node: Node) -> Locality | None:
    """Return where a node is, None when its labels do not say."""
    labels = node.metadata.labels
    locality = Locality(
        labels.get("topology.kubernetes.io/region", ""),
        labels.get("topology.kubernetes.io/zone", ""),
        labels.get("topology.istio.io/subzone", ""),
    )
    return None if locality == _UNKNOWN else locality


def written_locality(text: str) -> Locality | None:
    """Return the locality of ``region/zone/subzone``, None when it names none of them."""
    locality = Locality(*text.split("/")[:3])
    return None if locality == _UNKNOWN else locality
