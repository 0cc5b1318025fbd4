"""A service: a name and addresses that stand for workloads."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from controlplane.model.names import ServiceName
from controlplane.model.network import NetworkAddress
from controlplane.model.workload import GatewayAddress, Port


class Visibility(IntEnum):
    """Who may resolve the service."""

    PUBLIC = 0
    NAMESPACE = 1


class IPFamilies(IntEnum):
    """Which addresses of its workloads a service uses."""

    AUTOMATIC = 0
    IPV4_ONLY = 1
    IPV6_ONLY = 2
    DUAL = 3


class LoadBalancingScope(IntEnum):
    """One step of a routing preference; 0 is never sent (ztunnel rejects it)."""

    REGION = 1
    ZONE = 2
    SUBZONE = 3
    NODE = 4
    CLUSTER = 5
    NETWORK = 6


class LoadBalancingMode(IntEnum):
    """What a routing preference means."""

    UNSPECIFIED = 0
    STRICT = 1
    FAILOVER = 2
    PASSTHROUGH = 3


class HealthPolicy(IntEnum):
    """Whether unhealthy workloads serve."""

    ONLY_HEALTHY = 0
    ALLOW_ALL = 1


class LoadBalancing(NamedTuple):
    """How ztunnel picks a workload of the service."""

    routing_preference: tuple[LoadBalancingScope, ...] = ()
    mode: LoadBalancingMode = LoadBalancingMode.UNSPECIFIED
    health_policy: HealthPolicy = HealthPolicy.ONLY_HEALTHY


class WeightedWaypoint(NamedTuple):
    """One waypoint of a canary set; ``weight`` is a percentage."""

    destination: GatewayAddress
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service (docs/protocol/messages.md, message Service)."""

    name: str
    namespace: str
    hostname: str
    addresses: tuple[NetworkAddress, ...] = ()
    ports: tuple[Port, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
    waypoint: GatewayAddress | None = None
    load_balancing: LoadBalancing | None = None
    ip_families: IPFamilies = IPFamilies.AUTOMATIC
    canonical: bool = False
    ingress_use_waypoint: bool = False
    weighted_waypoints: tuple[WeightedWaypoint, ...] = ()
    visibility: Visibility = Visibility.PUBLIC

    @property
    def key(self) -> ServiceName:
        """Return the key that workloads and sessions use."""
        return ServiceName(self.namespace, self.hostname)
