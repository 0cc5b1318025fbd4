"""Which route is tried first.

The routes of one port come in by age, the order in which an Envoy tries them goes out.
docs/protocol/http-routes.md HR-5.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from controlplane.model.http_route import HttpRoute, PathKind, PathMatch, RequestMatch

_RANKS: Final = {PathKind.EXACT: 0, PathKind.PREFIX: 1, PathKind.REGULAR_EXPRESSION: 2}
_ANY_PATH: Final = PathMatch(PathKind.PREFIX, "/")
_ANYTHING: Final = RequestMatch()


class RankedRoute(NamedTuple):
    """A route, and the match by which it has its place: its own unless that lost a condition."""

    rank: RequestMatch
    route: HttpRoute


def ordered_routes(routes: Iterable[RankedRoute]) -> tuple[HttpRoute, ...]:
    """Return ``routes``, which are sorted by age, by precedence.

    Those of consumers come before those of the producer: they are for fewer clients.
    """
    return tuple(each.route for each in sorted(routes, key=_precedence))


def _precedence(each: RankedRoute) -> tuple[bool, str, bool, int, int, bool, int, int]:
    match = each.rank
    path = match.path or _ANY_PATH
    return (
        not each.route.consumer,
        each.route.consumer,
        match == _ANYTHING,
        _RANKS[path.kind],
        -_length(path),
        not match.method,
        -len(match.headers),
        -len(match.query),
    )


def _length(path: PathMatch) -> int:
    """Return how long a path is; a slash at the end of a prefix is no part of what it says."""
    is_slashed = path.kind is PathKind.PREFIX and path != _ANY_PATH
    return len(path.value.removesuffix("/") if is_slashed else path.value)
