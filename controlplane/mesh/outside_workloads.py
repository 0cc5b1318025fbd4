"""Workloads that are no pods: reached by an address or hostname that somebody wrote down.

WorkloadEntries and the endpoints of ServiceEntries (``workload_entries``, ``entry_endpoints``)
come in as an identity, a spec and a placement; workloads go out.
docs/protocol/workloads.md, WL-40 to WL-44.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controlplane.manifests.istio import WorkloadSpec
from controlplane.mesh.backends import Backend, Joined, mapped_ports, unready_services
from controlplane.mesh.binding import WorkloadBinding
from controlplane.mesh.localities import written_locality
from controlplane.mesh.workload_names import (
    canonical_name,
    canonical_revision,
    speaks_http_tunnel,
    tunnel_protocol,
)
from controlplane.model.names import Name
from controlplane.model.network import address_from_text
from controlplane.model.workload import GatewayAddress, Workload, WorkloadType


class Identity(NamedTuple):
    """Who an outside workload is, whichever kind declares it."""

    uid: str
    name: str
    namespace: str
    workload_name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class Placement(NamedTuple):
    """Where an outside workload stands in the mesh."""

    network: str
    network_gateway: GatewayAddress | None
    trust_domain: str
    cluster_id: str
    backends: tuple[Backend, ...]
    policies: tuple[Name, ...]
    binding: WorkloadBinding
    served_by: Name | None = None


def outside_workload(identity: Identity, spec: WorkloadSpec, placement: Placement) -> Workload:
    """Return the workload of something that is reached by address or hostname."""
    address = address_from_text(spec.address)
    labels = identity.labels
    return Workload(
        uid=identity.uid,
        name=identity.name,
        namespace=identity.namespace,
        addresses=() if address is None else (address,),
        hostname=spec.address if address is None else "",
        network=placement.network,
        tunnel_protocol=tunnel_protocol(labels, identity.annotations),
        native_tunnel=speaks_http_tunnel(labels),
        trust_domain=placement.trust_domain,
        service_account=spec.service_account,
        waypoint=placement.binding.waypoint,
        network_gateway=placement.network_gateway,
        canonical_name=canonical_name(labels, identity.workload_name),
        canonical_revision=canonical_revision(labels),
        workload_type=WorkloadType.POD,
        workload_name=identity.workload_name,
        application_tunnel=placement.binding.application_tunnel,
        services=joined_services(placement.backends, spec),
        unready_services=unready_services(placement.backends),
        authorization_policies=placement.policies,
        cluster_id=placement.cluster_id,
        locality=written_locality(spec.locality),
        capacity=spec.weight if spec.weight > 0 else None,
        served_by=placement.served_by,
    )


def joined_services(backends: Iterable[Backend], spec: WorkloadSpec) -> tuple[Joined, ...]:
    """Return the services that an outside workload lists, in the order of ``backends``."""
    return tuple((backend.key, mapped_ports(backend, spec.ports)) for backend in backends)
