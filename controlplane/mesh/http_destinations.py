"""Policies about addresses, at a service: they and its addresses come in, what is left of them out.

A client may come by hostname, and then Envoy knows no address that a policy could look at. What
all addresses of a service have in common is decided here; where they differ, Envoy looks, and who
comes by hostname gets the stricter answer. docs/protocol/http-policies.md HP-26.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_network,
    summarize_address_range,
)
from typing import Final, NamedTuple

from controlplane.model.http_policy import Attribute, Criterion, HttpAction, HttpPolicy, Settled
from controlplane.model.policy import AddressMatch
from controlplane.model.waypoint_traffic import AddressRange

Network = IPv4Network | IPv6Network

_MOST_PARTS: Final = 64
"""Of one range. What lies between them takes many times as many blocks to write down."""


class _Parts(NamedTuple):
    """Which addresses of a service are among those of a criterion, and which are not."""

    inside: tuple[AddressMatch, ...]
    outside: tuple[AddressMatch, ...]


def at_addresses(policy: HttpPolicy, ranges: tuple[AddressRange, ...]) -> HttpPolicy:
    """Return what ``policy`` says at a service that has the addresses in ``ranges``.

    Nothing says what a service without addresses would be met by: nothing that allows is, and
    everything else.
    """
    is_allow = policy.action is HttpAction.ALLOW

    def at(criterion: Criterion) -> Settled:
        if criterion.attribute is not Attribute.DESTINATION_IP:
            return criterion
        blocks = (each for each in criterion.values if isinstance(each, AddressMatch))
        parts = _parted(ranges, blocks) if ranges else None
        if parts is None:
            return not is_allow
        inside, outside = parts
        met, unmet = (outside, inside) if criterion.is_negated else (inside, outside)
        if not met or not unmet:
            return bool(met)
        # Who has no address is among none, and so is not among those that are not met.
        values = met if is_allow else unmet
        return criterion._replace(values=values, is_negated=not is_allow)

    return policy.settled(at)


def _parted(ranges: tuple[AddressRange, ...], blocks: Iterable[AddressMatch]) -> _Parts | None:
    """Return the parts; None where there are too many to tell Envoy of."""
    by_family: dict[int, list[Network]] = {4: [], 16: []}
    for block in blocks:
        by_family[len(block.address)].append(_network(block))
    merged = {family: _merged(found) for family, found in by_family.items()}
    inside: list[Network] = []
    outside: list[Network] = []
    for each in ranges:
        whole = _network(each)
        within = _overlapping(whole, merged[len(each.address)])
        if any(whole.prefixlen >= block.prefixlen for block in within):
            inside.append(whole)
        elif len(within) > _MOST_PARTS:
            return None
        else:
            inside += within
            outside += _gaps(whole, within)
    return _Parts(_matches(inside), _matches(outside))


def _overlapping(whole: Network, blocks: list[Network]) -> list[Network]:
    """Return those of ``blocks``, sorted and apart, that have addresses of ``whole``."""
    first = bisect_left(blocks, int(whole.network_address), key=_last)
    end = bisect_right(blocks, _last(whole), key=_first)
    return blocks[first:end]


def _gaps(whole: Network, within: list[Network]) -> Iterator[Network]:
    """Yield what of ``whole`` is in none of ``within``, which are sorted and apart."""
    start = _first(whole)
    for block in within:
        yield from _between(whole, start, _first(block) - 1)
        start = _last(block) + 1
    yield from _between(whole, start, _last(whole))


def _between(whole: Network, start: int, end: int) -> Iterator[Network]:
    if start > end:
        return
    if isinstance(whole, IPv4Network):
        yield from summarize_address_range(IPv4Address(start), IPv4Address(end))
    else:
        yield from summarize_address_range(IPv6Address(start), IPv6Address(end))


def _merged(networks: list[Network]) -> list[Network]:
    return sorted(collapse_addresses(networks), key=_first)  # type: ignore[type-var]


def _network(block: AddressMatch | AddressRange) -> Network:
    return ip_network((block.address, block.length), strict=False)


def _first(network: Network) -> int:
    return int(network.network_address)


def _last(network: Network) -> int:
    return int(network.broadcast_address)


def _matches(networks: Iterable[Network]) -> tuple[AddressMatch, ...]:
    found = {AddressMatch(each.network_address.packed, each.prefixlen) for each in networks}
    return tuple(sorted(found))
