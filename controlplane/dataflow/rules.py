"""Derived collections: rules applied to the values of a source, and kept up to date.

A dirty key is recomputed by calling the rule once; what it fetched replaces the registrations of
its cell, by difference. A rule that raises keeps its last output *and* the reads it made up to the
raise, so that it runs again when any of them changes.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, TypeVar

from controlplane.dataflow.collection import Collection
from controlplane.dataflow.errors import ImpureRuleError, RuleError
from controlplane.dataflow.fetch import Fetch
from controlplane.dataflow.index import in_order
from controlplane.dataflow.readers import AnyOf, Cell, Predicate, Readers
from controlplane.dataflow.schedule import Schedule
from controlplane.dataflow.values import ABSENT, KEEP, Failure

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Ruled(Collection[K, V]):
    """What `Derived` and `DerivedMany` share: calling the rule and recording what it read."""

    is_many = False

    __slots__ = ("_fetch", "_rule", "_source")

    def __init__(
        self,
        name: str,
        number: int,
        schedule: Schedule,
        source: Collection[Any, Any],
        rule: Callable[[Fetch, Any], Any],
    ) -> None:
        super().__init__(name, number, schedule)
        self._source = source
        self._rule = rule
        self._fetch = Fetch(self)
        source.children.append(self)
        for key in source.working:
            self.touch(key)

    def evaluate(self, key: Any, value: Any) -> Any:
        """Call the rule on `value` and register its reads. KEEP also stands for a failure."""
        fetch = self._fetch
        fetch.begin()
        self.rule_calls += 1
        self.schedule.rule_calls += 1
        try:
            result = self._call(value)
            if self.schedule.runs_twice:
                self._run_again(value, result)
        except Exception as error:  # noqa: BLE001 - whatever a rule raises is its failure, recorded
            self._fail(key, error)
            result = KEEP
        else:
            if self.failed:
                self.failed.pop(key, None)
        finally:
            fetch.is_running = False
        cell = self.cells.get(key)
        if cell is not None or fetch.reads or fetch.narrowed:
            self._register(key, cell)
        return result

    def _call(self, value: Any) -> Any:
        result = self._rule(self._fetch, value)
        if self.is_many and result is not KEEP and not isinstance(result, Mapping):
            raise TypeError(f"the rule of {self!r} returned {result!r}")
        return result

    def release(self, key: Any) -> None:
        """Forget the cell of `key`, all its registrations and its failure."""
        self.failed.pop(key, None)
        cell = self.cells.pop(key, None)
        if cell is not None:
            for readers, read in zip(cell.reads[::2], cell.reads[1::2], strict=True):
                readers.discard(read, cell)

    def _register(self, key: Any, cell: Cell | None) -> None:
        fetch = self._fetch
        reads = tuple(fetch.reads)
        if cell is None:
            cell = self.cells[key] = Cell(self, key)
        elif reads == cell.reads and not fetch.narrowed and not cell.is_narrowed:
            return
        wanted: dict[tuple[Readers, Hashable], Predicate | None] = dict.fromkeys(
            zip(reads[::2], reads[1::2], strict=True)
        )
        for readers, read, matching in fetch.narrowed:
            earlier = wanted.setdefault((readers, read), matching)
            if isinstance(earlier, AnyOf):
                earlier.add(matching)
            elif earlier is not None and earlier is not matching:
                wanted[readers, read] = AnyOf(earlier, matching)
        for readers, read in zip(cell.reads[::2], cell.reads[1::2], strict=True):
            if (readers, read) not in wanted:
                readers.discard(read, cell)
        if not wanted:
            del self.cells[key]
            return
        kept: list[Any] = []
        for (readers, read), matching_or_none in wanted.items():
            kept += (readers, readers.add(read, cell, matching_or_none))
        cell.reads = tuple(kept)
        cell.is_narrowed = bool(fetch.narrowed)

    def _fail(self, key: Any, error: Exception) -> None:
        self.failed[key] = settled(error)
        self.schedule.new_failures.append(Failure(collection=self.name, key=key, error=error))
        if isinstance(error, RuleError):
            self.schedule.faults.append(error)

    def _run_again(self, value: Any, result: Any) -> None:
        fetch = self._fetch
        reads, narrowed = fetch.reads, fetch.narrowed
        fetch.begin()
        again = self._call(value)
        is_same = (
            again == result
            and fetch.reads == reads
            and [read[:2] for read in fetch.narrowed] == [read[:2] for read in narrowed]
        )
        if not is_same:
            raise ImpureRuleError(f"{self!r} gave {result!r}, then {again!r} for {value!r}")


class Derived(Ruled[K, V]):
    """One value in, zero or one out, under the same key."""

    kind = "derive"

    __slots__ = ()

    def recompute(self) -> Iterator[None]:
        """Call the rule once per dirty key."""
        dirty, self.dirty = self.dirty, {}
        source = self._source.working
        for key in self.schedule.order(dirty):
            value = source.get(key, ABSENT)
            if value is ABSENT:
                self.release(key)
                self.set(key, ABSENT)
            else:
                result = self.evaluate(key, value)
                if result is not KEEP:
                    self.set(key, ABSENT if result is None else result)
            yield


class DerivedMany(Ruled[K, V]):
    """One value in, any number out. A key may be claimed by several; the smallest owner is seen.

    Shape: `_outputs` owner -> the keys it claims; `_owners` key -> the owner that is seen;
    `_contested` key -> owner -> claimed value, only for keys claimed more than once.
    """

    kind = "derive_many"
    is_many = True

    __slots__ = ("_contested", "_outputs", "_owners", "_resolved")

    def __init__(
        self,
        name: str,
        number: int,
        schedule: Schedule,
        source: Collection[Any, Any],
        rule: Callable[[Fetch, Any], Any],
    ) -> None:
        super().__init__(name, number, schedule, source, rule)
        self._outputs: dict[Any, tuple[K, ...]] = {}
        self._owners: dict[K, Any] = {}
        self._contested: dict[K, dict[Any, V]] = {}
        self._resolved: dict[K, Any] = {}

    def recompute(self) -> Iterator[None]:
        """Call the rule once per dirty owner, then settle the keys whose claims changed."""
        dirty, self.dirty = self.dirty, {}
        source = self._source.working
        for owner in self.schedule.order(dirty):
            value = source.get(owner, ABSENT)
            if value is ABSENT:
                self.release(owner)
                self._claim(owner, {})
            else:
                result = self.evaluate(owner, value)
                if result is not KEEP:
                    self._claim(owner, result)
            yield
        # Only now: a key that passes from one owner to another has one net change.
        resolved, self._resolved = self._resolved, {}
        for key, value in resolved.items():
            self.set(key, value)
            yield

    def clashes(self) -> Mapping[K, tuple[Hashable, ...]]:
        """Keys claimed by several owners."""
        return {key: tuple(in_order(claims)) for key, claims in self._contested.items()}

    def _claim(self, owner: Any, outputs: Mapping[K, V]) -> None:
        for key in self._outputs.get(owner, ()):
            if key not in outputs:
                self._withdraw(owner, key)
        for key, value in outputs.items():
            seen = self._owners.setdefault(key, owner)
            claims = self._contested.get(key)
            if claims is None and seen is not owner and seen != owner:
                claims = self._contested[key] = {seen: self._current(key)}
            if claims is None:
                self._resolved[key] = value
            else:
                claims[owner] = value
                self._settle(key, claims)
        if outputs:
            self._outputs[owner] = tuple(outputs)
        else:
            self._outputs.pop(owner, None)

    def _withdraw(self, owner: Any, key: K) -> None:
        claims = self._contested.get(key)
        if claims is None:
            del self._owners[key]
            self._resolved[key] = ABSENT
            return
        del claims[owner]
        self._settle(key, claims)
        if len(claims) == 1:
            del self._contested[key]

    def _settle(self, key: K, claims: dict[Any, V]) -> None:
        winner = smallest(claims)
        self._owners[key] = winner
        self._resolved[key] = claims[winner]

    def _current(self, key: K) -> Any:
        return self._resolved[key] if key in self._resolved else self.working[key]


def settled(error: Exception) -> Exception:
    """`error` fit for keeping: a note says where it was raised, the tracebacks are gone.

    A traceback would keep every value of the failed call alive, for as long as the failure lasts.
    """
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is not None:
        note = f"raised at {place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    link: BaseException | None = error
    while link is not None and link.__traceback__ is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def smallest(owners: Mapping[Any, object]) -> Any:
    """The owner that wins, whatever the order in which they arrived."""
    return in_order(owners)[0]
