"""Benchmark ``admin``: pages of a large mesh, and what ten polling clients cost everybody else.

Lists: each endpoint asked again and again by one client in another process. Beside: one change at
a time to clients over TLS, with and without ten clients that poll, in turns; medians of both, with
the lag of the event loop (how late a sleep of 5 ms wakes up).
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from tests.bench.admin_poller import PATHS
from tests.bench.fan_out import Countdown, connect, rounds_of
from tests.bench.load_process import LoadProcess
from tests.bench.measure import median, percentile
from tests.bench.mesh import Sizes, a_pod

if TYPE_CHECKING:
    from fastapi import FastAPI

    from controlplane.xds.observer import Observer
    from controlplane.xds.server import XdsServer
    from tests.bench.build import Built

_POLLERS = 10
_EVERY = 0.5
_TICK = 0.005


def run(emit: Callable[[dict[str, Any]], None], *, small: bool) -> None:
    """Measure and emit a line for each list, and one for what polling costs."""
    sizes = (
        Sizes(pods=2_000, services=200, policies=100, namespaces=10, nodes=50)
        if small
        else Sizes(pods=50_000, services=5_000, policies=1_000, namespaces=100, nodes=500)
    )
    clients, turns, rounds = (10, 1, 5) if small else (100, 5, 20)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        load = stack.enter_context(LoadProcess())
        poller = stack.enter_context(LoadProcess("tests.bench.admin_poller"))
        bench = _Bench(emit, load, poller, sizes, clients=clients, turns=turns, rounds=rounds)
        uvloop.run(bench.run(folder))


@dataclass(slots=True)
class _Bench:
    """A large mesh served on one port and shown on another."""

    emit: Callable[[dict[str, Any]], None]
    load: LoadProcess
    poller: LoadProcess
    sizes: Sizes
    clients: int
    turns: int
    rounds: int
    acknowledged: Countdown = field(default_factory=Countdown)
    changes: int = 0

    async def run(self, folder: Path) -> None:
        """Serve, measure lists, then changes with and without pollers."""
        from controlplane.admin.server import AdminServer
        from controlplane.clock import SystemClock
        from controlplane.xds.server import Listener, XdsServer
        from controlplane.xds.settings import XdsSettings
        from controlplane.xds.tls import HotCertificate
        from tests.bench.build import empty, fill
        from tests.bench.serving_certificate import make_serving_certificate

        built = empty()
        settings = XdsSettings(
            new_streams_per_second=10_000, new_streams_at_once=10_000, replica="bench"
        )
        server = XdsServer(built.catalog, settings, SystemClock(), observer=self._observer())
        application = _application(built, server)
        fill(built, self.sizes)
        admin = AdminServer(application, host="127.0.0.1", port=0)
        serving = asyncio.create_task(admin.run())
        pair = make_serving_certificate(folder, names=("127.0.0.1",), now=datetime.now(UTC))
        certificate = HotCertificate(pair.chain, pair.key)
        (port,) = await server.start([Listener(address="127.0.0.1:0", certificate=certificate)])
        try:
            self.acknowledged.expect(self.clients)
            await connect([self.load], [self.clients], port, pair.root_file)
            await self.acknowledged.reached()
            await self._lists(admin.port)
            await self._beside(admin.port, built)
            await self.load.order(quit=True)
        finally:
            admin.stop()
            await serving
            await server.stop(1)

    async def _lists(self, port: int) -> None:
        times = 20 if self.turns == 1 else 200
        for path in PATHS:
            answer = await self.poller.order(once=path, times=times, port=port)
            self.emit(self._described | {"list": path} | _told(answer["seconds"]))

    async def _beside(self, port: int, built: "Built") -> None:
        alone: list[dict[str, float]] = []
        polled: list[dict[str, float]] = []
        seconds: list[float] = []
        for _ in range(self.turns):
            alone.append(await self._turn(built))
            await self.poller.order(port=port, clients=_POLLERS, every=_EVERY)
            polled.append(await self._turn(built))
            report = await self.poller.order(stop=True)
            assert not report["errors"], report["errors"]
            seconds += [each for found in report["seconds"].values() for each in found]
        described = self._described | {"pollers": _POLLERS, "turns": self.turns}
        self.emit(described | _compared(alone, polled, seconds))

    async def _turn(self, built: "Built") -> dict[str, float]:
        def change(_: int) -> str:
            number, self.changes = self.changes, self.changes + 1
            pod = a_pod(self.sizes, number % 1000, ready=number // 1000 % 2 == 1)
            with built.pipeline.graph.transaction():
                built.pipeline.inputs.pods.put(pod)
            return str(built.catalog.commit)

        async with _lag() as lags:
            result = await rounds_of(
                change, self.acknowledged, [self.load], self.clients, self.rounds
            )
        return {"p99_ms": result["p99_ms"], "lag_p99_ms": percentile(lags, 0.99) * 1e3}

    @property
    def _described(self) -> dict[str, Any]:
        return {"bench": "admin", "pods": self.sizes.pods, "clients": self.clients}

    def _observer(self) -> "Observer":
        from controlplane.snapshots.scope import ADDRESS_TYPE
        from controlplane.xds.observer import SilentObserver

        acknowledged_all = self.acknowledged

        class Counting(SilentObserver):
            def acknowledged(self, client: int, type_url: str, commit: int, seconds: float) -> None:
                if type_url == ADDRESS_TYPE:
                    acknowledged_all.count()

        return Counting()


def _application(built: "Built", server: "XdsServer") -> "FastAPI":
    """Return the admin application of a pipeline that nothing is in yet."""
    from controlplane.admin.api import AdminParts, admin_application
    from controlplane.admin.limits import AdminLimits
    from controlplane.admin.mesh_view import Knowledge, MeshView
    from controlplane.clock import SystemClock
    from controlplane.insight.commits import CommitLog
    from controlplane.metrics import Metrics

    clock = SystemClock()
    commits = CommitLog(built.catalog, clock, replica="bench")
    commits.follow(server.fleet.followers)
    server.fleet.follow(commits.behind_since)
    known = Knowledge(
        pipeline=built.pipeline,
        catalog=built.catalog,
        origins=lambda _: None,
        clock=clock,
        replica="bench",
        connections=server.fleet.each,
        commits=commits,
    )
    return admin_application(
        AdminParts(
            version="bench",
            waiting_for=list,
            registry=Metrics("bench").registry,
            view=MeshView(known),
            limits=AdminLimits(requests_per_second=1e6, requests_at_once=1_000_000),
        )
    )


def _compared(
    alone: list[dict[str, float]], polled: list[dict[str, float]], seconds: list[float]
) -> dict[str, Any]:
    result: dict[str, Any] = {"polls": len(seconds)} | _told(seconds)
    for key in alone[0]:
        without, with_ = (
            median([each[key] for each in alone]),
            median([each[key] for each in polled]),
        )
        result |= {f"{key}_alone": without, f"{key}_polled": with_, f"{key}_ratio": with_ / without}
    return result


def _told(seconds: list[float]) -> dict[str, Any]:
    return {
        "p50_ms": percentile(seconds, 0.5) * 1e3,
        "p99_ms": percentile(seconds, 0.99) * 1e3,
    }


@asynccontextmanager
async def _lag() -> AsyncIterator[list[float]]:
    """Collect how late the event loop wakes who sleeps."""
    lags: list[float] = []

    async def watch() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(_TICK)
            lags.append(max(0.0, time.perf_counter() - started - _TICK))

    watching = asyncio.create_task(watch())
    try:
        yield lags
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
