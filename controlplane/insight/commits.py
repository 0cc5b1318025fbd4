"""The commit log: what changed, why, when it was received, and how far it has got.

In: what sources hand over (``arrived``), batches and commits, and the trails of open streams. Out:
``CommitRecord`` of the last commits, and waiting until everybody has one. Nothing here runs when a
client is sent something or answers. Rules: docs/protocol/fleet.md CT-n.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from controlplane.clock import Clock
from controlplane.insight.progress import FollowedCommit, progress_of
from controlplane.insight.trail import LONG_AGO, Follower, Followers
from controlplane.model.commit import Cause, CommitProgress, CommitRecord, TypeChange
from controlplane.model.names import ObjectReference
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import GLOBAL_AUTHORIZATIONS, TableKey, is_node_scope

COMMITS: Final = 512
"""Commits that are remembered."""

CAUSES: Final = 32
"""Causes named for each of them; all are counted."""

NAMES: Final = 16
"""Resources named for each type of each of them; all are counted."""

OBJECTS: Final = 8192
"""Objects of which it is remembered exactly which commit brought their current version."""

_LOOK_AGAIN: Final = 0.1


class _Entry(NamedTuple):
    """One remembered commit, without the progress."""

    record: CommitRecord
    followed: FollowedCommit


@dataclass(slots=True)
class _Batch:
    """What arrived together; of too many objects only the number is known."""

    received_at: datetime
    causes: dict[ObjectReference, Cause] = field(default_factory=dict)
    objects: set[ObjectReference] = field(default_factory=set)
    count: int = 0
    has_more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """How waiting ended: ``number`` is None while what was waited for was not even committed."""

    number: int | None
    is_converged: bool
    progress: CommitProgress = field(default_factory=CommitProgress)


class CommitLog:
    """Follows every commit of ``catalog`` from now on; the last ``limit`` are remembered.

    Sources' ``Intake`` calls ``arrived``, the batcher calls ``batched`` before it commits, the
    graph calls ``finished`` after; ``follow`` says where the open streams are.
    """

    def __init__(
        self, catalog: Catalog, clock: Clock, *, replica: str = "", limit: int = COMMITS
    ) -> None:
        self.replica = replica
        self._catalog = catalog
        self._clock = clock
        self._limit = limit
        self._entries: deque[_Entry] = deque(maxlen=limit)
        self._final: dict[int, CommitRecord] = {}
        self._followers: Followers = tuple[Follower, ...]
        self._pending: _Batch | None = None
        self._current: _Batch | None = None
        self._versions: dict[ObjectReference, int] = {}
        self._older_versions = 0
        catalog.subscribe(self._committed)

    def follow(self, followers: Followers) -> None:
        """Look at these streams from now on."""
        self._followers = followers

    def arrived(
        self,
        reference: ObjectReference,
        *,
        is_removal: bool = False,
        happened_at: datetime | None = None,
    ) -> None:
        """Note an object that a source handed over, with the source's own time if it has one."""
        batch = self._pending
        if batch is None:
            batch = self._pending = _Batch(self._clock.now())
        batch.count += 1
        if len(batch.objects) < OBJECTS:
            batch.objects.add(reference)
        elif reference not in batch.objects:
            batch.has_more = True
        if len(batch.causes) < CAUSES or reference in batch.causes:
            batch.causes[reference] = Cause(
                object=reference, is_removal=is_removal, happened_at=happened_at
            )

    def batched(self) -> None:
        """Note that what has arrived so far is being committed now."""
        self._current, self._pending = self._pending, None

    def finished(self) -> None:
        """Note that the graph's commit has ended, whether or not it changed what is served."""
        batch, self._current = self._current, None
        if batch is None:
            return
        commit = self._catalog.commit
        if batch.has_more:
            self._older_versions = commit
        versions = self._versions
        for reference in batch.objects:
            versions.pop(reference, None)
            versions[reference] = commit
        while len(versions) > OBJECTS:
            oldest = next(iter(versions))
            self._older_versions = max(self._older_versions, versions.pop(oldest))

    def get(self, number: int) -> CommitRecord | None:
        """Return commit ``number``; None when it is not, or no longer, remembered.

        Once every connection it concerns has it or has refused it, it stays as it is then.
        """
        entry = self._entry(number)
        return None if entry is None else self._told(entry, self._followers())

    async def recent(self, limit: int, before: int | None = None) -> tuple[CommitRecord, ...]:
        """Return the ``limit`` newest commits older than ``before``, newest first."""
        found = [
            entry
            for entry in reversed(self._entries)
            if before is None or entry.record.number < before
        ][:limit]
        told = []
        followers: tuple[Follower, ...] | None = None
        for entry in found:
            final = self._final.get(entry.record.number)
            if final is not None:
                told.append(final)
                continue
            # Each looks at every open stream.
            await asyncio.sleep(0)
            if followers is None:
                followers = tuple(self._followers())
                await asyncio.sleep(0)
            told.append(self._told(entry, followers))
        return tuple(told)

    def version_of(self, reference: ObjectReference) -> int | None:
        """Return the commit that brought an object's current version; None before it has come.

        For an object that has not changed for long it is a later commit, never an earlier one.
        """
        for batch in (self._pending, self._current):
            if batch is not None and (reference in batch.objects or batch.has_more):
                return None
        return self._versions.get(reference, self._older_versions)

    def knows(self, reference: ObjectReference) -> bool:
        """Return whether an object's arrival, or its removal, is still remembered by name."""
        batches = (self._pending, self._current)
        return reference in self._versions or any(
            batch is not None and reference in batch.objects for batch in batches
        )

    def elapsed(self, number: int) -> float | None:
        """Return the seconds since the first cause of a commit was received; None if forgotten.

        Since it was committed where nothing caused it. Cost: O(1), for whoever hears of
        acknowledgements.
        """
        entry = self._entry(number)
        if entry is None:
            return None
        began = entry.record.received_at or entry.record.committed_at
        return (self._clock.now() - began).total_seconds()

    def behind_since(self, keys: tuple[TableKey, ...], held: int) -> float | None:
        """Return when the first commit after ``held`` that changed one of ``keys`` was made.

        In monotonic seconds; None when there is none, or it is no longer remembered.
        """
        first = self._entries[0].record.number if self._entries else held + 1
        if held + 1 < first:
            return None
        for place in range(held + 1 - first, len(self._entries)):
            followed = self._entries[place].followed
            if followed.keys is not None and not followed.keys.isdisjoint(keys):
                return followed.at
        return None

    def progress(
        self, number: int, who: Callable[[Follower], bool] | None = None
    ) -> CommitProgress:
        """Return how far commit ``number`` has got now, among the connections that ``who`` picks.

        One that is no longer remembered may have concerned everybody.
        """
        entry = self._entry(number)
        followed = FollowedCommit(number, LONG_AGO, None) if entry is None else entry.followed
        followers = self._followers()
        picked = followers if who is None else filter(who, followers)
        return progress_of(followed, picked, self._moment())

    async def wait_for(
        self, number: int, *, seconds: float, who: Callable[[Follower], bool] | None = None
    ) -> Waited:
        """Wait until every connection that commit ``number`` concerns has it.

        Ends early when all that is missing was refused, and after ``seconds`` in any case. Who is
        not connected is not waited for: whoever asks for certain nodes has to see to that.
        """
        return await self._wait(lambda: number, seconds, who)

    async def wait_for_object(
        self,
        reference: ObjectReference,
        *,
        seconds: float,
        who: Callable[[Follower], bool] | None = None,
    ) -> Waited:
        """Wait as ``wait_for`` for the commit that brings the object's current version."""
        return await self._wait(lambda: self.version_of(reference), seconds, who)

    async def _wait(
        self,
        numbered: Callable[[], int | None],
        seconds: float,
        who: Callable[[Follower], bool] | None,
    ) -> Waited:
        end = self._clock.monotonic() + seconds
        while True:
            number = numbered()
            progress = CommitProgress()
            if number is not None and number <= self._catalog.commit:
                progress = self.progress(number, who)
                if progress.is_converged:
                    return Waited(number=number, is_converged=True, progress=progress)
            remaining = end - self._clock.monotonic()
            is_over = progress.acknowledged + progress.refused == progress.concerned > 0
            if is_over or remaining <= 0:
                return Waited(number=number, is_converged=False, progress=progress)
            await self._clock.sleep(min(_LOOK_AGAIN, remaining))

    def _committed(self, number: int) -> None:
        batch = self._current
        changed = self._catalog.changed
        if len(self._entries) == self._limit:
            self._final.pop(self._entries[0].record.number, None)
        self._entries.append(
            _Entry(
                CommitRecord(
                    replica=self.replica,
                    number=number,
                    committed_at=self._clock.now(),
                    received_at=batch.received_at if batch else None,
                    causes=tuple(batch.causes.values()) if batch else (),
                    cause_count=batch.count if batch else 0,
                    types=self._types(changed),
                ),
                FollowedCommit(number, self._clock.monotonic(), frozenset(changed)),
            )
        )

    def _types(self, changed: tuple[TableKey, ...]) -> tuple[TypeChange, ...]:
        """Return what became of each type; what only moved between nodes is no change of it."""
        found: dict[str, TypeChange] = {}
        for key in changed:
            if key == GLOBAL_AUTHORIZATIONS or is_node_scope(key):
                found.setdefault(key.type_url, TypeChange(type_url=key.type_url))
                continue
            table = self._catalog.table(key)
            before = found.get(key.type_url, TypeChange(type_url=key.type_url))
            found[key.type_url] = TypeChange(
                type_url=key.type_url,
                updated=before.updated + table.updated,
                removed=before.removed + table.removed,
                names=(*before.names, *table.newest(NAMES))[:NAMES],
            )
        return tuple(found.values())

    def _entry(self, number: int) -> _Entry | None:
        if not self._entries:
            return None
        place = number - self._entries[0].record.number
        return self._entries[place] if 0 <= place < len(self._entries) else None

    def _told(self, entry: _Entry, followers: Iterable[Follower]) -> CommitRecord:
        record, followed = entry
        final = self._final.get(record.number)
        if final is not None:
            return final
        progress = progress_of(followed, followers, self._moment())
        told = replace(record, progress=progress)
        if progress.acknowledged + progress.refused == progress.concerned > 0:
            self._final[record.number] = told
        return told

    def _moment(self) -> Callable[[float], datetime]:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        return lambda at: now - timedelta(seconds=monotonic - at)
