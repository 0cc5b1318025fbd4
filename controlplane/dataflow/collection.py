"""A collection: values by key, kept up to date by a commit and read between commits.

Each turn in a commit, a collection recomputes its dirty keys (its kind says how), then announces
what changed to its children, its indexes and the rules that fetched from it. Until the commit is
complete the old values of changed keys are kept aside, so that `get`, `items` and `len` show
committed state only, at whatever point a sliced commit stands. The remaining attributes belong to
the engine: rules read through `Fetch`, everyone else subscribes.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from controlplane.dataflow.errors import TransactionError
from controlplane.dataflow.index import Index, in_order
from controlplane.dataflow.readers import EVERYTHING, SLICE, Cell, Readers
from controlplane.dataflow.schedule import Phase, Schedule
from controlplane.dataflow.values import ABSENT, Change

B = TypeVar("B", bound=Hashable)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

Handler = Callable[[Sequence[Change[K, V]]], Iterator[None] | None]
"""A subscriber. One that returns an iterator (a generator function) is run in slices."""


class Collection(Generic[K, V_co]):
    """Values by key. Made by a `Graph`, alive as long as it.

    Shape: `working` is what rules see; `previous` holds the committed value, or ABSENT, of every
    key the running commit changed, and is empty between commits.
    """

    kind = "collection"

    __slots__ = (
        "cells",
        "children",
        "dirty",
        "everything",
        "failed",
        "indexes",
        "name",
        "number",
        "previous",
        "readers",
        "rule_calls",
        "schedule",
        "subscribers",
        "working",
    )

    def __init__(self, name: str, number: int, schedule: Schedule) -> None:
        self.name = name
        self.number = number
        self.schedule = schedule
        self.working: dict[K, V_co] = {}
        self.previous: dict[K, Any] = {}
        self.dirty: dict[Any, None] = {}
        self.cells: dict[Any, Cell] = {}
        self.failed: dict[Any, Exception] = {}
        self.rule_calls = 0
        self.readers = Readers()
        self.children: list[Collection[Any, Any]] = []
        self.indexes: list[Index[Any, K, V_co]] = []
        self.subscribers: list[Handler[K, V_co]] = []
        self.everything: tuple[V_co, ...] | None = None

    def __repr__(self) -> str:
        """Name and kind, for messages."""
        return f"<{self.kind} {self.name!r}>"

    def get(self, key: K) -> V_co | None:
        """The committed value of `key`, or None."""
        if key in self.previous:
            value = self.previous[key]
            return None if value is ABSENT else value
        return self.working.get(key)

    def items(self) -> list[tuple[K, V_co]]:
        """All committed keys and values. Shape: no promised order. Cost: O(n), for admin."""
        if not self.previous:
            return list(self.working.items())
        settled = [item for item in self.working.items() if item[0] not in self.previous]
        return settled + [item for item in self.previous.items() if item[1] is not ABSENT]

    def __len__(self) -> int:
        """How many keys are committed."""
        size = len(self.working)
        for key, value in self.previous.items():
            size += (value is not ABSENT) - (key in self.working)
        return size

    def index(self, name: str, keys: Callable[[V_co], Iterable[B]]) -> Index[B, K, V_co]:
        """Keep buckets of this collection by `keys(value)`. Raises: TransactionError in a commit.

        Shape: a value is in every bucket `keys` returns for it, once.
        """
        if self.schedule.phase is Phase.COMMITTING:
            raise TransactionError(f"index {name!r} of {self!r} is declared during a commit")
        index = Index(name, self, keys)
        self.indexes.append(index)
        return index

    def subscribe(self, handler: Handler[K, V_co]) -> None:
        """Call `handler` once per commit that has net changes here, with all of them.

        What is committed already is delivered at once, as additions.

        Shape: each key at most once per call, in no promised order; `old != new` always.
        """
        items = self.items()
        self.subscribers.append(handler)
        if items:
            pending = handler([Change(key, None, value) for key, value in self._order(items)])
            for _ in pending or ():
                pass

    def _order(self, items: list[tuple[K, V_co]]) -> Iterable[tuple[K, V_co]]:
        return self.schedule.order(items)

    def touch(self, key: Hashable) -> None:
        """Have `key` recomputed in this collection's turn."""
        if not self.dirty:
            self.schedule.add(self.number)
        self.dirty[key] = None

    def recompute(self) -> Iterator[None]:
        """Bring all dirty keys up to date, yielding where a driver may stop."""
        raise NotImplementedError

    def clashes(self) -> Mapping[K, tuple[Hashable, ...]]:
        """Keys claimed more than once, with their owners, smallest first."""
        return {}

    def all_values(self) -> tuple[V_co, ...]:
        """Every working value in key order. Cost: O(1) while nothing changes."""
        if self.everything is None:
            self.everything = tuple([self.working[key] for key in in_order(self.working)])
        return self.everything

    def set(self, key: K, new: Any) -> None:
        """Give `key` the value `new`, or none for ABSENT; an equal value changes nothing."""
        old: Any = self.working.get(key, ABSENT)
        if new is old:
            return
        if new is ABSENT:
            del self.working[key]
        elif old is not ABSENT and old == new:
            return
        else:
            self.working[key] = new
        self.previous.setdefault(key, old)
        self.everything = None

    def announce(self) -> Iterator[None]:
        """Hand what this turn changed to children, indexes and readers, yielding in between."""
        readers = self.readers
        yield from readers.touch(EVERYTHING)
        for key, old in self.previous.items():
            new: Any = self.working.get(key, ABSENT)
            for child in self.children:
                child.touch(key)
            if key in readers.cells:
                yield from readers.touch(key)
            for index in self.indexes:
                yield from index.update(key, old, new)
            yield

    def net_changes(self) -> Iterator[Change[K, V_co] | None]:
        """The changes of the running commit, with a None wherever a driver may stop."""
        for count, key in enumerate(self.schedule.order(self.previous), start=1):
            old = self.previous[key]
            yield Change(key, None if old is ABSENT else old, self.working.get(key))
            if not count % SLICE:
                yield None
