"""Routes as Envoy is told them, and those that it would reject."""

from datetime import timedelta
from typing import Any

import pytest
from envoy.config.route.v3 import route_components_pb2
from google.protobuf import json_format

from controlplane.encode.document import envoy_json
from controlplane.encode.http_route import encode_http_routes
from controlplane.encode.route import encode_service_routes
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
from tests.support.waypoint_traffic import HTTP, a_served_service

OWNER = ObjectReference("HTTPRoute", "shop", "web")
BACKEND = RouteBackend(destination=Destination(hostname="web.shop.svc.cluster.local", port=80))
BELOW = RequestMatch(path=PathMatch(PathKind.PREFIX, "/a"))
TOO_LONG = "x" * 20_000
CENTURIES = timedelta(days=999_999)


def a_route(**changes: Any) -> HttpRoute:
    fields: dict[str, Any] = {
        "name": "rule",
        "owner": OWNER,
        "match": BELOW,
        "backends": (BACKEND,),
    }
    return HttpRoute(**(fields | changes))


def told(route: HttpRoute, port: int = 80, domains: tuple[str, ...] = ("td",)) -> dict[str, Any]:
    """What Envoy is told of a route that has no fault."""
    encoded = encode_http_routes([route], port, domains)
    assert encoded.faults == ()
    (message,) = encoded.messages
    read = route_components_pb2.Route.FromString(message)
    document: dict[str, Any] = json_format.MessageToDict(read, preserving_proto_field_name=True)
    return document


def matching(**conditions: Any) -> HttpRoute:
    return a_route(match=RequestMatch(**conditions))


UNSAYABLE = {
    "an expression": matching(path=PathMatch(PathKind.REGULAR_EXPRESSION, "(")),
    "a relative path": matching(path=PathMatch(PathKind.EXACT, "a")),
    "a query in a path": matching(path=PathMatch(PathKind.EXACT, "/a?b")),
    "empty segments": matching(path=PathMatch(PathKind.PREFIX, "/a//")),
    "a method": matching(method="GET /"),
    "a header's name": matching(headers=(NamedMatch("x y", "1"),)),
    "a header's value": matching(headers=(NamedMatch("x", "a\nb"),)),
    "a header's expression": matching(headers=(NamedMatch("x", "a**", True),)),
    "a claim": matching(headers=(NamedMatch("@request.auth.claims", "1"),)),
    "a claim of nothing": matching(headers=(NamedMatch("@request.auth.claims[a][]", "1"),)),
    "a parameter without a name": matching(query=(NamedMatch("", "1"),)),
    "a long parameter": matching(query=(NamedMatch("x" * 2000, "1"),)),
    "a name": a_route(name="\ud800"),
    "a surrogate": matching(headers=(NamedMatch("x", "\ud800"),)),
}
FAILING = {
    "a header": a_route(request_headers=HeaderChanges(replaced=(HeaderValue("a b", "1"),))),
    "a value": a_route(request_headers=HeaderChanges(added=(HeaderValue("x", "a\rb"),))),
    "a long value": a_route(response_headers=HeaderChanges(added=(HeaderValue("x", TOO_LONG),))),
    "no host": a_route(request_headers=HeaderChanges(removed=("Host",))),
    "a bad host": a_route(request_headers=HeaderChanges(replaced=(HeaderValue("host", "a b"),))),
    "a host in answers": a_route(response_headers=HeaderChanges(removed=(":authority",))),
    "a pseudo header": a_route(
        request_headers=HeaderChanges(replaced=(HeaderValue(":path", "/"),))
    ),
    "a status": a_route(redirect=Redirect(status=200)),
    "a scheme": a_route(redirect=Redirect(scheme="ftp")),
    "a port": a_route(redirect=Redirect(port=70_000)),
    "a redirect's host": a_route(redirect=Redirect(hostname="a/b")),
    "a redirect's path": a_route(redirect=Redirect(path=PathChange(PathChangeKind.FULL, "x"))),
    "a host": a_route(rewrite=Rewrite(hostname="a b")),
    "a path": a_route(rewrite=Rewrite(path=PathChange(PathChangeKind.FULL, "/a b"))),
    "a prefix of an exact path": a_route(
        match=RequestMatch(path=PathMatch(PathKind.EXACT, "/a")),
        rewrite=Rewrite(path=PathChange(PathChangeKind.PREFIX, "/b")),
    ),
    "weights": a_route(
        backends=(
            RouteBackend(destination=BACKEND.destination, weight=2**31),
            RouteBackend(destination=BACKEND.destination, weight=2**31),
        )
    ),
    "a negative time": a_route(timeout=timedelta(-1)),
    "a time of centuries": a_route(backend_timeout=CENTURIES),
    "attempts": a_route(retry=Retry(attempts=-1)),
    "a code": a_route(retry=Retry(codes=(200,))),
    "no time between": a_route(retry=Retry(backoff=timedelta(0))),
    "an origin": a_route(cross_origin=CrossOrigin(allowed_origins=("a\nb",))),
    "a list that is none": a_route(cross_origin=CrossOrigin(allowed_methods=("GET, PUT",))),
    "a cookie": a_route(persistence=SessionPersistence(kind=PersistenceKind.COOKIE, name="a;b")),
    "a header that keeps": a_route(
        persistence=SessionPersistence(kind=PersistenceKind.HEADER, name="")
    ),
    "a destination": a_route(
        backends=(RouteBackend(destination=Destination(hostname="\ud800", port=80)),)
    ),
}


@pytest.mark.proves("EH-2")
@pytest.mark.parametrize("what", UNSAYABLE)
def test_a_route_whose_conditions_cannot_be_said_is_left_out(what: str) -> None:
    encoded = encode_http_routes([UNSAYABLE[what], a_route()], 80, ("td",))
    assert len(encoded.messages) == 1
    (fault,) = encoded.faults
    assert fault.object == OWNER
    assert fault.reason


@pytest.mark.proves("EH-2")
@pytest.mark.parametrize("what", FAILING)
def test_a_route_that_envoy_would_reject_answers_by_itself(what: str) -> None:
    good = a_route()
    encoded = encode_http_routes([FAILING[what], good], 80, ("td",))
    answering, other = map(route_components_pb2.Route.FromString, encoded.messages)
    assert answering.direct_response.status == 500
    assert answering.HasField("match")
    assert not answering.typed_per_filter_config
    assert not answering.request_headers_to_add
    assert other.route.cluster == "inbound-vip|80|http|web.shop.svc.cluster.local"
    assert [fault.name for fault in encoded.faults] == ["rule"]


@pytest.mark.refutes("EH-2")
def test_what_envoy_takes_is_sent_as_written() -> None:
    route = told(a_route())
    assert route["name"] == "rule"
    assert "direct_response" not in route


@pytest.mark.proves("EH-1")
def test_routes_are_in_their_order_and_end_in_not_found() -> None:
    routes = [a_route(name=name) for name in ("b", "a", "c")]
    assert names(encode_http_routes(routes, 80, ()).messages) == ["b", "a", "c", "unrouted"]


@pytest.mark.refutes("EH-1")
def test_a_port_that_objects_have_routes_for_has_no_other() -> None:
    assert names(None) == ["default", "unrouted"]
    assert names(()) == ["unrouted"], "none of its routes could be said: nobody is let past them"


def names(routes: tuple[bytes, ...] | None) -> list[str]:
    document = envoy_json(encode_service_routes(a_served_service(), HTTP, (), routes))
    (host,) = document["virtual_hosts"]
    return [route["name"] for route in host["routes"]]


@pytest.mark.proves("EH-8")
def test_a_consumer_is_one_of_any_trust_domain() -> None:
    route = told(a_route(consumer="sh.p"), domains=("td.one", "two"))
    (state,) = route["match"]["filter_state"]
    assert state == {
        "key": "io.istio.peer_principal",
        "string_match": {"safe_regex": {"regex": r"spiffe://(?:td\.one|two)/ns/sh\.p/sa/[^/]+"}},
    }


@pytest.mark.refutes("EH-8")
def test_without_trust_domains_nobody_is_a_consumer() -> None:
    assert encode_http_routes([a_route(consumer="shop")], 80, ()).messages == ()


@pytest.mark.proves("EH-24")
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("@request.auth.claims.a", ["a"]),
        ("@Request.Auth.Claims.a.B", ["a", "B"]),
        ("@request.auth.claims[a.b][c]", ["a.b", "c"]),
    ],
)
def test_claims_are_looked_for_where_checked_tokens_are(name: str, path: list[str]) -> None:
    (claim,) = told(matching(headers=(NamedMatch(name, "1"),)))["match"]["dynamic_metadata"]
    assert claim["filter"] == "envoy.filters.http.jwt_authn"
    assert [each["key"] for each in claim["path"]] == ["payload", *path]


@pytest.mark.refutes("EH-24")
def test_other_headers_are_no_claims() -> None:
    assert "dynamic_metadata" not in told(matching(headers=(NamedMatch("claims.a", "1"),)))["match"]


def test_a_backend_that_is_not_served_has_a_cluster_of_its_own() -> None:
    other = Destination(hostname="db.example", port=8080, is_served=False)
    assert told(a_route(backends=(RouteBackend(destination=other),)))["route"]["cluster"] == (
        "outbound|8080|http|db.example"
    )


@pytest.mark.proves("EH-18")
def test_without_a_time_there_is_none() -> None:
    action = told(a_route())["route"]
    assert action["timeout"] == "0s"
    assert action["max_stream_duration"] == {
        "max_stream_duration": "0s",
        "grpc_timeout_header_max": "0s",
    }
    assert "per_try_timeout" not in action["retry_policy"]


@pytest.mark.refutes("EH-18")
def test_with_a_time_it_is_the_only_one() -> None:
    action = told(a_route(timeout=timedelta(milliseconds=1500)))["route"]
    assert action["timeout"] == "1.500s"
    assert "max_stream_duration" not in action, "Envoy would not look at the time then"


def test_mirrors_that_are_for_nobody_are_left_out() -> None:
    mirrors = (
        Mirror(BACKEND.destination, 0),
        Mirror(Destination(is_valid=False)),
        Mirror(BACKEND.destination, 2_000_000),
    )
    (mirror,) = told(a_route(mirrors=mirrors))["route"]["request_mirror_policies"]
    fraction = mirror["runtime_fraction"]["default_value"]
    assert fraction == {"numerator": 1_000_000, "denominator": "MILLION"}
