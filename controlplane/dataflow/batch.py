"""The batcher: stands between sources and the graph and decides when to commit.

Sources hand over changes at any time, on the event loop. They are kept as the last word per key,
so memory is bounded by the number of objects, and committed together, sliced. A change after a
quiet spell is committed at once; while changes keep coming, a batch waits for a quiet moment, but
not for ever. What arrives during a commit forms the next batch.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

from controlplane.clock import Clock
from controlplane.dataflow.errors import BatcherStoppedError
from controlplane.dataflow.graph import Graph
from controlplane.dataflow.input import Edits, Input

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Batcher:
    """Hands changes to `graph` in batches. The graph may have no other driver while it runs.

    Units: `quiet`, `maximum` and `slice_seconds` are seconds: a batch is committed when nothing
    was added for `quiet`, at the latest `maximum` after its first change. `on_batch` is called
    when a batch is taken to be committed.
    """

    def __init__(
        self,
        graph: Graph,
        clock: Clock,
        *,
        quiet: float = 0.010,
        maximum: float = 0.100,
        slice_seconds: float = 0.005,
        on_batch: Callable[[], None] | None = None,
    ) -> None:
        self._graph = graph
        self._clock = clock
        self._quiet = quiet
        self._maximum = maximum
        self._slice_seconds = slice_seconds
        self._on_batch = on_batch
        self._pending: dict[Input[Any, Any], Edits[Any, Any]] = {}
        self._first_at = 0.0
        self._last_at = float("-inf")
        self._follows_quiet = False
        self._arrived = asyncio.Event()
        self._awaiting_next: list[asyncio.Future[None]] = []
        self._awaiting_current: list[asyncio.Future[None]] = []
        self._is_committing = False
        self._is_stopped = False

    @property
    def waiting(self) -> int:
        """Return how many keys wait to be committed."""
        return sum(len(edits.values) for edits in self._pending.values())

    def put(self, target: Input[K, V], value: V) -> None:
        """Add or replace `value`. Raises: InputTypeError."""
        key = target.key_of(value)
        self._edits(target).put(key, value)

    def remove(self, target: Input[K, Any], key: K) -> None:
        """Take `key` away."""
        self._edits(target).remove(key)

    def replace(self, target: Input[Any, V], values: Iterable[V]) -> None:
        """Make `values` the whole content of `target`. Raises: InputTypeError."""
        keyed = target.keyed(values)
        self._edits(target).replace(keyed)

    def mark_synced(self, target: Input[Any, Any]) -> None:
        """Say that everything `target` starts with has been handed over."""
        self._edits(target).is_synced = True

    async def run(self) -> None:
        """Commit batches until cancelled. Raises: what a commit raises."""
        try:
            while True:
                await self._arrived.wait()
                await self._wait_for_quiet()
                await self._commit()
        finally:
            self._is_stopped = True
            for waiter in self._awaiting_current + self._awaiting_next:
                if not waiter.done():
                    waiter.set_exception(BatcherStoppedError("the batcher has stopped"))

    async def settled(self) -> None:
        """Wait until everything handed over so far is committed. Raises: BatcherStoppedError."""
        if not self._pending and not self._is_committing:
            return
        if self._is_stopped:
            raise BatcherStoppedError("the batcher has stopped")
        waiter = asyncio.get_running_loop().create_future()
        (self._awaiting_next if self._pending else self._awaiting_current).append(waiter)
        await waiter

    def _edits(self, target: Input[K, V]) -> Edits[K, V]:
        now = self._clock.monotonic()
        if not self._pending:
            self._first_at = now
            self._follows_quiet = not self._is_committing and now - self._last_at >= self._quiet
            self._arrived.set()
        self._last_at = now
        edits = self._pending.get(target)
        if edits is None:
            edits = self._pending[target] = Edits()
        return edits

    async def _wait_for_quiet(self) -> None:
        if self._follows_quiet:
            await asyncio.sleep(0)
            return
        while True:
            due = min(self._last_at + self._quiet, self._first_at + self._maximum)
            remaining = due - self._clock.monotonic()
            if remaining <= 0:
                return
            await self._clock.sleep(remaining)

    async def _commit(self) -> None:
        batch, self._pending = self._pending, {}
        self._awaiting_current, self._awaiting_next = self._awaiting_next, []
        self._arrived.clear()
        self._is_committing = True
        if self._on_batch is not None:
            self._on_batch()
        await self._graph.commit_async(
            batch, monotonic=self._clock.monotonic, slice_seconds=self._slice_seconds
        )
        self._is_committing = False
        waiters, self._awaiting_current = self._awaiting_current, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
