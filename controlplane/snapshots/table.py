"""One table: changes of one type in one scope come in, what is newer than a commit goes out.

A table keeps name -> (commit of the last change, resource or tombstone) in the order of those
commits, so that "everything newer than N" costs as much as it yields. Tombstones are kept up to a
limit; a client older than the forgotten ones is diffed in full (``reaches`` says so).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from controlplane.encode.resource import Resource

FRESH = -1
"""The commit of a client that holds nothing: it is told no removals."""

TOMBSTONES = 10_000
"""Tombstones always kept; more are kept while there are twice as many live resources."""


class Entry(NamedTuple):
    """The commit of the last change of a name, and what it is since: None is a tombstone."""

    commit: int
    resource: Resource | None


class Replacement(NamedTuple):
    """One published change: what a name stood for before and after."""

    name: str
    old: Resource | None
    new: Resource | None


class Table:
    """Committed resources of one type in one scope; staged changes are invisible until published.

    ``commit`` is that of the last change, which ``updated`` and ``removed`` that many names.
    ``floor`` is the oldest commit from which changes can still be told.
    """

    def __init__(self, *, tombstone_limit: int = TOMBSTONES) -> None:
        self.commit = 0
        self.updated = 0
        self.removed = 0
        self.floor = 0
        self._tombstone_limit = tombstone_limit
        self._entries: dict[str, Entry] = {}
        self._staged: dict[str, Resource | None] = {}
        self._live = 0
        self._listeners: list[Callable[[Sequence[Replacement]], None]] = []

    def __len__(self) -> int:
        """Return the number of live resources."""
        return self._live

    def __contains__(self, name: str) -> bool:
        """Return whether ``name`` is live."""
        return self.get(name) is not None

    @property
    def tombstones(self) -> int:
        """Return the number of removed names that are remembered."""
        return len(self._entries) - self._live

    def get(self, name: str) -> Resource | None:
        """Return the committed resource ``name``."""
        entry = self._entries.get(name)
        return entry.resource if entry else None

    def changed_at(self, name: str) -> int | None:
        """Return the commit that last changed ``name``, None when it is not live."""
        entry = self._entries.get(name)
        return entry.commit if entry and entry.resource else None

    def resources(self) -> list[Resource]:
        """Return every live resource, oldest change first. One pass, no copies."""
        return [entry.resource for entry in self._entries.values() if entry.resource]

    def listen(self, handler: Callable[[Sequence[Replacement]], None]) -> None:
        """Call ``handler`` with the net changes of every later commit that has some."""
        self._listeners.append(handler)

    def stage(self, changes: Iterable[tuple[str, Resource | None]]) -> None:
        """Note ``changes`` (None removes) for the next ``publish``; the last one of a name wins."""
        self._staged.update(changes)

    @property
    def is_staged(self) -> bool:
        """Return whether anything waits for ``publish``; it may turn out to change nothing."""
        return bool(self._staged)

    def publish(self, commit: int) -> bool:
        """Make staged changes visible as ``commit``; return whether anything differs.

        An equal resource, and the removal of a name that is not there, are no changes.
        """
        staged, self._staged = self._staged, {}
        entries = self._entries
        heard: list[Replacement] | None = [] if self._listeners else None
        updated = removed = 0
        for name, new in staged.items():
            before = entries.get(name)
            old = before.resource if before else None
            if old == new:
                continue
            if new is None:
                removed += 1
            else:
                updated += 1
            if before:
                del entries[name]
            entries[name] = Entry(commit, new)
            self._live += (new is not None) - (old is not None)
            if heard is not None:
                heard.append(Replacement(name, old, new))
        changed = updated + removed > 0
        if changed:
            self.commit = commit
            self.updated = updated
            self.removed = removed
            self._compact()
            for listener in self._listeners:
                listener(heard or ())
        return changed

    def reaches(self, since: int) -> bool:
        """Return whether ``history(since)`` misses nothing."""
        return since >= self.floor or since == FRESH

    def history(self, since: int) -> list[tuple[str, Entry]]:
        """Return the last change of each name that changed after ``since``, oldest first.

        Cost: what it returns.
        """
        if since >= self.commit:
            return []
        newer: list[tuple[str, Entry]] = []
        for name, entry in reversed(self._entries.items()):
            if entry.commit <= since:
                break
            newer.append((name, entry))
        newer.reverse()
        return newer

    def newest(self, most: int) -> list[str]:
        """Return at most ``most`` of the names that the last commit changed, newest first."""
        names: list[str] = []
        for name, entry in reversed(self._entries.items()):
            if entry.commit != self.commit or len(names) == most:
                break
            names.append(name)
        return names

    def forget_tombstones(self) -> None:
        """Drop every tombstone: clients behind the last removal are diffed in full."""
        self._drop_tombstones(self.tombstones)

    def _compact(self) -> None:
        """Drop the older half of the tombstones when there are too many; amortised O(1)."""
        if self.tombstones > max(self._tombstone_limit, self._live // 2):
            self._drop_tombstones(self.tombstones - self._tombstone_limit // 2)

    def _drop_tombstones(self, count: int) -> None:
        oldest = [name for name, entry in self._entries.items() if entry.resource is None][:count]
        for name in oldest:
            self.floor = max(self.floor, self._entries.pop(name).commit)
