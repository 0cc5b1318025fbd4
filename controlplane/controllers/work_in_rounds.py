"""Controllers that go over everything in rounds, and in between see to what changes.

In: on which terms a controller writes, and from it what everything is and what one object wants.
Out: work on one object after the other while a lead lasts, and everything gone over when one is
gained and now and then afterwards (docs/protocol/statuses.md SS-7, SS-8).
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from controlplane.clock import Clock
from controlplane.cluster.apply import Applied, Lead, Outcome
from controlplane.cluster.client import ClusterClient
from controlplane.controllers.queue import Pace, Trouble, WorkQueue
from controlplane.controllers.rounds import Rounds

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPace:
    """Seconds between two looks at the lead, and until everything is gone over again."""

    look: float = 1.0
    resync: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingTerms:
    """With what, when and at which pace a controller writes.

    ``paths`` returns where a kind is listed, in the version that the cluster serves; None for one
    that it does not have. ``is_ready`` tells whether the whole mesh is known: before, what is
    missing there would be taken for what is wanted no more. ``draw`` returns numbers from 0 up
    to 1.
    """

    client: ClusterClient
    lead: Lead
    paths: Callable[[str], str | None]
    is_ready: Callable[[], bool]
    clock: Clock
    draw: Callable[[], float]
    pace: RoundPace = field(default_factory=RoundPace)
    queue_pace: Pace = field(default_factory=Pace)


class WorkInRounds(ABC, Generic[K]):
    """Sees to objects by key on ``terms``; ``name`` is for people. Implements ``Controller``."""

    def __init__(self, terms: WritingTerms, *, name: str) -> None:
        self._terms = terms
        self._name = name
        self._rounds = Rounds(
            lead=terms.lead, clock=terms.clock, is_ready=terms.is_ready, every=terms.pace.resync
        )
        self._queue: WorkQueue[K] = WorkQueue(
            self._work, name=name, clock=terms.clock, draw=terms.draw, pace=terms.queue_pace
        )

    @property
    def name(self) -> str:
        """Return its name for people."""
        return self._name

    @property
    def troubles(self) -> Mapping[K, Trouble]:
        """Return what is wrong, by object, or by what stands for many of them."""
        return self._queue.troubles

    @property
    def is_idle(self) -> bool:
        """Return whether everything that is known to differ was seen to."""
        return self._queue.is_idle

    async def run(self) -> None:
        """Work until cancelled."""
        self._start_over()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run())
            while True:
                if not self._rounds.is_begun:
                    self._forget()
                if self._rounds.is_due():
                    self._queue.add(*self._everything())
                await self._terms.clock.sleep(self._terms.pace.look)

    @abstractmethod
    def _everything(self) -> Iterable[K]:
        """Return what a round begins with."""

    @abstractmethod
    async def _see_to(self, key: K) -> Applied:
        """Make one object what it should be, and return what came of it."""

    def _forget(self) -> None:
        """Forget what was learnt in another lead; called until a round has begun in this one."""

    def _start_over(self) -> None:
        self._rounds.start_over()
        self._forget()

    async def _work(self, key: K) -> Applied:
        applied = await self._see_to(key)
        if applied.outcome is Outcome.NOT_LEADING:
            self._start_over()
        return applied
