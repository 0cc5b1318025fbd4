"""Which commits are traced, and when."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from controlplane.app.commit_tracing import CommitTracing, opened_tracing
from controlplane.app.errors import StartupError
from controlplane.model.commit import CommitProgress, CommitRecord
from controlplane.settings import Settings
from controlplane.tracing import Span
from tests.support.dataflow_time import VirtualClock

WAITING = CommitProgress(concerned=2, acknowledged=1)
DONE = CommitProgress(concerned=2, acknowledged=2)


class Rig:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.records: list[CommitRecord] = []
        self.sent: list[Span] = []
        self.tracing = CommitTracing(self.recent, self.export, self.clock)

    def export(self, span: Span) -> None:
        self.sent.append(span)

    async def recent(self, limit: int) -> Sequence[CommitRecord]:
        return self.records[: -limit - 1 : -1]

    def commit(self, number: int, progress: CommitProgress = WAITING) -> None:
        self.records.append(
            CommitRecord(
                replica="r", number=number, committed_at=self.clock.now(), progress=progress
            )
        )

    @property
    def numbers(self) -> list[object]:
        return [span.attributes["istiod_lite.commit"] for span in self.sent]


async def test_a_commit_is_traced_once_when_everybody_has_answered() -> None:
    rig = Rig()
    rig.commit(1)
    rig.commit(2, DONE)
    assert await rig.tracing.look() == 1
    assert rig.numbers == [2]
    rig.records[0] = replace(rig.records[0], progress=DONE)
    assert await rig.tracing.look() == 1
    assert await rig.tracing.look() == 0
    assert rig.numbers == [2, 1]


async def test_a_commit_that_somebody_never_answers_is_traced_after_a_minute() -> None:
    rig = Rig()
    rig.commit(1)
    await rig.clock.advance(59)
    assert await rig.tracing.look() == 0
    await rig.clock.advance(1)
    assert await rig.tracing.look() == 1
    assert rig.sent[0].trouble == "not acknowledged by 1 of 2"


async def test_it_looks_every_second_and_forgets_what_is_no_longer_told() -> None:
    rig = Rig()
    running = asyncio.create_task(rig.tracing.run())
    for number in range(300):
        rig.commit(number, DONE)
        await rig.clock.advance(1)
    assert rig.numbers == list(range(300))
    assert len(rig.tracing._sent) == 64
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_nobody_who_asks_for_none_has_traces() -> None:
    async with AsyncExitStack() as stack:
        assert opened_tracing(Settings(), stack) is None


async def test_traces_that_cannot_be_made_keep_the_process_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    settings = Settings(otlp_endpoint="http://127.0.0.1:4318")
    async with AsyncExitStack() as stack:
        with pytest.raises(StartupError, match=r"pip install 'istiod-lite\[tracing\]'"):
            opened_tracing(settings, stack)
