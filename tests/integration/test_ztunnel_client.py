"""The reference ztunnel on a real connection."""

import asyncio
from datetime import UTC, datetime

import grpc
import pytest

from controlplane.lab.ztunnel.client import Target, ZtunnelClient
from controlplane.lab.ztunnel.errors import WaitTimedOutError
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from tests.support.scripted_server import ScriptedServer
from tests.support.wire import (
    ADDRESS,
    AUTHORIZATION,
    a_resource,
    a_response,
    a_service,
    a_workload,
    policies,
    uid_of,
)


class ImpatientClock:
    """Never waits, and remembers how long it should have."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return float(len(self.slept))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


def a_client(server: ScriptedServer, *, on_demand: bool = False, **target: object) -> ZtunnelClient:
    session = Session(NodeIdentity(node_name="n1"), on_demand=on_demand)
    return ZtunnelClient(
        Target(address=server.address, **target),  # type: ignore[arg-type]
        session,
        clock=ImpatientClock(),
    )


async def test_a_client_becomes_ready_and_follows_changes() -> None:
    async with ScriptedServer() as server, a_client(server) as client:
        stream = await server.stream()
        first, second = await stream.receive(2)
        assert (first.type_url, second.type_url) == (ADDRESS, AUTHORIZATION)
        stream.send(policies(nonce="1"), a_response(a_workload("a"), nonce="2"))
        await client.wait_for(lambda client: client.session.is_ready)
        assert [request.response_nonce for request in await stream.receive(2)] == ["1", "2"]
        stream.send(a_response(a_service("web"), nonce="3"))
        await client.wait_for(lambda client: len(client.state.services.by_key) == 1)
        assert client.last is not None
        assert client.last.applied.response.nonce == "3"
        assert client.nacks == []


async def test_headers_tell_who_calls() -> None:
    async with (
        ScriptedServer() as server,
        a_client(server, token=lambda: "secret", cluster_id="c1", headers=(("x-mesh", "m"),)),
    ):
        stream = await server.stream()
        assert stream.metadata["authorization"] == "Bearer secret"
        assert stream.metadata["clusterid"] == "c1"
        assert stream.metadata["x-mesh"] == "m"


async def test_a_dropped_connection_resumes_from_what_is_held() -> None:
    async with ScriptedServer() as server, a_client(server) as client:
        stream = await server.stream()
        await stream.receive(2)
        stream.send(a_response(a_resource(a_workload("a"), version="v1")))
        await client.wait_for(lambda client: len(client.state.workloads.by_uid) == 1)
        client.drop()
        again = await server.stream()
        addresses, _ = await again.receive(2)
        assert dict(addresses.initial_resource_versions) == {uid_of("a"): "v1"}
        assert [end.code for end in client.ends] == [grpc.StatusCode.CANCELLED]
        again.send(a_response(removed=[uid_of("a")]))
        await client.wait_for(lambda client: not client.state.workloads.by_uid)


@pytest.mark.parametrize(
    ("code", "wait"),
    [
        (grpc.StatusCode.OK, 0.0),
        (grpc.StatusCode.UNKNOWN, 0.01),
        (grpc.StatusCode.PERMISSION_DENIED, 0.01),
    ],
)
async def test_streams_that_end_are_opened_again(code: grpc.StatusCode, wait: float) -> None:
    async with ScriptedServer() as server, a_client(server) as client:
        for _ in range(2):
            stream = await server.stream()
            stream.send(a_response())
            # Both requests and the acknowledgement: a stream must not end under a request.
            await stream.receive(3)
            stream.end(code)
        await server.stream()
        assert [end.was_established for end in client.ends] == [True, True]
        clock = client._clock
        assert isinstance(clock, ImpatientClock)
        is_trouble = code is grpc.StatusCode.PERMISSION_DENIED
        assert clock.slept == [wait, 2 * wait if is_trouble else wait]


async def test_a_server_that_is_not_there_is_tried_again() -> None:
    async with ScriptedServer() as server:
        address = server.address
    client = ZtunnelClient(Target(address=address), Session(NodeIdentity()), clock=ImpatientClock())
    async with client:
        await client.wait_for(lambda client: len(client.ends) >= 3)
    assert not any(end.was_established for end in client.ends)
    clock = client._clock
    assert isinstance(clock, ImpatientClock)
    assert clock.slept[:2] == [0.01, 0.02]


async def test_a_broken_response_ends_the_stream() -> None:
    async with ScriptedServer() as server, a_client(server) as client:
        stream = await server.stream()
        stream.send(b"\xff\xff\xff")
        await server.stream()
        assert [end.code for end in client.ends] == [grpc.StatusCode.INTERNAL]


async def test_a_paused_client_reads_nothing_until_it_resumes() -> None:
    async with ScriptedServer() as server, a_client(server) as client:
        client.pause()
        stream = await server.stream()
        await stream.receive(2)
        stream.send(a_response(a_workload("a"), nonce="1"))
        with pytest.raises(WaitTimedOutError):
            await client.wait_for(lambda client: client.last is not None, seconds=0.05)
        client.resume()
        await client.wait_for(lambda client: client.last is not None)


async def test_a_demand_returns_when_it_is_answered() -> None:
    async with ScriptedServer() as server, a_client(server, on_demand=True) as client:
        stream = await server.stream()
        await stream.receive(2)
        demanding = asyncio.create_task(client.demand("default/web"))
        (request,) = await stream.receive()
        assert list(request.resource_names_subscribe) == ["default/web"]
        stream.send(a_response(a_service("web")))
        await demanding
        assert len(client.state.services.by_key) == 1


async def test_a_condition_that_raises_fails_only_its_own_waiter() -> None:
    async with ScriptedServer() as server, a_client(server) as client:
        stream = await server.stream()

        def broken(client: ZtunnelClient) -> bool:
            if client.last is None:
                return False
            raise LookupError

        failing = asyncio.create_task(client.wait_for(broken))
        patient = asyncio.create_task(client.wait_for(lambda client: client.session.is_ready))
        await stream.receive(2)
        stream.send(a_response(nonce="1"))
        with pytest.raises(LookupError):
            await failing
        stream.send(policies(nonce="2"))
        await patient
