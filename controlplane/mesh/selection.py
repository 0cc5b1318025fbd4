"""What labels alone decide about a workload, worked out once per distinct set of labels.

Label sets of pods and WorkloadEntries come in, one ``Selection`` each goes out to the rules that
make workloads, which read it with a single look-up. docs/protocol/workloads.md, WL-20 to WL-22.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Pod
from controlplane.manifests.istio import WorkloadEntry
from controlplane.mesh.backends import (
    Backend,
    Joined,
    Origin,
    is_same_on_every_pod,
    pod_ports,
    unready_services,
)
from controlplane.mesh.binding import ServiceBinding, WorkloadBinding, bind_workload
from controlplane.mesh.label_sets import LabelSet, label_set
from controlplane.mesh.parts import Parts
from controlplane.mesh.policies import Policies, policies_of, waypoint_policies_of
from controlplane.mesh.selectors import Selectors, build_selectors
from controlplane.model.names import Name, ServiceName
from controlplane.model.workload import GatewayAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What all workloads of one kind with one set of labels have in common.

    ``backends`` are the services that select them, sorted by key, ``waypoint_policies`` those that
    let the waypoints of all of these in. ``pod_services`` is what pods
    list when it does not depend on the ports they declare, else None. ``served_by`` is the waypoint
    of ``binding``, or the one it will be once that is ready.
    """

    backends: tuple[Backend, ...]
    pod_services: tuple[Joined, ...] | None
    unready_services: tuple[ServiceName, ...]
    authorization_policies: tuple[Name, ...]
    waypoint_policies: tuple[Name, ...]
    binding: WorkloadBinding
    served_by: Name | None
    network: str
    network_gateway: GatewayAddress | None
    trust_domain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaypointPolicies:
    """The policies that let waypoints reach workloads; most services have none."""

    policies: Policies
    of_services: Collection[ServiceName, tuple[Name, ...]]

    def of(
        self, fetch: Fetch, waypoint: Name | None, services: Iterable[ServiceName]
    ) -> tuple[Name, ...]:
        """Return those a workload lists: of its own waypoint and of its services' waypoints."""
        own = () if waypoint is None else waypoint_policies_of(fetch, self.policies, (waypoint,))
        return self.joined(fetch, own, services)

    def joined(
        self, fetch: Fetch, own: tuple[Name, ...], services: Iterable[ServiceName]
    ) -> tuple[Name, ...]:
        """Return ``own`` and those of ``services``, sorted."""
        found = (fetch.one(self.of_services, name) for name in services)
        return tuple(sorted({*own, *(name for names in found for name in names or ())}, key=str))


@dataclass(frozen=True, slots=True, kw_only=True)
class Selections:
    """Selections by label set; label sets outside the mesh have none."""

    of_pods: Collection[LabelSet, Selection]
    of_entries: Collection[LabelSet, Selection]
    waypoint_policies: WaypointPolicies


def build_selections(graph: Graph, parts: Parts) -> Selections:
    """Declare the selections on ``graph``."""
    settings = parts.settings
    pods = graph.distinct(
        "label sets of pods", parts.manifests.pods.index("pods by labels", _labels_of_pod)
    )
    entries = graph.distinct(
        "label sets of workload entries",
        parts.membership.workload_entries.index("workload entries by labels", _labels_of_entry),
    )
    selectors = build_selectors(graph, "backends", parts.services.backends)
    waypoint_policies = WaypointPolicies(
        policies=parts.policies,
        of_services=graph.derive(
            "waypoint policies of services", parts.services.bindings, _letting_in(parts.policies)
        ),
    )
    select_pod = _selecting(
        parts,
        selectors,
        waypoint_policies,
        _origins(Origin.SERVICE_ENTRY, enabled=settings.service_entries_select_pods),
    )
    select_entry = _selecting(
        parts,
        selectors,
        waypoint_policies,
        _origins(Origin.SERVICE, enabled=settings.services_select_workload_entries),
    )
    return Selections(
        of_pods=graph.derive("pod selections", pods, select_pod),
        of_entries=graph.derive("workload entry selections", entries, select_entry),
        waypoint_policies=waypoint_policies,
    )


def _selecting(
    parts: Parts,
    selectors: Selectors[Backend],
    waypoint_policies: WaypointPolicies,
    origins: frozenset[Origin],
) -> Callable[[Fetch, LabelSet], Selection | None]:
    """Return the rule that finds what selects a label set, among backends of ``origins``."""
    networks, membership = parts.networks, parts.membership
    expected = parts.waypoints.as_expected()

    def select(fetch: Fetch, key: LabelSet) -> Selection | None:
        namespace = key.namespace
        if not membership.includes(fetch, namespace):
            return None
        labels = dict(key.labels)
        found = selectors.select(fetch, namespace, labels)
        backends = tuple(backend for backend in found if backend.origin in origins)
        network = networks.local(fetch)
        binding = bind_workload(fetch, parts.waypoints, namespace, labels)
        return Selection(
            backends=backends,
            pod_services=_shared_services(backends),
            unready_services=unready_services(backends),
            authorization_policies=policies_of(fetch, parts.policies, namespace, labels),
            waypoint_policies=waypoint_policies.of(
                fetch, binding.key, (backend.key for backend in backends)
            ),
            binding=binding,
            served_by=bind_workload(fetch, expected, namespace, labels).key,
            network=network,
            network_gateway=networks.gateway(fetch, network),
            trust_domain=membership.trust_domain(fetch),
        )

    return select


def merged_labels(entry: WorkloadEntry) -> Mapping[str, str]:
    """Return the labels of a WorkloadEntry: those of its metadata win over those of its spec."""
    return entry.spec.labels | entry.metadata.labels if entry.spec.labels else entry.metadata.labels


def _labels_of_pod(pod: Pod) -> tuple[LabelSet]:
    return (label_set(pod.metadata.namespace, pod.metadata.labels),)


def _labels_of_entry(entry: WorkloadEntry) -> tuple[LabelSet]:
    return (label_set(entry.metadata.namespace, merged_labels(entry)),)


def _origins(optional: Origin, *, enabled: bool) -> frozenset[Origin]:
    return frozenset(Origin) if enabled else frozenset(Origin) - {optional}


def _shared_services(backends: tuple[Backend, ...]) -> tuple[Joined, ...] | None:
    if not all(is_same_on_every_pod(backend) for backend in backends):
        return None
    return tuple((backend.key, pod_ports(backend, ())) for backend in backends)


def _letting_in(policies: Policies) -> Callable[[Fetch, ServiceBinding], tuple[Name, ...] | None]:
    """Return the rule that finds the policies which let the waypoints of a service in."""

    def rule(fetch: Fetch, binding: ServiceBinding) -> tuple[Name, ...] | None:
        waypoints = [key for key in (binding.key, binding.canary) if key is not None]
        return waypoint_policies_of(fetch, policies, waypoints) or None

    return rule
