"""Who reads what: the reverse look-up from a key or bucket to the cells that fetched it.

A `Cell` is one rule applied to one key. It lists the registrations it holds; each registration
lives in a `Readers` under the key that was read, present or not. A change therefore finds its
readers by one dictionary access, and a cell that goes takes its registrations with it. There may
be a million registrations, so a key with one plain reader holds the cell itself; only shared or
narrowed keys hold a dictionary of cells.
"""

from collections.abc import Callable, Hashable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal

from controlplane.dataflow.values import ABSENT, Absent

if TYPE_CHECKING:
    from controlplane.dataflow.collection import Collection

Predicate = Callable[[Any], object]

SLICE: Final = 256
"""Steps without a rule call between two chances for the driver to stop."""


class Everything(Enum):
    """The type of `EVERYTHING`, the key under which readers of a whole collection register."""

    EVERYTHING = "everything"


EVERYTHING: Final[Literal[Everything.EVERYTHING]] = Everything.EVERYTHING


class Cell:
    """One rule applied to one key.

    Shape: `reads` alternates a `Readers` with the key registered there, without repetition;
    `is_narrowed` says that at least one of the registrations carries a predicate.
    """

    __slots__ = ("is_narrowed", "key", "node", "reads")

    def __init__(self, node: "Collection[Any, Any]", key: Hashable) -> None:
        self.node = node
        self.key = key
        self.reads: tuple[Any, ...] = ()
        self.is_narrowed = False


class AnyOf:
    """A predicate for a cell that fetched one bucket with several predicates."""

    __slots__ = ("_predicates",)

    def __init__(self, *predicates: Predicate) -> None:
        self._predicates = list(predicates)

    def add(self, predicate: Predicate) -> None:
        """Let `predicate` count, too."""
        self._predicates.append(predicate)

    def __call__(self, value: object) -> bool:
        """Whether any of the predicates holds for `value`."""
        return any(predicate(value) for predicate in self._predicates)


class Shared(dict[Cell, Predicate | None]):
    """The cells under one key; `key` is the copy of it that new cells keep, instead of their own.

    Rules build their keys anew in every call, so without this each cell would hold five of them.
    """

    __slots__ = ("key",)

    def __init__(self, key: Hashable) -> None:
        super().__init__()
        self.key = key


class Readers:
    """The cells that read one collection by key, or one index by bucket."""

    __slots__ = ("cells",)

    def __init__(self) -> None:
        self.cells: dict[Hashable, Cell | Shared] = {}

    def add(self, key: Hashable, cell: Cell, predicate: Predicate | None) -> Hashable:
        """Register `cell` under `key`, replacing its earlier predicate there.

        Returns: an equal key, for the cell to remember.
        """
        entry = self.cells.get(key)
        if entry is None or entry is cell:
            if predicate is None:
                self.cells[key] = cell
                return key
            shared = self.cells[key] = Shared(key)
        elif isinstance(entry, Cell):
            shared = self.cells[key] = Shared(key)
            shared[entry] = None
        else:
            shared = entry
        shared[cell] = predicate
        return shared.key

    def discard(self, key: Hashable, cell: Cell) -> None:
        """Undo `add`; a key without readers leaves nothing behind."""
        entry = self.cells.get(key)
        if entry is cell:
            del self.cells[key]
        elif isinstance(entry, Shared):
            entry.pop(cell, None)
            if not entry:
                del self.cells[key]

    def touch(self, key: Hashable, old: object = ABSENT, new: object = ABSENT) -> Iterator[None]:
        """Schedule the readers of `key` whose predicate, if any, holds for `old` or `new`.

        Cost: one predicate call or two per reader; yields every `SLICE` readers.
        """
        entry = self.cells.get(key)
        if isinstance(entry, Cell):
            entry.node.touch(entry.key)
        elif entry is not None:
            for count, (cell, predicate) in enumerate(entry.items(), start=1):
                if predicate is None or is_affected(predicate, old, new):
                    cell.node.touch(cell.key)
                if not count % SLICE:
                    yield


def is_affected(predicate: Predicate, old: object, new: object) -> bool:
    """Whether a read narrowed by `predicate` may see a change from `old` to `new`.

    Both are judged: a value that stops matching matters as much as one that starts to. A raising
    predicate counts as affected, so that its rule runs and records the failure.
    """
    try:
        return any(not isinstance(value, Absent) and bool(predicate(value)) for value in (old, new))
    except Exception:  # noqa: BLE001 - whatever a rule's predicate raises belongs to that rule
        return True
