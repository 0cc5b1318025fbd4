"""Benchmark ``change``: one pod changes in a large mesh, from the transaction to the frame.

Three changes: one that clients see (readiness), one that no rule turns into anything (an
annotation), and an equal object, which is what a heartbeat comes to. The first also through the
batcher on an event loop, as a source hands it over.
"""

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any

from controlplane.clock import SystemClock
from controlplane.dataflow.batch import Batcher
from tests.bench.build import Built, build
from tests.bench.measure import median, percentile
from tests.bench.mesh import Sizes, a_pod

_ROUNDS = 1_000


def run(emit: Callable[[dict[str, Any]], None], *, small: bool) -> None:
    """Emit medians of many single changes."""
    sizes = Sizes(pods=1_000 if small else 10_000, services=1_000)
    built = build(sizes)
    gc.collect()
    described = {"bench": "change", "pods": sizes.pods, "rounds": _ROUNDS}
    emit(described | {"change": "readiness"} | _visible(built, sizes))
    emit(
        described
        | {"change": "readiness, through the batcher"}
        | asyncio.run(_through_batcher(built, sizes))
    )
    emit(
        described | {"change": "annotation that changes nothing"} | _unseen(built, sizes, note=True)
    )
    emit(described | {"change": "equal object"} | _unseen(built, sizes, note=False))


def _visible(built: Built, sizes: Sizes) -> dict[str, Any]:
    graph, view, inputs = built.pipeline.graph, built.catalog.addresses(), built.pipeline.inputs
    times, calls, frame_bytes = [], [], []
    for number in range(_ROUNDS):
        pod = a_pod(sizes, number, ready=False)
        since, before = built.catalog.commit, graph.rule_calls
        started = time.perf_counter()
        with graph.transaction():
            inputs.pods.put(pod)
        frame = view.frame(since)
        times.append(time.perf_counter() - started)
        calls.append(graph.rule_calls - before)
        frame_bytes.append(frame.size)
        assert frame.updated == 1, "the frame holds what changed, nothing else"
    _restore(built, sizes)
    return _told(times) | {
        "rule_calls_max": max(calls),
        "frame_bytes_median": int(median(frame_bytes)),
    }


async def _through_batcher(built: Built, sizes: Sizes) -> dict[str, Any]:
    view, inputs = built.catalog.addresses(), built.pipeline.inputs
    batcher = Batcher(built.pipeline.graph, SystemClock(), quiet=0.0)
    running = asyncio.create_task(batcher.run())
    times = []
    for number in range(_ROUNDS):
        pod = a_pod(sizes, number, ready=False)
        since = built.catalog.commit
        started = time.perf_counter()
        batcher.put(inputs.pods, pod)
        await batcher.settled()
        frame = view.frame(since)
        times.append(time.perf_counter() - started)
        assert frame.updated == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    _restore(built, sizes)
    return _told(times)


def _unseen(built: Built, sizes: Sizes, *, note: bool) -> dict[str, Any]:
    graph, inputs = built.pipeline.graph, built.pipeline.inputs
    times = []
    commit, before = built.catalog.commit, graph.rule_calls
    for number in range(_ROUNDS):
        pod = a_pod(sizes, number, note=f"beat {number}" if note else "")
        started = time.perf_counter()
        with graph.transaction():
            inputs.pods.put(pod)
        times.append(time.perf_counter() - started)
    assert built.catalog.commit == commit, "nothing that a client sees has changed"
    calls = graph.rule_calls - before
    _restore(built, sizes)
    return _told(times) | {"rule_calls_mean": calls / _ROUNDS}


def _restore(built: Built, sizes: Sizes) -> None:
    with built.pipeline.graph.transaction():
        for number in range(_ROUNDS):
            built.pipeline.inputs.pods.put(a_pod(sizes, number))


def _told(times: list[float]) -> dict[str, Any]:
    return {
        "us_median": median(times) * 1e6,
        "us_p99": percentile(times, 0.99) * 1e6,
    }
