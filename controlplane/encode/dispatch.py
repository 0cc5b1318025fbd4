"""Dispatch: what a waypoint serves comes in, the matcher that finds the chain of a connection out.

By the authority when it is a hostname, else by address, then by port. Where the port does not say
what is spoken it is the listener that looks at what the client says whose dispatch has the port. A
matcher is large, and a change concerns one service of it: the parts are encoded once and put
together as bytes. docs/protocol/waypoint-config.md WC-26 to WC-29, WC-53.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple

from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from google.protobuf import wrappers_pb2
from xds.core.v3 import cidr_pb2
from xds.type.matcher.v3 import ip_pb2, matcher_pb2

from controlplane.encode.connection_gate import Gate
from controlplane.encode.envelope import delimited
from controlplane.encode.listening import (
    Gates,
    Part,
    ServiceHere,
    bytes_alone,
    part_of,
    shared_ranges,
    workload_addresses,
)
from controlplane.encode.typed import encoded, matching, packed_bytes
from controlplane.encode.waypoint_names import (
    AUTHORITY,
    BLACKHOLE,
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
    """Where connections to a port go: the port of a service, and who may send bytes there."""

    hostname: str
    port: ServedPort
    gate: Gate


Ports = tuple[tuple[int, Target], ...]
"""Port numbers with their targets; sorted."""


class Dispatch(NamedTuple):
    """A serialized matcher, and which chains it needs besides those of its own ports.

    ``refuses`` says that some clients are led to ``BLACKHOLE``; ``borrowed`` are chains of the
    other listener that it leads to.
    """

    matcher: bytes
    refuses: bool
    borrowed: frozenset[str] = frozenset()


def dispatch(
    services: Sequence[ServedService], direct: DirectWorkloads | None, gates: Gates
) -> Dispatch:
    """Return the dispatch of ``main_internal``, which knows nothing of what clients say.

    Whom ``gates`` do not let through is led to ``BLACKHOLE``.

    Of two services with one address and port a Service is taken before a ServiceEntry, then the
    first. No range is ever empty, because an Envoy rejects those.
    """
    part = part_of(services, gates, is_sniffed=False)
    known = () if direct is None else bytes_alone(services)
    bytes_chain = direct_name(Layer.TCP)
    workloads = b""
    if known or part.contested:
        by_port = {str(port): to_gated_chain(bytes_chain, gates.direct) for port in known}
        nobody = _to_chain(BLACKHOLE) if part.contested else None
        addresses = workload_addresses(services, direct)
        workloads = _workloads(addresses, _by_port(by_port, otherwise=nobody))
    return Dispatch(
        _matcher(part.services, workloads),
        refuses=_refuses(part)
        or (direct is not None and bool(part.contested))
        or (bool(known) and not gates.direct.is_open),
        borrowed=part.borrowed | ({bytes_chain} if known else frozenset()),
    )


def sniffed_dispatch(
    services: Sequence[ServedService], direct: DirectWorkloads | None, gates: Gates
) -> Dispatch:
    """Return the dispatch of ``main_sniffed``, which chooses by what a client says."""
    part = part_of(services, gates, is_sniffed=True)
    workloads = b""
    if direct is not None:
        bytes_chain = to_gated_chain(direct_name(Layer.TCP), gates.direct)
        to_workloads = _by_speech(direct_name(Layer.HTTP), bytes_chain)
        # Addresses are those of services for what the other listener says, not for fewer.
        workloads = _workloads(workload_addresses(services, direct), to_workloads)
    return Dispatch(
        _matcher(part.services, workloads),
        refuses=_refuses(part) or (direct is not None and not gates.direct.is_open),
        borrowed=part.borrowed,
    )


def _matcher(services: Sequence[ServiceHere], workloads: bytes) -> bytes:
    """Return a serialized matcher; ``workloads`` is the entry of addresses of workloads."""
    entries = [_range_entry(ranges, ports) for ranges, ports in _ports_by_ranges(services)]
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
        _authorities(service.hostname, service.ports, service.gates)
        for service in services
        if not service.hostname.startswith("*")
    )
    if not by_authority:
        return by_address
    tree = _AUTHORITY_TREE + delimited(_EXACT_MATCH_MAP, by_authority)
    otherwise = delimited(_ON_MATCH_MATCHER, by_address)
    return delimited(_MATCHER_TREE, tree) + delimited(_ON_NO_MATCH, otherwise)


def _refuses(part: Part) -> bool:
    return any(not gate.is_open for service in part.services for gate in service.gates)


def _workloads(addresses: Sequence[bytes], to_workloads: Any) -> bytes:
    """Return what becomes of connections to workloads: a serialized IPMatcher of one entry.

    Without addresses there is none.
    """
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
) -> bytes:
    """Return the entries of one service in the map of authorities: a serialized MatchMap."""
    targets = {
        f"{hostname}:{port.number}": _to_service(Target(hostname, port, gate))
        for port, gate in zip(ports, gates, strict=True)
    }
    return encoded(matcher_pb2.Matcher.MatcherTree.MatchMap(map=targets))


@lru_cache(maxsize=_KEPT)
def _range_entry(ranges: tuple[AddressRange, ...], ports: Ports) -> bytes:
    """Return what becomes of connections to ``ranges``: a serialized IPMatcher of one entry."""
    message = ip_pb2.IPMatcher()
    entry = message.range_matchers.add(ranges=[_cidr(each) for each in ranges])
    entry.on_match.CopyFrom(
        _by_port({str(number): _to_service(target) for number, target in ports})
    )
    return encoded(message)


def _ports_by_ranges(
    services: Sequence[ServiceHere],
) -> list[tuple[tuple[AddressRange, ...], Ports]]:
    """Return ranges with the same ports together, in a stable order."""
    shared = shared_ranges(services)
    entries = _shared_ports(each for each in services if not shared.isdisjoint(each.ranges))
    entries += [
        (service.ranges, _own_ports(service.hostname, service.ports, service.gates))
        for service in services
        if service.ranges and shared.isdisjoint(service.ranges)
    ]
    return sorted(entries, key=itemgetter(0))


@lru_cache(maxsize=_KEPT)
def _own_ports(
    hostname: str,
    ports: tuple[ServedPort, ...],
    gates: tuple[Gate, ...],
) -> Ports:
    each = zip(ports, gates, strict=True)
    return tuple((port.number, Target(hostname, port, gate)) for port, gate in each)


def _shared_ports(
    services: Iterable[ServiceHere],
) -> list[tuple[tuple[AddressRange, ...], Ports]]:
    """Return the same for services some of whose ranges others have too."""
    by_range: dict[AddressRange, dict[int, Target]] = {}
    # Nobody can give a Service the address of another; a ServiceEntry says what it likes.
    for service in sorted(services, key=lambda each: each.is_entry):
        for each in service.ranges:
            ports = by_range.setdefault(each, {})
            for port, gate in zip(service.ports, service.gates, strict=True):
                target = Target(service.hostname, port, gate)
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


def _by_port(targets: Mapping[str, Any], *, otherwise: Any = None) -> Any:
    if not targets:
        return otherwise
    matcher = _exactly("port", network_inputs_pb2.DestinationPortInput(), targets)
    if otherwise is not None:
        matcher.on_no_match.CopyFrom(otherwise)
    return matcher_pb2.Matcher.OnMatch(matcher=matcher)


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
