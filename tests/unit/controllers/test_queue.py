import asyncio
from collections import deque
from dataclasses import dataclass, field

import pytest

from controlplane.cluster.apply import Applied, Outcome
from controlplane.controllers.queue import Pace, WorkQueue
from tests.support.cluster_time import PassingClock, settled


@dataclass
class Work:
    outcomes: dict[str, deque[Outcome | Exception]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    clock: PassingClock = field(default_factory=PassingClock)

    def __post_init__(self) -> None:
        self.queue = WorkQueue(
            self.work, name="test", clock=self.clock, draw=lambda: 1.0, pace=Pace(at_once=2)
        )

    def fail(self, key: str, *outcomes: Outcome | Exception) -> None:
        self.outcomes[key] = deque(outcomes)

    async def work(self, key: str) -> Applied:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        self.done.append(key)
        outcome = self.outcomes[key].popleft() if self.outcomes.get(key) else Outcome.WRITTEN
        if isinstance(outcome, Exception):
            raise outcome
        return Applied(outcome=outcome, message="because")


@pytest.mark.proves("QU-1")
async def test_every_key_is_worked_on_once_and_not_all_together() -> None:
    work = Work()
    async with settled(work.queue.run()) as turn:
        work.queue.add("a", "b", "c", "b")
        await turn(lambda: work.queue.is_idle)
    assert sorted(work.done) == ["a", "b", "c"]
    assert work.most_at_once == 2


@pytest.mark.refutes("QU-1")
async def test_what_is_added_during_its_work_is_worked_on_again_afterwards() -> None:
    work = Work()
    async with settled(work.queue.run()) as turn:
        work.queue.add("a")
        await turn(lambda: work.at_once == 1)
        work.queue.add("a")
        await turn(lambda: work.queue.is_idle)
    assert work.done == ["a", "a"]
    assert work.most_at_once == 1


@pytest.mark.proves("QU-2", "QU-3")
async def test_what_fails_waits_longer_and_longer_and_is_given_up() -> None:
    work = Work()
    work.fail("a", *[Outcome.FORBIDDEN] * 9)
    async with settled(work.queue.run()) as turn:
        work.queue.add("a", "b")
        await turn(lambda: work.queue.is_idle)
    assert work.done.count("a") == 5
    assert work.clock.slept == [1.0, 2.0, 4.0, 8.0]
    trouble = work.queue.troubles["a"]
    assert (trouble.outcome, trouble.message) == (Outcome.FORBIDDEN, "because")
    assert (trouble.tries, trouble.is_given_up) == (5, True)
    assert set(work.queue.troubles) == {"a"}


@pytest.mark.refutes("QU-2")
async def test_an_api_server_that_is_away_is_asked_until_it_is_back() -> None:
    work = Work()
    work.fail("a", *[Outcome.UNAVAILABLE] * 12)
    async with settled(work.queue.run()) as turn:
        work.queue.add("a")
        await turn(lambda: work.queue.is_idle)
    assert len(work.done) == 13
    assert max(work.clock.slept) == 30.0
    assert not work.queue.troubles


@pytest.mark.refutes("QU-3")
@pytest.mark.parametrize("outcome", [Outcome.GONE, Outcome.NOT_LEADING, Outcome.UNCHANGED])
async def test_what_needs_no_work_is_no_trouble(outcome: Outcome) -> None:
    work = Work()
    work.fail("a", outcome)
    async with settled(work.queue.run()) as turn:
        work.queue.add("a")
        await turn(lambda: work.queue.is_idle)
    assert work.done == ["a"]
    assert not work.queue.troubles


@pytest.mark.proves("QU-4")
@pytest.mark.refutes("QU-4")
async def test_what_was_given_up_is_tried_again_when_added() -> None:
    work = Work()
    work.fail("a", *[Outcome.REFUSED] * 5)
    async with settled(work.queue.run()) as turn:
        work.queue.add("a")
        await turn(lambda: work.queue.is_idle)
        assert len(work.done) == 5
        work.queue.add("a")
        await turn(lambda: work.queue.is_idle)
    assert len(work.done) == 6
    assert not work.queue.troubles


@pytest.mark.proves("QU-5")
@pytest.mark.refutes("QU-5")
async def test_a_fault_of_ours_stops_nobody_else(capsys: pytest.CaptureFixture[str]) -> None:
    work = Work()
    work.fail("a", RuntimeError("broken"))
    async with settled(work.queue.run()) as turn:
        work.queue.add("a", "b")
        await turn(lambda: work.queue.is_idle)
    assert sorted(work.done) == ["a", "a", "b"]
    out = capsys.readouterr().out
    assert out.count("write.failed") == out.count("write.recovered") == 1
