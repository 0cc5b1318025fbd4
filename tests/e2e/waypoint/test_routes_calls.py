"""Calls over gRPC and WebSockets on routes of a real Envoy."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import grpc.aio
import pytest

from controlplane.model.http_route import (
    Destination,
    HeaderChanges,
    HeaderValue,
    HttpRoute,
    PathKind,
    PathMatch,
    RequestMatch,
    RouteBackend,
)
from tests.support.route_bed import (
    CALLS,
    COUNT,
    DOMAIN,
    OWNER,
    SAY,
    RouteBed,
    a_route,
    a_route_bed,
    to,
)

ITSELF = RouteBackend(destination=Destination(hostname=f"web.{DOMAIN}", port=CALLS))
DOWN = RouteBackend(destination=Destination(hostname=f"down.{DOMAIN}", port=80))


def called(kind: PathKind, value: str, *backends: RouteBackend, **rest: object) -> HttpRoute:
    match = RequestMatch(path=PathMatch(kind, value))
    return HttpRoute(name=value, owner=OWNER, match=match, backends=backends, **rest)  # type: ignore[arg-type]


@pytest.mark.proves("EH-6")
@pytest.mark.refutes("EH-6")
async def test_calls_are_routed_by_service_and_method(tmp_path: Path) -> None:
    added = HeaderChanges(replaced=(HeaderValue("x-added", "yes"),))
    calls = (
        called(PathKind.EXACT, SAY, ITSELF, request_headers=added),
        called(PathKind.REGULAR_EXPRESSION, "/[^/]+/Count", ITSELF),
        called(PathKind.PREFIX, "/bench.Down", DOWN),
        called(PathKind.PREFIX, "/bench.Nobody"),
    )
    async with a_route_bed((), tmp_path, calls=calls) as bed, bed.calls() as channel:
        assert await say(channel, b"hello") == b"hello yes"
        counted = channel.stream_stream(COUNT, request_serializer=None, response_deserializer=None)

        async def numbers() -> AsyncIterator[bytes]:
            for number in range(3):
                yield str(number).encode()
                await asyncio.sleep(0.02)

        answers = [answer async for answer in counted(numbers(), timeout=5)]
        assert answers == [b"00", b"11", b"22"]
        assert await code(channel, "/bench.Down/Say") is grpc.StatusCode.UNAVAILABLE
        assert await code(channel, "/bench.Nobody/Say") is grpc.StatusCode.UNKNOWN
        assert await code(channel, "/bench.Else/Say") is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.proves("EH-18")
async def test_calls_end_in_time(tmp_path: Path) -> None:
    limited = called(PathKind.EXACT, SAY, ITSELF, timeout=timedelta(seconds=1))
    free = called(PathKind.EXACT, SAY, ITSELF)
    for route, expected in ((limited, grpc.StatusCode.UNAVAILABLE), (free, None)):
        directory = tmp_path / str(expected)
        directory.mkdir()
        async with a_route_bed((), directory, calls=(route,)) as bed, bed.calls() as channel:
            assert await code(channel, SAY, b"sleep 3") is expected
            assert await code(channel, SAY, b"sleep 0.05") is None
            late = await code(channel, SAY, b"sleep 3", limit=0.2)
            assert late is grpc.StatusCode.DEADLINE_EXCEEDED


async def say(
    channel: grpc.aio.Channel, content: bytes, path: str = SAY, limit: float = 5
) -> bytes:
    method = channel.unary_unary(path, request_serializer=None, response_deserializer=None)
    answer: bytes = await method(content, timeout=limit)
    return answer


async def code(
    channel: grpc.aio.Channel, path: str, content: bytes = b"x", limit: float = 5
) -> grpc.StatusCode | None:
    """Return how a call failed, None where it did not."""
    try:
        await say(channel, content, path, limit)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


async def test_sockets_pass(tmp_path: Path) -> None:
    routes = (a_route("/live", to("v1")), a_route("/away", to("")))
    async with a_route_bed(routes, tmp_path) as bed:
        assert await said_back(bed, "/live/socket") == ["one!", "two!"]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await said_back(bed, "/away/socket")
        assert refused.value.status == 500


async def said_back(bed: RouteBed, path: str) -> list[str]:
    async with (
        bed.client() as client,
        client.forwarded("10.96.0.10:80") as way,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{way.url}{path}") as socket,
    ):
        found = []
        for word in ("one", "two"):
            await socket.send_str(word)
            found.append(await socket.receive_str(timeout=5))
        return found
