"""Where requests end up behind a real Envoy: shares, backends that cannot be, and copies."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from controlplane.model.http_route import HttpRoute, Mirror, RouteBackend
from tests.support.route_bed import RouteBed, a_route, a_route_bed, to


def mirrored(prefix: str, *mirrors: tuple[str, int]) -> HttpRoute:
    found = tuple(Mirror(to(name).destination, millionths) for name, millionths in mirrors)
    return a_route(prefix, to("web"), mirrors=found)


async def shares(http: httpx.AsyncClient, path: str, count: int) -> Counter[str | int]:
    """Return how often each backend answered, or by which status nobody did."""
    found: Counter[str | int] = Counter()
    for _ in range(count):
        answer = await http.get(path)
        found[answer.headers.get("x-pod") or answer.status_code] += 1
    return found


@pytest.mark.proves("EH-9", "EH-10", "EH-11")
@pytest.mark.refutes("EH-9", "EH-10", "EH-11")
async def test_every_backend_gets_its_share(tmp_path: Path) -> None:
    nothing: tuple[RouteBackend, ...] = ()
    routes = (
        a_route("/mostly", to("v1", 90), to("v2", 10)),
        a_route("/zero", to("v1", 0), to("v2", 5)),
        a_route("/zeros", to("v1", 0), to("v2", 0)),
        a_route("/nobody", *nothing),
        a_route("/half", to("v1", 1), to("", 1)),
        a_route("/invalid", to("")),
        a_route("/invalid-zero", to("v1", 3), to("", 0)),
        a_route("/down", to("down")),
        a_route("/broken", to("broken")),
    )
    async with a_route_bed(routes, tmp_path) as bed, bed.http() as http:
        mostly = await shares(http, "/mostly", 300)
        assert mostly["v1"] + mostly["v2"] == 300
        # 30 of 300 is expected; outside of these it is not once in a million.
        assert 6 <= mostly["v2"] <= 62
        assert await shares(http, "/zero", 20) == {"v2": 20}
        assert await shares(http, "/zeros", 3) == {500: 3}
        assert await shares(http, "/nobody", 3) == {500: 3}
        half = await shares(http, "/half", 100)
        assert half["v1"] + half[500] == 100
        assert 20 <= half[500] <= 80
        assert await shares(http, "/invalid", 3) == {500: 3}
        assert await shares(http, "/invalid-zero", 10) == {"v1": 10}
        assert await shares(http, "/down", 2) == {503: 2}
        assert await shares(http, "/broken", 1) == {503: 1}


@pytest.mark.proves("EH-17")
@pytest.mark.refutes("EH-17")
async def test_copies_go_to_others_and_nobody_hears_of_them(tmp_path: Path) -> None:
    routes = (
        mirrored("/two", ("v1", 1_000_000), ("v2", 1_000_000)),
        mirrored("/none", ("v1", 0)),
        mirrored("/half", ("v2", 500_000)),
        mirrored("/lost", ("down", 1_000_000), ("broken", 1_000_000), ("", 1_000_000)),
    )
    async with a_route_bed(routes, tmp_path) as bed, bed.http() as http:
        for path, count in (("/two", 3), ("/none", 10), ("/half", 100), ("/lost", 3)):
            assert await shares(http, f"{path}/x", count) == {"web": count}
        await copies(bed, "v1", "/two/x", 3)
        await copies(bed, "v2", "/two/x", 3)
        got = Counter(bed.applications.paths("v2"))["/half/x"]
        assert 20 <= got <= 80
        assert "/none/x" not in bed.applications.paths("v1")
        copy = bed.applications.requests["v1"][0]
        assert copy["headers"]["host"] == "web", "a copy is sent to the same host"


async def copies(bed: RouteBed, backend: str, path: str, count: int) -> None:
    """Wait until a backend got ``count`` requests for ``path``."""
    for _ in range(1000):
        if bed.applications.paths(backend).count(path) >= count:
            break
        await asyncio.sleep(0.02)
    assert bed.applications.paths(backend).count(path) == count
