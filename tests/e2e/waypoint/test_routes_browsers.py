"""What a real Envoy tells browsers of requests from other origins."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from controlplane.model.http_route import CrossOrigin, HttpRoute
from tests.support.route_bed import a_route, a_route_bed, to

STRICT = CrossOrigin(
    allowed_origins=("https://www.foo.example", "https://*.bar.example"),
    allows_credentials=True,
    allowed_methods=("GET", "PUT"),
    allowed_headers=("x-one", "x-two"),
    exposed_headers=("x-shown",),
    max_age=timedelta(hours=1),
)
OPEN = CrossOrigin(allowed_origins=("*",), allowed_methods=("GET",))


def shared(prefix: str, policy: CrossOrigin) -> HttpRoute:
    return a_route(prefix, to("v1"), cross_origin=policy)


ROUTES = (shared("/strict", STRICT), shared("/open", OPEN), a_route("/plain", to("v1")))


async def preflight(http: httpx.AsyncClient, path: str, origin: str) -> httpx.Response:
    asks = {"origin": origin, "access-control-request-method": "GET"}
    return await http.options(path, headers=asks)


def told(answer: httpx.Response) -> Mapping[str, str]:
    prefix = "access-control-"
    return {
        name.removeprefix(prefix): value
        for name, value in answer.headers.items()
        if name.startswith(prefix)
    }


@pytest.mark.proves("EH-20")
@pytest.mark.refutes("EH-20")
async def test_browsers_are_told_which_origins_may(tmp_path: Path) -> None:
    async with a_route_bed(ROUTES, tmp_path) as bed, bed.http() as http:
        for origin in ("https://www.foo.example", "https://a.bar.example"):
            answer = await preflight(http, "/strict", origin)
            assert answer.status_code == 200
            assert told(answer) == {
                "allow-origin": origin,
                "allow-credentials": "true",
                "allow-methods": "GET,PUT",
                "allow-headers": "x-one,x-two",
                "expose-headers": "x-shown",
                "max-age": "3600",
            }
            answer = await http.get("/strict", headers={"origin": origin})
            assert (answer.status_code, answer.headers["x-pod"]) == (200, "v1")
            assert told(answer) == {
                "allow-origin": origin,
                "allow-credentials": "true",
                "expose-headers": "x-shown",
            }
        for origin in (
            "https://foo.example",
            "http://www.foo.example",
            "https://wwwxfoo.example",
            "https://www.foo.example.evil.example",
            "https://bar.example",
            "https://evil.example/.bar.example",
            "https://evil.example?.bar.example",
            "null",
        ):
            answer = await preflight(http, "/strict", origin)
            assert answer.status_code == 200
            assert "allow-origin" not in told(answer), origin
            assert "x-pod" not in answer.headers
            assert told(await http.get("/strict", headers={"origin": origin})) == {}
        answer = await preflight(http, "/open", "http://anybody.example:8080")
        assert told(answer)["allow-origin"] == "http://anybody.example:8080"
        assert told(answer).get("allow-credentials") != "true"
        asked = [each["method"] for each in bed.applications.requests["v1"]]
        assert "OPTIONS" not in asked, "questions of browsers end at the waypoint"
        assert (await preflight(http, "/plain", "https://a.example")).headers["x-pod"] == "v1"
