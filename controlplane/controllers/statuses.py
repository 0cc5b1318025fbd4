"""What users are told, told in the cluster: wanted conditions in, statuses of objects out.

Only the leader writes, and only differences. Everything is gone over when a lead is gained, by
lists; afterwards a change costs one look and at most one write per field manager
(docs/protocol/statuses.md).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from controlplane.clock import Clock
from controlplane.cluster.apply import Applied, Applier, Lead, Outcome, Target
from controlplane.cluster.client import ClusterClient
from controlplane.controllers.errors import UnlistedError
from controlplane.controllers.listing import pages_of, target_at
from controlplane.controllers.queue import Pace, Trouble, WorkQueue
from controlplane.controllers.rounds import Rounds
from controlplane.controllers.status_conditions import (
    MANAGERS,
    LiveObject,
    has_news,
    is_different,
    status_to_apply,
)
from controlplane.dataflow import Change, Collection
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Condition

ConditionKey = tuple[ObjectReference, str]

_objects: Final = msgspec.json.Decoder(LiveObject)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPace:
    """Seconds between two looks at the lead, and until everything is gone over again."""

    look: float = 1.0
    resync: float = 600.0


class StatusConditions:
    """Keeps conditions as ``conditions`` wants them. Implements ``Controller``.

    ``paths`` returns where a kind is listed, in the version that the cluster serves; None for one
    that it does not have. ``is_ready`` tells whether ``conditions`` speaks of the whole mesh:
    before, what is missing there would be taken for what is wanted no more.
    """

    def __init__(  # noqa: PLR0913 - what the composition root decides, by name
        self,
        client: ClusterClient,
        *,
        lead: Lead,
        conditions: Collection[ConditionKey, Condition],
        paths: Callable[[str], str | None],
        is_ready: Callable[[], bool],
        clock: Clock,
        draw: Callable[[], float],
        pace: StatusPace | None = None,
        queue_pace: Pace | None = None,
    ) -> None:
        self._client = client
        self._lead = lead
        self._conditions = conditions
        self._paths = paths
        self._clock = clock
        self._pace = pace or StatusPace()
        self._rounds = Rounds(lead=lead, clock=clock, is_ready=is_ready, every=self._pace.resync)
        self._queue: WorkQueue[ObjectReference] = WorkQueue(
            self._see_to, name=self.name, clock=clock, draw=draw, pace=queue_pace
        )
        self._managers = {kind: dict(types) for kind, types in MANAGERS.items()}
        self._appliers: dict[str, Applier] = {}
        conditions.subscribe(self._changed)

    @property
    def name(self) -> str:
        """Return its name for people."""
        return "status-conditions"

    @property
    def troubles(self) -> Mapping[ObjectReference, Trouble]:
        """Return what is wrong, by object; a kind as a whole stands without a name."""
        return self._queue.troubles

    @property
    def is_idle(self) -> bool:
        """Return whether everything that is known to differ was seen to."""
        return self._queue.is_idle

    async def run(self) -> None:
        """Keep them until cancelled."""
        self._rounds.start_over()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run())
            while True:
                if self._rounds.is_due():
                    self._queue.add(*map(_whole, sorted(self._managers)), *self.troubles)
                await self._clock.sleep(self._pace.look)

    def _changed(self, changes: Sequence[Change[ConditionKey, Condition]]) -> None:
        for (reference, kind), _, wanted in changes:
            if wanted is not None:
                self._managers.setdefault(reference.kind, {})[kind] = wanted.manager
        if self._rounds.is_begun:
            self._queue.add(*dict.fromkeys(change.key[0] for change in changes))

    async def _see_to(self, reference: ObjectReference) -> Applied:
        if reference.name:
            applied = await self._tell(reference)
        else:
            applied = await self._go_over(reference.kind)
        if applied.outcome is Outcome.NOT_LEADING:
            self._rounds.start_over()
        return applied

    async def _go_over(self, kind: str) -> Applied:
        """Find the objects of a kind that are told something else than is wanted."""
        path = self._paths(kind)
        if path is None:
            return Applied(outcome=Outcome.GONE)
        types = self._managers[kind]
        try:
            async for page in pages_of(self._client, self._lead, path, _objects):
                for live in page:
                    place = live.metadata
                    reference = ObjectReference(kind, place.namespace, place.name)
                    if is_different(live, self._wanted(reference), types):
                        self._queue.add(reference)
        except UnlistedError as error:
            return error.applied
        return Applied(outcome=Outcome.UNCHANGED)

    async def _tell(self, reference: ObjectReference) -> Applied:
        path = self._paths(reference.kind)
        if path is None:
            return Applied(outcome=Outcome.GONE)
        target = target_at(path, reference.namespace, reference.name)
        wanted = self._wanted(reference)
        types_of: dict[str, list[str]] = {}
        for kind, manager in self._managers[reference.kind].items():
            types_of.setdefault(manager, []).append(kind)
        applied = Applied(outcome=Outcome.GONE)
        # Who only removes goes first: where a kind's list of conditions is one whole, removing
        # empties it, and what another manager of ours has to say must come after that.
        for manager in sorted(
            types_of, key=lambda each: not wanted.keys().isdisjoint(types_of[each])
        ):
            live = applied.live
            if live is not None and not has_news(live, wanted, types_of[manager], manager):
                continue
            applied = await self._apply(target, reference, manager, types_of[manager])
            if not applied.is_done:
                break
        if applied.outcome is Outcome.GONE:
            for applier in self._appliers.values():
                applier.forget(target)
        return applied

    async def _apply(
        self, target: Target, reference: ObjectReference, manager: str, types: Sequence[str]
    ) -> Applied:
        if manager not in self._appliers:
            self._appliers[manager] = Applier(self._client, manager=manager, lead=self._lead)

        def wish(live: Mapping[str, Any] | None) -> Mapping[str, Any] | Applied:
            # Asked for again each time: the mesh may have changed since.
            wanted = self._wanted(reference)
            if live is None or not has_news(live, wanted, types, manager):
                return Applied(outcome=Outcome.UNCHANGED, live=live)
            ours = [wanted[kind] for kind in types if kind in wanted]
            return status_to_apply(target, reference.kind, live, ours, self._clock.now())

        return await self._appliers[manager].apply(
            target, wish, subresource="status", is_forced=True
        )

    def _wanted(self, reference: ObjectReference) -> dict[str, Condition]:
        found = {
            kind: self._conditions.get((reference, kind))
            for kind in self._managers.get(reference.kind, ())
        }
        return {kind: condition for kind, condition in found.items() if condition is not None}


def _whole(kind: str) -> ObjectReference:
    """Return what stands for a kind as a whole among the objects."""
    return ObjectReference(kind, "", "")
