import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controlplane.app.process_observation import (
    ProcessObservation,
    judge_connections,
    measure_loop,
)
from controlplane.metrics import Metrics
from controlplane.model.connection import Connection, TypeProgress
from controlplane.snapshots.scope import ADDRESS_TYPE
from tests.support.dataflow_time import VirtualClock

FRESH = TypeProgress(type_url=ADDRESS_TYPE)
SYNCED = replace(
    FRESH,
    nonce_sent="1",
    nonce_acknowledged="1",
    commit_sent=1,
    commit_acknowledged=1,
    commit_held=1,
    commit_due=1,
)


def a_connection(number: int, *types: TypeProgress) -> Connection:
    return Connection(
        replica="r",
        number=number,
        node_id="",
        kind="ztunnel",
        pod="p",
        namespace="ns",
        node="n",
        version="1",
        cluster="",
        peer="",
        identity="",
        connected_at=datetime(2026, 1, 1, tzinfo=UTC),
        types=types,
    )


class LateClock(VirtualClock):
    """A clock that every sleep is late by."""

    def __init__(self, late: float) -> None:
        super().__init__()
        self.late = late
        self.slept = 0

    async def sleep(self, seconds: float) -> None:
        if self.slept == 3:
            raise asyncio.CancelledError
        self.slept += 1
        await self.advance(seconds + self.late)


async def test_the_lag_of_the_loop_is_what_a_sleep_took_too_long() -> None:
    metrics = Metrics("1")
    with pytest.raises(asyncio.CancelledError):
        await measure_loop(metrics.process, LateClock(0.25))
    registry = metrics.registry
    assert registry.get_sample_value("istiod_lite_loop_lag_seconds_count") == 3
    assert registry.get_sample_value("istiod_lite_loop_lag_seconds_sum") == pytest.approx(0.75)


async def test_connections_are_counted_by_verdict_and_none_is_left_over() -> None:
    metrics = Metrics("1")
    refused = replace(SYNCED, last_error="no")
    connections = [a_connection(number, SYNCED) for number in range(40)]
    connections += [a_connection(40, refused), a_connection(41, SYNCED, FRESH)]
    clock = VirtualClock()

    async def counted(connections: list[Connection]) -> dict[str, float | None]:
        await judge_connections(metrics.serving, connections, clock)
        return {
            state: metrics.registry.get_sample_value("istiod_lite_connections", {"state": state})
            for state in ("SYNCED", "ERROR", "NOT SENT", "STALE")
        }

    assert await counted(connections) == {"SYNCED": 40, "ERROR": 1, "NOT SENT": 1, "STALE": 0}
    assert await counted([]) == {"SYNCED": 0, "ERROR": 0, "NOT SENT": 0, "STALE": 0}


async def test_gauges_of_the_process_follow_it() -> None:
    metrics, clock = Metrics("1"), VirtualClock()
    waiting = [3]
    observation = ProcessObservation(
        metrics,
        clock,
        waiting=lambda: waiting[0],
        services=lambda: 7,
        connections=lambda: [a_connection(1, SYNCED)],
    )
    tasks = [asyncio.create_task(work) for work in observation.tasks().values()]
    await clock.advance(5)
    waiting[0] = 0
    await clock.advance(5)
    value = metrics.registry.get_sample_value
    assert value("istiod_lite_batch_waiting") == 0
    assert value("pilot_services") == 7
    assert value("istiod_uptime_seconds") == pytest.approx(10, abs=1.1)
    assert value("istiod_lite_connections", {"state": "SYNCED"}) == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
