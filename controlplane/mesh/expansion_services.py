"""Cluster addresses for Services that have none.

Services come in, the same Services with an address go out, and a Problem for each whose address
belongs to another. Source: docs/protocol/expansion.md EX-30 to EX-32.
"""

from dataclasses import dataclass

import msgspec

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Service
from controlplane.mesh.expansion_addresses import AddressRange
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.model.names import Name
from controlplane.model.network import address_from_text, text_from_address
from controlplane.model.problem import Problem, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressedServices:
    """The Services with their addresses, and those that found none."""

    services: Collection[Name, Service]
    problems: Collection[ProblemKey, Problem]


def build_addressed_services(
    graph: Graph, services: Collection[Name, Service], addresses: AddressRange
) -> AddressedServices:
    """Register ``services`` on ``graph`` with cluster addresses."""
    claimed = services.index("claimed address", lambda service: _claims(service, addresses))

    def holder(fetch: Fetch, service: Service) -> Service:
        claimants = fetch.where(claimed, addresses.address(str(service.key)))
        stated = (claimant for claimant in claimants if not wants_address(claimant))
        return next(stated, claimants[0])

    def give(fetch: Fetch, service: Service) -> Service:
        if not wants_address(service) or holder(fetch, service).key != service.key:
            return service
        address = text_from_address(addresses.address(str(service.key)))
        return msgspec.structs.replace(service, cluster_ips=(address,))

    def refuse(fetch: Fetch, service: Service) -> dict[ProblemKey, Problem]:
        if not wants_address(service):
            return {}
        kept_by = holder(fetch, service)
        if kept_by.key == service.key:
            return {}
        address = text_from_address(addresses.address(str(service.key)))
        problem = Problem(
            severity=Severity.ERROR,
            code="expansion.address-collision",
            message=f"its address {address} is kept by {kept_by.reference}: it has none",
            object=service.reference,
            field="spec.clusterIP",
        )
        return {problem_key(problem): problem}

    return AddressedServices(
        services=graph.derive("addressed services", services, give),
        problems=graph.derive_many("service address problems", services, refuse),
    )


def wants_address(service: Service) -> bool:
    """Return whether a cluster would have given the Service an address."""
    return service.type != "ExternalName" and not any(service.cluster_ips)


def _claims(service: Service, addresses: AddressRange) -> tuple[bytes, ...]:
    if wants_address(service):
        return (addresses.address(str(service.key)),)
    packed = (address_from_text(text) for text in service.cluster_ips)
    return tuple(address for address in packed if address is not None)
