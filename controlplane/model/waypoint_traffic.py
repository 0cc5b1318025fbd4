"""What one waypoint accepts and where it sends it: the values its Envoy is configured from.

``mesh.waypoint_services``, ``waypoint_endpoints`` and ``waypoint_workloads`` make them,
``encode.listener`` and its siblings turn them into resources. docs/protocol/waypoint-config.md.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from controlplane.model.names import Name, ObjectReference, ServiceName
from controlplane.model.service import LoadBalancingScope
from controlplane.model.workload import AppProtocol, Locality

_HTTP = frozenset({AppProtocol.HTTP11, AppProtocol.HTTP2, AppProtocol.GRPC})


class ServedBefore(NamedTuple):
    """A service that a waypoint was asked to serve a moment ago, or still is."""

    waypoint: Name
    service: ServiceName


class Layer(StrEnum):
    """What a waypoint understands of a connection; the word is part of resource names."""

    HTTP = "http"
    TCP = "tcp"


class Resolution(StrEnum):
    """Where the endpoints of a service come from."""

    DISCOVERED = "discovered"
    ORIGINAL_DESTINATION = "original destination"


class ServedPort(NamedTuple):
    """A TCP port of a service and what is spoken on it; UNKNOWN is found out per connection."""

    number: int
    protocol: AppProtocol

    @property
    def is_sniffed(self) -> bool:
        """Return whether only what a client says tells how a connection is read."""
        return self.protocol is AppProtocol.UNKNOWN

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Return how connections to the port may be read."""
        if self.is_sniffed:
            return (Layer.HTTP, Layer.TCP)
        return (Layer.HTTP,) if self.protocol in _HTTP else (Layer.TCP,)


class Nearness(NamedTuple):
    """Which endpoints a service wants first: those that share most of ``preference`` with a place.

    A scope counts only if all before it are shared. ``is_strict`` asks for those that share all of
    them and for no others.
    """

    preference: tuple[LoadBalancingScope, ...]
    is_strict: bool = False


class Place(NamedTuple):
    """Where pods of a waypoint run; ``node`` is "" where nobody knows, and nothing is near then."""

    waypoint: Name
    node: str = ""
    locality: Locality = Locality()


class AddressRange(NamedTuple):
    """Addresses with one prefix: 4 or 16 bytes of which ``length`` bits count."""

    address: bytes
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaypointFrame:
    """What the configuration of a waypoint has whatever it serves.

    ``trust_domain`` is whose certificates it accepts, besides those of its aliases. Its pods have
    addresses of the families, and listen on all of them unless ``listen_addresses`` says on which.
    """

    waypoint: Name
    trust_domain: str
    trust_domain_aliases: tuple[str, ...] = ()
    has_ipv4: bool = True
    has_ipv6: bool = False
    listen_addresses: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedService:
    """One service that a waypoint accepts traffic for. ``owner`` is the object that declares it.

    ``ranges`` and ``ports`` are sorted; each port number occurs once.
    """

    waypoint: Name
    service: ServiceName
    owner: ObjectReference
    ranges: tuple[AddressRange, ...] = ()
    ports: tuple[ServedPort, ...] = ()
    resolution: Resolution = Resolution.DISCOVERED
    nearness: Nearness | None = None

    @property
    def hostname(self) -> str:
        """Return the name that its resources carry; a waypoint serves each name once."""
        return self.service.hostname


class EndpointWorkload(NamedTuple):
    """Who is behind an endpoint, for logs and metrics; ``principal`` is "" outside the mesh."""

    name: str
    namespace: str
    principal: str = ""


class Endpoint(NamedTuple):
    """One place where requests to a service port end.

    ``address`` is 4 or 16 bytes, or a hostname that the waypoint looks up. ``is_tunnelled`` says
    that HBONE goes there. ``weight`` is at least 1. ``workload`` is for people to read. ``node`` is
    "" where no node is known.
    """

    locality: Locality
    address: bytes | str
    port: int
    is_tunnelled: bool = False
    is_healthy: bool = True
    weight: int = 1
    workload: EndpointWorkload | None = None
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEndpoints:
    """The endpoints of one port of one service that a waypoint serves, sorted."""

    waypoint: Name
    owner: ObjectReference
    hostname: str
    port: ServedPort
    endpoints: tuple[Endpoint, ...] = ()
    nearness: Nearness | None = None

    @property
    def are_looked_up(self) -> bool:
        """Return whether the waypoint has to look up names to find them."""
        return any(isinstance(endpoint.address, str) for endpoint in self.endpoints)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectWorkloads:
    """The workloads a waypoint accepts traffic for by their own addresses, sorted."""

    waypoint: Name
    addresses: tuple[bytes, ...]
