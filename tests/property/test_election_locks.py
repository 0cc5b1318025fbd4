"""Ours and an istiod pause, lose answers and send late writes: never do both of them write."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controlplane.cluster.client import Answer
from controlplane.cluster.errors import ClusterUnavailableError
from tests.support.beside_istiod import BesideIstiod

PATIENCE = 2.0
FATES = ("well", "well", "well", "well", "answer lost", "lost", "late", "slow", "refused")


@dataclass
class Weather:
    """What happens to each request of one plane; afterwards all goes well."""

    mesh: BesideIstiod
    fates: list[str]
    late: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    async def request(self, method: str, path: str, **rest: Any) -> Answer:
        match self.fates.pop() if self.fates else "well":
            case "lost":
                self.mesh.advance(PATIENCE)
                raise ClusterUnavailableError("lost")
            case "late":
                # The client gives up, what it sent is still on its way.
                self.late.append((method, path, rest))
                self.mesh.advance(PATIENCE)
                raise ClusterUnavailableError("late")
            case "answer lost":
                await self.mesh.cluster.request(method, path, **rest)
                self.mesh.advance(PATIENCE)
                raise ClusterUnavailableError("answer lost")
            case "slow":
                self.mesh.advance(PATIENCE)
            case "refused":
                return Answer(503, b"")
        return await self.mesh.cluster.request(method, path, **rest)

    def stream(self, path: str, params: Any) -> Any:
        raise NotImplementedError

    async def arrive(self) -> None:
        if self.late:
            method, path, rest = self.late.pop(0)
            await self.mesh.cluster.request(method, path, **rest)


actors = ["ours 0", "ours 1", "istiod 0", "istiod 1", "istiod 2"]
# For as long as a lock lasts the Lease goes on and the locks do not: their requests hang.
halves = ["starve 0", "starve 1"]
leaving = ["resign 0", "resign 1", "release 0", "release 1"]
pauses = [f"pass {seconds}" for seconds in (0.5, 2.5, 4.9, 7.5, 10.1, 14.9, 15.1, 29.9, 30.2, 90)]
steps = st.lists(
    st.sampled_from([*actors * 4, *halves * 2, *leaving, *pauses * 2, "arrive", "arrive theirs"]),
    min_size=8,
    max_size=70,
)
fates = st.lists(st.sampled_from(FATES), max_size=40)


@pytest.mark.timeout(120)
@pytest.mark.proves("LK-1", "LK-4")
@settings(max_examples=150, deadline=None)
@given(steps=steps, ours=fates, theirs=fates)
@example(steps=["ours 0", "istiod 0", "starve 0", "istiod 0"], ours=[], theirs=[])
def test_never_do_both_write(steps: list[str], ours: list[str], theirs: list[str]) -> None:
    asyncio.run(_live(steps, ours, theirs))


async def _live(steps: list[str], ours: list[str], theirs: list[str]) -> None:
    planes = Planes(list(ours), list(theirs))
    for step in steps:
        await planes.take(step)
        planes.check()
    await planes.recover()


class Planes:
    def __init__(self, ours: list[str], theirs: list[str]) -> None:
        self.mesh = BesideIstiod()
        self.our_weather = Weather(self.mesh, ours)
        self.their_weather = Weather(self.mesh, theirs)
        self.replicas = [
            self.mesh.replica(f"r{number}", client=self.our_weather) for number in range(2)
        ]
        # None of their revisions is the default one: nothing is taken by force.
        self.istiods = [
            self.mesh.istiod(f"istiod-{number}", revision=revision, client=self.their_weather)
            for number, revision in enumerate(("default", "default", "1-24"))
        ]

    async def take(self, step: str) -> None:
        action, _, which = step.partition(" ")
        match action:
            case "ours":
                await self.replicas[int(which)].campaign()
            case "starve":
                for _ in range(8):
                    self.mesh.advance(3.9)
                    await self.replicas[int(which)].lease.campaign()
            case "istiod":
                await self.istiods[int(which)].attempt()
            case "resign":
                await self.replicas[int(which)].locks.release()
            case "release":
                await self.istiods[int(which)].release()
            case "pass":
                self.mesh.advance(float(which))
            case "arrive":
                await (self.their_weather if which else self.our_weather).arrive()

    def check(self) -> None:
        writing = [replica.writes for replica in self.replicas]
        assert writing.count(True) <= 1
        # The third has locks of its own until we have seen them.
        assert not (any(writing) and any(istiod.writes for istiod in self.istiods[:2]))

    async def recover(self) -> None:
        self.our_weather.fates.clear()
        self.their_weather.fates.clear()
        # Once all is well and the istiods have gone, one of ours writes.
        for _ in range(60):
            await self.replicas[0].campaign()
            self.mesh.advance(2.5)
        await self.replicas[0].campaign()
        assert self.replicas[0].writes
        # And an istiod that we make room for gets everything at once.
        await self.replicas[0].locks.release()
        await self.istiods[0].attempt()
        assert self.istiods[0].writes_all
