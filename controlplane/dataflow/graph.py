"""The graph: builds collections, commits transactions, reports what it did.

Inputs change inside a transaction. Its end runs one pass: every affected rule once, in the order
the collections were built; then the new state is published in one step; then each subscriber gets
its net changes in one call. The pass is a generator: `transaction` exhausts it, `commit_async`
pauses it so that an event loop breathes.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from controlplane.dataflow.collection import Collection, Handler
from controlplane.dataflow.errors import TransactionError
from controlplane.dataflow.fetch import Fetch
from controlplane.dataflow.index import Index
from controlplane.dataflow.input import Edits, Input
from controlplane.dataflow.joins import Distinct, Group, Union
from controlplane.dataflow.rules import Derived, DerivedMany
from controlplane.dataflow.schedule import Phase, Schedule
from controlplane.dataflow.values import (
    Change,
    Clash,
    CollectionDescription,
    CommitSummary,
    Keep,
)

B = TypeVar("B", bound=Hashable)
K = TypeVar("K", bound=Hashable)
K2 = TypeVar("K2", bound=Hashable)
V = TypeVar("V")
V2 = TypeVar("V2")

Batch = Mapping[Input[Any, Any], Edits[Any, Any]]
_UNTIMED = (0.0, 0.0)

Delivery = tuple[Handler[Any, Any], Sequence[Change[Any, Any]]]


class Graph:
    """Collections that keep themselves up to date.

    Args of construction: `shuffle` seeds the randomising of every order that is not promised, and
    `run_twice` runs each rule twice and raises ImpureRuleError where the results differ; both are
    for tests.
    """

    def __init__(self, *, shuffle: int | None = None, run_twice: bool = False) -> None:
        self._schedule = Schedule(shuffle=shuffle, runs_twice=run_twice)
        self._collections: list[Collection[Any, Any]] = []
        self._inputs: list[Input[Any, Any]] = []
        self._commit_handlers: list[Callable[[CommitSummary], None]] = []
        self._monotonic: Callable[[], float] | None = None
        self._seconds: dict[str, tuple[float, float]] = {}
        self._number = 0
        self._is_ready = False

    def input(self, name: str, value_type: type[V], key: Callable[[V], K]) -> Input[K, V]:
        """A collection of `value_type` that a source fills, each value under `key(value)`."""
        collection = Input(name, self._next(name), self._schedule, value_type, key)
        self._inputs.append(collection)
        self._collections.append(collection)
        return collection

    def derive(
        self,
        name: str,
        source: Collection[K, V],
        rule: Callable[[Fetch, V], V2 | Keep | None],
    ) -> Collection[K, V2]:
        """`rule` applied to each value of `source`, under the same key; None makes no value."""
        collection = Derived[K, V2](name, self._next(name, source), self._schedule, source, rule)
        self._collections.append(collection)
        return collection

    def derive_many(
        self,
        name: str,
        source: Collection[K, V],
        rule: Callable[[Fetch, V], Mapping[K2, V2] | Keep],
    ) -> Collection[K2, V2]:
        """`rule` applied to each value of `source`; all its results, under their own keys.

        Of several results for one key the one of the smallest source key is seen; see `clashes`.
        """
        collection = DerivedMany[K2, V2](
            name, self._next(name, source), self._schedule, source, rule
        )
        self._collections.append(collection)
        return collection

    def union(self, name: str, *collections: Collection[K, V]) -> Collection[K, V]:
        """The keys of all `collections`, each with its value in the earliest listed that has it."""
        number = self._next(name, *collections)
        collection = Union(name, number, self._schedule, collections)
        self._collections.append(collection)
        return collection

    def group(self, name: str, index: Index[B, K, Any]) -> Collection[B, tuple[K, ...]]:
        """Bucket -> the keys in it, in order. Cost: O(bucket) per commit that changes members."""
        number = self._next(name, index.collection)
        collection = Group(name, number, self._schedule, index)
        self._collections.append(collection)
        return collection

    def distinct(self, name: str, index: Index[B, Any, Any]) -> Collection[B, B]:
        """Bucket -> itself, while it has members. Cost: O(1) per change."""
        number = self._next(name, index.collection)
        collection = Distinct(name, number, self._schedule, index)
        self._collections.append(collection)
        return collection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Allow inputs to change; commit at the end. An exception inside changes nothing.

        Raises: TransactionError when one is open or a commit is under way; at the end, what
        subscribers raised and the RuleErrors of rules, after the commit has been completed.
        """
        self._require_idle("a transaction is opened")
        self._schedule.phase = Phase.OPEN
        try:
            yield
        except BaseException:
            for collection in self._inputs:
                collection.drop()
            self._schedule.phase = Phase.IDLE
            raise
        staged = {
            collection: collection.staged
            for collection in self._inputs
            if collection.staged is not None
        }
        deque(self._commit(staged), maxlen=0)

    async def commit_async(
        self,
        changes: Batch,
        *,
        monotonic: Callable[[], float],
        slice_seconds: float = 0.005,
    ) -> None:
        """Commit `changes`, giving way to the event loop whenever `slice_seconds` have passed.

        A cancelled commit leaves the graph as it was for readers and closed to further commits.

        Raises: as `transaction`.
        """
        self._require_idle("a commit is started")
        end = monotonic() + slice_seconds
        for _ in self._commit(changes):
            if monotonic() >= end:
                await asyncio.sleep(0)
                end = monotonic() + slice_seconds

    def on_commit(self, handler: Callable[[CommitSummary], None]) -> None:
        """Call `handler` at the end of every commit, after all subscribers."""
        self._commit_handlers.append(handler)

    def time(self, monotonic: Callable[[], float] | None) -> None:
        """Measure from the next commit on how long each collection takes; None stops it.

        Cost: two readings of the clock for each slice of a collection that has work.
        """
        self._monotonic = monotonic
        self._seconds = {}

    @property
    def ready(self) -> bool:
        """Whether a commit has ended since every input was marked as synced; stays so."""
        return self._is_ready

    @property
    def rule_calls(self) -> int:
        """How often rules were called, ever. `run_twice` does not count twice."""
        return self._schedule.rule_calls

    @property
    def failures(self) -> dict[tuple[str, Hashable], Exception]:
        """What raised and has not been computed since, by collection (or index) and key."""
        found: dict[tuple[str, Hashable], Exception] = {}
        for collection in self._collections:
            for key, error in collection.failed.items():
                found[collection.name, key] = error
            for index in collection.indexes:
                for key, error in index.failed.items():
                    found[index.name, key] = error
        return found

    @property
    def clashes(self) -> tuple[Clash, ...]:
        """Every key that is claimed more than once."""
        return tuple(
            Clash(collection=collection.name, key=key, owners=owners)
            for collection in self._collections
            for key, owners in collection.clashes().items()
        )

    def describe(self) -> tuple[CollectionDescription, ...]:
        """All collections in the order of their construction, for admin."""
        return tuple(
            CollectionDescription(
                name=collection.name,
                kind=collection.kind,
                size=len(collection),
                cells=len(collection.cells),
                rule_calls=collection.rule_calls,
                failures=len(collection.failed),
                clashes=len(collection.clashes()),
                indexes=tuple(index.name for index in collection.indexes),
                reads=len(collection.readers.cells)
                + sum(len(index.readers.cells) for index in collection.indexes),
                last_seconds=self._seconds.get(collection.name, _UNTIMED)[0],
                total_seconds=self._seconds.get(collection.name, _UNTIMED)[1],
            )
            for collection in self._collections
        )

    @property
    def inputs(self) -> tuple[Input[Any, Any], ...]:
        """All inputs; `is_synced` of each says whether its source has delivered."""
        return tuple(self._inputs)

    def _next(self, name: str, *sources: Collection[Any, Any]) -> int:
        if self._schedule.phase is Phase.COMMITTING:
            raise TransactionError(f"collection {name!r} is built during a commit")
        if any(source.schedule is not self._schedule for source in sources):
            raise TransactionError(f"collection {name!r} is built on one of another graph")
        if any(collection.name == name for collection in self._collections):
            raise TransactionError(f"there is a collection {name!r} already")
        return len(self._collections)

    def _require_idle(self, what: str) -> None:
        if self._schedule.phase is not Phase.IDLE:
            raise TransactionError(f"{what} while another is {self._schedule.phase.value}")

    def _commit(self, changes: Batch) -> Generator[None, None, None]:
        schedule = self._schedule
        schedule.phase = Phase.COMMITTING
        calls = self.rule_calls
        for collection, edits in changes.items():
            collection.stage(edits)
        changed: list[Collection[Any, Any]] = []
        yield from self._propagate(changed)
        prepared: dict[str, Sequence[Change[Any, Any]]] = {}
        yield from self._prepare(changed, prepared)
        # Publishing is one step: whoever subscribed until now is owed these changes, whoever
        # subscribes later is given the new state.
        deliveries: deque[Delivery] = deque(
            (handler, prepared.get(collection.name) or list(filter(None, collection.net_changes())))
            for collection in changed
            for handler in collection.subscribers
        )
        prepared.clear()
        summary = self._publish(changed, calls)
        errors: list[Exception] = list(schedule.faults[:1])
        schedule.faults.clear()
        yield from self._deliver(deliveries, errors)
        for handler in self._commit_handlers:
            try:
                handler(summary)
            except Exception as error:  # noqa: BLE001 - everyone is told before it is raised
                errors.append(error)
        schedule.phase = Phase.IDLE
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup(f"commit {summary.number} ended with errors", errors)

    def _propagate(self, changed: list[Collection[Any, Any]]) -> Iterator[None]:
        take = self._schedule.take
        while (number := take()) is not None:
            collection = self._collections[number]
            if self._monotonic is None:
                yield from collection.recompute()
            else:
                yield from self._timed(collection, self._monotonic)
            if collection.previous:
                changed.append(collection)
                yield from collection.announce()

    def _timed(
        self, collection: Collection[Any, Any], monotonic: Callable[[], float]
    ) -> Iterator[None]:
        """Recompute, and note how long that took without the pauses of the driver."""
        spent = 0.0
        started = monotonic()
        for _ in collection.recompute():
            spent += monotonic() - started
            yield
            started = monotonic()
        spent += monotonic() - started
        _, total = self._seconds.get(collection.name, _UNTIMED)
        self._seconds[collection.name] = (spent, total + spent)

    @staticmethod
    def _prepare(
        changed: list[Collection[Any, Any]], prepared: dict[str, Sequence[Change[Any, Any]]]
    ) -> Iterator[None]:
        for collection in changed:
            if collection.subscribers:
                changes: list[Change[Any, Any]] = []
                for change in collection.net_changes():
                    if change is None:
                        yield
                    else:
                        changes.append(change)
                prepared[collection.name] = changes

    def _publish(self, changed: list[Collection[Any, Any]], calls: int) -> CommitSummary:
        counts = {collection.name: len(collection.previous) for collection in changed}
        for collection in changed:
            collection.previous = {}
        self._number += 1
        self._is_ready = self._is_ready or all(source.is_synced for source in self._inputs)
        failures, self._schedule.new_failures = tuple(self._schedule.new_failures), []
        return CommitSummary(
            number=self._number,
            changed=counts,
            rule_calls=self.rule_calls - calls,
            failures=failures,
            is_ready=self._is_ready,
        )

    @staticmethod
    def _deliver(deliveries: deque[Delivery], errors: list[Exception]) -> Iterator[None]:
        while deliveries:
            # Taken out, so that a large batch is freed before the next is delivered.
            handler, changes = deliveries.popleft()
            try:
                yield from handler(changes) or ()
            except Exception as error:  # noqa: BLE001 - everyone is told before it is raised
                errors.append(error)
            yield
