"""Inputs: the collections that sources fill.

Changes are staged as `Edits` while a transaction is open and become visible to rules only when
the commit starts, which makes rolling back the dropping of the edits. The batcher stages edits of
its own, outside any transaction, and hands them over whole.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Generic, TypeVar, get_origin

from controlplane.dataflow.collection import Collection
from controlplane.dataflow.errors import InputTypeError, TransactionError
from controlplane.dataflow.readers import SLICE
from controlplane.dataflow.schedule import Phase, Schedule
from controlplane.dataflow.values import ABSENT, Absent

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Edits(Generic[K, V]):
    """What is to happen to one input: the last word on each key.

    Shape: `values` maps a key to its new value or ABSENT; `is_whole` says that keys it does not
    mention go; `is_synced` that the source has delivered its first complete list.
    """

    __slots__ = ("is_synced", "is_whole", "values")

    def __init__(self) -> None:
        self.values: dict[K, V | Absent] = {}
        self.is_whole = False
        self.is_synced = False

    def put(self, key: K, value: V) -> None:
        """`key` gets `value`."""
        self.values[key] = value

    def remove(self, key: K) -> None:
        """`key` goes."""
        self.values[key] = ABSENT

    def replace(self, values: dict[K, V]) -> None:
        """Exactly `values` remain; whatever was said before is dropped."""
        self.values = dict(values)
        self.is_whole = True


class Input(Collection[K, V]):
    """A collection filled from outside the graph. All changes raise TransactionError outside one.

    Put values raise InputTypeError unless they are of the declared type.
    """

    kind = "input"

    __slots__ = ("_key", "_type", "is_synced", "staged")

    def __init__(
        self,
        name: str,
        number: int,
        schedule: Schedule,
        value_type: type[V],
        key: Callable[[V], K],
    ) -> None:
        super().__init__(name, number, schedule)
        self._type: Any = get_origin(value_type) or value_type
        self._key = key
        self.staged: Edits[K, V] | None = None
        self.is_synced = False

    def put(self, value: V) -> None:
        """Add `value` under its key, or replace what is there. An equal value changes nothing."""
        self._edits().put(self.key_of(value), value)

    def remove(self, key: K) -> None:
        """Take `key` away; nothing happens if it is not there."""
        self._edits().remove(key)

    def replace(self, values: Iterable[V]) -> None:
        """Make `values` the whole content; of two with one key the last is taken."""
        self._edits().replace(self.keyed(values))

    def mark_synced(self) -> None:
        """Say that the source has delivered its first complete list. Takes effect at commit."""
        self._edits().is_synced = True

    def key_of(self, value: V) -> K:
        """The key `value` has here. Raises: InputTypeError."""
        if not isinstance(value, self._type):
            raise InputTypeError(f"{self!r} holds {self._type.__name__}, not {value!r}")
        return self._key(value)

    def keyed(self, values: Iterable[V]) -> dict[K, V]:
        """`values` by key. Raises: InputTypeError."""
        return {self.key_of(value): value for value in values}

    def stage(self, edits: Edits[K, V]) -> None:
        """Have `edits` applied in the commit that is about to start."""
        self.staged = edits
        self.schedule.add(self.number)

    def drop(self) -> None:
        """Forget what was staged."""
        self.staged = None

    def recompute(self) -> Iterator[None]:
        """Apply what was staged."""
        edits, self.staged = self.staged or Edits(), None
        if edits.is_whole:
            for key in [key for key in self.working if key not in edits.values]:
                self.set(key, ABSENT)
        for count, key in enumerate(self.schedule.order(edits.values), start=1):
            self.set(key, edits.values[key])
            if not count % SLICE:
                yield
        self.is_synced = self.is_synced or edits.is_synced

    def _edits(self) -> Edits[K, V]:
        if self.schedule.phase is not Phase.OPEN:
            raise TransactionError(f"{self!r} is changed outside a transaction")
        if self.staged is None:
            self.staged = Edits()
        return self.staged
