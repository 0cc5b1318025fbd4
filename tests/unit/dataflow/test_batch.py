import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from controlplane.dataflow import Batcher, BatcherStoppedError, Change, Graph, InputTypeError
from tests.support.dataflow_time import VirtualClock, let_run


class Bench:
    """A graph of one input with a batcher in front; `commits` lists what each commit changed."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.graph = Graph()
        self.words = self.graph.input("words", str, key=lambda word: word[0])
        self.batcher = Batcher(self.graph, self.clock, quiet=0.010, maximum=0.100)
        self.commits: list[list[str]] = []
        self.words.subscribe(self._changed)

    def _changed(self, changes: Sequence[Change[str, str]]) -> None:
        self.commits.append(sorted(change.new or f"-{change.key}" for change in changes))

    def put(self, *words: str) -> None:
        for word in words:
            self.batcher.put(self.words, word)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.ensure_future(self.batcher.run())
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, ValueError):
                await task


async def test_a_change_after_quiet_is_committed_at_once() -> None:
    bench = Bench()
    async with bench.running():
        bench.put("a")
        assert bench.commits == []
        await let_run()
        assert bench.commits == [["a"]]
        await bench.clock.advance(0.010)
        bench.put("b")
        await let_run()
        assert bench.commits == [["a"], ["b"]]


async def test_what_is_handed_over_in_one_turn_is_one_commit() -> None:
    bench = Bench()
    async with bench.running():
        bench.put("a", "b", "ax")
        bench.batcher.remove(bench.words, "b")
        await let_run()
        assert bench.commits == [["ax"]]


async def test_while_changes_keep_coming_a_batch_waits_for_quiet() -> None:
    bench = Bench()
    async with bench.running():
        bench.put("a")
        await let_run()
        for word in ("b", "c", "bb"):
            bench.put(word)
            await bench.clock.advance(0.006)
        assert bench.commits == [["a"]]
        await bench.clock.advance(0.004)
        assert bench.commits == [["a"], ["bb", "c"]]


async def test_a_batch_waits_no_longer_than_the_maximum() -> None:
    bench = Bench()
    async with bench.running():
        bench.put("a")
        await let_run()
        for number in range(19):
            bench.put(f"b{number}")
            await bench.clock.advance(0.005)
        assert bench.commits == [["a"]]
        bench.put("c")
        await bench.clock.advance(0.005)
        assert bench.commits == [["a"], ["b18", "c"]]


async def test_what_arrives_during_a_commit_forms_the_next_batch() -> None:
    bench = Bench()

    def slow(changes: Sequence[Change[str, str]]) -> Iterator[None]:
        if changes[0].new == "a":
            bench.put("b")
        yield

    bench.words.subscribe(slow)
    async with bench.running():
        bench.put("a")
        await let_run()
        assert bench.commits == [["a"]]
        await bench.clock.advance(0.010)
        assert bench.commits == [["a"], ["b"]]


async def test_a_replacement_removes_what_it_does_not_mention() -> None:
    bench = Bench()
    async with bench.running():
        bench.put("a", "b")
        await let_run()
        bench.put("c")
        bench.batcher.replace(bench.words, ["b", "d"])
        bench.put("e")
        bench.batcher.remove(bench.words, "d")
        bench.batcher.mark_synced(bench.words)
        await bench.clock.advance(0.010)
        assert bench.commits == [["a", "b"], ["-a", "e"]]
        assert bench.graph.ready


async def test_settled_waits_for_everything_handed_over() -> None:
    bench = Bench()
    await bench.batcher.settled()
    async with bench.running():
        bench.put("a")
        await let_run()
        bench.put("b")
        waiter = asyncio.ensure_future(bench.batcher.settled())
        await let_run()
        assert not waiter.done()
        await bench.clock.advance(0.010)
        await waiter
        assert bench.words.get("b") == "b"


async def test_settled_during_a_commit_waits_for_its_end() -> None:
    bench = Bench()
    waiters: list[asyncio.Future[None]] = []

    def asks(changes: Sequence[Change[str, str]]) -> Iterator[None]:
        waiters.append(asyncio.ensure_future(bench.batcher.settled()))
        yield

    bench.words.subscribe(asks)
    async with bench.running():
        bench.put("a")
        await let_run()
        await waiters[0]
        assert bench.commits == [["a"]]


async def test_a_stopped_batcher_says_so_to_those_who_wait() -> None:
    bench = Bench()
    async with bench.running() as task:
        bench.put("a")
        await let_run()
        bench.put("b")
        waiter = asyncio.ensure_future(bench.batcher.settled())
        await let_run()
        task.cancel()
        with pytest.raises(BatcherStoppedError):
            await waiter
        with pytest.raises(BatcherStoppedError):
            await bench.batcher.settled()


async def test_an_error_of_a_commit_ends_the_batcher() -> None:
    bench = Bench()

    def broken(changes: Sequence[Change[str, str]]) -> None:
        raise ValueError("broken")

    bench.words.subscribe(broken)
    async with bench.running() as task:
        bench.put("a")
        waiter = asyncio.ensure_future(bench.batcher.settled())
        with pytest.raises(BatcherStoppedError):
            await waiter
        with pytest.raises(ValueError, match="broken"):
            await task


async def test_a_value_of_another_type_is_refused_at_once() -> None:
    bench = Bench()
    with pytest.raises(InputTypeError):
        bench.batcher.put(bench.words, 1)  # type: ignore[misc]
    await bench.batcher.settled()


async def test_who_asked_hears_when_a_batch_is_taken_and_before_it_is_committed() -> None:
    bench = Bench()
    heard: list[int] = []
    batcher = Batcher(bench.graph, bench.clock, on_batch=lambda: heard.append(len(bench.commits)))
    task = asyncio.ensure_future(batcher.run())
    try:
        for word in ("one", "two"):
            batcher.put(bench.words, word)
            await bench.clock.advance(1)
    finally:
        task.cancel()
    assert (heard, len(bench.commits)) == ([0, 1], 2)
