"""Where things are: decoded addresses, prefixes and gateways, shared by workloads and services."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple, TypeAlias

IpAddress: TypeAlias = IPv4Address | IPv6Address
IpPrefix: TypeAlias = IPv4Network | IPv6Network
PortMap: TypeAlias = tuple[tuple[int, int], ...]
"""Pairs of service port and target port, sorted, one pair for each service port."""


class NetworkAddress(NamedTuple):
    """An address on a named network; "" is the network of a mesh that has only one."""

    network: str
    address: IpAddress

    def __str__(self) -> str:
        return f"{self.network}/{self.address}"


class NetworkPrefix(NamedTuple):
    """A block of addresses on a named network."""

    network: str
    prefix: IpPrefix


class NamespacedHostname(NamedTuple):
    """The key of a service, written ``namespace/hostname``."""

    namespace: str
    hostname: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.hostname}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAddress:
    """A waypoint or network gateway: a service, or an address, and the port of its tunnel."""

    destination: NamespacedHostname | NetworkAddress
    hbone_mtls_port: int
