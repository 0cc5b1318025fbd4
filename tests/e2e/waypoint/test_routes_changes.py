"""What a real Envoy changes on the way: headers, hosts and paths, and answers that lead away."""

from pathlib import Path

import pytest

from controlplane.model.http_route import (
    HeaderChanges,
    HeaderValue,
    HttpRoute,
    PathChange,
    PathChangeKind,
    PathKind,
    PathMatch,
    Redirect,
    RequestMatch,
    Rewrite,
)
from tests.support.route_bed import OTHER_PORT, a_route, a_route_bed, to

FULL, PREFIX = PathChangeKind.FULL, PathChangeKind.PREFIX


def replaced(**values: str) -> HeaderChanges:
    return HeaderChanges(replaced=pairs(**values))


def pairs(**values: str) -> tuple[HeaderValue, ...]:
    return tuple(HeaderValue(name.replace("_", "-"), value) for name, value in values.items())


HEADERS = (
    a_route(
        "/plain",
        to("v1"),
        request_headers=HeaderChanges(
            replaced=pairs(X_Set="100% of %REQ(x-gone)%"),
            added=pairs(x_many="two"),
            removed=("X-Gone",),
        ),
        response_headers=HeaderChanges(
            replaced=pairs(x_answer="50%"), added=pairs(x_pod="too"), removed=("x-secret",)
        ),
    ),
    a_route(
        "/backends",
        to("v1", request_headers=replaced(x_who="one"), response_headers=replaced(x_from="1")),
        to("v2", request_headers=replaced(x_who="two", host="second.example")),
        request_headers=replaced(x_who="route", x_all="yes", x_gone="back"),
        response_headers=replaced(x_from="route"),
    ),
    a_route(
        "/single",
        to("v1", request_headers=HeaderChanges(replaced=pairs(x_who="one"), removed=("x-all",))),
        request_headers=replaced(x_who="route", x_all="yes", host="told.example"),
    ),
)


@pytest.mark.proves("EH-12", "EH-13")
@pytest.mark.refutes("EH-12", "EH-13")
async def test_headers_are_changed_for_a_rule_and_for_each_backend(tmp_path: Path) -> None:
    async with a_route_bed(HEADERS, tmp_path) as bed, bed.http() as http:
        sent = {"x-gone": "here", "x-many": "one", "x-set": "client", "x-kept": "yes"}
        answer = await http.get("/plain", headers=sent)
        seen = answer.json()["headers"]
        assert seen["x-set"] == "100% of %REQ(x-gone)%", "a value is no command"
        assert [v for n, v in answer.json()["all"] if n == "x-many"] in (
            ["one,two"],
            ["one", "two"],
        )
        assert "x-gone" not in seen
        assert seen["x-kept"] == "yes"
        assert answer.headers["x-answer"] == "50%"
        assert answer.headers.get_list("x-pod") == ["v1", "too"]
        assert "x-secret" not in answer.headers
        backends = {}
        while len(backends) < 2:
            answer = await http.get("/backends", headers=sent)
            backends[answer.headers["x-pod"]] = answer
        one, two = backends["v1"], backends["v2"]
        assert one.json()["headers"]["x-who"] == "one"
        assert two.json()["headers"]["x-who"] == "two"
        assert (one.headers["x-from"], two.headers["x-from"]) == ("1", "route")
        assert one.json()["headers"]["host"] == "web"
        assert two.json()["headers"]["host"] == "second.example"
        assert {each.json()["headers"]["x-all"] for each in (one, two)} == {"yes"}
        assert one.json()["headers"]["x-gone"] == "back"
        seen = (await http.get("/single")).json()["headers"]
        assert (seen["x-who"], seen["host"]) == ("one", "told.example")
        assert "x-all" not in seen


def leads(prefix: str, **redirect: object) -> HttpRoute:
    return a_route(prefix, redirect=Redirect(**redirect))  # type: ignore[arg-type]


ROOT = RequestMatch(path=PathMatch(PathKind.PREFIX, "/"))
REDIRECTS = (
    *(leads(f"/status/{status}", status=status) for status in (301, 302, 303, 307, 308)),
    leads("/host", hostname="other.example"),
    leads("/https", scheme="https"),
    leads("/https-443", scheme="https", port=443, hostname="other.example"),
    leads("/http-80", scheme="http", port=80, hostname="other.example"),
    leads("/port", port=8443),
    leads("/all", scheme="https", hostname="other.example", port=8443, path=PathChange(FULL, "/n")),
    leads("/old/", path=PathChange(PREFIX, "/new/")),
    leads("/gone", path=PathChange(PREFIX, "/")),
    a_route("/", redirect=Redirect(path=PathChange(PREFIX, "/below")), match=ROOT),
)
LOCATIONS = (
    ("/host/x?y=1", "http://other.example/host/x?y=1"),
    ("/https/x", "https://web/https/x"),
    ("/https-443", "https://other.example/https-443"),
    ("/http-80", "http://other.example/http-80"),
    ("/port", "http://web:8443/port"),
    ("/all/x?y=1", "https://other.example:8443/n?y=1"),
    ("/old", "http://web/new"),
    ("/old/x?y=1", "http://web/new/x?y=1"),
    ("/gone", "http://web/"),
    ("/gone/x?y=1", "http://web/x?y=1"),
    ("/elsewhere?y=1", "http://web/below/elsewhere?y=1"),
)
# The service's port is 8080 here and clients say so; a scheme brings its own port.
OTHER_LOCATIONS = (
    ("/host", "http://other.example:8080/host"),
    ("/https", "https://web:443/https"),
    ("/port", "http://web:8443/port"),
    ("/old", "http://web:8080/new"),
)


@pytest.mark.proves("EH-14", "EH-15")
@pytest.mark.refutes("EH-14", "EH-15")
async def test_answers_lead_elsewhere(tmp_path: Path) -> None:
    async with a_route_bed(REDIRECTS, tmp_path) as bed:
        async with bed.http() as http:
            for status in (301, 302, 303, 307, 308):
                answer = await http.get(f"/status/{status}")
                assert answer.status_code == status
                assert answer.headers["location"] == f"http://web/status/{status}"
            for path, location in LOCATIONS:
                assert (await http.get(path)).headers["location"] == location, path
        async with bed.http(port=OTHER_PORT) as http:
            for path, location in OTHER_LOCATIONS:
                answer = await http.get(path, headers={"host": "web:8080"})
                assert answer.headers["location"] == location, path
    assert not any(bed.applications.requests.values())


def told(prefix: str, hostname: str = "", path: PathChange | None = None) -> HttpRoute:
    return a_route(prefix, to("v1"), rewrite=Rewrite(hostname=hostname, path=path))


REWRITES = (
    told("/host", "one.example"),
    told("/full", path=PathChange(FULL, "/a\\1b")),
    told("/prefix", path=PathChange(PREFIX, "/other/")),
    told("/gone", path=PathChange(PREFIX, "/")),
    told("/empty", path=PathChange(PREFIX, "")),
    a_route("/", to("v1"), rewrite=Rewrite(path=PathChange(PREFIX, "/below")), match=ROOT),
)
PATHS = (
    ("/host/x?y=1", "/host/x", "one.example"),
    ("/full/x?y=1", "/a\\1b", "web"),
    ("/prefix", "/other", "web"),
    ("/prefix/x?y=1", "/other/x", "web"),
    ("/gone", "/", "web"),
    ("/gone/x/y?y=1", "/x/y", "web"),
    ("/empty/x?y=1", "/x", "web"),
    ("/goner?y=1", "/below/goner", "web"),
)


@pytest.mark.proves("EH-16")
@pytest.mark.refutes("EH-16")
async def test_backends_are_told_other_paths_and_hosts(tmp_path: Path) -> None:
    async with a_route_bed(REWRITES, tmp_path) as bed, bed.http() as http:
        for asked, path, host in PATHS:
            seen = (await http.get(asked)).json()
            assert (seen["path"], seen["headers"]["host"]) == (path, host), asked
            assert seen["query"] == ("y=1" if "?" in asked else "")
            forwarded = seen["headers"].get("x-forwarded-host")
            assert forwarded == ("web" if host == "one.example" else None)
