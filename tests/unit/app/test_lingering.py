"""How long services linger, in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.app import lingering
from controlplane.app.lingering import Lingering
from controlplane.dataflow import Batcher
from controlplane.manifests.metadata import Manifest
from controlplane.model.names import Name
from tests.support.builders import a_gateway_class, a_service, a_waypoint
from tests.support.dataflow_time import VirtualClock
from tests.support.waypoint_snapshots import Waypoints

QUIET = 0.01
WAYPOINT, OTHER = Name("shop", "waypoint"), Name("shop", "other")


def a_web(waypoint: str = "", name: str = "web") -> Manifest:
    labels = {"istio.io/use-waypoint": waypoint} if waypoint else {}
    return a_service(name, "shop", labels=labels)


class Bed:
    def __init__(self, seconds: float) -> None:
        self.clock = VirtualClock()
        self.waypoints = Waypoints()
        pipeline = self.waypoints.pipeline
        self.batcher = Batcher(pipeline.graph, self.clock, quiet=QUIET, maximum=QUIET)
        self.lingering = Lingering(pipeline, self.batcher, self.clock, seconds=seconds)
        self.waypoints.apply(
            a_gateway_class("istio-waypoint"),
            a_waypoint("waypoint", "shop"),
            a_waypoint("other", "shop"),
        )

    async def apply(self, *manifests: Manifest, **rest: Any) -> None:
        self.waypoints.apply(*manifests, **rest)
        await self.clock.advance(2 * QUIET)

    @property
    def served(self) -> set[tuple[Name, str]]:
        services = self.waypoints.pipeline.world.traffic.services.items()
        return {(key.waypoint, key.hostname.partition(".")[0]) for key, _ in services}

    @property
    def remembered(self) -> int:
        return len(self.waypoints.pipeline.inputs.served_before.items())


@asynccontextmanager
async def a_bed(seconds: float = 10.0) -> AsyncIterator[Bed]:
    bed = Bed(seconds)
    tasks = [asyncio.create_task(work) for work in bed.lingering.tasks().values()]
    tasks.append(asyncio.create_task(bed.batcher.run()))
    try:
        yield bed
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.proves("WS-40", "WS-44")
async def test_a_service_that_is_unbound_lingers_for_as_long_as_is_set() -> None:
    async with a_bed() as bed:
        await bed.apply(a_web("waypoint"))
        bound = bed.waypoints.bodies(WAYPOINT)
        await bed.apply(a_web())
        assert bed.served == {(WAYPOINT, "web")}
        await bed.clock.advance(9.9)
        assert bed.served == {(WAYPOINT, "web")}
        assert bed.waypoints.bodies(WAYPOINT) == bound
        await bed.clock.advance(0.2)
        assert (bed.served, bed.remembered) == (set(), 0)


@pytest.mark.proves("WS-40")
async def test_a_service_that_moves_is_at_both() -> None:
    async with a_bed() as bed:
        await bed.apply(a_web("waypoint"))
        await bed.apply(a_web("other"))
        assert bed.served == {(WAYPOINT, "web"), (OTHER, "web")}
        await bed.clock.advance(10)
        assert bed.served == {(OTHER, "web")}


@pytest.mark.refutes("WS-40")
async def test_a_service_that_is_bound_again_stays() -> None:
    async with a_bed() as bed:
        await bed.apply(a_web("waypoint"))
        await bed.apply(a_web())
        await bed.clock.advance(9)
        await bed.apply(a_web("waypoint"))
        await bed.clock.advance(20)
        assert bed.served == {(WAYPOINT, "web")}
        await bed.apply(a_web())
        await bed.clock.advance(9)
        assert bed.served == {(WAYPOINT, "web")}


async def test_what_begins_to_linger_later_ends_later() -> None:
    async with a_bed() as bed:
        await bed.apply(a_web("waypoint"), a_web("waypoint", "api"))
        await bed.apply(a_web())
        await bed.clock.advance(5)
        await bed.apply(a_web(name="api"))
        await bed.clock.advance(5.1)
        assert bed.served == {(WAYPOINT, "api")}
        await bed.clock.advance(5)
        assert bed.served == set()


@pytest.mark.proves("WS-43")
async def test_a_service_that_has_gone_is_forgotten() -> None:
    async with a_bed() as bed:
        await bed.apply(a_web("waypoint"))
        await bed.apply(removed=[a_web()])
        assert (bed.served, bed.remembered) == (set(), 0)
        await bed.apply(a_web())
        assert bed.served == set()


@pytest.mark.refutes("WS-44")
async def test_too_many_end_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "MOST", 2)
    async with a_bed() as bed:
        names = ["a", "b", "c"]
        await bed.apply(*(a_web("waypoint", name) for name in names))
        assert bed.remembered == 3
        for name in names:
            await bed.apply(a_web(name=name))
        assert bed.served == {(WAYPOINT, "b"), (WAYPOINT, "c")}


@pytest.mark.refutes("WS-44")
async def test_nothing_lingers_where_that_is_off() -> None:
    async with a_bed(0) as bed:
        await bed.apply(a_web("waypoint"))
        assert bed.remembered == 0
        await bed.apply(a_web())
        assert bed.served == set()
