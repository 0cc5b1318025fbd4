"""Pods as workloads.

Pods come in and one workload each goes out, with what its labels decide (``selection``), where
its node is and which services list it by reference. docs/protocol/workloads.md, WL-4 to WL-14.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Pod
from controlplane.mesh.backends import Backend, Joined, pod_ports, unready_services
from controlplane.mesh.endpoint_slices import References
from controlplane.mesh.label_sets import label_set
from controlplane.mesh.parts import Parts
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.selection import Selection, Selections
from controlplane.mesh.workload_names import (
    canonical_name,
    canonical_revision,
    pod_workload_name,
    speaks_http_tunnel,
    tunnel_protocol,
)
from controlplane.model.names import Name
from controlplane.model.network import address_from_text
from controlplane.model.problem import Problem, Severity
from controlplane.model.workload import (
    Locality,
    NetworkMode,
    Workload,
    WorkloadStatus,
    WorkloadType,
)

_FINISHED: Final = frozenset({"Failed", "Succeeded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSurroundings:
    """What a pod's workload takes from outside the pod.

    ``referenced`` are services that list the pod by reference; ``waypoint_policies`` let the
    waypoints of all its services in.
    """

    selection: Selection
    locality: Locality | None
    services: tuple[Joined, ...]
    referenced: tuple[Backend, ...] = ()
    waypoint_policies: tuple[Name, ...] = ()


def build_pod_workloads(
    graph: Graph,
    parts: Parts,
    selections: Selections,
    localities: Collection[str, Locality],
    references: References,
) -> Collection[str, Workload]:
    """Declare the workloads of pods, by uid."""
    cluster_id = parts.settings.cluster_id

    def rule(fetch: Fetch, pod: Pod) -> Mapping[str, Workload]:
        addresses = None if pod.phase in _FINISHED else packed_addresses(pod.ips)
        if not addresses:
            return {}
        metadata = pod.metadata
        labels = label_set(metadata.namespace, metadata.labels)
        selection = fetch.one(selections.of_pods, labels)
        if selection is None:
            return {}
        referenced = _unselected(references.of(fetch, pod), selection.backends)
        services = pod_services(pod, selection, referenced)
        waypoint_policies = selection.waypoint_policies
        if referenced:
            waypoint_policies = selections.waypoint_policies.joined(
                fetch, waypoint_policies, (backend.key for backend in referenced)
            )
        surroundings = PodSurroundings(
            selection=selection,
            locality=fetch.one(localities, pod.node) if pod.node else None,
            services=services,
            referenced=referenced,
            waypoint_policies=waypoint_policies,
        )
        workload = pod_workload(pod, addresses, surroundings, cluster_id)
        return {workload.uid: workload}

    return graph.derive_many("pod workloads", parts.manifests.pods, rule)


def build_pod_problems(graph: Graph, parts: Parts) -> Collection[ProblemKey, Problem]:
    """Declare what is wrong with pods. Only pods with a problem cost anything."""
    manifests = parts.manifests
    unusable = graph.distinct(
        "pods with unusable addresses",
        manifests.pods.index("pods with unusable addresses", _unusable),
    )

    def rule(fetch: Fetch, key: Name) -> Mapping[ProblemKey, Problem]:
        pod = fetch.one(manifests.pods, key)
        if pod is None or not parts.membership.includes(fetch, key.namespace):
            return {}
        problems = [
            Problem(
                severity=Severity.ERROR,
                code="pod.invalid-address",
                message=f"{text!r} is not an IP address; the pod is not published",
                object=pod.reference,
                field=f"status.podIPs[{position}]",
            )
            for position, text in enumerate(pod.ips)
            if address_from_text(text) is None
        ]
        return {problem_key(problem): problem for problem in problems}

    return graph.derive_many("pod problems", unusable, rule)


def packed_addresses(texts: Iterable[str]) -> tuple[bytes, ...] | None:
    """Return all of ``texts`` as bytes, None when one of them is no address."""
    packed = [address_from_text(text) for text in texts]
    addresses = tuple([address for address in packed if address is not None])
    return addresses if len(addresses) == len(packed) else None


def pod_services(
    pod: Pod, selection: Selection, referenced: tuple[Backend, ...]
) -> tuple[Joined, ...]:
    """Return the services a pod lists, sorted by name."""
    services = selection.pod_services
    if services is None:
        declared = pod.container_ports
        services = tuple(
            [(backend.key, pod_ports(backend, declared)) for backend in selection.backends]
        )
    if not referenced:
        return services
    joined = [(backend.key, pod_ports(backend, pod.container_ports)) for backend in referenced]
    return tuple(sorted((*services, *joined)))


def pod_workload(
    pod: Pod, addresses: tuple[bytes, ...], surroundings: PodSurroundings, cluster_id: str
) -> Workload:
    """Return the workload of a pod that has ``addresses``."""
    metadata = pod.metadata
    labels = metadata.labels
    selection = surroundings.selection
    workload_name = pod_workload_name(pod)
    is_healthy = pod.ready and not metadata.deleting
    unready = selection.unready_services
    if surroundings.referenced:
        unready = tuple(sorted((*unready, *unready_services(surroundings.referenced))))
    policies = selection.authorization_policies
    if surroundings.waypoint_policies:
        policies = (*policies, *surroundings.waypoint_policies)
    return Workload(
        uid=f"{cluster_id}//Pod/{metadata.namespace}/{metadata.name}",
        name=metadata.name,
        namespace=metadata.namespace,
        addresses=addresses,
        network=selection.network,
        tunnel_protocol=tunnel_protocol(labels, metadata.annotations),
        native_tunnel=speaks_http_tunnel(labels),
        trust_domain=selection.trust_domain,
        service_account=pod.service_account,
        waypoint=selection.binding.waypoint,
        network_gateway=selection.network_gateway,
        node=pod.node,
        canonical_name=canonical_name(labels, workload_name),
        canonical_revision=canonical_revision(labels),
        workload_type=WorkloadType.POD,
        workload_name=workload_name,
        application_tunnel=selection.binding.application_tunnel,
        services=surroundings.services,
        unready_services=unready,
        authorization_policies=policies,
        status=WorkloadStatus.HEALTHY if is_healthy else WorkloadStatus.UNHEALTHY,
        cluster_id=cluster_id,
        locality=surroundings.locality,
        served_by=selection.served_by,
        network_mode=NetworkMode.HOST_NETWORK if pod.host_network else NetworkMode.STANDARD,
    )


def _unselected(
    referenced: tuple[Backend, ...], selected: tuple[Backend, ...]
) -> tuple[Backend, ...]:
    if not referenced:
        return ()
    # By hostname: a ServiceEntry that selected the pod under the same name has answered already.
    hostnames = {backend.key.hostname for backend in selected}
    return tuple(backend for backend in referenced if backend.key.hostname not in hostnames)


def _unusable(pod: Pod) -> tuple[Name, ...]:
    if pod.phase in _FINISHED or packed_addresses(pod.ips) is not None:
        return ()
    return (pod.key,)
