"""Collections without rules: unions of collections, and groups made from an index.

A union shows each key with the value of the earliest listed collection that has it. A group has
one value per non-empty bucket: the ordered keys in it, or, for `Distinct`, just the bucket.
"""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, TypeVar

from controlplane.dataflow.collection import Collection
from controlplane.dataflow.index import Index
from controlplane.dataflow.schedule import Schedule
from controlplane.dataflow.values import ABSENT

B = TypeVar("B", bound=Hashable)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Union(Collection[K, V]):
    """The keys of several collections, each with its value in the earliest that has it."""

    kind = "union"

    __slots__ = ("_contested", "_sources")

    def __init__(
        self, name: str, number: int, schedule: Schedule, sources: tuple[Collection[K, V], ...]
    ) -> None:
        super().__init__(name, number, schedule)
        self._sources = sources
        self._contested: dict[K, tuple[str, ...]] = {}
        for source in dict.fromkeys(sources):
            source.children.append(self)
            for key in source.working:
                self.touch(key)

    def recompute(self) -> Iterator[None]:
        """Look dirty keys up in the sources, in the order listed."""
        dirty, self.dirty = self.dirty, {}
        for key in self.schedule.order(dirty):
            holders = [source for source in self._sources if key in source.working]
            self.set(key, holders[0].working[key] if holders else ABSENT)
            if len(holders) > 1:
                self._contested[key] = tuple([source.name for source in holders])
            else:
                self._contested.pop(key, None)
            yield

    def clashes(self) -> Mapping[K, tuple[Hashable, ...]]:
        """Keys that several sources have, with the names of those."""
        return dict(self._contested)


class Group(Collection[B, tuple[K, ...]]):
    """Bucket -> its keys in order. Cost: O(bucket) per commit in which members came or went."""

    kind = "group"

    __slots__ = ("_index",)

    def __init__(self, name: str, number: int, schedule: Schedule, index: Index[B, K, Any]) -> None:
        super().__init__(name, number, schedule)
        self._index = index
        index.groups.append(self)
        for bucket in index.buckets:
            self.touch(bucket)

    def recompute(self) -> Iterator[None]:
        """List the members of dirty buckets."""
        dirty, self.dirty = self.dirty, {}
        for bucket in self.schedule.order(dirty):
            self.set(bucket, self._index.members(bucket) or ABSENT)
            yield


class Distinct(Collection[B, B]):
    """Bucket -> itself, while it has members. Cost: O(1) per change."""

    kind = "distinct"

    __slots__ = ("_index",)

    def __init__(
        self, name: str, number: int, schedule: Schedule, index: Index[B, Any, Any]
    ) -> None:
        super().__init__(name, number, schedule)
        self._index = index
        index.groups.append(self)
        for bucket in index.buckets:
            self.touch(bucket)

    def recompute(self) -> Iterator[None]:
        """See which dirty buckets have members."""
        dirty, self.dirty = self.dirty, {}
        for bucket in self.schedule.order(dirty):
            self.set(bucket, bucket if self._index.size(bucket) else ABSENT)
            yield
