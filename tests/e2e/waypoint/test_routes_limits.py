"""How long a real Envoy waits, how often it tries, and who keeps an endpoint."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.model.http_route import (
    HttpRoute,
    PathKind,
    PathMatch,
    PersistenceKind,
    RequestMatch,
    Retry,
    SessionPersistence,
)
from tests.support.route_bed import OWNER, a_route, a_route_bed, to

SOON = timedelta(seconds=1)
"""Longer than a request that waits for nothing takes on a busy machine."""
QUICK = timedelta(milliseconds=1)


@pytest.mark.proves("EH-18")
@pytest.mark.refutes("EH-18")
async def test_requests_end_in_time(tmp_path: Path) -> None:
    routes = (
        a_route("/request", to("v1"), timeout=SOON),
        a_route("/backend", to("v1"), backend_timeout=SOON),
        a_route("/tries", to("v1"), backend_timeout=SOON, retry=Retry(attempts=0)),
        a_route("/none", to("v1")),
    )
    async with a_route_bed(routes, tmp_path) as bed, bed.http() as http:
        answers = await asyncio.gather(
            *(http.get(f"{path}?sleep=3") for path in ("/request", "/backend", "/tries", "/none"))
        )
        assert [answer.status_code for answer in answers] == [504, 504, 504, 200]
        assert (await http.get("/request?sleep=0.01")).status_code == 200
        assert len(bed.applications.requests["v1"]) == 5, "who waited too long is not asked again"
        async with http.stream("GET", "/none?pieces=6") as stream:
            pieces = [piece async for piece in stream.aiter_text()]
        assert "".join(pieces) == "0\n1\n2\n3\n4\n5\n"
        assert len(pieces) > 1, "pieces arrive as they are sent"


@pytest.mark.proves("EH-19")
@pytest.mark.refutes("EH-19")
async def test_requests_are_tried_again(tmp_path: Path) -> None:
    routes = (
        a_route("/thrice", to("v1"), retry=Retry(attempts=3, codes=(503, 429), backoff=QUICK)),
        a_route("/never", to("v1"), retry=Retry(attempts=0, codes=(503,))),
        a_route("/usual", to("v1")),
        a_route("/broken", to("broken"), retry=Retry(attempts=2, backoff=QUICK)),
        a_route("/refused", to("refused"), retry=Retry(attempts=2, backoff=QUICK)),
        a_route("/broken-once", to("broken"), retry=Retry(attempts=0)),
    )
    async with a_route_bed(routes, tmp_path) as bed, bed.http() as http:

        async def tries(path: str, fail: int, status: int = 503) -> tuple[int, int]:
            key = f"{path}-{fail}-{status}"
            answer = await http.get(f"{path}?fail={fail}&status={status}&id={key}")
            return answer.status_code, bed.applications.failures[key]

        assert await tries("/thrice", 3) == (200, 4)
        assert await tries("/thrice", 4) == (503, 4)
        assert await tries("/thrice", 1, 429) == (200, 2)
        assert await tries("/thrice", 1, 500) == (500, 1)
        assert await tries("/never", 1) == (503, 1)
        assert await tries("/usual", 1) == (503, 1)
        counter = "cluster.inbound-vip|80|http|broken.app.svc.cluster.local.upstream_rq_retry"
        assert (await http.get("/broken-once")).status_code == 503
        before = (await bed.envoy.stats("upstream_rq_retry$")).get(counter, 0)
        assert (await http.get("/broken")).status_code == 503
        after = (await bed.envoy.stats("upstream_rq_retry$"))[counter]
        assert (before, after) == (0, 2)
        # To Envoy a tunnel is a connection as soon as it is asked for: it may have carried much.
        assert (await http.get("/refused")).status_code == 503
        assert (await bed.envoy.stats("upstream_rq_retry$"))[
            counter.replace("broken", "refused")
        ] == 0


def sticky(prefix: str, kind: PersistenceKind, **rest: object) -> HttpRoute:
    persistence = SessionPersistence(kind=kind, name="x-keep", **rest)  # type: ignore[arg-type]
    return a_route(prefix, to("two"), persistence=persistence)


@pytest.mark.proves("EH-21")
@pytest.mark.refutes("EH-21")
async def test_a_client_keeps_its_endpoint(tmp_path: Path) -> None:
    exact = RequestMatch(path=PathMatch(PathKind.EXACT, "/one"))
    held = SessionPersistence(kind=PersistenceKind.COOKIE, name="x-keep")
    routes = (
        sticky("/cookie", PersistenceKind.COOKIE, lifetime=timedelta(hours=1)),
        sticky("/session", PersistenceKind.COOKIE),
        sticky("/header", PersistenceKind.HEADER),
        a_route("/plain", to("two")),
        HttpRoute(name="one", owner=OWNER, match=exact, backends=(to("two"),), persistence=held),
    )
    async with a_route_bed(routes, tmp_path) as bed, bed.http() as http:

        async def pods(path: str, count: int = 12, **headers: str) -> set[str]:
            found = set()
            for _ in range(count):
                http.cookies.clear()
                found.add((await http.get(path, headers=headers)).headers["x-pod"])
            return found

        for path in ("/cookie/x", "/session/x", "/one"):
            http.cookies.clear()
            first = await http.get(path)
            cookie = first.headers["set-cookie"]
            name, _, rest = cookie.partition("; ")
            assert name.startswith("x-keep=")
            assert "HttpOnly" in rest
            assert f"Path={path.removesuffix('/x')}" in rest
            assert ("Max-Age=3600" in rest) is (path == "/cookie/x")
            assert await pods(path, cookie=name) == {first.headers["x-pod"]}
        first = await http.get("/header")
        kept = first.headers["x-keep"]
        assert await pods("/header", **{"x-keep": kept}) == {first.headers["x-pod"]}
        assert await pods("/plain", 40, **{"x-keep": kept}) == {"two0", "two1"}
        assert "x-keep" not in (await http.get("/plain")).headers
        # Whatever a client writes there leads to an endpoint of the service, if anywhere.
        assert await pods("/header", 40, **{"x-keep": "MTI3LjAuMC4xOjE="}) == {"two0", "two1"}
        assert await pods("/header", 40, **{"x-keep": "%%%"}) == {"two0", "two1"}
