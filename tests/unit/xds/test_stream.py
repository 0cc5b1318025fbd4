"""A stream over a transport that is two queues."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.authentication.caller import Metadata
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import ADDRESS_TYPE
from controlplane.xds.errors import MalformedRequestError
from controlplane.xds.stream import Stream
from tests.support.discovery import (
    ModelClient,
    a_catalog,
    a_request,
    a_session,
    a_workload,
    introduced,
    put,
)

POD = a_workload("c//Pod/ns/a")


class Queues:
    """A transport whose ``sent`` blocks while ``open`` is not set."""

    peer = "test"
    metadata: Metadata = {}
    is_encrypted = False

    def __init__(self) -> None:
        self.requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.sent: asyncio.Queue[bytes] = asyncio.Queue()
        self.open = asyncio.Event()
        self.open.set()
        self.sending = asyncio.Event()

    async def send(self, message: bytes) -> None:
        self.sending.set()
        await self.open.wait()
        self.sent.put_nowait(message)

    async def receive(self) -> bytes | None:
        return await self.requests.get()

    def request(self, request: Any) -> None:
        self.requests.put_nowait(request.SerializeToString())


def a_stream(
    catalog: Catalog,
    transport: Queues,
    first_syncs: asyncio.Semaphore | None = None,
    large_requests: asyncio.Lock | None = None,
) -> Stream:
    stream = Stream(
        transport,
        a_session(catalog),
        first_syncs=first_syncs or asyncio.Semaphore(1),
        large_requests=large_requests or asyncio.Lock(),
        hold=0.05,
    )
    catalog.subscribe(lambda _: stream.wake())
    return stream


@asynccontextmanager
async def running(stream: Stream) -> AsyncIterator[asyncio.Task[str]]:
    task = asyncio.create_task(stream.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_requests_and_commits_are_answered() -> None:
    catalog, transport = a_catalog(POD), Queues()
    model = ModelClient(watches_policies=False)
    async with running(a_stream(catalog, transport)):
        transport.request(introduced(a_request(), kind="waypoint"))
        transport.request(model.apply(await transport.sent.get()))
        put(catalog, a_workload("c//Pod/ns/b"))
        model.apply(await transport.sent.get())
    assert model.held[ADDRESS_TYPE].keys() == {POD.name, "c//Pod/ns/b"}


async def test_it_ends_when_the_client_does() -> None:
    transport = Queues()
    transport.requests.put_nowait(None)
    assert await a_stream(a_catalog(), transport).run() == "the client ended the stream"


async def test_it_ends_when_told_to_even_in_the_middle_of_a_write() -> None:
    transport = Queues()
    transport.open.clear()
    stream = a_stream(a_catalog(POD), transport)
    async with running(stream) as task:
        transport.request(introduced(a_request(), kind="waypoint"))
        await transport.sending.wait()
        stream.end("shutting down")
        stream.end("again")
        assert await task == "shutting down"


async def test_a_broken_request_is_raised() -> None:
    transport = Queues()
    transport.requests.put_nowait(b"\xff")
    with pytest.raises(MalformedRequestError):
        await a_stream(a_catalog(), transport).run()


async def test_a_slow_first_sync_gives_its_place_back() -> None:
    catalog = a_catalog(*(a_workload(f"c//Pod/ns/{n}") for n in range(1001)))
    places = asyncio.Semaphore(1)
    slow, quick = Queues(), Queues()
    slow.open.clear()
    first = introduced(a_request(), kind="waypoint")
    async with running(a_stream(catalog, slow, places)):
        slow.request(first)
        await slow.sending.wait()
        assert places.locked()
        async with running(a_stream(catalog, quick, places)):
            quick.request(first)
            assert len(await quick.sent.get()) > 10_000
        slow.open.set()
        assert len(await slow.sent.get()) > 10_000
    assert not places.locked()


async def test_a_large_request_waits_its_turn_and_holds_up_no_small_one() -> None:
    catalog, turn = a_catalog(POD), asyncio.Lock()
    returning, fresh = Queues(), Queues()
    known = {f"c//Pod/ns/{number}": "a version" for number in range(10_000)}
    await turn.acquire()
    async with (
        running(a_stream(catalog, returning, large_requests=turn)),
        running(a_stream(catalog, fresh, large_requests=turn)),
    ):
        returning.request(introduced(a_request(known=known), kind="waypoint"))
        fresh.request(introduced(a_request(), kind="waypoint"))
        assert POD.name.encode() in await fresh.sent.get()
        assert returning.sent.empty()
        turn.release()
        assert b"c//Pod/ns/9999" in await returning.sent.get()
    assert not turn.locked()
