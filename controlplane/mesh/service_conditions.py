"""What Services, ServiceEntries and WorkloadEntries are told about their waypoints.

The objects of the mesh and their bindings come in; one set of conditions per object goes out, for
status and ``snapshot``, and Problems for wishes that are not in force. Source:
docs/protocol/waypoints.md WP-50 to WP-59.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Service
from controlplane.manifests.istio import ServiceEntry, WorkloadEntry
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.binding import Refusal, ServiceBinding, WorkloadBinding
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.object_bindings import build_binding_problems, build_object_bindings
from controlplane.mesh.problems import ProblemKey
from controlplane.mesh.visibility import EntryVisibilities, EntryVisibility
from controlplane.mesh.waypoints import Waypoints
from controlplane.mesh.wishes import INGRESS_USE_WAYPOINT
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Condition, Problem

WAYPOINT_BOUND: Final = "istio.io/WaypointBound"
WAYPOINT_MISSING: Final = "istio.io/WaypointMissing"
VISIBILITY_APPLIED: Final = "istio.io/VisibilityApplied"
SERVICE_MANAGER: Final = "istio-ambient-service"
WORKLOAD_ENTRY_MANAGER: Final = "istio-ambient-workloadentry"

_CONNECT_STRATEGY: Final = "istio.io/connect-strategy"
_RACING: Final = "RACE_FIRST_TCP_CONNECT"

ConditionKey = tuple[ObjectReference, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConditions:
    """Conditions by object and type, and what of the wishes is not in force."""

    conditions: Collection[ConditionKey, Condition]
    problems: Collection[ProblemKey, Problem]


def build_service_conditions(
    graph: Graph, membership: Membership, waypoints: Waypoints, visibilities: EntryVisibilities
) -> ServiceConditions:
    """Register the conditions of everything that a waypoint may serve on ``graph``."""
    bindings = build_object_bindings(graph, membership, waypoints, visibilities)

    def of_service(fetch: Fetch, service: Service) -> Mapping[ConditionKey, Condition]:
        binding = fetch.one(bindings.services, service.key)
        return {} if binding is None else _by_key(service_conditions(service, binding))

    def of_entry(fetch: Fetch, entry: ServiceEntry) -> Mapping[ConditionKey, Condition]:
        binding = fetch.one(bindings.service_entries, entry.key)
        if binding is None:
            return {}
        applied = None
        if visibilities.is_configured(fetch):
            applied = visibilities.of(fetch, entry.metadata.namespace)
        return _by_key(entry_conditions(entry, binding, applied))

    def of_machine(fetch: Fetch, entry: WorkloadEntry) -> Mapping[ConditionKey, Condition]:
        binding = fetch.one(bindings.workload_entries, entry.key) or WorkloadBinding()
        return _by_key(_bound(entry, WORKLOAD_ENTRY_MANAGER, binding.key, binding.refusal))

    return ServiceConditions(
        conditions=graph.union(
            "waypoint conditions",
            graph.derive_many("service conditions", membership.services, of_service),
            graph.derive_many("entry conditions", membership.service_entries, of_entry),
            graph.derive_many("machine conditions", membership.workload_entries, of_machine),
        ),
        problems=build_binding_problems(graph, membership, bindings),
    )


def service_conditions(
    manifest: Service | ServiceEntry, binding: ServiceBinding
) -> Iterator[Condition]:
    """Yield what a Service or ServiceEntry is told about its waypoint; nothing if it wants none."""
    suffix = ""
    if binding.ingress:
        suffix += ". Ingress traffic will traverse the waypoint"
    elif binding.ingress_label_present:
        suffix += (
            ". Ingress traffic is not using the waypoint, set the "
            f"{INGRESS_USE_WAYPOINT} label to true if desired."
        )
    if binding.canary_refusal is not None:
        suffix += f". Canary waypoint not attached: {binding.canary_refusal.message}"
    yield from _bound(manifest, SERVICE_MANAGER, binding.key, binding.refusal, suffix)


def entry_conditions(
    entry: ServiceEntry, binding: ServiceBinding, applied: EntryVisibility | None
) -> Iterator[Condition]:
    """Yield all conditions of a ServiceEntry; ``applied`` is None where nobody decides it."""
    yield from service_conditions(entry, binding)
    if binding.key is None:
        yield from _missing(entry)
    if applied is EntryVisibility.PUBLIC:
        message = "ServiceEntry is visible to the entire mesh (PUBLIC)."
        yield _told(entry, VISIBILITY_APPLIED, "Public", message)
    elif applied is EntryVisibility.NAMESPACE:
        message = (
            "ServiceEntry is visible only within its own namespace (NAMESPACE), per mesh "
            "serviceEntryVisibility."
        )
        yield _told(entry, VISIBILITY_APPLIED, "Namespace", message)


def _missing(entry: ServiceEntry) -> Iterator[Condition]:
    """Yield that the entry asks for what only a waypoint can do; racing is named first."""
    if entry.metadata.annotations.get(_CONNECT_STRATEGY) == _RACING:
        message = (
            "ServiceEntry has a non-default connect strategy but no waypoint bound. A waypoint "
            "is required for connect strategies to take effect for ambient clients."
        )
        yield _told(entry, WAYPOINT_MISSING, "NoWaypointForRacingConnectStrategy", message)
    elif any(host.startswith("*") for host in entry.hosts):
        message = "ServiceEntry will not apply until it is bound to a valid waypoint."
        yield _told(entry, WAYPOINT_MISSING, "NoWaypointForWildcardService", message)


def _bound(
    manifest: Manifest, manager: str, key: Name | None, refusal: Refusal | None, suffix: str = ""
) -> Iterator[Condition]:
    if key is None and refusal is None:
        return
    attached = f"Successfully attached to waypoint {key}{suffix}"
    yield Condition(
        object=manifest.reference,
        type=WAYPOINT_BOUND,
        status=refusal is None,
        reason="WaypointAccepted" if refusal is None else refusal.reason,
        message=attached if refusal is None else refusal.message,
        manager=manager,
        observed_generation=manifest.metadata.generation,
    )


def _told(entry: ServiceEntry, kind: str, reason: str, message: str) -> Condition:
    return Condition(
        object=entry.reference,
        type=kind,
        status=True,
        reason=reason,
        message=message,
        manager=SERVICE_MANAGER,
        observed_generation=entry.metadata.generation,
    )


def _by_key(conditions: Iterator[Condition]) -> Mapping[ConditionKey, Condition]:
    return {(condition.object, condition.type): condition for condition in conditions}
