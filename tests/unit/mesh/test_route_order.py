"""Which route is tried first."""

from itertools import pairwise

import pytest

from controlplane.mesh.route_order import RankedRoute, ordered_routes
from controlplane.model.http_route import HttpRoute, NamedMatch, PathKind, PathMatch, RequestMatch
from controlplane.model.names import ObjectReference

OWNER = ObjectReference("HTTPRoute", "shop", "route")
ONE = NamedMatch("a", "1")
TWO = NamedMatch("b", "2")


def _route(match: RequestMatch, consumer: str = "") -> HttpRoute:
    return HttpRoute(name="r", owner=OWNER, match=match, consumer=consumer)


def _ranked(route: HttpRoute) -> RankedRoute:
    return RankedRoute(route.match, route)


def _path(kind: PathKind, value: str, **rest: object) -> RequestMatch:
    return RequestMatch(path=PathMatch(kind, value), **rest)  # type: ignore[arg-type]


ORDERED = [
    _route(RequestMatch(), "apps"),
    _route(_path(PathKind.EXACT, "/longer")),
    _route(_path(PathKind.EXACT, "/a")),
    _route(_path(PathKind.PREFIX, "/longer")),
    _route(_path(PathKind.PREFIX, "/a", method="GET")),
    _route(_path(PathKind.PREFIX, "/a", headers=(ONE, TWO))),
    _route(_path(PathKind.PREFIX, "/a", headers=(ONE,), query=(ONE,))),
    _route(_path(PathKind.PREFIX, "/a", headers=(ONE,))),
    _route(_path(PathKind.PREFIX, "/a", query=(ONE, TWO))),
    _route(_path(PathKind.PREFIX, "/a", query=(ONE,))),
    _route(_path(PathKind.PREFIX, "/a")),
    _route(RequestMatch(method="GET")),
    _route(RequestMatch(headers=(ONE,))),
    _route(_path(PathKind.REGULAR_EXPRESSION, "/longer.*")),
    _route(_path(PathKind.REGULAR_EXPRESSION, "/a")),
    _route(RequestMatch()),
]


@pytest.mark.proves("HR-5")
@pytest.mark.parametrize(("first", "second"), list(pairwise(ORDERED)))
def test_precedence(first: HttpRoute, second: HttpRoute) -> None:
    assert ordered_routes([_ranked(second), _ranked(first)]) == (first, second)


@pytest.mark.refutes("HR-5")
def test_equals_stay_as_they_came() -> None:
    match = _path(PathKind.PREFIX, "/a", headers=(ONE,))
    other = _path(PathKind.PREFIX, "/b", headers=(TWO,))
    routes = (_route(other), _route(match), _route(other))
    assert ordered_routes(map(_ranked, routes)) == routes


@pytest.mark.proves("HR-5")
@pytest.mark.refutes("HR-5")
def test_a_slash_behind_a_prefix_makes_it_no_longer() -> None:
    slashed = _route(_path(PathKind.PREFIX, "/a/"))
    more = _route(_path(PathKind.PREFIX, "/a", headers=(ONE,)))
    assert ordered_routes(map(_ranked, (slashed, more))) == (more, slashed)
    other = _route(_path(PathKind.EXACT, "/a"))
    longer = _route(_path(PathKind.EXACT, "/a/", headers=()))
    assert ordered_routes(map(_ranked, (other, longer))) == (longer, other)
    root = _route(_path(PathKind.PREFIX, "/", headers=(ONE,)))
    assert ordered_routes(map(_ranked, (root, slashed))) == (slashed, root)
