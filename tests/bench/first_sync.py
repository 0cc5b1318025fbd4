"""Benchmark ``first_sync``: many clients that arrive at once, and the same ones coming back.

Every client is sent 30 MB of addresses over TLS. Then all connections end, and all come back with
the versions of everything they hold: nothing may be sent again. The serving loop is watched all
the while: ``stall`` is how much later than asked a short sleep ended.
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.load_process import LoadProcess
from tests.bench.measure import percentile, resident, settled_resident

_NAP = 0.001


@dataclass(slots=True)
class _Watch:
    """What happened to the process while somebody watched."""

    peak_mb: float
    stalls: list[float]

    def told(self, prefix: str) -> dict[str, Any]:
        return {
            f"{prefix}_longest_stall_ms": max(self.stalls) * 1e3,
            f"{prefix}_p99_stall_ms": percentile(self.stalls, 0.99) * 1e3,
        }


def run(emit: Callable[[dict[str, Any]], None], *, clients: int, small: bool) -> None:
    """Measure and emit one result."""
    with tempfile.TemporaryDirectory() as folder, LoadProcess() as load:
        emit(uvloop.run(_measured(load, clients, 5_000 if small else 90_000, Path(folder))))


async def _measured(
    load: LoadProcess, clients: int, workloads: int, folder: Path
) -> dict[str, Any]:
    from controlplane.clock import SystemClock
    from controlplane.dataflow.collector import THRESHOLDS
    from controlplane.snapshots.catalog import Catalog
    from controlplane.snapshots.scope import ADDRESSES
    from controlplane.xds.server import Listener, XdsServer
    from controlplane.xds.settings import XdsSettings
    from controlplane.xds.tls import HotCertificate
    from tests.bench.serving_certificate import make_serving_certificate
    from tests.support.discovery import a_workload

    catalog = Catalog()
    catalog.stage(
        ADDRESSES,
        [
            (each.name, each)
            for each in (
                a_workload(f"Kubernetes//Pod/team-1/app-{number}", padding="x" * 200)
                for number in range(workloads)
            )
        ],
    )
    catalog.publish()
    # As a server does once it is ready (controlplane.dataflow.collector).
    gc.set_threshold(*THRESHOLDS)
    gc.collect()
    gc.freeze()
    pair = make_serving_certificate(folder, names=("127.0.0.1",), now=datetime.now(UTC))
    settings = XdsSettings(new_streams_per_second=10_000, new_streams_at_once=10_000)
    server = XdsServer(catalog, settings, SystemClock())
    certificate = HotCertificate(pair.chain, pair.key)
    (port,) = await server.start([Listener(address="127.0.0.1:0", certificate=certificate)])
    order = {"connect": port, "root": str(pair.root_file), "clients": clients}
    before = settled_resident()
    try:
        spent = time.process_time()
        async with _watching() as first:
            fresh = await load.order(**order, resume=False)
        spent = time.process_time() - spent
        await load.order(disconnect=True)
        async with _watching() as second:
            back = await load.order(**order, resume=True)
        await load.order(quit=True)
    finally:
        await server.stop(1)
    return {
        "bench": "first_sync",
        "clients": clients,
        "workloads": workloads,
        "mb_per_client": fresh["bytes"] / clients / 1e6,
        "seconds": fresh["seconds"],
        "server_cpu_ms_per_client": spent / clients * 1e3,
        "extra_mb": first.peak_mb - before,
        **first.told("sync"),
        "reconnect_seconds": back["seconds"],
        "reconnect_resources": back["resources_in_small_messages"]
        + (back["bytes"] > clients * 10_000),
        "reconnect_bytes": back["bytes"],
        "reconnect_extra_mb": second.peak_mb - before,
        **second.told("reconnect"),
    }


@asynccontextmanager
async def _watching() -> AsyncIterator[_Watch]:
    watch = _Watch(resident(), [])

    async def watching() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(_NAP)
            watch.stalls.append(time.perf_counter() - started - _NAP)
            watch.peak_mb = max(watch.peak_mb, resident())

    task = asyncio.create_task(watching())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
