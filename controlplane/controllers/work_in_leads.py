"""Controllers that follow live objects while they lead, and know nothing before and after.

In: a lead and, from the controller, what it follows and what one object wants. Out: work on one
object after the other during each lead, begun anew with the next (docs/protocol/gateway-status.md
GS-7, waypoint-deployment.md WO-34 to WO-36).
"""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar

from controlplane.clock import Clock
from controlplane.cluster.apply import Applied, Lead
from controlplane.cluster.client import ClusterClient
from controlplane.controllers.queue import Trouble, WorkQueue
from controlplane.sources.kubernetes.following import FollowSettings

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadPace:
    """Seconds: between two looks at the lead, until everything is gone over again.

    ``rewrites`` is how often between two goings-over what others changed of one object is put
    right. ``follow`` says how objects are listed and watched.
    """

    look: float = 1.0
    resync: float = 600.0
    rewrites: int = 5
    follow: FollowSettings | None = None


class Followed(Protocol):
    """Objects of one or more kinds that are followed during a lead."""

    def troubles(self) -> Iterable[tuple[str, Trouble]]:
        """Return what cannot be followed just now, and why."""
        ...

    async def run(self) -> None:
        """Follow until cancelled."""
        ...


class WorkInLeads(ABC, Generic[K]):
    """Sees to objects by key, during each lead. Implements ``Controller``."""

    def __init__(
        self,
        client: ClusterClient,
        *,
        name: str,
        lead: Lead,
        clock: Clock,
        draw: Callable[[], float],
        pace: LeadPace | None,
    ) -> None:
        self._client = client
        self._name = name
        self._lead = lead
        self._clock = clock
        self._draw = draw
        self._pace = pace or LeadPace()

    @property
    def name(self) -> str:
        """Return its name for people."""
        return self._name

    @property
    def troubles(self) -> Mapping[K | str, Trouble]:
        """Return what is wrong, by object, or by path where a kind cannot be followed."""
        unfollowed = chain.from_iterable(each.troubles() for each in self._followed())
        return dict(chain[tuple[K | str, Trouble]](self._queue.troubles.items(), unfollowed))

    async def run(self) -> None:
        """Work until cancelled, whenever it leads."""
        await while_leading(self._lead, self._clock, self._lead_on, look=self._pace.look)

    @abstractmethod
    def _followed(self) -> Iterable[Followed]:
        """Return what is followed in this lead."""

    @abstractmethod
    def _queue_all(self) -> None:
        """Queue every object, if enough is known to."""

    @abstractmethod
    async def _work(self, key: K) -> Applied:
        """Make one object what it should be, and return what came of it."""

    def _begin(self) -> None:
        """Know nothing: what was known in another lead may have changed meanwhile."""
        self._rewrites: Counter[K] = Counter()
        self._queue: WorkQueue[K] = WorkQueue(
            self._work, name=self._name, clock=self._clock, draw=self._draw
        )

    def _put_right(self, key: K, *, counts: bool = True) -> None:
        """Queue what somebody else changed, unless that went on for too long."""
        self._rewrites[key] += counts
        if self._rewrites[key] <= self._pace.rewrites:
            self._queue.add(key)

    async def _lead_on(self) -> None:
        self._begin()
        try:
            await _working(
                *(each.run() for each in self._followed()),
                self._queue.run(),
                clock=self._clock,
                every=self._pace.resync,
                again=self._go_over,
            )
        finally:
            self._begin()

    def _go_over(self) -> None:
        """Look at everything again, also where others were left to have their way."""
        self._rewrites.clear()
        self._queue_all()


async def while_leading(
    lead: Lead, clock: Clock, work: Callable[[], Coroutine[Any, Any, None]], *, look: float = 1.0
) -> None:
    """Do ``work``, which does not end by itself, during each lead; look every ``look`` seconds."""
    while True:
        if lead.seconds_left > 0:
            task = asyncio.create_task(work())
            try:
                while lead.seconds_left > 0 and not task.done():
                    await clock.sleep(look)
            finally:
                was_done = task.done()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            if was_done:
                task.result()
        await clock.sleep(look)


async def _working(
    *works: Coroutine[Any, Any, None], clock: Clock, every: float, again: Callable[[], None]
) -> None:
    """Run ``works`` side by side until cancelled, and call ``again`` ``every`` seconds."""
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)
        while True:
            await clock.sleep(every)
            again()
