"""Which route a request takes, told without Envoy; and routes and requests made for each other."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from controlplane.model.http_route import (
    HeaderChanges,
    HeaderValue,
    HttpRoute,
    NamedMatch,
    PathKind,
    PathMatch,
    RequestMatch,
)
from tests.support.http_routes import DOMAINS, OWNER

_PATHS = ("/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b", "/b/", "/A", "/a%20b", "/a//b")
_EXPRESSIONS = ("/a.*", "/[a-z]+", "/(a|b)/?", "/[^/]+/b", "/")
_COLORS = ("red", "blue", "reddish", "")
_COLOR_EXPRESSIONS = ("red", "re.*", "[a-z]+", "(red|blue)")
_METHODS = ("GET", "POST", "DELETE")
_CLAIMS: tuple[Mapping[str, Any] | None, ...] = (
    None,
    {"a": "red"},
    {"a": ["blue", "red"]},
    {"a": {"b": "red"}},
    {"a": 7},
    {"a": ["reddish"]},
    {"a.b": "red"},
)
_IDENTITIES = (
    "spiffe://td/ns/shop/sa/web",
    "spiffe://td.two/ns/shop/sa/web",
    "spiffe://tdXtwo/ns/shop/sa/web",
    "spiffe://td/ns/shop2/sa/web",
    "spiffe://td/ns/sh.p/sa/web",
    "spiffe://td/ns/bank/sa/ns/shop/sa/web",
    "spiffe://td/ns/shop/sa/",
    "spiffe://other/ns/shop/sa/web",
    "",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedRequest:
    """A request; ``path`` has the query, ``headers`` has one value per name."""

    method: str
    path: str
    host: str
    headers: Mapping[str, str] = field(default_factory=dict)
    identity: str = ""
    claims: Mapping[str, Any] | None = None


def route_taken(routes: Sequence[HttpRoute], request: RoutedRequest) -> int | None:
    """Return the place of the first route that is for ``request``."""
    for place, route in enumerate(routes):
        if _is_for(route, request):
            return place
    return None


def _is_for(route: HttpRoute, request: RoutedRequest) -> bool:
    path, _, query = request.path.partition("?")
    conditions = route.match
    return (
        (conditions.path is None or _is_path(conditions.path, path))
        and conditions.method in ("", request.method)
        and all(_has_header(each, request) for each in _first(conditions.headers, str.lower))
        and all(_has_parameter(each, query) for each in _first(conditions.query, str))
        and (not route.consumer or _is_client(route.consumer, request.identity))
    )


def _is_path(condition: PathMatch, path: str) -> bool:
    match condition.kind:
        case PathKind.EXACT:
            return path == condition.value
        case PathKind.REGULAR_EXPRESSION:
            return re.fullmatch(condition.value, path) is not None
    prefix = condition.value.rstrip("/")
    return path == prefix or path.startswith(f"{prefix}/")


def _first(conditions: Sequence[NamedMatch], fold: Any) -> list[NamedMatch]:
    found: dict[str, NamedMatch] = {}
    for each in conditions:
        name = fold(each.name)
        found.setdefault("host" if name == ":authority" else name, each)
    return list(found.values())


def _has_header(condition: NamedMatch, request: RoutedRequest) -> bool:
    name = condition.name.lower()
    if name.startswith("@"):
        return _has_claim(condition, name.rpartition("claims")[2], request.claims)
    value = request.host if name in ("host", ":authority") else request.headers.get(name)
    return value is not None and _is_value(condition, value)


def _has_claim(condition: NamedMatch, way: str, claims: Mapping[str, Any] | None) -> bool:
    value: Any = claims
    names = re.findall(r"\[([^]]+)\]", way) or way.strip(".").split(".")
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    texts = value if isinstance(value, list) else [value]
    return any(isinstance(each, str) and _is_value(condition, each) for each in texts)


def _has_parameter(condition: NamedMatch, query: str) -> bool:
    for each in query.split("&"):
        name, _, value = each.partition("=")
        if each and name == condition.name:
            return _is_value(condition, value)
    return False


def _is_value(condition: NamedMatch, value: str) -> bool:
    if condition.is_expression:
        return re.fullmatch(condition.value, value) is not None
    return condition.value == value


def _is_client(namespace: str, identity: str) -> bool:
    parts = identity.split("/")
    return (
        len(parts) == 7
        and parts[:2] == ["spiffe:", ""]
        and parts[2] in DOMAINS
        and parts[3:6] == ["ns", namespace, "sa"]
        and parts[6] != ""
    )


def some_routes(random: Random) -> tuple[HttpRoute, ...]:
    """Routes that say in a header which they are."""
    return tuple(_a_route(random, place) for place in range(random.randint(2, 7)))


def _a_route(random: Random, place: int) -> HttpRoute:
    path: PathMatch | None = None
    if random.random() < 0.7:
        kind = random.choice(list(PathKind))
        values = _EXPRESSIONS if kind is PathKind.REGULAR_EXPRESSION else _PATHS
        path = PathMatch(kind, random.choice(values))
    names = ("x-color", "X-Color", "x-size", "Host", ":authority")
    claims = ("@request.auth.claims.a", "@request.auth.claims[a]", "@request.auth.claims.a.b")
    headers = [_a_condition(random, names) for _ in range(random.choice([0, 0, 0, 0, 1, 2]))]
    if random.random() < 0.1:
        headers.append(_a_condition(random, (*claims, "@request.auth.claims[a.b]")))
    query = [_a_condition(random, ("q", "Q", "r")) for _ in range(random.choice([0] * 5 + [1, 2]))]
    return HttpRoute(
        name=f"route-{place}",
        owner=OWNER,
        match=RequestMatch(
            path=path,
            method=random.choice([*[""] * 6, *_METHODS]),
            headers=tuple(headers),
            query=tuple(query),
        ),
        consumer=random.choice([*[""] * 8, "shop", "sh.p"]),
        response_headers=HeaderChanges(replaced=(HeaderValue("x-route", str(place)),)),
    )


def _a_condition(random: Random, names: Sequence[str]) -> NamedMatch:
    is_expression = random.random() < 0.4
    values = _COLOR_EXPRESSIONS if is_expression else _COLORS[:3]
    return NamedMatch(random.choice(names), random.choice(values), is_expression)


def a_request(random: Random) -> RoutedRequest:
    """A request that has a good deal to do with routes of ``some_routes``."""
    parameters = [
        random.choice(["q", "Q", "r", "%71"]) + random.choice(["=", "=", ""]) + value
        for value in random.sample(["red", "blue", "reddish", "r%65d"], random.choice([0, 1, 2]))
    ]
    query = f"?{'&'.join(parameters)}" if parameters else ""
    return RoutedRequest(
        method=random.choice(_METHODS),
        path=random.choice(_PATHS) + query,
        host=random.choice(["red", "blue", "web.example"]),
        headers={
            name: random.choice(_COLORS[:3])
            for name in ("x-color", "x-size")
            if random.random() < 0.6
        },
        identity=random.choice(_IDENTITIES),
        claims=random.choice(_CLAIMS),
    )
