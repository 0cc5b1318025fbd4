"""The tests of the engine have teeth: each planted bug is caught by the random graphs."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from random import Random
from typing import Any

import pytest

from controlplane.dataflow import Collection, Fetch, readers, rules
from controlplane.dataflow.readers import Cell, Readers
from controlplane.dataflow.schedule import Schedule
from controlplane.dataflow.values import ABSENT
from tests.support.dataflow import MismatchError, a_history, a_plan, run

ROUNDS = 300


def live_through(seed: int) -> None:
    choose = Random(seed).randrange
    rig = run(a_plan(choose, size=8), a_history(choose), shuffle=seed)
    rig.check_empty()


def mismatches() -> Iterator[str]:
    for seed in range(ROUNDS):
        try:
            live_through(seed)
        except (MismatchError, KeyError) as mismatch:  # wrong order also breaks the engine's books
            yield str(mismatch)
        except ExceptionGroup as group:
            yield from map(str, group.exceptions)


def no_unregistration(patch: pytest.MonkeyPatch) -> None:
    def discard(self: Readers, key: Hashable, cell: Cell) -> None:
        """Keep the registration."""

    patch.setattr(Readers, "discard", discard)


def wrong_order(patch: pytest.MonkeyPatch) -> None:
    def take(self: Schedule) -> int | None:
        if not self._dirty:
            return None
        number = max(self._dirty)
        self._dirty.remove(number)
        return number

    patch.setattr(Schedule, "take", take)


def predicate_on_new_value_only(patch: pytest.MonkeyPatch) -> None:
    def is_affected(predicate: Callable[[Any], object], old: object, new: object) -> bool:
        return new is not ABSENT and bool(predicate(new))

    patch.setattr(readers, "is_affected", is_affected)


def first_claimant_wins(patch: pytest.MonkeyPatch) -> None:
    def smallest(owners: Mapping[Any, object]) -> Any:
        return next(iter(owners))

    patch.setattr(rules, "smallest", smallest)


def no_dependency_on_absence(patch: pytest.MonkeyPatch) -> None:
    one = Fetch.one

    def forgetful(self: Fetch, collection: Collection[Any, Any], key: Hashable) -> Any:
        if collection.working.get(key) is None:
            return None
        return one(self, collection, key)

    patch.setattr(Fetch, "one", forgetful)


@pytest.mark.parametrize(
    ("plant", "symptom"),
    [
        (no_unregistration, "left behind"),
        (wrong_order, "half-finished state"),
        (predicate_on_new_value_only, "expected"),
        (first_claimant_wins, "expected"),
        (no_dependency_on_absence, "expected"),
    ],
)
def test_a_planted_bug_is_caught(
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    symptom: str,
) -> None:
    plant(monkeypatch)
    assert any(symptom in mismatch for mismatch in mismatches())


def test_without_a_planted_bug_nothing_is_found() -> None:
    assert list(mismatches()) == []
