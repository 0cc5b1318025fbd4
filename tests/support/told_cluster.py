"""A controller that works in rounds, what it writes to, and time that passes in every turn."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from controlplane.controllers.queue import Pace
from controlplane.controllers.work_in_rounds import RoundPace, WorkInRounds, WritingTerms
from controlplane.dataflow import Graph
from tests.support.cluster_statuses import PATHS, ROUTE_PATHS, Lead, StatusMemory
from tests.support.cluster_time import PassingClock, settled


@dataclass
class ToldCluster:
    """``resync`` is in seconds, which pass in every turn: without another one it is never due."""

    cluster: StatusMemory = field(default_factory=StatusMemory)
    lead: Lead = field(default_factory=Lead)
    clock: PassingClock = field(default_factory=PassingClock)
    is_ready: bool = True
    paths: dict[str, str] = field(default_factory=lambda: PATHS | ROUTE_PATHS)
    resync: float = 1e9
    tries: int = 2

    controller: WorkInRounds[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.graph = Graph()
        self.terms = WritingTerms(
            client=self.cluster,
            lead=self.lead,
            paths=self.paths.get,
            is_ready=lambda: self.is_ready,
            clock=self.clock,
            draw=lambda: 0.0,
            pace=RoundPace(resync=self.resync),
            queue_pace=Pace(tries=self.tries),
        )

    async def rest(self, until: Callable[[Callable[[], bool]], Any]) -> None:
        """Wait until it has gone over everything and has nothing more to do."""
        looks = len(self.clock.slept)
        await until(lambda: len(self.clock.slept) > looks + 3 and self.controller.is_idle)

    async def run(self) -> None:
        async with settled(self.controller.run()) as until:
            await self.rest(until)
