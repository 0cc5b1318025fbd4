"""A sorted list of a collection's keys: net changes come in, pages in order go out.

The list follows the collection by differences, so a page costs what it looks at. Looking is done
in slices with a chance for the event loop in between, and a request looks at a limited number of
elements: a page may end early and say where to go on.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, Generic, NamedTuple, TypeVar

from sortedcontainers import SortedList

from controlplane.admin.errors import BadCursorError
from controlplane.admin.reading.cursor import read_cursor, write_cursor
from controlplane.dataflow import Change, Collection

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

SLICE: Final = 256
"""Elements looked at, or taken over from a commit, between two chances for the event loop."""

SCANNED: Final = 20_000
"""Elements one request looks at."""

Place = tuple[str, str, Any]
"""Where an element stands: its namespace, its name, and its key to tell equal ones apart."""


class Found(NamedTuple, Generic[K, V]):
    """Elements of one page and the cursor behind them; None at the end of the list."""

    items: list[tuple[K, V]]
    next: str | None


class Listing(Generic[K, V]):
    """The keys of ``collection``, sorted by ``place(key, value)``: a namespace and a name."""

    def __init__(
        self, collection: Collection[K, V], place: Callable[[K, V], tuple[str, str]]
    ) -> None:
        self._collection = collection
        self._place = place
        self._places: SortedList[Place] = SortedList()
        collection.subscribe(self._changed)

    def count(self, namespace: str | None = None) -> int:
        """Return how many elements there are, in one namespace or in all."""
        if namespace is None:
            return len(self._places)
        low, high = _bounds(namespace)
        return int(self._places.bisect_left(high) - self._places.bisect_left(low))

    def namespaces(self) -> list[str]:
        """Return every namespace that has an element. Cost: a bisection for each."""
        found: list[str] = []
        at = 0
        while at < len(self._places):
            found.append(self._places[at][0])
            at = self._places.bisect_left(_bounds(found[-1])[1])
        return found

    async def page(
        self,
        *,
        after: str = "",
        limit: int,
        namespace: str | None = None,
        keep: Callable[[K, V], bool] | None = None,
        among: Iterable[K] | None = None,
        most: int = SCANNED,
    ) -> Found[K, V]:
        """Return at most ``limit`` elements that ``keep`` keeps, behind the cursor ``after``.

        ``among`` narrows to these keys: who knows them saves looking at the others.

        Raises:
            BadCursorError: ``after`` was not given out by this list.
        """
        found: list[tuple[K, V]] = []
        last = _read_place(after) if after else None
        places = self._places if among is None else self._places_of(among)
        looked = 0
        while True:
            try:
                slice_ = _behind(places, last, namespace, min(SLICE, most - looked))
            except TypeError:
                raise BadCursorError("the cursor is none that this list gave out") from None
            for place in slice_:
                looked += 1
                last = place
                value = self._collection.get(place[2])
                if value is None or (keep is not None and not keep(place[2], value)):
                    continue
                found.append((place[2], value))
                if len(found) == limit:
                    return Found(found, _cursor(places, place, namespace))
            if not slice_:
                return Found(found, None)
            if looked >= most:
                return Found(found, _cursor(places, slice_[-1], namespace))
            await asyncio.sleep(0)

    def _places_of(self, keys: Iterable[K]) -> "SortedList[Place]":
        found = ((key, self._collection.get(key)) for key in keys)
        return SortedList(
            (*self._place(key, value), key) for key, value in found if value is not None
        )

    def _changed(self, changes: Sequence[Change[K, V]]) -> Iterator[None]:
        places = self._places
        for number, (key, old, new) in enumerate(changes, start=1):
            before = None if old is None else (*self._place(key, old), key)
            after = None if new is None else (*self._place(key, new), key)
            if before != after:
                if before is not None:
                    places.discard(before)
                if after is not None:
                    places.add(after)
            if number % SLICE == 0:
                yield


def _behind(
    places: "SortedList[Place]", last: Place | None, namespace: str | None, most: int
) -> list[Place]:
    """Return the next ``most`` places behind ``last``, in one namespace or in all."""
    low, high = (None, None) if namespace is None else _bounds(namespace)
    is_low = low is not None and (last is None or last < low)
    start = low if is_low else last
    return list(islice(places.irange(start, high, inclusive=(is_low, False)), most))


def _cursor(places: "SortedList[Place]", place: Place, namespace: str | None) -> str | None:
    return write_cursor(place) if _behind(places, place, namespace, 1) else None


def _bounds(namespace: str) -> tuple[Any, Any]:
    """Return what every place in ``namespace`` is not smaller than, and smaller than."""
    return (namespace,), (namespace + "\0",)


def _read_place(text: str) -> Place:
    value = read_cursor(text)
    if len(value) == 3 and isinstance(value[0], str) and isinstance(value[1], str):
        return value[0], value[1], value[2]
    raise BadCursorError("the cursor is none that this list gave out")
