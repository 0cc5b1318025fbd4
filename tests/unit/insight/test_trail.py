"""Trails remember enough and not for ever."""

from controlplane.insight.trail import LONG_AGO, STEPS, Steps, Trail


def test_a_step_is_reached_with_the_first_commit_that_is_not_older() -> None:
    steps = Steps()
    assert (steps.last, steps.reached_at(0)) == (-1, None)
    for commit, at in [(3, 1.0), (3, 2.0), (2, 3.0), (7, 4.0)]:
        steps.note(commit, at)
    assert steps.last == 7
    assert [steps.reached_at(commit) for commit in (1, 3, 4, 7, 8)] == [1.0, 1.0, 4.0, 4.0, None]


def test_old_steps_are_forgotten_and_said_to_be() -> None:
    steps = Steps()
    for commit in range(10 * STEPS):
        steps.note(commit, float(commit))
    assert steps.reached_at(0) == LONG_AGO
    newest = 10 * STEPS - 1
    remembered = [c for c in range(newest + 1) if steps.reached_at(c) == float(c)]
    assert STEPS - 1 <= len(remembered) < 2 * STEPS
    assert remembered[-1] == newest


def test_a_refusal_covers_what_the_response_would_have_brought() -> None:
    trail = Trail(0.0)
    trail.held.note(2, 1.0)
    trail.refused(4, 2.0, ("ns/p",), "bad")
    assert [trail.refusal_of(commit) is not None for commit in (2, 3, 4, 5)] == [
        False,
        True,
        True,
        False,
    ]
    for until in range(5, 30):
        trail.held.note(until - 1, 3.0)
        trail.refused(until, 3.0, (), "bad")
    assert trail.refusal_of(3) is None
    assert len(trail.refusals) == 8
