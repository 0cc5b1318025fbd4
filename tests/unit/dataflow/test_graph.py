import asyncio
from collections.abc import Iterator, Sequence
from itertools import count

import pytest

from controlplane.dataflow import Change, CommitSummary, Fetch, Graph, Input, TransactionError
from controlplane.dataflow.errors import ReadOrderError
from controlplane.dataflow.input import Edits


def numbers(graph: Graph, name: str = "numbers") -> Input[int, int]:
    """Numbers under themselves modulo ten."""
    return graph.input(name, int, key=lambda value: value % 10)


def test_a_transaction_commits_at_its_end() -> None:
    graph = Graph()
    source = numbers(graph)
    doubled = graph.derive("doubled", source, lambda _, value: value * 2)
    with graph.transaction():
        source.put(1)
        assert source.get(1) is None
    assert doubled.items() == [(1, 2)]


def test_an_exception_in_a_transaction_changes_nothing() -> None:
    graph = Graph()
    source = numbers(graph)
    with graph.transaction():
        source.put(1)

    def edit_and_stop() -> None:
        source.put(11)
        source.mark_synced()
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"), graph.transaction():
        edit_and_stop()
    with graph.transaction():
        source.put(2)
    assert sorted(source.items()) == [(1, 1), (2, 2)]
    assert not graph.ready


def test_transactions_do_not_nest() -> None:
    graph = Graph()
    with graph.transaction(), pytest.raises(TransactionError), graph.transaction():
        pass


def test_subscribers_may_not_change_the_graph() -> None:
    graph = Graph()
    source = numbers(graph)

    def handler(changes: Sequence[Change[int, int]]) -> None:
        with graph.transaction():
            source.put(5)

    source.subscribe(handler)
    with pytest.raises(TransactionError), graph.transaction():
        source.put(1)
    assert source.items() == [(1, 1)]


def test_ready_after_the_first_commit_once_every_input_is_synced() -> None:
    graph = Graph()
    first, second = numbers(graph, "first"), numbers(graph, "second")
    seen: list[bool] = []
    graph.on_commit(lambda summary: seen.append(summary.is_ready))
    with graph.transaction():
        first.mark_synced()
        second.put(1)
    assert not graph.ready
    with graph.transaction():
        second.mark_synced()
        assert not graph.ready
    assert graph.ready
    assert seen == [False, True]
    assert all(source.is_synced for source in graph.inputs)


def test_a_commit_is_summarised_after_all_subscribers() -> None:
    graph = Graph()
    source = numbers(graph)
    derived = graph.derive("derived", source, lambda _, value: value % 2)
    order: list[str] = []
    summaries: list[CommitSummary] = []
    graph.on_commit(lambda _: order.append("summary"))
    graph.on_commit(summaries.append)
    derived.subscribe(lambda _: order.append("derived"))
    source.subscribe(lambda _: order.append("source"))
    with graph.transaction():
        source.put(1)
        source.put(2)
    assert order == ["source", "derived", "summary"]
    with graph.transaction():
        source.put(11)
    assert [(s.number, dict(s.changed), s.rule_calls) for s in summaries] == [
        (1, {"numbers": 2, "derived": 2}, 2),
        (2, {"numbers": 1}, 1),
    ]
    assert graph.rule_calls == derived.rule_calls == 3


def test_all_subscribers_are_told_before_an_error_of_one_is_raised() -> None:
    graph = Graph()
    source = numbers(graph)
    told: list[int] = []

    def broken(changes: Sequence[Change[int, int]]) -> None:
        raise ValueError("broken")

    source.subscribe(broken)
    source.subscribe(lambda changes: told.append(len(changes)))
    with pytest.raises(ValueError, match="broken"), graph.transaction():
        source.put(1)
    source.subscribe(lambda changes: told.append(-len(changes)))
    graph.on_commit(broken)  # type: ignore[arg-type]
    with pytest.raises(ExceptionGroup) as group, graph.transaction():
        source.put(2)
    assert told == [1, -1, 1, -1]
    assert len(group.value.exceptions) == 2


def test_a_generator_subscriber_is_run_to_its_end() -> None:
    graph = Graph()
    source = numbers(graph)
    steps: list[int] = []

    def handler(changes: Sequence[Change[int, int]]) -> Iterator[None]:
        for change in changes:
            steps.append(change.key)
            yield

    source.subscribe(handler)
    with graph.transaction():
        source.replace([1, 2, 3])
    assert steps == [1, 2, 3]


def test_building_is_refused_when_it_cannot_work() -> None:
    graph, other = Graph(), Graph()
    source = numbers(graph)
    with pytest.raises(TransactionError, match="already"):
        numbers(graph)
    with pytest.raises(TransactionError, match="another graph"):
        other.derive("foreign", source, lambda _, value: value)
    source.subscribe(lambda _: graph.union("late", source) and None)
    with pytest.raises(TransactionError, match="during a commit"), graph.transaction():
        source.put(1)


def test_an_index_is_not_declared_during_a_commit() -> None:
    graph = Graph()
    source = numbers(graph)

    def handler(changes: Sequence[Change[int, int]]) -> None:
        source.index("late", lambda value: [value])

    source.subscribe(handler)
    with pytest.raises(TransactionError, match="during a commit"), graph.transaction():
        source.put(1)


def test_a_collection_built_on_data_is_filled_by_the_next_commit() -> None:
    graph = Graph()
    source = numbers(graph)
    parity = source.index("parity", lambda value: [value % 2])
    with graph.transaction():
        source.replace([1, 2, 3])
    doubled = graph.derive("doubled", source, lambda _, value: value * 2)
    joined = graph.union("joined", doubled, source)
    grouped = graph.group("grouped", parity)
    distinct = graph.distinct("distinct", parity)
    with graph.transaction():
        pass
    assert dict(doubled.items()) == dict(joined.items()) == {1: 2, 2: 4, 3: 6}
    assert dict(grouped.items()) == {0: (2,), 1: (1, 3)}
    assert dict(distinct.items()) == {0: 0, 1: 1}


def test_describe_lists_collections_in_order_of_construction() -> None:
    graph = Graph()
    source = numbers(graph)
    source.index("parity", lambda value: [value % 2])

    def failing(fetch: Fetch, value: int) -> int:
        return 6 // fetch.all(source)[0] + value

    graph.derive("derived", source, failing)
    graph.derive_many("many", source, lambda _, value: {"one": value})
    with graph.transaction():
        source.replace([0, 1])
    source_line, derived, many = graph.describe()
    assert (source_line.kind, source_line.size, source_line.indexes) == (
        "input",
        2,
        ("numbers/parity",),
    )
    assert (derived.cells, derived.rule_calls, derived.failures) == (2, 2, 2)
    assert (many.kind, many.size, many.clashes) == ("derive_many", 1, 1)


async def test_an_asynchronous_commit_gives_way_and_shows_committed_state_only() -> None:
    graph = Graph()
    source = numbers(graph)
    doubled = graph.derive("doubled", source, lambda _, value: value * 2)
    with graph.transaction():
        source.replace([1, 2])
    edits = Edits[int, int]()
    edits.replace({1: 11, 3: 3})
    ticks = count()
    task = asyncio.ensure_future(
        graph.commit_async({source: edits}, monotonic=lambda: float(next(ticks)))
    )
    await asyncio.sleep(0)
    assert dict(source.items()) == {1: 1, 2: 2}
    assert (source.get(1), source.get(2), source.get(3), len(source)) == (1, 2, None, 2)
    with pytest.raises(TransactionError), graph.transaction():
        pass
    with pytest.raises(TransactionError):
        await graph.commit_async({}, monotonic=lambda: 0.0)
    await task
    assert dict(source.items()) == {1: 11, 3: 3}
    assert dict(doubled.items()) == {1: 22, 3: 6}


async def test_a_subscriber_that_joins_mid_commit_misses_nothing() -> None:
    for joins_after in range(12):
        graph = Graph()
        source = numbers(graph)
        source.subscribe(lambda _: None)
        with graph.transaction():
            source.replace([1, 2])
        ticks = count()
        edits = Edits[int, int]()
        edits.replace({1: 11, 3: 3})
        task = asyncio.ensure_future(
            graph.commit_async({source: edits}, monotonic=lambda ticks=ticks: float(next(ticks)))
        )
        for _ in range(joins_after):
            await asyncio.sleep(0)
        replayed: dict[int, int] = {}

        def replay(
            changes: Sequence[Change[int, int]], replayed: dict[int, int] = replayed
        ) -> None:
            for key, old, new in changes:
                assert replayed.pop(key, None) == old
                if new is not None:
                    replayed[key] = new

        source.subscribe(replay)
        await task
        assert replayed == dict(source.items())


async def test_a_cancelled_commit_leaves_readers_the_last_state_and_closes_the_graph() -> None:
    graph = Graph()
    source = numbers(graph)
    with graph.transaction():
        source.put(1)
    edits = Edits[int, int]()
    edits.replace({2: 2})
    ticks = count()
    task = asyncio.ensure_future(
        graph.commit_async({source: edits}, monotonic=lambda: float(next(ticks)))
    )
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.items() == [(1, 1)]
    with pytest.raises(TransactionError), graph.transaction():
        pass


def test_a_read_out_of_order_is_raised_when_the_commit_ends() -> None:
    graph = Graph()
    source = numbers(graph)
    built: list[Input[int, int]] = []
    derived = graph.derive("derived", source, lambda fetch, value: fetch.one(built[0], value))
    built.append(numbers(graph, "later"))
    with pytest.raises(ReadOrderError, match="later"), graph.transaction():
        source.put(1)
    assert derived.items() == []
    assert source.items() == [(1, 1)]


def test_collections_are_timed_only_when_asked_without_the_pauses_of_the_driver() -> None:
    graph = Graph()
    source = numbers(graph)
    even = source.index("parity", lambda value: [value % 2])
    doubled = graph.derive("doubled", source, lambda _, value: value * 2)

    def counted(fetch: Fetch, _: int) -> int:
        return len(fetch.where(even, 0))

    graph.derive("counted", doubled, counted)
    with graph.transaction():
        source.replace([1, 2])
    untimed = graph.describe()
    assert [each.total_seconds for each in untimed] == [0.0, 0.0, 0.0]
    assert [each.reads for each in untimed] == [1, 0, 0]
    readings = count()
    graph.time(lambda: float(next(readings)))
    for number in (3, 4):
        with graph.transaction():
            source.put(number)
    timed = {each.name: each for each in graph.describe()}
    assert timed["doubled"].last_seconds > 0
    assert timed["doubled"].total_seconds == 2 * timed["doubled"].last_seconds
    graph.time(None)
    with graph.transaction():
        source.put(5)
    assert graph.describe()[1].total_seconds == 0.0
