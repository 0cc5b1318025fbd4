"""Fetch: the only way a rule reads, and so the record of what its result depends on.

Each rule has one `Fetch`. While the rule runs, every read is checked against the order of
construction and noted, also when nothing was there; afterwards the engine turns the notes into
registrations. Outside a run it refuses.
"""

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar

from controlplane.dataflow.errors import ReadOrderError
from controlplane.dataflow.readers import EVERYTHING, Predicate, Readers

if TYPE_CHECKING:
    from controlplane.dataflow.collection import Collection
    from controlplane.dataflow.index import Index

B = TypeVar("B", bound=Hashable)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Fetch:
    """What a rule reads with. Every method raises ReadOrderError for what is not built before.

    Shape: `reads` alternates a `Readers` with the key read; `narrowed` holds the reads that a
    predicate narrows.
    """

    __slots__ = ("is_running", "narrowed", "owner", "reads")

    def __init__(self, owner: "Collection[Any, Any]") -> None:
        self.owner = owner
        self.is_running = False
        self.reads: list[Any] = []
        self.narrowed: list[tuple[Readers, Hashable, Predicate]] = []

    def one(self, collection: "Collection[K, V]", key: K) -> V | None:
        """The value of `key`, or None. The rule depends on that key, present or absent."""
        self._check(collection)
        value = collection.working.get(key)
        reads = self.reads
        reads.append(collection.readers)
        reads.append(key)
        return value

    def where(
        self,
        index: "Index[B, K, V]",
        bucket: B,
        matching: Callable[[V], object] | None = None,
    ) -> tuple[V, ...]:
        """The values in `bucket` for which `matching` holds, ordered by their keys.

        The rule depends on that bucket, or with `matching` on the changes in it whose old or new
        value matches. Keys that do not compare with each other are ordered by their `repr`.

        Cost: O(1) while the bucket does not change, O(bucket) with `matching`.
        """
        self._check(index.collection)
        values = index.values(bucket)
        if matching is None:
            reads = self.reads
            reads.append(index.readers)
            reads.append(bucket)
            return values
        self.narrowed.append((index.readers, bucket, matching))
        return tuple([value for value in values if matching(value)])

    def all(self, collection: "Collection[K, V]") -> tuple[V, ...]:
        """Every value, ordered by key. The rule depends on any change of the collection."""
        self._check(collection)
        reads = self.reads
        reads.append(collection.readers)
        reads.append(EVERYTHING)
        return collection.all_values()

    def begin(self) -> None:
        """Forget the last run and allow reads."""
        self.reads = []
        self.narrowed = []
        self.is_running = True

    def _check(self, collection: "Collection[Any, Any]") -> None:
        owner = self.owner
        if (
            collection.number < owner.number
            and collection.schedule is owner.schedule
            and self.is_running
        ):
            return
        if not self.is_running:
            raise ReadOrderError(f"{owner!r} read {collection!r} while its rule was not running")
        raise ReadOrderError(f"{owner!r} read {collection!r}, which is not built before it")
