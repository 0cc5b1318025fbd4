"""Dispatch: what a waypoint serves comes in, the matcher that finds the chain of a connection out.

By the authority when it is a hostname, else by address, then by port, then by what the client
speaks where the port does not say. docs/protocol/waypoint-config.md WC-26 to WC-29.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from google.protobuf import wrappers_pb2
from xds.core.v3 import cidr_pb2
from xds.type.matcher.v3 import ip_pb2, matcher_pb2

from controlplane.encode.typed import matching
from controlplane.encode.waypoint_names import AUTHORITY, direct_name, service_name
from controlplane.model.network import text_from_address
from controlplane.model.waypoint_traffic import (
    AddressRange,
    DirectWorkloads,
    Layer,
    ServedPort,
    ServedService,
)

_HTTP_NAMES: Final = ("'h2c'", "'http/1.1'")
"""How the inspector names what it recognises; the quotes are part of it."""

Ports = Mapping[int, tuple[str, ServedPort]]
"""Port number -> hostname of the service that has it, and the port."""


def dispatch(services: Iterable[ServedService], direct: DirectWorkloads | None) -> Any:
    """Return the matcher of ``main_internal``.

    Of two services with one address and port the first is taken. No range is ever empty, because
    an Envoy rejects those.
    """
    listed = list(services)
    by_authority = {
        f"{service.hostname}:{port.number}": _to_service(service.hostname, port)
        for service in listed
        if not service.hostname.startswith("*")
        for port in service.ports
    }
    by_address = _by_address(listed, direct)
    if not by_authority:
        return by_address
    authority = network_inputs_pb2.FilterStateInput(key=AUTHORITY)
    found = _exactly("authority", authority, by_authority)
    found.on_no_match.matcher.CopyFrom(by_address)
    return found


def never_sniffed(services: Iterable[ServedService], *, any_port: bool) -> Any:
    """Return the predicate of connections that need no sniffing; None when it has to sniff all.

    ``any_port`` says that connections come in on ports that no service declares. A client that
    waits for the server to speak first must not be waited for where the port is known.
    """
    sniffed: set[int] = set()
    known: set[int] = set()
    for service in services:
        for port in service.ports:
            if len(port.layers) > 1:
                sniffed.add(port.number)
            elif port.layers == (Layer.TCP,):
                known.add(port.number)
    if any_port:
        return _any_of(known - sniffed)
    wanted = _any_of(sniffed)
    predicate = listener_components_pb2.ListenerFilterChainMatchPredicate
    return predicate(any_match=True) if wanted is None else predicate(not_match=wanted)


def _any_of(ports: set[int]) -> Any:
    predicate = listener_components_pb2.ListenerFilterChainMatchPredicate
    rules = [
        predicate(destination_port_range={"start": port, "end": port + 1}) for port in sorted(ports)
    ]
    if len(rules) > 1:
        return predicate(or_match={"rules": rules})
    return rules[0] if rules else None


def _by_address(services: Iterable[ServedService], direct: DirectWorkloads | None) -> Any:
    message = ip_pb2.IPMatcher()
    taken: set[bytes] = set()
    for ranges, ports in _ports_by_ranges(services):
        by_port = {
            str(number): _to_service(hostname, port) for number, (hostname, port) in ports.items()
        }
        entry = message.range_matchers.add(ranges=[_cidr(each) for each in ranges])
        port_input = network_inputs_pb2.DestinationPortInput()
        entry.on_match.matcher.CopyFrom(_exactly("port", port_input, by_port))
        taken.update(each.address for each in ranges if each.length == len(each.address) * 8)
    addresses = [] if direct is None else [each for each in direct.addresses if each not in taken]
    if addresses:
        entry = message.range_matchers.add(
            ranges=[_cidr(AddressRange(each, len(each) * 8)) for each in addresses]
        )
        entry.on_match.CopyFrom(_sniffed(direct_name(Layer.HTTP), direct_name(Layer.TCP)))
    return matcher_pb2.Matcher(
        matcher_tree={
            "input": matching("ip", network_inputs_pb2.DestinationIPInput()),
            "custom_match": matching("ip", message),
        }
    )


def _ports_by_ranges(
    services: Iterable[ServedService],
) -> list[tuple[tuple[AddressRange, ...], Ports]]:
    """Return ranges with the same ports together, in a stable order."""
    by_range: dict[AddressRange, dict[int, tuple[str, ServedPort]]] = {}
    for service in services:
        for each in service.ranges if service.ports else ():
            ports = by_range.setdefault(each, {})
            for port in service.ports:
                ports.setdefault(port.number, (service.hostname, port))
    grouped: dict[tuple[Any, ...], list[AddressRange]] = {}
    for each, ports in sorted(by_range.items()):
        grouped.setdefault(tuple(sorted(ports.items())), []).append(each)
    return [(tuple(ranges), dict(items)) for items, ranges in grouped.items()]


def _to_service(hostname: str, port: ServedPort) -> Any:
    names = [service_name(port.number, layer, hostname) for layer in port.layers]
    return _sniffed(*names) if len(names) > 1 else _to_chain(names[0])


def _sniffed(http: str, tcp: str) -> Any:
    """Return what leads HTTP to one chain and everything else to the other."""
    spoken = network_inputs_pb2.ApplicationProtocolInput()
    found = _exactly("application protocol", spoken, dict.fromkeys(_HTTP_NAMES, _to_chain(http)))
    found.on_no_match.CopyFrom(_to_chain(tcp))
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
