"""What a node knows about a name or an address: services, DNS answers, workloads.

Everything is asked on behalf of a client workload, because services are shared by name and
address and may be hidden from other namespaces (docs/protocol/ztunnel.md ZT-60 to ZT-63).
``route`` continues with where a connection goes.
"""

from collections.abc import Iterable

from controlplane.lab.ztunnel.network import (
    GatewayAddress,
    IpAddress,
    NamespacedHostname,
    NetworkAddress,
)
from controlplane.lab.ztunnel.service import IpFamilies, Service
from controlplane.lab.ztunnel.state import MeshState
from controlplane.lab.ztunnel.workload import Workload

IPV4, IPV6 = 4, 6


def service_at(state: MeshState, namespace: str, address: NetworkAddress) -> Service | None:
    """Return the service a client of ``namespace`` reaches at the address, if it is one's.

    Services with exactly this address come first: the client's namespace, then the canonical one,
    then any. Otherwise blocks that hold it: the client's namespace, the longest, the canonical.
    """
    exact = _preferred(state.services.at(address), namespace)
    if exact is not None:
        return exact
    blocks = [
        (service.namespace == namespace, length, service.canonical, service)
        for length, service in state.services.around(address)
        if service.is_visible_in(namespace)
    ]
    best = max(blocks, key=lambda block: block[:3], default=None)
    return None if best is None else best[3]


def service_named(state: MeshState, namespace: str, hostname: str) -> Service | None:
    """Return the service a client of ``namespace`` means by a hostname.

    The exact name comes first, then wildcards of its parents, the nearest first.
    """
    labels = hostname.lower().rstrip(".").split(".")
    names = [".".join(labels), *("*." + ".".join(labels[cut:]) for cut in range(1, len(labels)))]
    for name in names:
        found = _preferred(state.services.with_hostname(name), namespace)
        if found is not None:
            return found
    return None


def dns_answer(
    state: MeshState, client: Workload, hostname: str, cluster_domain: str = "cluster.local"
) -> tuple[IpAddress, ...] | None:
    """Return the addresses a hostname resolves to for the client, None when it is not ours.

    Service addresses of the client's network; a service without any address is answered with its
    endpoints' addresses, and only under ``.svc.<cluster domain>``.
    """
    service = service_named(state, client.namespace, hostname)
    if service is None:
        return None
    if service.addresses:
        return tuple(
            address.address
            for address in service.addresses
            if isinstance(address, NetworkAddress) and address.network == client.network
        )
    if not service.hostname.endswith(f".svc.{cluster_domain}"):
        return None
    return tuple(
        address
        for workload in workloads_of(state, service)
        if workload.network == client.network
        for address in usable_addresses(workload, service)
    )


def workloads_of(state: MeshState, service: Service) -> tuple[Workload, ...]:
    """Return the held workloads behind a service, sorted by uid."""
    return tuple(
        state.workloads.by_uid[endpoint.uid]
        for endpoint in state.services.endpoints(service.key)
        if endpoint.uid in state.workloads.by_uid
    )


def usable_addresses(workload: Workload, service: Service | None) -> tuple[IpAddress, ...]:
    """Return the workload's addresses that the service's address families leave."""
    families = IpFamilies.AUTOMATIC if service is None else service.ip_families
    versions = {
        IpFamilies.IPV4_ONLY: (IPV4,),
        IpFamilies.IPV6_ONLY: (IPV6,),
    }.get(families, (IPV4, IPV6))
    return tuple(address for address in workload.addresses if address.version in versions)


def gateway(state: MeshState, address: GatewayAddress) -> Service | Workload | None:
    """Return what a waypoint or gateway address means: a service by exact key, else a workload.

    A hostname that is no service is looked for among the workloads of its namespace; an address
    among services' first, then workloads'.
    """
    destination = address.destination
    if isinstance(destination, NamespacedHostname):
        service = state.services.by_key.get(destination)
        return service or state.workloads.with_hostname(destination)
    service = _preferred(state.services.at(destination), "")
    return service or state.workloads.at(destination)


def _preferred(services: Iterable[Service], namespace: str) -> Service | None:
    visible = [service for service in services if service.is_visible_in(namespace)]
    return max(
        visible,
        key=lambda service: (service.namespace == namespace, service.canonical),
        default=None,
    )
