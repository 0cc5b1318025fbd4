"""ServiceEntries as candidates for hostnames: one for each of their hosts.

ServiceEntries of the mesh come in, candidates go out to ``hostnames``; entries and addresses that
cannot be used become Problems. docs/protocol/services.md, SV-16 to SV-22.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.istio import ServiceEntry
from controlplane.mesh.app_protocols import entry_port_protocol
from controlplane.mesh.backends import Backend, BackendPort, Origin
from controlplane.mesh.binding import ServiceSubject
from controlplane.mesh.candidates import Candidate, CandidateKey
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.networks import Networks
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.traffic_distribution import (
    PASSTHROUGH,
    Distribution,
    annotated_distribution,
    distribution_load_balancing,
)
from controlplane.mesh.visibility import EntryVisibilities, EntryVisibility
from controlplane.mesh.waypoint_ports import served_entry_ports
from controlplane.model.names import Name, ServiceName
from controlplane.model.network import NetworkAddress, address_from_text, masked, prefix_from_text
from controlplane.model.problem import Problem, Severity
from controlplane.model.service import Service, Visibility
from controlplane.model.workload import Port

ALLOCATION_LABEL: Final = "networking.istio.io/enable-autoallocate-ip"


class EntryFacts(NamedTuple):
    """What the surroundings decide about a ServiceEntry."""

    network: str
    distribution: Distribution
    visibility: Visibility
    allocates_addresses: bool


def build_entry_candidates(
    graph: Graph,
    membership: Membership,
    networks: Networks,
    distributions: Collection[Name, Distribution],
    visibilities: EntryVisibilities,
    settings: MeshSettings,
) -> Collection[CandidateKey, Candidate]:
    """Declare the candidates that ServiceEntries make."""

    def rule(fetch: Fetch, entry: ServiceEntry) -> Mapping[CandidateKey, Candidate]:
        namespace = entry.metadata.namespace
        visibility = visibilities.of(fetch, namespace)
        if visibility is EntryVisibility.HIDDEN:
            return {}
        distribution = annotated_distribution(entry.metadata.annotations) or fetch.one(
            distributions, Name("", namespace)
        )
        facts = EntryFacts(
            network=networks.local(fetch),
            distribution=distribution or Distribution.ANY,
            visibility=visibility.sent,
            allocates_addresses=settings.allocates_addresses,
        )
        return {candidate.key: candidate for candidate in entry_candidates(entry, facts)}

    return graph.derive_many("service entry candidates", membership.service_entries, rule)


def build_entry_problems(graph: Graph, membership: Membership) -> Collection[ProblemKey, Problem]:
    """Declare what is wrong with the addresses of ServiceEntries."""
    return graph.derive_many(
        "service entry problems", membership.service_entries, lambda _, entry: entry_problems(entry)
    )


def entry_candidates(entry: ServiceEntry, facts: EntryFacts) -> tuple[Candidate, ...]:
    """Return one candidate per distinct host; none when any address of the entry is unusable."""
    given = _given_addresses(entry.addresses, facts.network)
    if given is None:
        return ()
    return tuple(
        _candidate(entry, facts, host, given or _allocated_addresses(entry, facts, host))
        for host in dict.fromkeys(entry.hosts)
    )


def wants_allocation(entry: ServiceEntry, host: str) -> bool:
    """Return whether ``host`` of ``entry`` is to have addresses allocated for it."""
    opted_out = entry.metadata.labels.get(ALLOCATION_LABEL, "").lower() == "false"
    if entry.addresses or entry.resolution == "NONE" or opted_out:
        return False
    return not host.startswith("*") or entry.resolution == "DYNAMIC_DNS"


def entry_problems(entry: ServiceEntry) -> Mapping[ProblemKey, Problem]:
    """Return the addresses of an entry that keep it from being published."""
    problems = [
        Problem(
            severity=Severity.ERROR,
            code="service-entry.invalid-address",
            message=f"{text!r} is neither an IP address nor a CIDR; the entry is not published",
            object=entry.reference,
            field=f"spec.addresses[{position}]",
        )
        for position, text in enumerate(entry.addresses)
        if _network_address(text, "") is None
    ]
    problems.extend(
        Problem(
            severity=Severity.WARNING,
            code="service-entry.invalid-allocated-address",
            message=f"{allocated.value!r} is not an IP address",
            object=entry.reference,
            field=f"status.addresses[{position}]",
        )
        for position, allocated in enumerate(entry.status_addresses)
        if address_from_text(allocated.value) is None
    )
    return {problem_key(problem): problem for problem in problems}


def _candidate(
    entry: ServiceEntry, facts: EntryFacts, host: str, addresses: tuple[NetworkAddress, ...]
) -> Candidate:
    metadata = entry.metadata
    service = Service(
        name=metadata.name,
        namespace=metadata.namespace,
        hostname=host,
        addresses=addresses,
        ports=tuple(
            Port(port.number, port.target_port or port.number, entry_port_protocol(port.protocol))
            for port in entry.ports
        ),
        subject_alt_names=entry.subject_alt_names,
        load_balancing=PASSTHROUGH
        if entry.resolution == "NONE"
        else distribution_load_balancing(facts.distribution),
        visibility=facts.visibility,
    )
    backend = Backend(
        key=ServiceName(metadata.namespace, host),
        origin=Origin.SERVICE_ENTRY,
        owner=entry.key,
        selector=frozenset((entry.workload_selector or {}).items()) or None,
        ports=tuple(BackendPort(port.number, port.name, port.target_port) for port in entry.ports),
        accepts_unready=entry.resolution == "NONE",
    )
    return Candidate(
        created=metadata.created,
        service=service,
        backend=backend,
        subject=ServiceSubject.of(entry, facts.visibility),
        field=f"spec.hosts[{entry.hosts.index(host)}]",
        served_ports=served_entry_ports(entry.ports),
    )


def _given_addresses(texts: Iterable[str], network: str) -> tuple[NetworkAddress, ...] | None:
    addresses: list[NetworkAddress] = []
    for text in texts:
        address = _network_address(text, network)
        if address is None:
            return None
        addresses.append(address)
    return tuple(addresses)


def _network_address(text: str, network: str) -> NetworkAddress | None:
    host = address_from_text(text)
    if host is not None:
        return NetworkAddress(network, host)
    prefix = prefix_from_text(text)
    if prefix is None:
        return None
    address, length = prefix
    if length == len(address) * 8:
        return NetworkAddress(network, address)
    return NetworkAddress(network, masked(address, length), length)


def _allocated_addresses(
    entry: ServiceEntry, facts: EntryFacts, host: str
) -> tuple[NetworkAddress, ...]:
    if not facts.allocates_addresses or not wants_allocation(entry, host):
        return ()
    texts = (allocated.value for allocated in entry.status_addresses if allocated.host == host)
    addresses = (address_from_text(text) for text in texts)
    return tuple(NetworkAddress(facts.network, packed) for packed in addresses if packed)
