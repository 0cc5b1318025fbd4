"""Routes of waypoints at random, and an Envoy that has nothing but routes."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from controlplane.encode.bootstrap import LAYERED_RUNTIME
from controlplane.encode.document import envoy_json
from controlplane.encode.http_route import encode_http_routes
from controlplane.encode.override import encode_overrides
from controlplane.encode.route import encode_service_routes
from controlplane.encode.waypoint_names import PEER_PRINCIPAL
from controlplane.model.http_route import (
    CrossOrigin,
    Destination,
    HeaderChanges,
    HeaderValue,
    HttpRoute,
    Mirror,
    NamedMatch,
    PathChange,
    PathChangeKind,
    PathKind,
    PathMatch,
    PersistenceKind,
    Redirect,
    RequestMatch,
    Retry,
    Rewrite,
    RouteBackend,
    SessionPersistence,
)
from controlplane.model.names import ObjectReference
from tests.support.policy_bed import EXTENSIONS, a_state
from tests.support.waypoint_traffic import HTTP, a_served_service

OWNER = ObjectReference("HTTPRoute", "shop", "web")
DOMAINS = ("td", "td.two")
TOKENS = "envoy.filters.http.jwt_authn"

# What anybody may write: most of it is fine, some of it no Envoy would take.
ODD = st.sampled_from(
    ("", " ", "%", "%%", "%REQ(x)%", "é", "\ud800", "a\nb", "\0", ":", "\\", "\\9", "x" * 20_000)
)
_HEADER_NAMES = ("x-color", "X-Color", "x-size", "x-%41")
_CONDITION_NAMES = (*_HEADER_NAMES, "Host", ":authority", "@request.auth.claims.a")
_EXPRESSIONS = ("red", "r.*", ".+", "[a-z]+", "(red|blue)", r"\d{3}", "(?i)re?d")
_PATHS = ("/", "/a", "/a/", "/a/b", "/a/b/", "/%41", "/a\\1")
_HOSTS = ("a.example", "a.example:8080", "10.0.0.1", "[::1]:80")
_FAULTY = (
    *("(", "a**", "[z-a]", "(?=x)", "x{2000}", r"\x{100}", r"\1"),
    *("/a//", "/a?b", "/a#b", "a", "/a b", "*.example", "a/b", "@request.auth.claims[", "*("),
)


def _rarely(odd: st.SearchStrategy[Any], usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 24).flatmap(lambda number: usual if number else odd)


_DURATIONS = _rarely(
    st.sampled_from([timedelta(-1), timedelta.max]),
    st.sampled_from([timedelta(0), timedelta(microseconds=1), timedelta(seconds=3)]),
)


def _text(*usual: str) -> st.SearchStrategy[str]:
    return _rarely(st.one_of(ODD, st.sampled_from(_FAULTY)), st.sampled_from(usual))


def _tuple(values: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=most).map(tuple)


_PATH = st.one_of(
    st.builds(PathMatch, st.sampled_from([PathKind.EXACT, PathKind.PREFIX]), _text(*_PATHS)),
    st.builds(
        PathMatch, st.just(PathKind.REGULAR_EXPRESSION), _text(*_EXPRESSIONS, "/a/.*", "/[^/]+")
    ),
)
_CHANGE = st.builds(PathChange, st.sampled_from(PathChangeKind), _text(*_PATHS))
_CONDITIONS = _tuple(
    st.builds(NamedMatch, _text(*_CONDITION_NAMES), _text("red", *_EXPRESSIONS), st.booleans())
)
_VALUES = _tuple(st.builds(HeaderValue, _text(*_HEADER_NAMES), _text("red", "100%", "a,b")))
_HEADERS = st.builds(
    HeaderChanges, replaced=_VALUES, added=_VALUES, removed=_tuple(_text(*_HEADER_NAMES), 2)
)
_DESTINATION = st.builds(
    Destination,
    hostname=_text("web.shop.svc.cluster.local", "b.example"),
    port=st.sampled_from([80, 65_535]),
    is_served=st.booleans(),
    is_valid=st.sampled_from([True, True, False]),
)
_BACKEND = st.builds(
    RouteBackend,
    destination=_DESTINATION,
    weight=_rarely(st.just(2**31), st.sampled_from([0, 1, 1, 90, 1_000_000])),
    request_headers=st.one_of(st.just(HeaderChanges()), _HEADERS),
    response_headers=st.one_of(st.just(HeaderChanges()), _HEADERS),
)
_REDIRECT = st.builds(
    Redirect,
    scheme=_text("", "http", "https"),
    hostname=_text("", *_HOSTS),
    port=_rarely(st.just(70_000), st.sampled_from([0, 80, 443, 8443])),
    path=st.one_of(st.none(), _CHANGE),
    status=_rarely(st.just(200), st.sampled_from([301, 302, 303, 307, 308])),
)
_CROSS_ORIGIN = st.builds(
    CrossOrigin,
    allowed_origins=_tuple(_text("*", "https://a.example", "https://*.example")),
    allows_credentials=st.booleans(),
    allowed_methods=_tuple(_text("GET", "*")),
    allowed_headers=_tuple(_text("x-one", "*")),
    exposed_headers=_tuple(_text("x-one")),
    max_age=_DURATIONS,
)
_RETRY = st.builds(
    Retry,
    attempts=_rarely(st.sampled_from([-1, 2**33]), st.sampled_from([0, 1, 5])),
    codes=_tuple(_rarely(st.just(99), st.sampled_from([500, 503, 599]))),
    backoff=st.one_of(st.none(), _DURATIONS),
)
_PERSISTENCE = st.builds(
    SessionPersistence,
    kind=st.sampled_from(PersistenceKind),
    name=_text("keep", "x-keep"),
    lifetime=st.one_of(st.none(), _DURATIONS),
)


def _mostly(usual: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(usual), st.just(usual), st.just(usual), values)


HTTP_ROUTES = _tuple(
    st.builds(
        HttpRoute,
        name=_text("one", "two", "shop.web.0"),
        owner=st.just(OWNER),
        match=st.builds(
            RequestMatch,
            path=st.one_of(st.none(), _PATH),
            method=_mostly("", _text("GET", "POST")),
            headers=_mostly((), _CONDITIONS),
            query=_mostly((), _CONDITIONS),
        ),
        consumer=_mostly("", _text("shop", "sh.p")),
        request_headers=_mostly(HeaderChanges(), _HEADERS),
        response_headers=_mostly(HeaderChanges(), _HEADERS),
        redirect=_mostly(None, _REDIRECT),
        rewrite=_mostly(
            None,
            st.builds(Rewrite, hostname=_text("", *_HOSTS), path=st.one_of(st.none(), _CHANGE)),
        ),
        mirrors=_mostly(
            (), _tuple(st.builds(Mirror, _DESTINATION, st.sampled_from([0, 1, 10**6, 10**9])))
        ),
        cross_origin=_mostly(None, _CROSS_ORIGIN),
        timeout=_mostly(timedelta(0), _DURATIONS),
        backend_timeout=_mostly(timedelta(0), _DURATIONS),
        retry=_mostly(None, _RETRY),
        persistence=_mostly(None, _PERSISTENCE),
        backends=_tuple(_BACKEND),
    ),
    most=3,
)
"""Routes of one port, in which anything may be written anywhere."""


def route_configuration(routes: Sequence[HttpRoute], trust_domains: Sequence[str] = DOMAINS) -> Any:
    """Return what the port of a service with these routes is sent."""
    encoded = encode_http_routes(routes, HTTP.number, trust_domains)
    resource = encode_service_routes(
        a_served_service(), HTTP, encode_overrides(()), encoded.messages
    )
    document = envoy_json(resource)
    del document["@type"]
    return {"validate_clusters": False, **document}


def routes_bootstrap(configurations: Sequence[Any]) -> dict[str, Any]:
    """Return an Envoy with a listener for each of these; ``routes-0`` is the first.

    Who asks, and what the client's token claims, is told in the headers ``x-identity`` and
    ``x-claims``: what the waypoint knows is put where it puts it.
    """
    return {
        "layered_runtime": LAYERED_RUNTIME,
        "static_resources": {
            "listeners": [
                {
                    "name": f"routes-{number}",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "filter_chains": [{"filters": [_manager(each)]}],
                }
                for number, each in enumerate(configurations)
            ]
        },
    }


def _manager(configuration: Any) -> dict[str, Any]:
    http = f"{EXTENSIONS}filters.http."
    claims = {
        "header": "x-claims",
        "on_header_present": {
            "metadata_namespace": TOKENS,
            "key": "payload",
            "type": "PROTOBUF_VALUE",
            "encode": "BASE64",
        },
        "remove": True,
    }
    filters: list[tuple[str, str, dict[str, Any]]] = [
        ("claims", "header_to_metadata.v3.Config", {"request_rules": [claims]}),
        (
            "identity",
            "set_filter_state.v3.Config",
            {
                "on_request_headers": [
                    a_state(PEER_PRINCIPAL, "%REQ(x-identity)%", "envoy.hashable_string")
                ],
                "clear_route_cache": True,
            },
        ),
        ("rbac-allow", "rbac.v3.RBAC", {"rules": {"action": "ALLOW"}}),
        ("envoy.filters.http.cors", "cors.v3.Cors", {}),
        ("envoy.filters.http.stateful_session", "stateful_session.v3.StatefulSession", {}),
        ("router", "router.v3.Router", {}),
    ]
    return {
        "name": "http",
        "typed_config": {
            "@type": f"{EXTENSIONS}filters.network.http_connection_manager.v3."
            "HttpConnectionManager",
            "stat_prefix": "routes",
            "normalize_path": True,
            "use_remote_address": False,
            "http_filters": [
                {"name": name, "typed_config": {"@type": f"{http}{kind}", **fields}}
                for name, kind, fields in filters
            ],
            "route_config": configuration,
        },
    }
