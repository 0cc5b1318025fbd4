"""EndpointSlices: which pods they add to services, and workloads for bare addresses.

Slices of the mesh come in. References to pods go out to the rule of pods, one workload per
endpoint that is no pod goes out to the world. docs/protocol/workloads.md, WL-23 and WL-60 to
WL-64.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph, Index
from controlplane.manifests.core import Endpoint, EndpointSlice, Pod
from controlplane.mesh.backends import Backend, Origin, unready_services
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.parts import Parts
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.services import service_hostname
from controlplane.model.names import ServiceName
from controlplane.model.network import address_from_text
from controlplane.model.problem import Problem, Severity
from controlplane.model.workload import NetworkMode, Port, Workload, WorkloadStatus

SERVICE_LABEL: Final = "kubernetes.io/service-name"
MANAGER_LABEL: Final = "endpointslice.kubernetes.io/managed-by"
_SELECTOR_CONTROLLER: Final = "endpointslice-controller.k8s.io"


class PodIdentity(NamedTuple):
    """One pod, and not another of the same name before or after it."""

    namespace: str
    name: str
    uid: str


class Reference(NamedTuple):
    """A slice that counts a pod among the endpoints of a service."""

    pod: PodIdentity
    service: ServiceName
    slice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """Services of pods that no selector tells of.

    ``namespaces`` are those that have any: elsewhere a pod needs no look-up of its own.
    """

    by_pod: Index[PodIdentity, Reference, Reference]
    namespaces: Collection[str, str]
    backends: Collection[ServiceName, Backend]

    def of(self, fetch: Fetch, pod: Pod) -> tuple[Backend, ...]:
        """Return the services that list ``pod``, sorted by key."""
        metadata = pod.metadata
        if fetch.one(self.namespaces, metadata.namespace) is None:
            return ()
        identity = PodIdentity(metadata.namespace, metadata.name, metadata.uid)
        keys = sorted({found.service for found in fetch.where(self.by_pod, identity)})
        backends = (fetch.one(self.backends, key) for key in keys)
        return tuple(backend for backend in backends if backend is not None)


def build_references(graph: Graph, parts: Parts) -> References:
    """Declare which pods are endpoints of services by reference."""
    services = parts.services
    slices = parts.membership.endpoint_slices

    def rule(fetch: Fetch, manifest: EndpointSlice) -> Mapping[Reference, Reference]:
        backend = _backend(fetch, parts, manifest)
        if backend is None or _echoes_selector(manifest, backend):
            return {}
        name = manifest.metadata.name
        references = (
            Reference(PodIdentity(target.namespace, target.name, target.uid), backend.key, name)
            for target in (endpoint.target for endpoint in manifest.endpoints)
            if target is not None
            and target.kind == "Pod"
            and target.namespace == manifest.metadata.namespace
        )
        return {reference: reference for reference in references}

    references = graph.derive_many("pods of endpoint slices", slices, rule)
    return References(
        by_pod=references.index("references by pod", lambda found: (found.pod,)),
        namespaces=graph.distinct(
            "namespaces with referenced pods",
            references.index("references by namespace", lambda found: (found.pod.namespace,)),
        ),
        backends=services.backends,
    )


def build_slice_workloads(graph: Graph, parts: Parts) -> Collection[str, Workload]:
    """Declare the workloads of endpoints that are no pods."""
    membership, networks, cluster_id = parts.membership, parts.networks, parts.settings.cluster_id

    def rule(fetch: Fetch, manifest: EndpointSlice) -> Mapping[str, Workload]:
        endpoints = tuple(_bare_endpoints(manifest))
        if not endpoints:
            return {}
        backend = _backend(fetch, parts, manifest)
        if backend is None:
            return {}
        metadata = manifest.metadata
        prefix = f"{cluster_id}/discovery.k8s.io/EndpointSlice/{metadata.namespace}/"
        joined = ((backend.key, _slice_ports(manifest, backend)),)
        workloads = (
            Workload(
                uid=f"{prefix}{metadata.name}/{endpoint.addresses[0]}",
                name=metadata.name,
                namespace=metadata.namespace,
                addresses=addresses,
                network=networks.local(fetch),
                trust_domain=membership.trust_domain(fetch),
                cluster_id=cluster_id,
                services=joined,
                unready_services=unready_services((backend,)),
                status=WorkloadStatus.UNHEALTHY
                if endpoint.ready is False
                else WorkloadStatus.HEALTHY,
                # The address may also be that of a pod, which must not be hidden by it.
                network_mode=NetworkMode.HOST_NETWORK,
            )
            for endpoint, addresses in endpoints
        )
        return {workload.uid: workload for workload in workloads}

    return graph.derive_many("endpoint slice workloads", membership.endpoint_slices, rule)


def build_slice_problems(graph: Graph, membership: Membership) -> Collection[ProblemKey, Problem]:
    """Declare what is wrong with the addresses of slices."""
    return graph.derive_many(
        "endpoint slice problems", membership.endpoint_slices, lambda _, value: _problems(value)
    )


def _backend(fetch: Fetch, parts: Parts, manifest: EndpointSlice) -> Backend | None:
    """Return the Service a slice belongs to, None when it is not published as one."""
    name = manifest.metadata.labels.get(SERVICE_LABEL)
    if not name or manifest.address_type == "FQDN":
        return None
    namespace = manifest.metadata.namespace
    hostname = service_hostname(name, namespace, parts.settings.domain_suffix)
    backend = fetch.one(parts.services.backends, ServiceName(namespace, hostname))
    return backend if backend is not None and backend.origin is Origin.SERVICE else None


def _echoes_selector(manifest: EndpointSlice, backend: Backend) -> bool:
    """Return whether the slice only repeats what the selector of its Service says anyway.

    Leaving those out keeps the changes of such slices, which follow every pod, without effect.
    """
    managed_by = manifest.metadata.labels.get(MANAGER_LABEL)
    return backend.selector is not None and managed_by == _SELECTOR_CONTROLLER


def _bare_endpoints(manifest: EndpointSlice) -> Iterator[tuple[Endpoint, tuple[bytes, ...]]]:
    if manifest.address_type == "FQDN":
        return
    seen: set[str] = set()
    for endpoint in manifest.endpoints:
        is_pod = endpoint.target is not None and endpoint.target.kind == "Pod"
        if is_pod or not endpoint.addresses or endpoint.addresses[0] in seen:
            continue
        seen.add(endpoint.addresses[0])
        packed = [address_from_text(text) for text in endpoint.addresses]
        addresses = tuple(address for address in packed if address is not None)
        if len(addresses) == len(packed):
            yield endpoint, addresses


def _slice_ports(manifest: EndpointSlice, backend: Backend) -> tuple[Port, ...]:
    numbers = {port.name: port.number for port in backend.ports}
    return tuple(
        Port(numbers[port.name], port.port)
        for port in manifest.ports
        if port.name in numbers and port.port is not None and port.protocol == "TCP"
    )


def _problems(manifest: EndpointSlice) -> Mapping[ProblemKey, Problem]:
    if manifest.address_type == "FQDN":
        return {}
    problems = [
        Problem(
            severity=Severity.ERROR,
            code="endpoint-slice.invalid-address",
            message=f"{text!r} is not an IP address; the endpoint is not used",
            object=manifest.reference,
            field=f"endpoints[{position}].addresses[{place}]",
        )
        for position, endpoint in enumerate(manifest.endpoints)
        if endpoint.target is None or endpoint.target.kind != "Pod"
        for place, text in enumerate(endpoint.addresses)
        if address_from_text(text) is None
    ]
    return {problem_key(problem): problem for problem in problems}
