"""Who is listened to: what a waypoint serves comes in, which listener has what of it goes out.

A port that says what is spoken is for ``main_internal``, one that does not for ``main_sniffed``.
Addresses that several services have, and ranges of many addresses, are the hard part: what one
listener leaves out must not be found there under a wider range or another owner.
docs/protocol/waypoint-config.md WC-28, WC-29, WC-53, WC-55.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from controlplane.encode.connection_gate import CLOSED, OPEN, Gate
from controlplane.encode.waypoint_names import service_name
from controlplane.model.waypoint_traffic import (
    AddressRange,
    DirectWorkloads,
    Layer,
    ServedPort,
    ServedService,
)
from controlplane.model.workload import AppProtocol

_KEPT: Final = 8192
_BYTES: Final = (Layer.TCP,)


class Gates(NamedTuple):
    """Who is led to chains of bytes: those of services by hostname, and those of workloads.

    Those of a service are as many as it has ports, in their order.
    """

    by_hostname: Mapping[str, tuple[Gate, ...]]
    direct: Gate = OPEN

    def of(self, service: ServedService) -> tuple[Gate, ...]:
        """Return who is let through to each port of ``service``; nobody unless it is said."""
        return self.by_hostname.get(service.hostname, (CLOSED,) * len(service.ports))


class ServiceHere(NamedTuple):
    """What one listener has of a service: its ports there, and a gate for each of them.

    ``is_entry`` says that whoever wrote it says what addresses it likes.
    """

    hostname: str
    ranges: tuple[AddressRange, ...]
    ports: tuple[ServedPort, ...]
    gates: tuple[Gate, ...]
    is_entry: bool


class Part(NamedTuple):
    """What one listener has of the services.

    ``contested`` are numbers of its ports that somebody might find under an address that is not
    theirs; ports of the other listener with such numbers are in ``services`` as bytes that nobody
    may send. ``borrowed`` are names of chains of the other listener that are needed here too.
    """

    services: tuple[ServiceHere, ...]
    contested: frozenset[int]
    borrowed: frozenset[str]


def part_of(services: Sequence[ServedService], gates: Gates, *, is_sniffed: bool) -> Part:
    """Return what ``main_sniffed`` has of ``services``, or ``main_internal``."""
    contested = _contested(services, is_sniffed=is_sniffed)
    kept: list[ServiceHere] = []
    borrowed: set[str] = set()
    for service in services:
        # The authority of a wide range tells no more than the number of the port.
        borrows = is_sniffed and bool(contested) and _has_wide_range(service)
        ports, its_gates = _kept(service.ports, gates.of(service), is_sniffed, contested, borrows)
        if not ports:
            continue
        is_entry = service.owner.kind != "Service"
        kept.append(ServiceHere(service.hostname, service.ranges, ports, its_gates, is_entry))
        if borrows:
            borrowed |= {
                service_name(port.number, layer, service.hostname)
                for port in ports
                if not port.is_sniffed
                for layer in port.layers
            }
    return Part(tuple(kept), contested, frozenset(borrowed))


@lru_cache(maxsize=_KEPT)
def _kept(
    ports: tuple[ServedPort, ...],
    gates: tuple[Gate, ...],
    is_sniffed: bool,  # noqa: FBT001 - part of what is kept
    contested: frozenset[int],
    borrows: bool,  # noqa: FBT001 - part of what is kept
) -> tuple[tuple[ServedPort, ...], tuple[Gate, ...]]:
    """Return the ports that a listener has of these, and their gates."""
    found = []
    for port, gate in zip(ports, gates, strict=True):
        if port.is_sniffed is is_sniffed or (borrows and port.number in contested):
            found.append((port, gate))
        elif port.number in contested:
            found.append((ServedPort(port.number, AppProtocol.TCP), CLOSED))
    return tuple(port for port, _ in found), tuple(gate for _, gate in found)


def bytes_alone(services: Iterable[ServedService]) -> tuple[int, ...]:
    """Return the ports that carry bytes wherever they are declared, sorted.

    A client that waits for the server to speak first must not be waited for there.
    """
    known: set[int] = set()
    sniffed: set[int] = set()
    # Of many services most have the ports that others have too.
    for port in {port for ports in {service.ports for service in services} for port in ports}:
        if port.is_sniffed:
            sniffed.add(port.number)
        elif port.layers == _BYTES:
            known.add(port.number)
    return tuple(sorted(known - sniffed))


def listened_ranges(services: Iterable[ServedService]) -> frozenset[int]:
    """Return the numbers of ports that are sniffed at ranges of more than one address."""
    return frozenset(
        port.number
        for service in services
        if _has_wide_range(service)
        for port in service.ports
        if port.is_sniffed
    )


def workload_addresses(
    services: Iterable[ServedService], direct: DirectWorkloads | None
) -> tuple[bytes, ...]:
    """Return the addresses at which workloads are reached; those that services have are not."""
    if direct is None:
        return ()
    taken = {
        each.address
        for service in services
        if service.ports
        for each in service.ranges
        if is_single(each)
    }
    return tuple(each for each in direct.addresses if each not in taken)


def shared_ranges(services: Iterable[ServedService | ServiceHere]) -> frozenset[AddressRange]:
    """Return the ranges that more than one service has."""
    claims = Counter(each for service in services if service.ports for each in service.ranges)
    return frozenset(each for each, count in claims.items() if count > 1)


def is_single(each: AddressRange) -> bool:
    """Return whether a range is one address."""
    return each.length == len(each.address) * 8


def _contested(services: Sequence[ServedService], *, is_sniffed: bool) -> frozenset[int]:
    shared = shared_ranges(services)
    return frozenset(
        port.number
        for service in services
        if _has_wide_range(service) or not shared.isdisjoint(service.ranges)
        for port in service.ports
        if port.is_sniffed is is_sniffed
    )


def _has_wide_range(service: ServedService) -> bool:
    return not all(map(is_single, service.ranges))
