"""Cluster addresses for Services that have none.

Services come in, the same Services with an address go out, and a Problem for each whose address
belongs to another. Source: docs/protocol/expansion.md EX-30 to EX-32.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Service
from controlplane.mesh.expansion_addresses import AddressRange
from controlplane.mesh.expansion_claims import build_address_claims
from controlplane.mesh.problems import ProblemKey
from controlplane.model.names import Name
from controlplane.model.network import text_from_address
from controlplane.model.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressedServices:
    """The Services with their addresses, and those that found none."""

    services: Collection[Name, Service]
    problems: Collection[ProblemKey, Problem]


def build_addressed_services(
    graph: Graph, services: Collection[Name, Service], addresses: AddressRange
) -> AddressedServices:
    """Register ``services`` on ``graph`` with cluster addresses."""
    claims = build_address_claims(services, addresses, _stated)

    def give(fetch: Fetch, service: Service) -> Service:
        if not wants_address(service) or not claims.is_kept(fetch, service):
            return service
        address = text_from_address(claims.address(service))
        return msgspec.structs.replace(service, cluster_ips=(address,))

    def refuse(fetch: Fetch, service: Service) -> Mapping[ProblemKey, Problem]:
        return claims.collision(fetch, service, outcome="it has none", field="spec.clusterIP")

    return AddressedServices(
        services=graph.derive("addressed services", services, give),
        problems=graph.derive_many("service address problems", services, refuse),
    )


def wants_address(service: Service) -> bool:
    """Return whether a cluster would have given the Service an address."""
    return service.type != "ExternalName" and not any(service.cluster_ips)


def _stated(service: Service) -> tuple[str, ...] | None:
    return None if wants_address(service) else service.cluster_ips
