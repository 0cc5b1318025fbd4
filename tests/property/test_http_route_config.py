"""Whatever a route is, Envoy takes what it is told of it, and sends requests where it should."""

import asyncio
from base64 import b64encode
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.encode.http_route import encode_http_routes
from controlplane.lab.envoy import Envoy
from controlplane.model.http_route import HttpRoute
from tests.support.envoy_validation import validate_bootstrap
from tests.support.http_routes import (
    DOMAINS,
    HTTP_ROUTES,
    route_configuration,
    routes_bootstrap,
)
from tests.support.route_matching import RoutedRequest, a_request, route_taken, some_routes

_BATCH = 3
_SETS = 300
_TABLES = 60
_REQUESTS = 50


@pytest.mark.timeout(120)
@pytest.mark.proves("EH-2")
@settings(
    max_examples=_SETS // _BATCH,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(sets=st.lists(HTTP_ROUTES, min_size=_BATCH, max_size=_BATCH))
def test_envoy_takes_whatever_is_written(sets: list[tuple[HttpRoute, ...]], tmp_path: Path) -> None:
    configurations = [route_configuration(routes) for routes in sets]
    assert validate_bootstrap(routes_bootstrap(configurations), tmp_path) is None
    assert configurations == [route_configuration(routes) for routes in sets]


@given(routes=HTTP_ROUTES)
def test_a_route_is_what_it_is_whatever_others_are(routes: tuple[HttpRoute, ...]) -> None:
    together = encode_http_routes(routes, 80, DOMAINS)
    alone = [encode_http_routes([route], 80, DOMAINS) for route in routes]
    assert together.messages == tuple(each for one in alone for each in one.messages)
    assert together.faults == tuple(each for one in alone for each in one.faults)


@pytest.mark.timeout(60)
@pytest.mark.proves("EH-1", "EH-4", "EH-5", "EH-8", "EH-24")
@pytest.mark.refutes("EH-1", "EH-4", "EH-5", "EH-8", "EH-24")
async def test_envoy_takes_the_route_that_was_meant(tmp_path: Path) -> None:
    random = Random(20_261_121)
    tables = [some_routes(random) for _ in range(_TABLES)]
    taken: Counter[int | None] = Counter()
    bootstrap = routes_bootstrap([route_configuration(routes) for routes in tables])
    async with Envoy(bootstrap, tmp_path) as envoy:
        for number, routes in enumerate(tables):
            address = await envoy.address(f"routes-{number}")
            requests = [a_request(random) for _ in range(_REQUESTS)]
            found = await _asked(address, requests)
            for request, place in zip(requests, found, strict=True):
                expected = route_taken(routes, request)
                assert place == expected, (routes, request)
                taken[expected] += 1
    total = taken.total()
    assert total == _TABLES * _REQUESTS
    assert 0.2 < taken[None] / total < 0.8, taken
    assert all(taken[place] for place in range(4)), taken


async def _asked(address: tuple[str, int], requests: list[RoutedRequest]) -> list[int | None]:
    reader, writer = await asyncio.open_connection(*address)
    found: list[int | None] = []
    for request in requests:
        writer.write(_text(request))
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        await reader.readexactly(int(headers.get("content-length", "0")))
        status = int(head[0].split()[1])
        found.append(int(headers["x-route"]) if status == 500 else None)
        assert status in (404, 500)
    writer.close()
    return found


def _text(request: RoutedRequest) -> bytes:
    headers = {"host": request.host, "content-length": "0", **request.headers}
    if request.identity:
        headers["x-identity"] = request.identity
    if request.claims is not None:
        value = json_format.ParseDict(dict(request.claims), struct_pb2.Value())
        headers["x-claims"] = b64encode(value.SerializeToString()).decode()
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{request.method} {request.path} HTTP/1.1", *lines, "", ""]).encode()
