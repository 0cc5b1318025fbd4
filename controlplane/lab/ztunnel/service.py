"""A service as a ztunnel knows it (Source: istio.workload.Service)."""

from dataclasses import dataclass
from enum import IntEnum

from controlplane.lab.ztunnel.network import (
    GatewayAddress,
    NamespacedHostname,
    NetworkAddress,
    NetworkPrefix,
    PortMap,
)
from controlplane.lab.ztunnel.workload import WorkloadStatus


class Visibility(IntEnum):
    """Who may find the service."""

    PUBLIC = 0
    NAMESPACE = 1


class RoutingScope(IntEnum):
    """What source and endpoint are compared by; the number 0 of the wire is refused."""

    REGION = 1
    ZONE = 2
    SUBZONE = 3
    NODE = 4
    CLUSTER = 5
    NETWORK = 6


class BalancingMode(IntEnum):
    """How the routing preference is used."""

    UNSPECIFIED = 0
    STRICT = 1
    FAILOVER = 2
    PASSTHROUGH = 3


class HealthPolicy(IntEnum):
    """Which endpoints are used."""

    ONLY_HEALTHY = 0
    ALLOW_ALL = 1


class IpFamilies(IntEnum):
    """Which of a workload's addresses may be used."""

    AUTOMATIC = 0
    IPV4_ONLY = 1
    IPV6_ONLY = 2
    DUAL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancing:
    """How an endpoint is chosen."""

    routing_preference: tuple[RoutingScope, ...] = ()
    mode: BalancingMode = BalancingMode.UNSPECIFIED
    health_policy: HealthPolicy = HealthPolicy.ONLY_HEALTHY


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedWaypoint:
    """One of several waypoints and its share of new connections."""

    destination: GatewayAddress
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service, without its endpoints."""

    name: str
    namespace: str
    hostname: str
    addresses: tuple[NetworkAddress | NetworkPrefix, ...]
    ports: PortMap
    subject_alt_names: tuple[str, ...]
    waypoint: GatewayAddress | None
    load_balancing: LoadBalancing
    ip_families: IpFamilies
    canonical: bool
    weighted_waypoints: tuple[WeightedWaypoint, ...]
    visibility: Visibility

    @property
    def key(self) -> NamespacedHostname:
        """Return what the service is found and replaced by."""
        return NamespacedHostname(self.namespace, self.hostname)

    def admits(self, status: WorkloadStatus) -> bool:
        """Return whether an endpoint of this status may be kept."""
        return (
            status is WorkloadStatus.HEALTHY
            or self.load_balancing.health_policy is HealthPolicy.ALLOW_ALL
        )

    def is_visible_in(self, namespace: str) -> bool:
        """Return whether a client of this namespace may find the service."""
        return self.visibility is Visibility.PUBLIC or namespace == self.namespace
