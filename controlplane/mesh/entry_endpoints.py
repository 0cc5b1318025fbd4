"""The endpoints of ServiceEntries as workloads.

ServiceEntries come in; each endpoint, or each host that is resolved by name, goes out as one
workload of the hosts that the entry answers for. docs/protocol/workloads.md, WL-50 to WL-55.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.istio import ServiceEntry, WorkloadSpec
from controlplane.mesh.backends import Backend, Origin
from controlplane.mesh.binding import WorkloadBinding, bind_workload
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.outside_workloads import (
    Identity,
    Placement,
    outside_workload,
)
from controlplane.mesh.parts import Parts
from controlplane.mesh.policies import policies_of
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.selection import Selections
from controlplane.model.names import ServiceName
from controlplane.model.problem import Problem, Severity
from controlplane.model.workload import Workload

_RESOLVED_BY_NAME: Final = frozenset({"DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"})


class ServedEndpoint(NamedTuple):
    """One endpoint and the hosts it serves; an implicit one is a host's own name."""

    spec: WorkloadSpec
    backends: tuple[Backend, ...]
    is_implicit: bool


def build_entry_endpoints(
    graph: Graph, parts: Parts, selections: Selections
) -> Collection[str, Workload]:
    """Declare the workloads of ServiceEntry endpoints, by uid."""
    membership, networks, cluster_id = parts.membership, parts.networks, parts.settings.cluster_id
    expected = parts.waypoints.as_expected()

    def rule(fetch: Fetch, entry: ServiceEntry) -> Mapping[str, Workload]:
        surviving = _surviving(fetch, parts, entry)
        if not surviving:
            return {}
        namespace = entry.metadata.namespace
        listed = policies_of(fetch, parts.policies, namespace, entry.metadata.labels)
        local = networks.local(fetch)
        workloads: dict[str, Workload] = {}
        for endpoint in served_endpoints(entry, surviving):
            spec = endpoint.spec
            identity = endpoint_identity(entry, spec, cluster_id)
            if identity.uid in workloads:
                continue
            binding = (
                WorkloadBinding()
                if endpoint.is_implicit
                else bind_workload(fetch, parts.waypoints, namespace, spec.labels)
            )
            network = spec.network or local
            served_by = (
                None
                if endpoint.is_implicit
                else bind_workload(fetch, expected, namespace, spec.labels).key
            )
            let_in = selections.waypoint_policies.of(
                fetch, binding.key, (backend.key for backend in endpoint.backends)
            )
            placement = Placement(
                network=network,
                network_gateway=networks.gateway(fetch, network),
                trust_domain=membership.trust_domain(fetch),
                cluster_id=cluster_id,
                backends=endpoint.backends,
                policies=(*listed, *let_in),
                binding=binding,
                served_by=served_by,
            )
            workloads[identity.uid] = outside_workload(identity, spec, placement)
        return workloads

    return graph.derive_many("service entry workloads", membership.service_entries, rule)


def build_endpoint_problems(
    graph: Graph, membership: Membership
) -> Collection[ProblemKey, Problem]:
    """Declare what is wrong with ServiceEntry endpoints."""
    return graph.derive_many(
        "service entry endpoint problems",
        membership.service_entries,
        lambda _, entry: _problems(entry),
    )


def served_endpoints(
    entry: ServiceEntry, surviving: tuple[Backend, ...]
) -> tuple[ServedEndpoint, ...]:
    """Return the endpoints of an entry whose ``surviving`` hosts are published."""
    if entry.endpoints:
        return tuple(ServedEndpoint(spec, surviving, is_implicit=False) for spec in entry.endpoints)
    if entry.resolution not in _RESOLVED_BY_NAME or entry.workload_selector is not None:
        return ()
    return tuple(
        ServedEndpoint(WorkloadSpec(address=backend.key.hostname), (backend,), is_implicit=True)
        for backend in surviving
    )


def endpoint_identity(entry: ServiceEntry, spec: WorkloadSpec, cluster_id: str) -> Identity:
    """Return who an endpoint is: it goes by the labels of its ServiceEntry, not its own."""
    namespace, name = entry.key
    return Identity(
        uid=f"{cluster_id}/networking.istio.io/ServiceEntry/{namespace}/{name}/{spec.address}",
        name=name,
        namespace=namespace,
        workload_name=name,
        labels=entry.metadata.labels,
        annotations=entry.metadata.annotations,
    )


def _surviving(fetch: Fetch, parts: Parts, entry: ServiceEntry) -> tuple[Backend, ...]:
    """Return the hosts of ``entry`` that it answers for, sorted by name."""
    namespace = entry.metadata.namespace
    found = (
        fetch.one(parts.services.backends, ServiceName(namespace, host))
        for host in sorted(set(entry.hosts))
    )
    return tuple(
        backend
        for backend in found
        if backend is not None
        and backend.origin is Origin.SERVICE_ENTRY
        and backend.owner == entry.key
    )


def _problems(entry: ServiceEntry) -> Mapping[ProblemKey, Problem]:
    seen: set[str] = set()
    problems: list[Problem] = []
    for position, spec in enumerate(entry.endpoints):
        if spec.address in seen:
            problems.append(
                Problem(
                    severity=Severity.WARNING,
                    code="service-entry.duplicate-endpoint",
                    message=f"another endpoint has the address {spec.address!r}; the first is used",
                    object=entry.reference,
                    field=f"spec.endpoints[{position}].address",
                )
            )
        seen.add(spec.address)
    return {problem_key(problem): problem for problem in problems}
