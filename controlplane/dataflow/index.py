"""Indexes: which keys of a collection belong to which bucket, kept as the collection changes.

A collection hands each net change to its indexes; they move the key between buckets, schedule the
rules that fetched those buckets, and the groups built on them. Members are read in key order. The
order is brought up to date at the next read, a few changes by bisection and many by one sort, so
that neither filling a large bucket nor touching it now and then is expensive. A bucket of one
holds just its key.
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from controlplane.dataflow.readers import Readers
from controlplane.dataflow.values import ABSENT, Failure

if TYPE_CHECKING:
    from controlplane.dataflow.collection import Collection

B = TypeVar("B", bound=Hashable)
K = TypeVar("K", bound=Hashable)
V_co = TypeVar("V_co", covariant=True)
T = TypeVar("T")

_FEW = 16


def in_order(keys: Iterable[T]) -> list[T]:
    """`keys` sorted, or sorted by their text where they do not compare with each other."""
    listed = list(keys)
    sort_keys(listed)
    return listed


def sort_keys(keys: list[Any]) -> bool:
    """Sort `keys` in place; False says that they do not compare and went by their text."""
    try:
        keys.sort()
    except TypeError:
        keys.sort(key=repr)
        return False
    return True


class Bucket:
    """Two members or more, or what remained of them.

    Shape: `_listed` is ordered; `_pending` maps keys that came (True) or went (False) since;
    `values` is what the last read returned, None once it no longer holds.
    """

    __slots__ = ("_is_natural", "_listed", "_pending", "size", "values")

    def __init__(self, *keys: Any) -> None:
        self._listed: list[Any] = []
        self._is_natural = True
        self._pending: dict[Any, bool] = dict.fromkeys(keys, True)
        self.size = len(keys)
        self.values: tuple[Any, ...] | None = None

    def add(self, key: Hashable) -> None:
        """Take in `key`, which is not a member."""
        self.size += 1
        self.values = None
        if self._pending.pop(key, None) is None:
            self._pending[key] = True

    def remove(self, key: Hashable) -> None:
        """Let go of `key`, which is a member."""
        self.size -= 1
        self.values = None
        if self._pending.pop(key, None) is None:
            self._pending[key] = False

    def ordered(self) -> list[Any]:
        """All members in key order; the list is the bucket's own."""
        if self._pending:
            pending, self._pending = self._pending, {}
            if len(pending) > _FEW or not self._is_moved(pending):
                kept = [key for key in self._listed if key not in pending]
                came = [key for key, is_member in pending.items() if is_member]
                self._listed = kept + came
                self._is_natural = sort_keys(self._listed)
        return self._listed

    def _is_moved(self, pending: dict[Any, bool]) -> bool:
        """Try to move a few keys by bisection; keys that do not compare need the whole sort."""
        listed = self._listed
        if not self._is_natural:
            return False
        try:
            for key, is_member in pending.items():
                position = bisect_left(listed, key)
                if is_member:
                    listed.insert(position, key)
                elif listed[position : position + 1] == [key]:
                    del listed[position]
                else:
                    return False
        except TypeError:
            return False
        return True


class Index(Generic[B, K, V_co]):
    """The buckets of one collection under one function of its values.

    Args of `keys`: a value; it returns the buckets the value belongs to, none or many. If it
    raises, that value is in no bucket and the failure is recorded under "<collection>/<index>".
    """

    __slots__ = ("_keys", "buckets", "collection", "failed", "groups", "name", "readers")

    def __init__(
        self, name: str, collection: "Collection[K, V_co]", keys: Callable[[V_co], Iterable[B]]
    ) -> None:
        self.name = f"{collection.name}/{name}"
        self.collection = collection
        self._keys = keys
        self.buckets: dict[B, Any] = {}
        self.failed: dict[K, Exception] = {}
        self.readers = Readers()
        self.groups: list[Collection[B, Any]] = []
        for key, value in collection.working.items():
            for bucket in self._buckets_of(key, value):
                self._place(bucket, key)

    def size(self, bucket: B) -> int:
        """How many members `bucket` has. Cost: O(1)."""
        entry = self.buckets.get(bucket, ABSENT)
        if entry is ABSENT:
            return 0
        return entry.size if isinstance(entry, Bucket) else 1

    def members(self, bucket: B) -> tuple[K, ...]:
        """The keys in `bucket`, in order. Cost: O(members)."""
        entry = self.buckets.get(bucket, ABSENT)
        if entry is ABSENT:
            return ()
        return tuple(entry.ordered()) if isinstance(entry, Bucket) else (entry,)

    def values(self, bucket: B) -> tuple[V_co, ...]:
        """The values in `bucket`, by key order. Cost: O(1) while the bucket does not change."""
        entry = self.buckets.get(bucket, ABSENT)
        if entry is ABSENT:
            return ()
        working = self.collection.working
        if not isinstance(entry, Bucket):
            return (working[entry],)
        if entry.values is None:
            entry.values = tuple([working[key] for key in entry.ordered()])
        return entry.values

    def update(self, key: K, old: Any, new: Any) -> Iterator[None]:
        """Take in that `key` went from `old` to `new` (either may be ABSENT) and tell readers."""
        was_left_out = self.failed.pop(key, None) is not None
        before = {} if old is ABSENT or was_left_out else self._buckets_of(key, old)
        after = {} if new is ABSENT else self._buckets_of(key, new)
        for bucket in before:
            if bucket in after:
                entry = self.buckets[bucket]
                if isinstance(entry, Bucket):
                    entry.values = None
                if bucket in self.readers.cells:
                    yield from self.readers.touch(bucket, old, new)
            else:
                self._displace(bucket, key)
                self._regroup(bucket)
                if bucket in self.readers.cells:
                    yield from self.readers.touch(bucket, old, ABSENT)
        for bucket in after:
            if bucket not in before:
                self._place(bucket, key)
                self._regroup(bucket)
                if bucket in self.readers.cells:
                    yield from self.readers.touch(bucket, ABSENT, new)

    def _regroup(self, bucket: B) -> None:
        for group in self.groups:
            group.touch(bucket)

    def _buckets_of(self, key: K, value: Any) -> dict[B, None]:
        try:
            return dict.fromkeys(self._keys(value))
        except Exception as error:  # noqa: BLE001 - rules must not stop a commit, nor may this
            self.failed[key] = error.with_traceback(None)
            failure = Failure(collection=self.name, key=key, error=error)
            self.collection.schedule.new_failures.append(failure)
            return {}

    def _place(self, bucket: B, key: K) -> None:
        entry = self.buckets.get(bucket, ABSENT)
        if entry is ABSENT:
            self.buckets[bucket] = key
        elif isinstance(entry, Bucket):
            entry.add(key)
        else:
            self.buckets[bucket] = Bucket(entry, key)

    def _displace(self, bucket: B, key: K) -> None:
        entry = self.buckets[bucket]
        if isinstance(entry, Bucket) and entry.size > 1:
            entry.remove(key)
        else:
            del self.buckets[bucket]
