"""A thousand clients, ten thousand changes, and one client that never reads."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Any

import grpc
import grpc.aio
import pytest

from controlplane.clock import SystemClock
from controlplane.dataflow.batch import Batcher
from controlplane.snapshots.frame import Frame
from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE
from controlplane.xds.observer import SilentObserver
from controlplane.xds.server import SERVICE, Listener, XdsServer
from controlplane.xds.settings import XdsSettings
from tests.bench.build import Built, build
from tests.bench.load_process import LoadProcess
from tests.bench.measure import percentile, settled_resident
from tests.bench.mesh import Sizes, a_pod
from tests.support.discovery import a_request, introduced

CLIENTS = 1_000
CHANGES = 10_000
ROUNDS = 8
SIZES = Sizes(pods=400, services=40, policies=10, namespaces=10, nodes=10)
PORTION = 50
METHOD = f"/{SERVICE}/DeltaAggregatedResources"


class Acknowledgements(SilentObserver):
    """Tells when enough clients hold a commit."""

    def __init__(self) -> None:
        self.holding: dict[int, int] = {}
        self.changed = asyncio.Event()

    def acknowledged(self, client: int, type_url: str, commit: int, seconds: float) -> None:
        if type_url == ADDRESS_TYPE:
            self.holding[client] = commit
            self.changed.set()

    async def everyone(self, commit: int) -> None:
        async with asyncio.timeout(30):
            while sum(1 for held in self.holding.values() if held >= commit) < CLIENTS:
                self.changed.clear()
                await self.changed.wait()


class Rig:
    """A server with its clients, which are in another process."""

    def __init__(
        self, built: Built, batcher: Batcher, load: LoadProcess, seen: Acknowledgements, port: int
    ) -> None:
        self.built = built
        self.port = port
        self._load = load
        self._seen = seen
        self._committed: dict[int, float] = {}
        self._batcher = batcher
        self._number = 0
        built.catalog.subscribe(self._note)

    async def changes(self, count: int) -> float:
        """Make ``count`` changes; return the 99th percentile of the seconds to receipts."""
        await self._load.order(report=True)
        self._committed.clear()
        for _ in range(count // PORTION):
            for _ in range(PORTION):
                self._change()
            await self._batcher.settled()
        await self._seen.everyone(self.built.catalog.commit)
        receipts = (await self._load.order(report=True))["receipts"]
        latencies = [
            at - self._committed[int(nonce.partition(".")[0])]
            for nonce, times in receipts.items()
            for at in times
        ]
        assert len(latencies) >= CLIENTS
        return percentile(latencies, 0.99)

    def _change(self) -> None:
        self._number += 1
        laps, number = divmod(self._number, SIZES.pods)
        pod = a_pod(SIZES, number, ready=laps % 2 == 1)
        self._batcher.put(self.built.pipeline.inputs.pods, pod)

    def _note(self, commit: int) -> None:
        self._committed[commit] = time.monotonic()


@asynccontextmanager
async def a_rig() -> AsyncIterator[Rig]:
    seen = Acknowledgements()
    built = build(SIZES)
    settings = XdsSettings(new_streams_per_second=10_000, new_streams_at_once=10_000)
    batcher = Batcher(built.pipeline.graph, SystemClock())
    with LoadProcess() as load:
        server = XdsServer(built.catalog, settings, SystemClock(), observer=seen)
        (port,) = await server.start([Listener(address="127.0.0.1:0")])
        running = asyncio.create_task(batcher.run())
        try:
            await load.order(connect=port, root=None, clients=CLIENTS, streams=50, resume=False)
            await seen.everyone(built.catalog.commit)
            yield Rig(built, batcher, load, seen, port)
            await load.order(quit=True)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await server.stop(1)


@asynccontextmanager
async def a_client_that_never_reads(port: int) -> AsyncIterator[None]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream: Any = channel.stream_stream(METHOD)()
        for type_url in (ADDRESS_TYPE, AUTHORIZATION_TYPE):
            request = introduced(a_request(type_url), node_name="node-1")
            await stream.write(request.SerializeToString())
        yield
        assert not stream.done(), "it was served all the while"
        stream.cancel()


@pytest.mark.timeout(120)
async def test_a_client_that_never_reads_slows_nobody_down_and_costs_no_memory() -> None:
    async with a_rig() as rig:
        await rig.changes(CHANGES // ROUNDS)  # both kinds of rounds start from the same warmth
        without: list[float] = []
        beside: list[float] = []
        held_without: list[float] = []
        held_beside: list[float] = []
        frames_without: list[int] = []
        frames_beside: list[int] = []
        for number in range(ROUNDS):
            # Interleaved, in alternating order, so that a noisy neighbour disturbs both alike.
            for never_reads in (number % 2 == 0, number % 2 == 1):
                if never_reads:
                    async with a_client_that_never_reads(rig.port):
                        beside.append(await rig.changes(CHANGES // ROUNDS))
                        held_beside.append(settled_resident())
                        frames_beside.append(frames_alive())
                else:
                    without.append(await rig.changes(CHANGES // ROUNDS))
                    held_without.append(settled_resident())
                    frames_without.append(frames_alive())
        assert median(beside) <= 1.5 * median(without), (beside, without)
        # Each of a round's commits is a frame: kept for the one that never reads, all would be.
        commits = CHANGES // ROUNDS // PORTION
        assert max(frames_beside) - min(frames_without) < commits / 2
        # What nobody counts: wide enough for the moods of an allocator that has seen other tests.
        least = min(held_beside) - min(held_without)
        middle = median(held_beside) - median(held_without)
        assert min(least, middle) <= 20, (held_beside, held_without)


def frames_alive() -> int:
    gc.collect()
    return sum(isinstance(each, Frame) for each in gc.get_objects())
