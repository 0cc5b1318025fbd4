"""What routes and their like are told of their parents, told in the cluster.

Collections of parents come in, ``status.parents[]`` of routes and ``status.ancestors[]`` of
policies go out. Only the leader writes, and only differences. Everything is gone over when a lead
is gained, by lists; afterwards a change costs one look and at most one write per object
(docs/protocol/route-status.md RT-n).
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from controlplane.clock import Clock
from controlplane.cluster.apply import Applied, Lead, Outcome, Target, ask_as_leader, outcome_of
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.refusal import refusal_in
from controlplane.controllers.errors import UnlistedError
from controlplane.controllers.listing import pages_of, target_at
from controlplane.controllers.queue import Pace, Trouble, WorkQueue
from controlplane.controllers.rounds import Rounds
from controlplane.controllers.route_parents import (
    LISTS,
    Settled,
    has_ours,
    is_settled,
    patch_of,
    settle,
)
from controlplane.dataflow import Change, Collection
from controlplane.mesh.told_conditions import ROUTE_STATUS_MANAGER
from controlplane.model.names import ObjectReference
from controlplane.model.route_parent import ParentReference, RouteParent

_TRIES: Final = 3
_JSON_PATCH: Final = "application/json-patch+json"
_objects: Final = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteStatusPace:
    """Seconds between two looks at the lead, and until everything is gone over again."""

    look: float = 1.0
    resync: float = 600.0


class RouteStatuses:
    """Keeps what routes are told as ``parents`` wants it. Implements ``Controller``.

    Each object is told of in one of ``parents``. ``paths`` returns where a kind is listed, in the
    version that the cluster serves; None for one that it does not have. ``is_ready`` tells whether
    ``parents`` speaks of the whole mesh: before, what is missing there would be taken for what is
    wanted no more.
    """

    def __init__(  # noqa: PLR0913 - what the composition root decides, by name
        self,
        client: ClusterClient,
        *,
        lead: Lead,
        parents: Iterable[Collection[Any, RouteParent]],
        paths: Callable[[str], str | None],
        is_ready: Callable[[], bool],
        clock: Clock,
        draw: Callable[[], float],
        pace: RouteStatusPace | None = None,
        queue_pace: Pace | None = None,
    ) -> None:
        self._client = client
        self._lead = lead
        self._paths = paths
        self._clock = clock
        self._pace = pace or RouteStatusPace()
        self._rounds = Rounds(lead=lead, clock=clock, is_ready=is_ready, every=self._pace.resync)
        self._queue: WorkQueue[ObjectReference] = WorkQueue(
            self._see_to, name=self.name, clock=clock, draw=draw, pace=queue_pace
        )
        self._wanted: dict[ObjectReference, dict[ParentReference, RouteParent]] = {}
        for told in parents:
            told.subscribe(self._changed)

    @property
    def name(self) -> str:
        """Return its name for people."""
        return "route-statuses"

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
                    self._queue.add(*map(_whole, sorted(LISTS)), *self.troubles)
                await self._clock.sleep(self._pace.look)

    def _changed(self, changes: Sequence[Change[Any, RouteParent]]) -> None:
        routes = dict.fromkeys(filter(None, map(self._noted, changes)))
        if self._rounds.is_begun:
            self._queue.add(*routes)

    def _noted(self, change: Change[Any, RouteParent]) -> ObjectReference | None:
        """Note what is wanted now; return the route that it is about."""
        about = change.new or change.old
        if about is None:
            return None
        held = self._wanted.setdefault(about.route, {})
        if change.new is not None:
            held[about.parent] = change.new
        else:
            held.pop(about.parent, None)
            if not held:
                del self._wanted[about.route]
        return about.route

    async def _see_to(self, reference: ObjectReference) -> Applied:
        path = self._paths(reference.kind)
        if path is None or reference.kind not in LISTS:
            return Applied(outcome=Outcome.GONE)
        if reference.name:
            target = target_at(path, reference.namespace, reference.name)
            applied = await self._tell(reference, target)
        else:
            applied = await self._go_over(reference.kind, path)
        if applied.outcome is Outcome.NOT_LEADING:
            self._rounds.start_over()
        return applied

    async def _go_over(self, kind: str, path: str) -> Applied:
        """Find the objects of a kind that are told something else than is wanted."""
        where = LISTS[kind]
        try:
            async for page in pages_of(self._client, self._lead, path, _objects):
                for live in page:
                    metadata = live.get("metadata") or {}
                    namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
                    reference = ObjectReference(kind, namespace, name)
                    if name and (reference in self._wanted or has_ours(live, where)):
                        found = self._decided(reference, live)
                        if isinstance(found, list):
                            self._queue.add(reference)
                    await asyncio.sleep(0)
        except UnlistedError as error:
            return error.applied
        return Applied(outcome=Outcome.UNCHANGED)

    async def _tell(self, reference: ObjectReference, target: Target) -> Applied:
        applied = Applied(outcome=Outcome.CONFLICT, message="it changes again and again")
        for _ in range(_TRIES):
            live = await self._ask("GET", target.path)
            if isinstance(live, Applied):
                return live
            # Asked for anew each time: the mesh may have changed since, and others' entries.
            decided = self._decided(reference, live)
            if isinstance(decided, Applied):
                return decided
            written = await self._ask("PATCH", f"{target.path}/status", decided)
            if not isinstance(written, Applied):
                left_out = self._settled(reference, written).left_out
                return _short_of(left_out) if left_out else Applied(outcome=Outcome.WRITTEN)
            applied = written
            if not await self._is_stale(target, live, written):
                break
        return applied

    def _decided(
        self, reference: ObjectReference, live: Mapping[str, Any]
    ) -> list[dict[str, Any]] | Applied:
        """Return the patch to send, or what came of there being none."""
        where = LISTS[reference.kind]
        generation = (live.get("metadata") or {}).get("generation") or 0
        wanted = self._wanted.get(reference, {}).values()
        if any(0 < each.observed_generation < generation for each in wanted):
            # The mesh is about to know of this one, and to say something about it.
            return Applied(outcome=Outcome.UNCHANGED)
        settled = self._settled(reference, live)
        if not is_settled(live, where, settled):
            return patch_of(live, where, settled)
        if settled.left_out:
            return _short_of(settled.left_out)
        return Applied(outcome=Outcome.UNCHANGED)

    def _settled(self, reference: ObjectReference, live: Mapping[str, Any]) -> Settled:
        wanted = self._wanted.get(reference, {})
        return settle(live, LISTS[reference.kind], wanted.values(), self._clock.now())

    async def _is_stale(self, target: Target, found: Mapping[str, Any], written: Applied) -> bool:
        """Tell whether a patch was refused because the object is no longer the one looked at."""
        if written.outcome is Outcome.CONFLICT:
            return True
        if written.outcome is not Outcome.REFUSED:
            return False
        now = await self._ask("GET", target.path)
        return not isinstance(now, Applied) and _version(now) != _version(found)

    async def _ask(
        self, method: str, path: str, operations: Sequence[Mapping[str, Any]] | None = None
    ) -> Mapping[str, Any] | Applied:
        """Return the object that was answered with, or what came of there being none."""
        answer = await ask_as_leader(
            self._client,
            self._lead,
            method,
            path,
            body=None if operations is None else msgspec.json.encode(operations),
            params=None if operations is None else {"fieldManager": ROUTE_STATUS_MANAGER},
            content_type=_JSON_PATCH,
        )
        if isinstance(answer, Applied):
            return answer
        refusal = refusal_in(answer)
        if refusal is not None:
            message = refusal.message or str(refusal)
            return Applied(outcome=outcome_of(refusal), message=message)
        try:
            return _objects.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return Applied(outcome=Outcome.UNAVAILABLE, message="the answer is no object")


def _short_of(left_out: int) -> Applied:
    message = f"its status has no room for {left_out} more of its parents"
    return Applied(outcome=Outcome.EXHAUSTED, message=message)


def _whole(kind: str) -> ObjectReference:
    """Return what stands for a kind as a whole among the objects."""
    return ObjectReference(kind, "", "")


def _version(live: Mapping[str, Any]) -> str:
    return str((live.get("metadata") or {}).get("resourceVersion") or "")
