"""Pods as residents: whom each node answers for.

Pods come in, expanded where no cluster runs them, ended ones included; one resident each goes out,
which ``snapshots.residents`` keeps for the CA and the discovery server.
docs/protocol/authentication.md NA-n.
"""

from typing import Final

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Pod
from controlplane.mesh.waypoint_gateways import gateway_name
from controlplane.model.names import Name
from controlplane.model.resident import Resident

_PENDING: Final = "Pending"


def build_residents(graph: Graph, pods: Collection[Name, Pod]) -> Collection[Name, Resident]:
    """Declare the residents of the mesh, by name of their pod."""
    return graph.derive("residents", pods, _resident)


def _resident(_: Fetch, pod: Pod) -> Resident:
    metadata = pod.metadata
    gateway = gateway_name(metadata.labels, metadata.namespace)
    return Resident(
        uid=metadata.uid,
        namespace=metadata.namespace,
        name=metadata.name,
        node=pod.node,
        service_account=pod.service_account or "default",
        # What an API server says of a pod that nobody has reported on yet.
        phase=pod.phase or _PENDING,
        ended_at=pod.ended_at,
        deleting=metadata.deleting,
        gateway="" if gateway is None else gateway.name,
    )
