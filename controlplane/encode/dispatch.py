"""Dispatch: what a waypoint serves comes in, the matcher that finds the chain of a connection out.

By the authority when it is a hostname, else by address, then by port. Where the port does not say
what is spoken, that leads to a second listener, which does the same and then looks at what the
client says. A matcher is large, and a change concerns one service of it: the parts are encoded once
and put together as bytes. docs/protocol/waypoint-config.md WC-26 to WC-29, WC-53.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple

from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from google.protobuf import wrappers_pb2
from xds.core.v3 import cidr_pb2
from xds.type.matcher.v3 import ip_pb2, matcher_pb2

from controlplane.encode.connection_gate import CLOSED, OPEN, Gate
from controlplane.encode.envelope import delimited
from controlplane.encode.typed import encoded, matching, packed_bytes
from controlplane.encode.waypoint_names import (
    AUTHORITY,
    BLACKHOLE,
    SNIFFED,
    direct_name,
    service_name,
)
from controlplane.model.network import text_from_address
from controlplane.model.waypoint_traffic import (
    AddressRange,
    DirectWorkloads,
    Layer,
    ServedPort,
    ServedService,
)

_KEPT: Final = 8192
"""Parts that are kept: those of as many services, at some 2 kB each."""
_HTTP_NAMES: Final = ("'h2c'", "'http/1.1'")
"""How the inspector names what it recognises; the quotes are part of it."""

_MATCHER_TREE: Final = b"\x12"
_ON_NO_MATCH: Final = b"\x1a"
_EXACT_MATCH_MAP: Final = b"\x12"
_ON_MATCH_MATCHER: Final = b"\x0a"
"""Tags of fields of xds.type.matcher.v3.Matcher, of its MatcherTree and OnMatch."""


class Target(NamedTuple):
    """Where connections to a port go: the port of a service, and who may send bytes there.

    ``is_heard`` says that what the client says is known.
    """

    hostname: str
    port: ServedPort
    gate: Gate
    is_heard: bool


Ports = tuple[tuple[int, Target], ...]
"""Port numbers with their targets; sorted."""


class Gates(NamedTuple):
    """Who is led to chains of bytes: those of services by hostname, and those of workloads.

    Those of a service are as many as it has ports, in their order.
    """

    by_hostname: Mapping[str, tuple[Gate, ...]]
    direct: Gate = OPEN

    def of(self, service: ServedService) -> tuple[Gate, ...]:
        """Return who is let through to each port of ``service``; nobody unless it is said."""
        return self.by_hostname.get(service.hostname, (CLOSED,) * len(service.ports))


class Dispatch(NamedTuple):
    """A serialized matcher, and which chains it needs besides those of services.

    ``refuses`` says that some clients are led to ``BLACKHOLE``, ``leads_on`` that some are led to
    ``SNIFFED``; ``also`` are chains of ``main_sniffed`` that it leads to itself.
    """

    matcher: bytes
    refuses: bool
    leads_on: bool = False
    also: frozenset[str] = frozenset()


def dispatch(
    services: Sequence[ServedService], direct: DirectWorkloads | None, gates: Gates
) -> Dispatch:
    """Return the dispatch of ``main_internal``, which knows nothing of what clients say.

    Whom ``gates`` do not let through is led to ``BLACKHOLE``.

    Of two services with one address and port a Service is taken before a ServiceEntry, then the
    first. No range is ever empty, because an Envoy rejects those.
    """
    known = () if direct is None else _known_bytes(services)
    bytes_chain = direct_name(Layer.TCP)
    workloads = b""
    if direct is not None:
        by_port = {str(port): to_gated_chain(bytes_chain, gates.direct) for port in known}
        to_workloads = _to_chain(SNIFFED)
        if by_port:
            matcher = _exactly("port", network_inputs_pb2.DestinationPortInput(), by_port)
            matcher.on_no_match.CopyFrom(to_workloads)
            to_workloads = matcher_pb2.Matcher.OnMatch(matcher=matcher)
        workloads = _workloads(services, direct, to_workloads)
    return Dispatch(
        _matcher(services, gates, workloads, is_heard=False),
        refuses=_refuses(services, gates, is_heard=False)
        or (bool(known) and not gates.direct.is_open),
        leads_on=direct is not None
        or any(port.is_sniffed for service in services for port in service.ports),
        also=frozenset({bytes_chain} if known else ()),
    )


def sniffed_dispatch(
    services: Sequence[ServedService], direct: DirectWorkloads | None, gates: Gates
) -> Dispatch:
    """Return the dispatch of ``main_sniffed``, for what ``dispatch`` leads to ``SNIFFED``."""
    sniffed = [each for each in map(_sniffed_part, services) if each.ports]
    here = Gates(
        {each.hostname: _sniffed_gates(each, gates) for each in services if _sniffs(each.ports)}
    )
    workloads = b""
    if direct is not None:
        bytes_chain = to_gated_chain(direct_name(Layer.TCP), gates.direct)
        to_workloads = _by_speech(direct_name(Layer.HTTP), bytes_chain)
        # Addresses are those of services for what the other listener says, not for fewer.
        workloads = _workloads(services, direct, to_workloads)
    return Dispatch(
        _matcher(sniffed, here, workloads, is_heard=True),
        refuses=_refuses(sniffed, here, is_heard=True)
        or (direct is not None and not gates.direct.is_open),
    )


def _matcher(
    services: Iterable[ServedService], gates: Gates, workloads: bytes, *, is_heard: bool
) -> bytes:
    """Return a serialized matcher; ``workloads`` is the entry of addresses of workloads."""
    listed = list(services)
    entries = [
        _range_entry(ranges, ports) for ranges, ports in _ports_by_ranges(listed, gates, is_heard)
    ]
    matcher = matcher_pb2.Matcher(
        matcher_tree={
            "input": matching("ip", network_inputs_pb2.DestinationIPInput()),
            "custom_match": {
                "name": "ip",
                "typed_config": packed_bytes(
                    ip_pb2.IPMatcher.DESCRIPTOR, b"".join((*entries, workloads))
                ),
            },
        }
    )
    by_address = encoded(matcher)
    by_authority = b"".join(
        _authorities(service.hostname, service.ports, gates.of(service), is_heard)
        for service in listed
        if service.ports and not service.hostname.startswith("*")
    )
    if not by_authority:
        return by_address
    tree = _AUTHORITY_TREE + delimited(_EXACT_MATCH_MAP, by_authority)
    otherwise = delimited(_ON_MATCH_MATCHER, by_address)
    return delimited(_MATCHER_TREE, tree) + delimited(_ON_NO_MATCH, otherwise)


def _refuses(services: Iterable[ServedService], gates: Gates, *, is_heard: bool) -> bool:
    return any(
        port.is_sniffed is is_heard and not gate.is_open
        for service in services
        for port, gate in zip(service.ports, gates.of(service), strict=True)
    )


def _known_bytes(services: Iterable[ServedService]) -> tuple[int, ...]:
    """Return the ports that carry bytes wherever they are declared.

    A client that waits for the server to speak first must not be waited for there.
    """
    known: set[int] = set()
    sniffed: set[int] = set()
    # Of many services most have the ports that others have too.
    for port in {port for ports in {service.ports for service in services} for port in ports}:
        if port.is_sniffed:
            sniffed.add(port.number)
        elif port.layers == (Layer.TCP,):
            known.add(port.number)
    return tuple(sorted(known - sniffed))


def _sniffs(ports: tuple[ServedPort, ...]) -> bool:
    return any(port.is_sniffed for port in ports)


@lru_cache(maxsize=_KEPT)
def _sniffed_part(service: ServedService) -> ServedService:
    """Return ``service`` with those of its ports that clients are listened to on."""
    return replace(service, ports=tuple(port for port in service.ports if port.is_sniffed))


def _sniffed_gates(service: ServedService, gates: Gates) -> tuple[Gate, ...]:
    each = zip(service.ports, gates.of(service), strict=True)
    return tuple(gate for port, gate in each if port.is_sniffed)


def _workloads(
    services: Iterable[ServedService], direct: DirectWorkloads, to_workloads: Any
) -> bytes:
    """Return what becomes of connections to workloads: a serialized IPMatcher of one entry.

    Addresses that services have are not theirs; without others there is none.
    """
    taken = {
        each.address
        for service in services
        if service.ports
        for each in service.ranges
        if each.length == len(each.address) * 8
    }
    addresses = [each for each in direct.addresses if each not in taken]
    if not addresses:
        return b""
    message = ip_pb2.IPMatcher()
    entry = message.range_matchers.add(
        ranges=[_cidr(AddressRange(each, len(each) * 8)) for each in addresses]
    )
    entry.on_match.CopyFrom(to_workloads)
    return encoded(message)


@lru_cache(maxsize=_KEPT)
def _authorities(
    hostname: str,
    ports: tuple[ServedPort, ...],
    gates: tuple[Gate, ...],
    is_heard: bool,  # noqa: FBT001 - part of what is kept
) -> bytes:
    """Return the entries of one service in the map of authorities: a serialized MatchMap."""
    targets = {
        f"{hostname}:{port.number}": _to_service(Target(hostname, port, gate, is_heard))
        for port, gate in zip(ports, gates, strict=True)
    }
    return encoded(matcher_pb2.Matcher.MatcherTree.MatchMap(map=targets))


@lru_cache(maxsize=_KEPT)
def _range_entry(ranges: tuple[AddressRange, ...], ports: Ports) -> bytes:
    """Return what becomes of connections to ``ranges``: a serialized IPMatcher of one entry."""
    message = ip_pb2.IPMatcher()
    entry = message.range_matchers.add(ranges=[_cidr(each) for each in ranges])
    by_port = {str(number): _to_service(target) for number, target in ports}
    matcher = _exactly("port", network_inputs_pb2.DestinationPortInput(), by_port)
    entry.on_match.matcher.CopyFrom(matcher)
    return encoded(message)


def _ports_by_ranges(
    services: Iterable[ServedService],
    gates: Gates,
    is_heard: bool,  # noqa: FBT001 - a part of targets
) -> list[tuple[tuple[AddressRange, ...], Ports]]:
    """Return ranges with the same ports together, in a stable order."""
    listed = [service for service in services if service.ports]
    claims = Counter(each for service in listed for each in service.ranges)
    shared = {each for each, count in claims.items() if count > 1}
    sharing = [each for each in listed if not shared.isdisjoint(each.ranges)]
    entries = _shared_ports(sharing, gates, is_heard)
    entries += [
        (service.ranges, _own_ports(service.hostname, service.ports, gates.of(service), is_heard))
        for service in listed
        if service.ranges and shared.isdisjoint(service.ranges)
    ]
    return sorted(entries, key=itemgetter(0))


@lru_cache(maxsize=_KEPT)
def _own_ports(
    hostname: str,
    ports: tuple[ServedPort, ...],
    gates: tuple[Gate, ...],
    is_heard: bool,  # noqa: FBT001 - part of what is kept
) -> Ports:
    each = zip(ports, gates, strict=True)
    return tuple((port.number, Target(hostname, port, gate, is_heard)) for port, gate in each)


def _shared_ports(
    services: Iterable[ServedService],
    gates: Gates,
    is_heard: bool,  # noqa: FBT001 - a part of targets
) -> list[tuple[tuple[AddressRange, ...], Ports]]:
    """Return the same for services some of whose ranges others have too."""
    by_range: dict[AddressRange, dict[int, Target]] = {}
    # Nobody can give a Service the address of another; a ServiceEntry says what it likes.
    for service in sorted(services, key=lambda each: each.owner.kind != "Service"):
        for each in service.ranges:
            ports = by_range.setdefault(each, {})
            for port, gate in zip(service.ports, gates.of(service), strict=True):
                target = Target(service.hostname, port, gate, is_heard)
                ports.setdefault(port.number, target)
    grouped: dict[Ports, list[AddressRange]] = {}
    for each, ports in sorted(by_range.items()):
        grouped.setdefault(tuple(sorted(ports.items())), []).append(each)
    return [(tuple(ranges), ports) for ports, ranges in grouped.items()]


_AUTHORITY_TREE: Final = encoded(
    matcher_pb2.Matcher.MatcherTree(
        input=matching("authority", network_inputs_pb2.FilterStateInput(key=AUTHORITY))
    )
)


def _to_service(target: Target) -> Any:
    number, layers = target.port.number, target.port.layers
    http, tcp = (service_name(number, layer, target.hostname) for layer in (Layer.HTTP, Layer.TCP))
    if target.port.is_sniffed and not target.is_heard:
        return _to_chain(SNIFFED)
    if Layer.TCP not in layers:
        return _to_chain(http)
    bytes_chain = to_gated_chain(tcp, target.gate)
    return _by_speech(http, bytes_chain) if Layer.HTTP in layers else bytes_chain


def to_gated_chain(name: str, gate: Gate) -> Any:
    """Return what leads to a chain of bytes those who are let through.

    All others are led somewhere too: where nothing matches, less specific addresses are tried.
    """
    if gate.is_open or not gate.predicate:
        return _to_chain(name if gate.is_open else BLACKHOLE)
    predicate = matcher_pb2.Matcher.MatcherList.Predicate.FromString(gate.predicate)
    matcher = matcher_pb2.Matcher(
        matcher_list={"matchers": [{"predicate": predicate, "on_match": _to_chain(name)}]},
        on_no_match=_to_chain(BLACKHOLE),
    )
    return matcher_pb2.Matcher.OnMatch(matcher=matcher)


def _by_speech(http: str, otherwise: Any) -> Any:
    """Return what leads HTTP to a chain and everything else elsewhere."""
    spoken = network_inputs_pb2.ApplicationProtocolInput()
    found = _exactly("application protocol", spoken, dict.fromkeys(_HTTP_NAMES, _to_chain(http)))
    found.on_no_match.CopyFrom(otherwise)
    return matcher_pb2.Matcher.OnMatch(matcher=found)


def _to_chain(name: str) -> Any:
    action = matching(name, wrappers_pb2.StringValue(value=name))
    return matcher_pb2.Matcher.OnMatch(action=action)


def _exactly(name: str, value: Any, targets: Mapping[str, Any]) -> Any:
    tree = {"input": matching(name, value), "exact_match_map": {"map": targets}}
    return matcher_pb2.Matcher(matcher_tree=tree)


def _cidr(each: AddressRange) -> Any:
    return cidr_pb2.CidrRange(
        address_prefix=text_from_address(each.address), prefix_len={"value": each.length}
    )
