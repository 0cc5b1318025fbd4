"""Who is listened to: what a waypoint serves comes in, which listener has what of it goes out.

A port that says what is spoken is for ``main_internal``, one that does not for ``main_sniffed``.
Addresses that several services have, and ranges of many addresses, are the hard part: what one
listener leaves out must not be found there under a wider range or another owner.
docs/protocol/waypoint-config.md WC-28, WC-29, WC-53, WC-55.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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


class Part(NamedTuple):
    """What one listener has of the services: they and their gates, with its own ports alone.

    ``contested`` are numbers of its ports that somebody might find under an address that is not
    theirs; ports of the other listener with such numbers are in ``services`` as bytes that nobody
    may send. ``borrowed`` are names of chains of the other listener that are needed here too.
    """

    services: tuple[ServedService, ...]
    gates: Gates
    contested: frozenset[int]
    borrowed: frozenset[str]


def part_of(services: Sequence[ServedService], gates: Gates, *, is_sniffed: bool) -> Part:
    """Return what ``main_sniffed`` has of ``services``, or ``main_internal``."""
    contested = _contested(services, is_sniffed=is_sniffed)
    kept: list[ServedService] = []
    kept_gates: dict[str, tuple[Gate, ...]] = {}
    borrowed: set[str] = set()
    for service in services:
        found = []
        for port, gate in zip(service.ports, gates.of(service), strict=True):
            if port.is_sniffed is is_sniffed:
                found.append((port, gate))
            elif port.number not in contested:
                continue
            elif is_sniffed and _has_wide_range(service):
                # The authority of a wide range tells no more than the number of the port.
                found.append((port, gate))
                borrowed |= {
                    service_name(port.number, layer, service.hostname) for layer in port.layers
                }
            else:
                found.append((ServedPort(port.number, AppProtocol.TCP), CLOSED))
        if found:
            ports = tuple(port for port, _ in found)
            kept.append(service if ports == service.ports else replace(service, ports=ports))
            kept_gates[service.hostname] = tuple(gate for _, gate in found)
    return Part(tuple(kept), Gates(kept_gates, gates.direct), contested, frozenset(borrowed))


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


def shared_ranges(services: Iterable[ServedService]) -> frozenset[AddressRange]:
    """Return the ranges that more than one service has."""
    claims = Counter(each for service in services if service.ports for each in service.ranges)
    return frozenset(each for each, count in claims.items() if count > 1)


def services_first(services: Iterable[ServedService]) -> list[ServedService]:
    """Return ``services`` in the order in which they get an address that several have.

    Nobody can give a Service the address of another; a ServiceEntry says what it likes.
    """
    return sorted(services, key=lambda each: each.owner.kind != "Service")


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
