"""Benchmark ``cluster``: a mesh read from an API server, and kept up with.

The API server is in another process, over TLS on loopback, and its pods are of realistic size.
``start`` runs from nothing to the first complete commit; ``watch`` is how fast events are taken in,
as heartbeats and as changes that every client sees; ``follow`` sends changes at an even rate to
many clients, and measures from the moment an event leaves the API server to its receipt.
"""

import asyncio
import gc
import resource
import tempfile
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.load_process import LoadProcess
from tests.bench.measure import median, percentile, resident, settled_resident
from tests.bench.mesh import Sizes

_API = "tests.bench.cluster_api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Changes a second, for how many seconds, and to how many clients."""

    rate: int
    seconds: int
    clients: int


def start(emit: Callable[[dict[str, Any]], None], *, sizes: Sizes, events: int) -> None:
    """Read a mesh once in this process, which must be fresh; then take ``events`` of each sort."""
    with tempfile.TemporaryDirectory() as folder, LoadProcess(_API) as api:
        for result in uvloop.run(_started(api, sizes, events, Path(folder))):
            emit(result)


def follow(emit: Callable[[dict[str, Any]], None], *, sizes: Sizes, pace: Pace) -> None:
    """Send changes at an even pace."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LoadProcess(_API) as api,
        LoadProcess() as load,
    ):
        emit(uvloop.run(_followed(api, load, sizes, pace, Path(folder))))


@dataclass(slots=True)
class _Following:
    """A control plane that has read its cluster."""

    pipeline: Any
    catalog: Any
    source: Any
    pair: Any

    def events(self) -> int:
        """Return how many events of pods have been taken in."""
        (state,) = [each for each in self.source.states if each.kind == "Pod"]
        return int(state.events)


@asynccontextmanager
async def _following(api: LoadProcess, sizes: Sizes, folder: Path) -> AsyncIterator[_Following]:
    from kubernetes.aio.client import Configuration

    from controlplane.clock import SystemClock
    from controlplane.cluster.api_server import ApiServer
    from controlplane.cluster.credentials import Credentials
    from controlplane.dataflow import Batcher, tune_collector
    from controlplane.mesh.settings import MeshSettings
    from controlplane.pipeline.assembly import build_pipeline
    from controlplane.pipeline.intake import Intake
    from controlplane.snapshots.catalog import Catalog
    from controlplane.snapshots.residents import Residents
    from controlplane.sources.kubernetes.source import KubernetesSource
    from tests.bench.serving_certificate import make_serving_certificate

    pair = make_serving_certificate(folder, names=("127.0.0.1",), now=datetime.now(UTC))
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(pair.chain)
    key.write_bytes(pair.key)
    wanted = {name: getattr(sizes, name) for name in sizes.__slots__}
    served = await api.order(serve=wanted, chain=str(chain), key=str(key))
    configuration = Configuration()
    configuration.host = f"https://127.0.0.1:{served['port']}"
    configuration.ssl_ca_cert = str(pair.root_file)
    # Python refuses roots without a key identifier, which this one leaves out.
    configuration.disable_strict_ssl_verification = True
    clock = SystemClock()
    pipeline, catalog, residents = build_pipeline(MeshSettings()), Catalog(), Residents(clock)
    pipeline.publish_to(catalog)
    pipeline.publish_residents_to(residents)
    tune_collector(pipeline.graph)
    batcher = Batcher(pipeline.graph, clock)
    client = ApiServer(Credentials(configuration, clock=clock))
    source = KubernetesSource(client)
    sink = Intake(pipeline.inputs, pipeline.found_problems, batcher)
    tasks = [asyncio.create_task(batcher.run()), asyncio.create_task(source.run(sink))]
    try:
        await _until(lambda: pipeline.graph.ready or any(task.done() for task in tasks))
        for task in tasks:
            if task.done():
                task.result()
        yield _Following(pipeline, catalog, source, pair)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()


async def _started(
    api: LoadProcess, sizes: Sizes, events: int, folder: Path
) -> list[dict[str, Any]]:
    from controlplane.snapshots.scope import ADDRESSES

    before = settled_resident()
    began, spent = time.perf_counter(), time.process_time()
    async with _following(api, sizes, folder) as following:
        result = {
            "bench": "cluster",
            "part": "start",
            "pods": sizes.pods,
            "services": sizes.services,
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - spent,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
            "resident_mb": resident(),
            "resident_before_mb": before,
            "addresses": len(following.catalog.table(ADDRESSES)),
            "rule_calls": following.pipeline.graph.rule_calls,
        }
        beats = await _burst(api, following, events, beats=True)
        changes = await _burst(api, following, events, beats=False)
    return [
        result,
        {"bench": "cluster", "part": "watch", "events": events, "event": "heartbeat", **beats},
        {"bench": "cluster", "part": "watch", "events": events, "event": "readiness", **changes},
    ]


async def _until(holds: Callable[[], bool]) -> None:
    """Look every few milliseconds: who is measured does nothing for it."""
    while not holds():  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.002)


async def _burst(
    api: LoadProcess, following: _Following, events: int, *, beats: bool
) -> dict[str, Any]:
    """Take ``events`` in; the end is when the last was committed."""
    gc.collect()
    until = following.events() + events
    spent = time.process_time()
    sending = asyncio.create_task(api.order(burst=events, beats=beats))
    await _until(lambda: following.events() >= until)
    taken = time.monotonic()
    spent = time.process_time() - spent
    sent = await sending
    seconds = taken - sent["began"]
    return {
        "seconds": seconds,
        "events_per_second": events / seconds,
        "cpu_us_per_event": spent / events * 1e6,
        "sending_seconds": sent["seconds"],
    }


async def _followed(
    api: LoadProcess,
    load: LoadProcess,
    sizes: Sizes,
    pace: Pace,
    folder: Path,
) -> dict[str, Any]:
    from controlplane.clock import SystemClock
    from controlplane.xds.server import Listener, XdsServer
    from controlplane.xds.settings import XdsSettings
    from controlplane.xds.tls import HotCertificate

    async with _following(api, sizes, folder) as following:
        commits = _commits_of_pods(following)
        settings = XdsSettings(new_streams_per_second=10_000, new_streams_at_once=10_000)
        server = XdsServer(following.catalog, settings, SystemClock())
        certificate = HotCertificate(following.pair.chain, following.pair.key)
        (port,) = await server.start([Listener(address="127.0.0.1:0", certificate=certificate)])
        try:
            root = str(following.pair.root_file)
            order = {"connect": port, "root": root, "clients": pace.clients, "resume": False}
            await load.order(**order, arrivals=True)
            spent = time.process_time()
            paced = await api.order(rate=pace.rate, seconds=pace.seconds)
            spent = time.process_time() - spent
            await asyncio.sleep(1)
            arrivals = (await load.order(report=True))["arrivals"]
        finally:
            await server.stop(1)
    delays, lost = _delays(paced["moments"], commits, arrivals)
    return {
        "bench": "cluster",
        "part": "follow",
        "pods": sizes.pods,
        "clients": pace.clients,
        "events": paced["sent"],
        "events_per_second": paced["sent"] / paced["seconds"],
        "cpu_share": spent / paced["seconds"],
        "deliveries": len(delays),
        "lost": lost,
        "p50_ms": median(delays) * 1e3,
        "p99_ms": percentile(delays, 0.99) * 1e3,
        "max_ms": max(delays) * 1e3,
    }


def _commits_of_pods(following: _Following) -> dict[str, list[int]]:
    """Return, filled from now on, the commits in which each pod's workload changed."""
    found: dict[str, list[int]] = {}

    def changed(changes: Any) -> None:
        # The catalog counts this commit when the graph's has been delivered.
        number = following.catalog.commit + 1
        for _, _, new in changes:
            if new is not None:
                found.setdefault(new.name.rpartition("/")[2], []).append(number)

    following.pipeline.encoded.workloads.subscribe(changed)
    found.clear()
    return found


def _delays(
    moments: dict[str, list[float]],
    commits: dict[str, list[int]],
    arrivals: list[list[tuple[int, float]]],
) -> tuple[list[float], int]:
    """Return how long each event took to each client, and how many never came.

    A client's response of commit c brings everything up to c that it was not sent before.
    """
    by_client = [([commit for commit, _ in each], [at for _, at in each]) for each in arrivals]
    delays, lost = [], 0
    for name, sent in moments.items():
        committed = commits.get(name, [])
        lost += abs(len(sent) - len(committed))
        for moment, commit in zip(sent, committed, strict=False):
            for numbers, times in by_client:
                place = bisect_left(numbers, commit)
                if place == len(numbers):
                    lost += 1
                else:
                    delays.append(times[place] - moment)
    return delays, lost
