"""WorkloadEntries as workloads.

WorkloadEntries come in, one workload each goes out, with what its labels decide (``selection``).
docs/protocol/workloads.md, WL-40 to WL-44.
"""

from collections.abc import Mapping
from typing import Final

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.istio import WorkloadEntry
from controlplane.mesh.label_sets import label_set
from controlplane.mesh.outside_workloads import (
    Identity,
    Placement,
    outside_workload,
)
from controlplane.mesh.parts import Parts
from controlplane.mesh.selection import Selections, merged_labels
from controlplane.mesh.workload_names import WORKLOAD_NAME_LABEL
from controlplane.model.workload import Workload

REGISTRATION_GROUP_ANNOTATION: Final = "istio.io/autoRegistrationGroup"


def build_workload_entries(
    graph: Graph, parts: Parts, selections: Selections
) -> Collection[str, Workload]:
    """Declare the workloads of WorkloadEntries, by uid."""
    networks, cluster_id = parts.networks, parts.settings.cluster_id

    def rule(fetch: Fetch, entry: WorkloadEntry) -> Mapping[str, Workload]:
        labels = merged_labels(entry)
        selection = fetch.one(selections.of_entries, label_set(entry.metadata.namespace, labels))
        if selection is None:
            return {}
        network = entry.spec.network or selection.network
        placement = Placement(
            network=network,
            network_gateway=networks.gateway(fetch, network),
            trust_domain=selection.trust_domain,
            cluster_id=cluster_id,
            backends=selection.backends,
            policies=(*selection.authorization_policies, *selection.waypoint_policies),
            binding=selection.binding,
            served_by=selection.served_by,
        )
        identity = entry_identity(entry, labels, cluster_id)
        return {identity.uid: outside_workload(identity, entry.spec, placement)}

    return graph.derive_many("workload entry workloads", parts.membership.workload_entries, rule)


def entry_identity(entry: WorkloadEntry, labels: Mapping[str, str], cluster_id: str) -> Identity:
    """Return who a WorkloadEntry is; ``labels`` are its merged labels."""
    namespace, name = entry.key
    annotations = entry.metadata.annotations
    group = annotations.get(REGISTRATION_GROUP_ANNOTATION)
    return Identity(
        uid=f"{cluster_id}/networking.istio.io/WorkloadEntry/{namespace}/{name}",
        name=name,
        namespace=namespace,
        workload_name=group or labels.get(WORKLOAD_NAME_LABEL) or name,
        labels=labels,
        annotations=annotations,
    )
