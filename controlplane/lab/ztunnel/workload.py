"""A workload as a ztunnel knows it, defaults applied (Source: istio.workload.Workload)."""

from dataclasses import dataclass
from enum import IntEnum

from controlplane.lab.ztunnel.network import (
    GatewayAddress,
    IpAddress,
    NamespacedHostname,
    NetworkAddress,
    PortMap,
)


class Tunnel(IntEnum):
    """How traffic reaches the workload; the number 2 of the wire is refused."""

    NONE = 0
    HBONE = 1


class NetworkMode(IntEnum):
    """Whether the workload has an address of its own or its node's."""

    STANDARD = 0
    HOST_NETWORK = 1


class WorkloadStatus(IntEnum):
    """Whether the workload takes traffic."""

    HEALTHY = 0
    UNHEALTHY = 1


class ApplicationProtocol(IntEnum):
    """What the application itself expects on its tunnel port."""

    NONE = 0
    PROXY = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationTunnel:
    """The application ends tunnels itself; ``port`` 0 means that it does so on any port."""

    protocol: ApplicationProtocol
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Locality:
    """Where the workload runs; "" is unknown."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One workload; ``services`` are sorted by key."""

    uid: str
    name: str
    namespace: str
    addresses: tuple[IpAddress, ...]
    hostname: str
    network: str
    tunnel: Tunnel
    trust_domain: str
    service_account: str
    waypoint: GatewayAddress | None
    network_gateway: GatewayAddress | None
    node: str
    canonical_name: str
    canonical_revision: str
    workload_type: str
    workload_name: str
    native_tunnel: bool
    application_tunnel: ApplicationTunnel | None
    services: tuple[tuple[NamespacedHostname, PortMap], ...]
    authorization_policies: tuple[str, ...]
    status: WorkloadStatus
    cluster_id: str
    locality: Locality
    network_mode: NetworkMode
    capacity: int

    @property
    def identity(self) -> str:
        """Return the SPIFFE id that the workload presents."""
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    @property
    def network_addresses(self) -> tuple[NetworkAddress, ...]:
        """Return the addresses it can be found by: none for one that lives on its node's."""
        if self.network_mode is NetworkMode.HOST_NETWORK:
            return ()
        return tuple(NetworkAddress(self.network, address) for address in self.addresses)
