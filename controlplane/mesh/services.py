"""Kubernetes Services as candidates for hostnames.

Services of the mesh come in, one candidate each goes out to ``hostnames``; those that cannot be
used become Problems. docs/protocol/services.md, SV-1 to SV-6.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Service as ServiceManifest
from controlplane.mesh.app_protocols import service_port_protocol
from controlplane.mesh.backends import Backend, BackendPort, Origin
from controlplane.mesh.binding import ServiceSubject
from controlplane.mesh.candidates import Candidate, CandidateKey
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.networks import Networks
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.traffic_distribution import (
    Distribution,
    own_distribution,
    service_load_balancing,
)
from controlplane.mesh.waypoint_ports import served_service_ports
from controlplane.model.names import Name, ServiceName
from controlplane.model.network import NetworkAddress, address_from_text
from controlplane.model.problem import Problem, Severity
from controlplane.model.service import IPFamilies, Service
from controlplane.model.workload import Port

_FAMILIES: Final = {"IPv4": IPFamilies.IPV4_ONLY, "IPv6": IPFamilies.IPV6_ONLY}


def build_service_candidates(
    graph: Graph,
    membership: Membership,
    networks: Networks,
    distributions: Collection[Name, Distribution],
    settings: MeshSettings,
) -> Collection[CandidateKey, Candidate]:
    """Declare the candidates that Services make."""

    def rule(fetch: Fetch, manifest: ServiceManifest) -> Mapping[CandidateKey, Candidate]:
        if manifest.type == "ExternalName":
            return {}
        distribution = own_distribution(manifest) or fetch.one(
            distributions, Name("", manifest.metadata.namespace)
        )
        candidate = service_candidate(
            manifest,
            network=networks.local(fetch),
            distribution=distribution or Distribution.ANY,
            domain_suffix=settings.domain_suffix,
        )
        return {} if candidate is None else {candidate.key: candidate}

    return graph.derive_many("service candidates", membership.services, rule)


def build_service_problems(graph: Graph, membership: Membership) -> Collection[ProblemKey, Problem]:
    """Declare what is wrong with Services."""
    return graph.derive_many(
        "service problems", membership.services, lambda _, manifest: service_problems(manifest)
    )


def service_candidate(
    manifest: ServiceManifest, *, network: str, distribution: Distribution, domain_suffix: str
) -> Candidate | None:
    """Return the candidate of a Service, None when one of its cluster IPs is no address."""
    metadata = manifest.metadata
    addresses: list[NetworkAddress] = []
    for _, text in _written_addresses(manifest):
        address = address_from_text(text)
        if address is None:
            return None
        addresses.append(NetworkAddress(network, address))
    hostname = service_hostname(metadata.name, metadata.namespace, domain_suffix)
    service = Service(
        name=metadata.name,
        namespace=metadata.namespace,
        hostname=hostname,
        addresses=tuple(addresses),
        ports=tuple(
            Port(port.port, port.target_port, service_port_protocol(port))
            for port in manifest.ports
        ),
        load_balancing=service_load_balancing(manifest, distribution),
        ip_families=_ip_families(manifest.ip_families),
    )
    backend = Backend(
        key=ServiceName(metadata.namespace, hostname),
        origin=Origin.SERVICE,
        owner=manifest.key,
        selector=frozenset(manifest.selector.items()) or None,
        ports=tuple(
            BackendPort(port.port, port.name, port.target_port, port.target_port_name)
            for port in manifest.ports
        ),
        accepts_unready=manifest.publish_not_ready_addresses,
    )
    return Candidate(
        created=metadata.created,
        service=service,
        backend=backend,
        subject=ServiceSubject.of(manifest),
        served_ports=served_service_ports(manifest.ports),
    )


def service_hostname(name: str, namespace: str, domain_suffix: str) -> str:
    """Return the name under which a Service is resolved in the whole mesh."""
    return f"{name}.{namespace}.svc.{domain_suffix}"


def service_problems(manifest: ServiceManifest) -> Mapping[ProblemKey, Problem]:
    """Return what keeps a Service from being published."""
    if manifest.type == "ExternalName":
        return {}
    problems = [
        Problem(
            severity=Severity.ERROR,
            code="service.invalid-cluster-ip",
            message=f"{text!r} is not an IP address; the Service is not published",
            object=manifest.reference,
            field=f"spec.clusterIPs[{position}]",
        )
        for position, text in _written_addresses(manifest)
        if address_from_text(text) is None
    ]
    return {problem_key(problem): problem for problem in problems}


def _written_addresses(manifest: ServiceManifest) -> Iterator[tuple[int, str]]:
    for position, text in enumerate(manifest.cluster_ips):
        if text not in {"", "None"}:
            yield position, text


def _ip_families(families: tuple[str, ...]) -> IPFamilies:
    match families:
        case ():
            return IPFamilies.AUTOMATIC
        case (family,):
            return _FAMILIES.get(family, IPFamilies.AUTOMATIC)
        case _:
            return IPFamilies.DUAL
