"""What is measured of the process as it runs: its loop, its queue, and how its clients stand.

In: the clock, the mesh and the discovery server. Out: gauges, until cancelled. Everything here is
looked at now and then; nothing is called while serving.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from controlplane.clock import Clock
from controlplane.insight.sync import SyncState, connection_verdict
from controlplane.metrics import MeshMetrics, Metrics, ProcessMetrics, ServingMetrics
from controlplane.model.connection import Connection

_LOOP_LOOKED_AT: Final = 0.1
_GAUGES_KEPT: Final = 1.0
_SYNC_JUDGED: Final = 5.0
_SLICE: Final = 32
"""Connections judged between two chances for the event loop."""


class ProcessObservation:
    """Measures one process: ``waiting`` and ``services`` count, ``connections`` tells the fleet."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Clock,
        *,
        waiting: Callable[[], int],
        services: Callable[[], int],
        connections: Callable[[], Iterable[Connection]],
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._waiting = waiting
        self._services = services
        self._connections = connections

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what has to run beside everything else, by name."""
        return {
            "loop lag": measure_loop(self._metrics.process, self._clock),
            "process metrics": self._keep_gauges(self._metrics.mesh),
            "sync metrics": self._judge(self._metrics.serving),
        }

    async def _keep_gauges(self, metrics: MeshMetrics) -> None:
        started = self._clock.monotonic()
        while True:
            self._metrics.process.uptime.set(self._clock.monotonic() - started)
            metrics.waiting.set(self._waiting())
            metrics.services.set(self._services())
            await self._clock.sleep(_GAUGES_KEPT)

    async def _judge(self, metrics: ServingMetrics) -> None:
        while True:
            await judge_connections(metrics, self._connections(), self._clock)
            await self._clock.sleep(_SYNC_JUDGED)


async def measure_loop(metrics: ProcessMetrics, clock: Clock) -> None:
    """Measure how late the loop is, until cancelled: by how much a sleep took too long."""
    while True:
        began = clock.monotonic()
        await clock.sleep(_LOOP_LOOKED_AT)
        late = clock.monotonic() - began - _LOOP_LOOKED_AT
        metrics.loop_lag.observe(max(0.0, late))


async def judge_connections(
    metrics: ServingMetrics, connections: Iterable[Connection], clock: Clock
) -> None:
    """Count the verdicts on all ``connections``, a few at a time."""
    found: Counter[SyncState] = Counter()
    now = clock.now()
    for count, connection in enumerate(connections, start=1):
        found[connection_verdict(connection, now).state] += 1
        if not count % _SLICE:
            await asyncio.sleep(0)
    for state in SyncState:
        metrics.sync.labels(state=state.value).set(found[state])
