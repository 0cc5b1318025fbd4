"""Replicas that pause, answers that are lost and writes that arrive late never make two leaders."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.cluster.client import Answer
from controlplane.cluster.errors import ClusterUnavailableError
from controlplane.cluster.lease import LeaseLeadership
from tests.support.authority_stores import ToldClock
from tests.support.cluster_memory import ClusterMemory

REPLICAS = 3
PATIENCE = 2.0
FATES = ("well", "well", "well", "answer lost", "lost", "late", "overtaken")


@dataclass
class Weather:
    """What happens to each request, one after the other; afterwards all goes well."""

    fates: list[str]
    clock: ToldClock
    meanwhile: Callable[[], Any]
    cluster: ClusterMemory = field(default_factory=ClusterMemory)
    late: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    depth: int = 0

    async def request(self, method: str, path: str, **rest: Any) -> Answer:
        fate = self.fates.pop() if self.fates else "well"
        match fate:
            case "lost":
                self.clock.advance(seconds=PATIENCE)
                raise ClusterUnavailableError("lost")
            case "late":
                # The client gives up, what it sent is still on its way.
                self.late.append((method, path, rest))
                self.clock.advance(seconds=PATIENCE)
                raise ClusterUnavailableError("late")
            case "answer lost":
                await self.cluster.request(method, path, **rest)
                self.clock.advance(seconds=PATIENCE)
                raise ClusterUnavailableError("answer lost")
            case "overtaken" if self.depth < 2:
                self.depth += 1
                await self.meanwhile()
                self.depth -= 1
        self.clock.advance(seconds=0.1)
        return await self.cluster.request(method, path, **rest)

    def stream(self, path: str, params: Any) -> Any:
        raise NotImplementedError

    async def arrive(self) -> None:
        if self.late:
            method, path, rest = self.late.pop(0)
            await self.cluster.request(method, path, **rest)


campaigns = [("campaign", float(number)) for number in range(REPLICAS)]
pauses = [("pass", seconds) for seconds in (0.5, 2.0, 9.0, 10.1, 14.9, 15.2, 40.0)]
others = [("arrive", 0.0), ("restart", 0.0)]
steps = st.lists(st.sampled_from([*campaigns * 3, *pauses, *others]), min_size=8, max_size=60)


@settings(max_examples=200, deadline=None)
@given(steps=steps, fates=st.lists(st.sampled_from(FATES), max_size=40), other=st.integers(0, 2))
def test_there_are_never_two_leaders_and_tokens_only_grow(
    steps: list[tuple[str, float]], fates: list[str], other: int
) -> None:
    asyncio.run(_live(steps, fates, other))


async def _live(steps: list[tuple[str, float]], fates: list[str], other: int) -> None:
    election = Election(list(fates), other)
    for step, how in steps:
        match step:
            case "campaign":
                await election.campaign(int(how))
            case "pass":
                election.clock.advance(seconds=how)
            case "arrive":
                await election.weather.arrive()
            case "restart":
                election.start(int(how))
        election.check()
    # Once all is well, somebody leads.
    election.weather.fates.clear()
    election.weather.late.clear()
    for _ in range(30):
        await election.campaign(0)
        election.clock.advance(seconds=2)
    assert any(each.is_leader for each in election.ever)


class Election:
    def __init__(self, fates: list[str], other: int) -> None:
        self.clock = ToldClock()
        self.weather = Weather(fates, self.clock, lambda: self.campaign(other))
        self.replicas: dict[int, LeaseLeadership] = {}
        # A restarted process may still be there: nobody told it that it is dead.
        self.ever: list[LeaseLeadership] = []
        self.holders: dict[int, str] = {}
        self.highest = 0
        for number in range(REPLICAS):
            self.start(number)

    def start(self, number: int) -> None:
        self.replicas[number] = LeaseLeadership(
            self.weather, namespace="n", name="l", replica_id=f"r{number}", clock=self.clock
        )
        self.ever.append(self.replicas[number])

    async def campaign(self, number: int) -> None:
        await self.replicas[number].campaign()
        self.check()

    def check(self) -> None:
        leaders = [each for each in self.ever if each.is_leader]
        assert len(leaders) <= 1
        for each in leaders:
            assert each.token is not None
            assert each.token >= self.highest
            assert self.holders.setdefault(each.token, each.identity) == each.identity
            self.highest = each.token
