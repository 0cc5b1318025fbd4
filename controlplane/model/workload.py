"""A workload: one place where traffic can end, as ztunnel needs to know it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from controlplane.model.names import Name, ServiceName
from controlplane.model.network import NetworkAddress


class TunnelProtocol(IntEnum):
    """How traffic reaches the workload. LEGACY_ISTIO_MTLS (2) is never sent."""

    NONE = 0
    HBONE = 1


class WorkloadStatus(IntEnum):
    """Whether the workload may receive traffic."""

    HEALTHY = 0
    UNHEALTHY = 1


class WorkloadType(IntEnum):
    """For telemetry only."""

    DEPLOYMENT = 0
    CRONJOB = 1
    POD = 2
    JOB = 3


class NetworkMode(IntEnum):
    """HOST_NETWORK workloads are not indexed by address at ztunnel."""

    STANDARD = 0
    HOST_NETWORK = 1


class ApplicationTunnelProtocol(IntEnum):
    """What the application itself speaks in front of its port."""

    NONE = 0
    PROXY = 1


class AppProtocol(IntEnum):
    """Application protocol of a service port."""

    UNKNOWN = 0
    HTTP11 = 1
    HTTP2 = 2
    GRPC = 3
    TCP = 4
    TLS = 5


class Port(NamedTuple):
    """A service port and where it lands; ``target_port`` 0 means: ask the workload's own map."""

    service_port: int
    target_port: int
    app_protocol: AppProtocol = AppProtocol.UNKNOWN


class Locality(NamedTuple):
    """Where a workload runs; empty strings where unknown."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


class NamespacedHostname(NamedTuple):
    """A hostname and the namespace it is looked up in."""

    namespace: str
    hostname: str


class GatewayAddress(NamedTuple):
    """Where a waypoint or network gateway is reached over HBONE."""

    destination: NamespacedHostname | NetworkAddress
    hbone_mtls_port: int


class ApplicationTunnel(NamedTuple):
    """How a proxy in front of the application wants connections; port 0 means unset."""

    protocol: ApplicationTunnelProtocol
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One workload (docs/protocol/messages.md, message Workload).

    ``addresses`` are 4- or 16-byte strings. ``services`` is sorted by name and holds one entry per
    service the workload serves, with its resolved ports. ``authorization_policies`` are the
    policies that name this workload, in a stable order. ``unready_services`` are those of
    ``services`` that accept unready endpoints: it is not on the wire but part of the version,
    because ztunnel must be sent the workload again when it changes. ``served_by`` is the waypoint
    that is to accept traffic for it, ready or not; ztunnels are not told.
    """

    uid: str
    name: str
    namespace: str
    addresses: tuple[bytes, ...] = ()
    hostname: str = ""
    network: str = ""
    tunnel_protocol: TunnelProtocol = TunnelProtocol.NONE
    native_tunnel: bool = False
    trust_domain: str = ""
    service_account: str = ""
    waypoint: GatewayAddress | None = None
    network_gateway: GatewayAddress | None = None
    node: str = ""
    canonical_name: str = ""
    canonical_revision: str = ""
    workload_type: WorkloadType = WorkloadType.DEPLOYMENT
    workload_name: str = ""
    application_tunnel: ApplicationTunnel | None = None
    services: tuple[tuple[ServiceName, tuple[Port, ...]], ...] = ()
    unready_services: tuple[ServiceName, ...] = ()
    authorization_policies: tuple[Name, ...] = ()
    status: WorkloadStatus = WorkloadStatus.HEALTHY
    cluster_id: str = ""
    locality: Locality | None = None
    network_mode: NetworkMode = NetworkMode.STANDARD
    capacity: int | None = None
    served_by: Name | None = None
