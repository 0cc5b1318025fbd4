"""How many routes a service takes from others: the routes of one port come in, what fits goes out.

Whoever may write a route may write one for any service, and requests of all clients pass by it.
docs/protocol/http-routes.md HR-27.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from controlplane.mesh.route_order import RankedRoute
from controlplane.model.names import ObjectReference

MOST_OF_NAMESPACE: Final = 512
"""Matches of one consumer namespace at one port: four of the largest routes there are."""

MOST_OF_CONSUMERS: Final = 4096
"""Matches of all consumer namespaces together at one port."""


class PortShare(NamedTuple):
    """What one route object has at one port; ``consumer`` is "" for the producer."""

    route: ObjectReference
    consumer: str
    matches: tuple[RankedRoute, ...]


class FittingRoutes(NamedTuple):
    """What is applied at one port, and the route objects that are not."""

    matches: tuple[RankedRoute, ...]
    refused: frozenset[ObjectReference]


def fitting_routes(shares: Iterable[PortShare]) -> FittingRoutes:
    """Return what fits of ``shares``, which are sorted by age: whole routes, older ones first.

    After the first route of a namespace that does not fit, none of that namespace does: which
    routes are applied does not depend on how large the younger ones are.
    """
    matches: list[RankedRoute] = []
    used: defaultdict[str, int] = defaultdict(int)
    refused: set[ObjectReference] = set()
    full: set[str] = set()
    for share in shares:
        consumer, size = share.consumer, len(share.matches)
        if consumer:
            is_full = (
                consumer in full
                or used[consumer] + size > MOST_OF_NAMESPACE
                or sum(used.values()) + size > MOST_OF_CONSUMERS
            )
            if is_full:
                full.add(consumer)
                refused.add(share.route)
                continue
            used[consumer] += size
        matches += share.matches
    return FittingRoutes(tuple(matches), frozenset(refused))
