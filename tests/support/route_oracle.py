"""Which rule answers a request, by the words of the Gateway API and nothing of ours.

Every match of every rule of every route is tried; of those that fit, the one that no other beats is
taken. Beating is said criterion by criterion, on manifests.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controlplane.manifests.http_route import Route, RouteMatch, TypedValue
from controlplane.model.http_route import HttpRoute, NamedMatch, PathKind


class Request(NamedTuple):
    """A request; names of headers are lower case. ``client`` is the namespace of who asks."""

    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    client: str = "shop"


class Contender(NamedTuple):
    """One match of one rule of one route."""

    route: Route
    rule: int
    position: int
    match: RouteMatch

    @property
    def name(self) -> str:
        return f"{self.route.metadata.namespace}.{self.route.metadata.name}.{self.rule}"


def answering(routes: Iterable[Route], request: Request, producers: set[str]) -> str:
    """The name of the rule that answers, "" when none does."""
    fitting = [
        each
        for each in _contenders(routes)
        if _fits(each.match, request)
        and (
            each.route.metadata.namespace in producers
            or each.route.metadata.namespace == request.client
        )
    ]
    unbeaten = [
        each
        for each in fitting
        if not any(_beats(other, each, producers) for other in fitting if other is not each)
    ]
    assert len(unbeaten) == min(len(fitting), 1)
    return unbeaten[0].name if unbeaten else ""


def first_of(routes: Iterable[HttpRoute], request: Request) -> str:
    """The name of the first of the sorted ``routes`` that fits, "" when none does."""
    for route in routes:
        if route.consumer and route.consumer != request.client:
            continue
        if _fits_sorted(route, request):
            return route.name
    return ""


def _contenders(routes: Iterable[Route]) -> Iterator[Contender]:
    for route in routes:
        for number, rule in enumerate(route.rules):
            for position, match in enumerate(rule.matches or (RouteMatch(),)):
                yield Contender(route, number, position, match)


def _fits(match: RouteMatch, request: Request) -> bool:
    path = match.path or TypedValue("PathPrefix", "/")
    if path.type == "Exact":
        found = request.path == path.value
    elif path.type == "PathPrefix":
        wanted = [part for part in path.value.split("/") if part]
        found = [part for part in request.path.split("/") if part][: len(wanted)] == wanted
    else:
        found = re.fullmatch(path.value, request.path) is not None
    return (
        found
        and match.method in ("", request.method)
        and all(_has(request.headers, each, lower=True) for each in match.headers)
        and all(_has(request.query, each, lower=False) for each in match.query)
    )


def _has(pairs: tuple[tuple[str, str], ...], wanted: TypedValue, *, lower: bool) -> bool:
    name = wanted.name.lower() if lower else wanted.name
    return (name, wanted.value) in pairs


def _beats(one: Contender, other: Contender, producers: set[str]) -> bool:
    """The first criterion on which they differ decides."""
    for better, worse in zip(_merits(one, producers), _merits(other, producers), strict=True):
        if better != worse:
            return bool(better > worse)
    return _is_before(one, other)


def _merits(each: Contender, producers: set[str]) -> list[int]:
    match = each.match
    path = match.path or TypedValue("PathPrefix", "/")
    is_conditional = bool(
        path != TypedValue("PathPrefix", "/") or match.method or match.headers or match.query
    )
    return [
        int(each.route.metadata.namespace not in producers),
        int(is_conditional),
        {"Exact": 3, "PathPrefix": 2, "RegularExpression": 1}[path.type],
        len(path.value.rstrip("/") if path.type == "PathPrefix" else path.value),
        int(bool(match.method)),
        len(match.headers),
        len(match.query),
    ]


def _is_before(one: Contender, other: Contender) -> bool:
    if one.route is not other.route:
        mine, theirs = one.route.metadata, other.route.metadata
        if mine.created != theirs.created:
            return mine.created < theirs.created
        return (mine.namespace, mine.name) < (theirs.namespace, theirs.name)
    return (one.rule, one.position) < (other.rule, other.position)


def _fits_sorted(route: HttpRoute, request: Request) -> bool:
    match = route.match
    if match.path is not None:
        value = match.path.value
        fits = {
            PathKind.EXACT: request.path == value,
            PathKind.PREFIX: f"{request.path}/".startswith(f"{value.rstrip('/')}/"),
            PathKind.REGULAR_EXPRESSION: re.fullmatch(value, request.path) is not None,
        }[match.path.kind]
        if not fits:
            return False
    return (
        match.method in ("", request.method)
        and all(_carries(request.headers, each) for each in match.headers)
        and all(_carries(request.query, each) for each in match.query)
    )


def _carries(pairs: tuple[tuple[str, str], ...], wanted: NamedMatch) -> bool:
    return (wanted.name, wanted.value) in pairs
