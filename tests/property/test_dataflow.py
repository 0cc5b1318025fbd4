"""Random graphs and histories against a brute-force evaluator."""

import asyncio
from collections.abc import Callable
from itertools import count
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.dataflow import Rig, a_history, a_plan, evaluate, final_inputs, run

# A deadline per example would measure the machine, not the engine.
few = settings(deadline=None, max_examples=120)


def chooser(data: st.DataObject) -> Callable[[int], int]:
    return lambda limit: data.draw(st.integers(0, limit - 1))


@few
@given(data=st.data(), shuffle=st.integers(0, 2**16))
def test_every_commit_equals_the_evaluator_and_its_changes_replay(
    data: st.DataObject, shuffle: int
) -> None:
    choose = chooser(data)
    rig = run(a_plan(choose), a_history(choose), shuffle=shuffle)
    rig.check_empty()


@few
@given(seed=st.integers(0, 2**32), shuffle=st.integers(0, 2**16))
def test_any_history_ends_like_loading_the_final_inputs(seed: int, shuffle: int) -> None:
    choose = Random(seed).randrange
    plan, history = a_plan(choose, size=8), a_history(choose, steps=12)
    lived = run(plan, history, shuffle=shuffle)
    final = final_inputs(history)
    entries = [(name, key, value) for name in final for key, value in final[name].items()]
    Random(shuffle).shuffle(entries)
    loaded = run(plan, [tuple(entries)], shuffle=shuffle + 1)
    assert lived.state() == loaded.state() == evaluate(plan, final)
    assert {c.key: c.owners for c in lived.graph.clashes} == {
        c.key: c.owners for c in loaded.graph.clashes
    }


@few
@given(seed=st.integers(0, 2**32))
def test_rules_run_twice_agree(seed: int) -> None:
    choose = Random(seed).randrange
    plan, history = a_plan(choose), a_history(choose)
    twice = run(plan, history, run_twice=True, shuffle=seed)
    assert twice.state() == run(plan, history).state()


@few
@given(seed=st.integers(0, 2**32))
def test_sliced_commits_equal_synchronous_ones_and_readers_see_committed_state(seed: int) -> None:
    choose = Random(seed).randrange
    plan = a_plan(choose)
    history = ((("input-0", 0, 1),), *a_history(choose))
    rig = Rig(plan, shuffle=seed)
    ticks = count()
    pauses = 0

    async def drive() -> None:
        nonlocal pauses
        for step in history:
            before, staged, replayed = rig.state(), rig.edits(step), rig.graph._number
            rig.foresee(step)
            commit = asyncio.ensure_future(
                rig.graph.commit_async(staged, monotonic=lambda: float(next(ticks)))
            )
            await asyncio.sleep(0)
            while rig.graph._number == replayed and not commit.done():
                assert rig.state() == before
                assert {n: len(c) for n, c in rig.collections.items()} == {
                    n: len(values) for n, values in before.items()
                }
                pauses += 1
                await asyncio.sleep(0)
            await commit
            rig.check()

    asyncio.run(drive())
    assert pauses
    assert rig.state() == run(plan, history).state()
