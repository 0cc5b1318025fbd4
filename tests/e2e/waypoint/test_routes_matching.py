"""Which route a request takes at a real Envoy, and what it gets where none is for it."""

from pathlib import Path

import pytest

from controlplane.model.http_route import (
    HeaderChanges,
    HeaderValue,
    HttpRoute,
    NamedMatch,
    PathKind,
    PathMatch,
    RequestMatch,
)
from tests.e2e.waypoint.hand_written import ALICE
from tests.support.hbone_certificates import an_identity
from tests.support.route_bed import CALLS, OWNER, a_route, a_route_bed, to, under


def marked(name: str, match: RequestMatch, **rest: object) -> HttpRoute:
    """A route to v1 that answers with its name in a header."""
    shown = HeaderChanges(replaced=(HeaderValue("x-route", name),))
    return HttpRoute(
        name=name,
        owner=OWNER,
        match=match,
        response_headers=shown,
        backends=(to("v1"),),
        **rest,  # type: ignore[arg-type]
    )


def exact(path: str) -> RequestMatch:
    return RequestMatch(path=PathMatch(PathKind.EXACT, path))


ROUTES = (
    marked("exact", exact("/exact")),
    marked("both", under("/many", method="POST", headers=(NamedMatch("X-Color", "blue"),))),
    marked(
        "headers",
        under("/many", headers=(NamedMatch("x-color", "red"), NamedMatch("X-COLOR", "blue"))),
    ),
    marked("expression", under("/many", headers=(NamedMatch("x-number", "[0-9]+", True),))),
    marked("host", under("/many", headers=(NamedMatch("Host", "other.example"),))),
    marked(
        "query",
        under("/many", query=(NamedMatch("a", "1"), NamedMatch("b", "x.*", True))),
    ),
    marked("method", under("/many", method="DELETE")),
    marked("longer", under("/many/more/")),
    marked("prefix", under("/many")),
    marked("regex", RequestMatch(path=PathMatch(PathKind.REGULAR_EXPRESSION, "/re/[0-9]+"))),
    marked("percent", exact("/100%25")),
)
CASES = (
    ("GET", "/exact", {}, "exact"),
    ("GET", "/exact?x=1", {}, "exact"),
    ("GET", "/exact/", {}, None),
    ("GET", "/Exact", {}, None),
    ("GET", "/x/../exact", {}, "exact"),
    ("GET", "/many", {}, "prefix"),
    ("GET", "/many/", {}, "prefix"),
    ("GET", "/many/x?y=1", {}, "prefix"),
    ("GET", "/manyfold", {}, None),
    ("GET", "/many/more", {}, "longer"),
    ("GET", "/many/more/x", {}, "longer"),
    ("GET", "/many/moreover", {}, "prefix"),
    ("DELETE", "/many", {}, "method"),
    ("POST", "/many", {"x-color": "blue"}, "both"),
    ("GET", "/many", {"x-color": "blue"}, "prefix"),
    ("GET", "/many", {"x-color": "red"}, "headers"),
    ("GET", "/many", {"x-color": "redder"}, "prefix"),
    ("GET", "/many", {"x-number": "42"}, "expression"),
    ("GET", "/many", {"x-number": "42a"}, "prefix"),
    ("GET", "/many", {"host": "other.example"}, "host"),
    ("GET", "/many?a=1&b=xyz", {}, "query"),
    ("GET", "/many?a=1&b=yx", {}, "prefix"),
    ("GET", "/many?a=11&b=x", {}, "prefix"),
    ("GET", "/re/17", {}, "regex"),
    ("GET", "/re/17/x", {}, None),
    ("GET", "/re/x", {}, None),
    ("GET", "/100%25", {}, "percent"),
    ("GET", "/elsewhere", {}, None),
)


@pytest.mark.proves("EH-4", "EH-5")
@pytest.mark.refutes("EH-4", "EH-5")
async def test_a_request_takes_the_first_route_that_matches(tmp_path: Path) -> None:
    async with a_route_bed(ROUTES, tmp_path) as bed, bed.http() as http:
        for method, path, headers, expected in CASES:
            answer = await http.request(method, path, headers=headers)
            found = (answer.status_code, answer.headers.get("x-route"))
            wanted = (404, None) if expected is None else (200, expected)
            assert found == wanted, (method, path, headers)
    assert len(bed.applications.requests["web"]) == 0, "who is on no route does not reach it"


@pytest.mark.proves("EH-8")
@pytest.mark.refutes("EH-8")
async def test_clients_of_a_namespace_have_routes_of_their_own(tmp_path: Path) -> None:
    routes = (
        marked("theirs", under("/"), consumer="client"),
        marked("everybody's", under("/")),
    )
    strangers = (
        an_identity("alice", "client2"),
        an_identity("alice", "clien"),
        an_identity("alice", "my-client"),
        an_identity("client", "app"),
        an_identity("default", "app"),
    )
    async with a_route_bed(routes, tmp_path) as bed:
        for identity in (ALICE, an_identity("bob", "client")):
            async with bed.http(identity) as http:
                assert (await http.get("/")).headers["x-route"] == "theirs", identity
        for identity in strangers:
            async with bed.http(identity) as http:
                forged = {"x-forwarded-client-cert": f"URI={ALICE}"}
                answer = await http.get("/", headers=forged)
                assert answer.headers["x-route"] == "everybody's", identity


@pytest.mark.proves("EH-7")
async def test_routes_of_one_port_are_those_of_that_port(tmp_path: Path) -> None:
    only = a_route("/bench.Echo", to("v1"), match=under("/nothing"))
    async with (
        a_route_bed(ROUTES, tmp_path, calls=(only,)) as bed,
        bed.http() as http,
        bed.http(port=CALLS, http2=True) as other,
    ):
        assert (await http.get("/exact")).status_code == 200
        assert (await other.get("/exact")).status_code == 404
