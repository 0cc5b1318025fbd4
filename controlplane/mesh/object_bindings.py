"""The waypoint bindings of objects, as far as users are told about them, and what they miss.

Services, ServiceEntries and WorkloadEntries of the mesh come in; their bindings go out, to
``service_conditions``, and a Problem for each wish that is not in force. Source:
docs/protocol/waypoints.md WP-41, WP-59.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Namespace, Service
from controlplane.manifests.istio import ServiceEntry, WorkloadEntry
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.binding import (
    Refusal,
    ServiceBinding,
    ServiceSubject,
    WorkloadBinding,
    bind_service,
    bind_workload,
)
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.visibility import EntryVisibilities, EntryVisibility
from controlplane.mesh.waypoints import Waypoints
from controlplane.mesh.wishes import INGRESS_USE_WAYPOINT, USE_CANARY, USE_WAYPOINT, ingress_wish
from controlplane.model.names import Name
from controlplane.model.problem import Problem, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectBindings:
    """Bindings by object, winner of its hostname or not; none for objects that nobody sees."""

    services: Collection[Name, ServiceBinding]
    service_entries: Collection[Name, ServiceBinding]
    workload_entries: Collection[Name, WorkloadBinding]


def build_object_bindings(
    graph: Graph, membership: Membership, waypoints: Waypoints, visibilities: EntryVisibilities
) -> ObjectBindings:
    """Register the bindings on ``graph``."""

    def bind(fetch: Fetch, service: Service) -> ServiceBinding | None:
        if service.type == "ExternalName":
            return None
        return bind_service(fetch, waypoints, ServiceSubject.of(service))

    def bind_entry(fetch: Fetch, entry: ServiceEntry) -> ServiceBinding | None:
        visibility = visibilities.of(fetch, entry.metadata.namespace)
        if visibility is EntryVisibility.HIDDEN:
            return None
        return bind_service(fetch, waypoints, ServiceSubject.of(entry, visibility.sent))

    def bind_machine(fetch: Fetch, entry: WorkloadEntry) -> WorkloadBinding:
        metadata = entry.metadata
        labels = {**entry.spec.labels, **metadata.labels}
        return bind_workload(fetch, waypoints, metadata.namespace, labels)

    return ObjectBindings(
        services=graph.derive("bindings of services", membership.services, bind),
        service_entries=graph.derive("bindings of entries", membership.service_entries, bind_entry),
        workload_entries=graph.derive(
            "bindings of machines", membership.workload_entries, bind_machine
        ),
    )


def build_binding_problems(
    graph: Graph, membership: Membership, bindings: ObjectBindings
) -> Collection[ProblemKey, Problem]:
    """Register what of the wishes of objects and namespaces is not in force on ``graph``."""

    def of_service(fetch: Fetch, service: Service) -> Mapping[ProblemKey, Problem]:
        return _by_key(_service_problems(service, fetch.one(bindings.services, service.key)))

    def of_entry(fetch: Fetch, entry: ServiceEntry) -> Mapping[ProblemKey, Problem]:
        return _by_key(_service_problems(entry, fetch.one(bindings.service_entries, entry.key)))

    def of_machine(fetch: Fetch, entry: WorkloadEntry) -> Mapping[ProblemKey, Problem]:
        binding = fetch.one(bindings.workload_entries, entry.key)
        return _by_key(_refused(entry, None if binding is None else binding.refusal))

    def of_namespace(_: Fetch, namespace: Namespace) -> Mapping[ProblemKey, Problem]:
        return _by_key(_unreadable(namespace))

    return graph.union(
        "binding problems",
        graph.derive_many("service binding problems", membership.services, of_service),
        graph.derive_many("entry binding problems", membership.service_entries, of_entry),
        graph.derive_many("machine binding problems", membership.workload_entries, of_machine),
        graph.derive_many("namespace binding problems", membership.namespaces, of_namespace),
    )


def _service_problems(
    manifest: Service | ServiceEntry, binding: ServiceBinding | None
) -> Iterator[Problem]:
    if binding is None:
        return
    yield from _refused(manifest, binding.refusal)
    if binding.canary_refusal is not None:
        message = binding.canary_refusal.message
        yield _problem(manifest, "waypoint.canary-refused", message, USE_CANARY)
    yield from _unreadable(manifest)


def _refused(manifest: Manifest, refusal: Refusal | None) -> Iterator[Problem]:
    if refusal is not None:
        yield _problem(manifest, "waypoint.refused", refusal.message, USE_WAYPOINT)


def _unreadable(manifest: Manifest) -> Iterator[Problem]:
    wish = ingress_wish(manifest.metadata.labels)
    if wish is not None and not wish.readable:
        value = manifest.metadata.labels[INGRESS_USE_WAYPOINT]
        message = f'"{value}" is neither true nor false: ingress traffic bypasses the waypoint'
        yield _problem(manifest, "waypoint.unreadable-ingress-label", message, INGRESS_USE_WAYPOINT)


def _problem(manifest: Manifest, code: str, message: str, label: str) -> Problem:
    return Problem(
        severity=Severity.ERROR,
        code=code,
        message=message,
        object=manifest.reference,
        field=f"metadata.labels[{label}]",
    )


def _by_key(problems: Iterator[Problem]) -> Mapping[ProblemKey, Problem]:
    return {problem_key(problem): problem for problem in problems}
