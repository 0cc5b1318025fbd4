"""Routes of tunnels: what a waypoint serves comes in, which listener a CONNECT is led to goes out.

By its authority alone: all that has to be listened to is named, everything else is for
``main_internal``. docs/protocol/waypoint-config.md WC-53, WC-55.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2, route_pb2

from controlplane.encode.envelope import ROUTE_TYPE, resource
from controlplane.encode.errors import EncodeError
from controlplane.encode.listening import (
    bytes_alone,
    is_single,
    listened_ranges,
    shared_ranges,
    workload_addresses,
)
from controlplane.encode.resource import Resource
from controlplane.encode.typed import encoded, seconds
from controlplane.encode.waypoint_names import CONNECT_TERMINATE, MAIN_INTERNAL, MAIN_SNIFFED
from controlplane.model.network import text_from_address
from controlplane.model.waypoint_traffic import (
    AddressRange,
    DirectWorkloads,
    ServedPort,
    ServedService,
)

_IPV4_BYTES: Final = 4
_KEPT: Final = 8192


def encode_tunnel_routes(
    services: Sequence[ServedService], direct: DirectWorkloads | None
) -> Resource:
    """Return the routes of ``connect_terminate``; ``services`` are in a stable order.

    Raises EncodeError for values an Envoy would reject.
    """
    listened, known = _domains(services, direct)
    hosts = [_host(MAIN_SNIFFED, listened)] if listened else []
    hosts.append(_host(MAIN_INTERNAL, ["*", *(known if listened else ())]))
    try:
        message = route_pb2.RouteConfiguration(name=CONNECT_TERMINATE, virtual_hosts=hosts)
        return resource(CONNECT_TERMINATE, encoded(message), ROUTE_TYPE)
    except (ValueError, TypeError) as error:
        raise EncodeError(CONNECT_TERMINATE, str(error)) from error


def _domains(
    services: Sequence[ServedService], direct: DirectWorkloads | None
) -> tuple[list[str], list[str]]:
    """Return the domains of what is listened to, and of what would be but for being named.

    An Envoy takes an exact domain first, then one that ends so, then one that begins so.
    """
    wide = listened_ranges(services)
    workloads = workload_addresses(services, direct)
    # Whoever comes first has the name; an Envoy does not tell upper case from lower.
    found: dict[str, bool] = {}
    for domain, is_sniffed in _exact(services, wide):
        found.setdefault(domain, is_sniffed)
    listened = [domain for domain, is_sniffed in found.items() if is_sniffed]
    known = [domain for domain, is_sniffed in found.items() if not is_sniffed]
    listened += [f"*:{number}" for number in sorted(wide)]
    listened += [f"{_host_of(address)}:*" for address in workloads]
    if workloads:
        known += [f"*:{number}" for number in bytes_alone(services)]
    return sorted(listened), sorted(known)


def _exact(services: Sequence[ServedService], wide: frozenset[int]) -> Iterator[tuple[str, bool]]:
    """Yield authorities of services, and whether their clients are listened to.

    Those that go where everything goes are left out, unless somebody else might have them.
    """
    shared = shared_ranges(services)
    for service in services:
        if not service.hostname.startswith("*"):
            yield from _by_hostname(service.hostname, service.ports, wide)
    # Nobody can give a Service the address of another; a ServiceEntry says what it likes.
    for service in sorted(services, key=lambda each: each.owner.kind != "Service"):
        is_shared = not shared.isdisjoint(service.ranges)
        yield from _by_address(service.ranges, service.ports, wide, is_shared)


@lru_cache(maxsize=_KEPT)
def _by_hostname(
    hostname: str, ports: tuple[ServedPort, ...], wide: frozenset[int]
) -> tuple[tuple[str, bool], ...]:
    return tuple(
        (f"{hostname.lower()}:{port.number}", port.is_sniffed)
        for port in ports
        if port.is_sniffed or port.number in wide
    )


@lru_cache(maxsize=_KEPT)
def _by_address(
    ranges: tuple[AddressRange, ...],
    ports: tuple[ServedPort, ...],
    wide: frozenset[int],
    is_shared: bool,  # noqa: FBT001 - part of what is kept
) -> tuple[tuple[str, bool], ...]:
    hosts = [_host_of(each.address) for each in ranges if is_single(each)]
    return tuple(
        (f"{host}:{port.number}", port.is_sniffed)
        for port in ports
        if port.is_sniffed or is_shared or port.number in wide
        for host in hosts
    )


def _host_of(address: bytes) -> str:
    text = text_from_address(address)
    return text if len(address) == _IPV4_BYTES else f"[{text}]"


def _host(cluster: str, domains: Iterable[str]) -> Any:
    connect = {"upgrade_type": "CONNECT", "connect_config": {}}
    route = route_components_pb2.Route(
        match={"connect_matcher": {}},
        # Otherwise it ends 15 seconds after the client has sent its last byte, answered or not.
        route={"cluster": cluster, "upgrade_configs": [connect], "timeout": seconds(0)},
    )
    return route_components_pb2.VirtualHost(name=cluster, domains=domains, routes=[route])
