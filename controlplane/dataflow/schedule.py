"""Whose turn it is: collections add their number when they have work, a commit takes the smallest.

A collection's number is its position of construction and a rule may only read smaller numbers, so
taking the smallest first computes everything once and in topological order. The schedule also
holds what all collections of one graph share: the phase, the seed of the shuffle, and the
programming errors that a commit raises when it ends.
"""

import heapq
from collections.abc import Collection as Sized
from collections.abc import Iterable
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from controlplane.dataflow.errors import RuleError
    from controlplane.dataflow.values import Failure

T = TypeVar("T")


class Phase(Enum):
    """Where a graph stands between two commits."""

    IDLE = "idle"
    OPEN = "open"
    COMMITTING = "committing"


class Schedule:
    """The dirty collections of one graph, by number."""

    __slots__ = ("_dirty", "_random", "faults", "new_failures", "phase", "rule_calls", "runs_twice")

    def __init__(self, *, shuffle: int | None, runs_twice: bool) -> None:
        self._dirty: list[int] = []
        # Reproducible order for tests, nothing secret.
        self._random = None if shuffle is None else Random(shuffle)  # noqa: S311 - see above
        self.phase = Phase.IDLE
        self.runs_twice = runs_twice
        self.rule_calls = 0
        self.faults: list[RuleError] = []
        self.new_failures: list[Failure] = []

    def add(self, number: int) -> None:
        """Give collection `number` a turn in this commit; callers add it once."""
        heapq.heappush(self._dirty, number)

    def take(self) -> int | None:
        """The smallest number that has work, or None when the pass is complete."""
        return heapq.heappop(self._dirty) if self._dirty else None

    def order(self, items: Sized[T]) -> Iterable[T]:
        """Give `items` in an order that nobody may rely on: as they come, or shuffled."""
        if self._random is None or len(items) < 2:
            return items
        return self._random.sample(list(items), len(items))
