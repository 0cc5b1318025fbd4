from collections.abc import Iterator, Sequence

import pytest

from controlplane.dataflow import Change, Graph, Input


def letters(graph: Graph) -> Input[str, str]:
    return graph.input("letters", str, key=lambda word: word[0])


def test_a_late_subscriber_is_given_everything_as_additions() -> None:
    graph = Graph()
    source = letters(graph)
    calls: list[Sequence[Change[str, str]]] = []
    source.subscribe(calls.append)
    assert calls == []
    with graph.transaction():
        source.replace(["a", "b"])
    late: list[Sequence[Change[str, str]]] = []
    source.subscribe(late.append)
    assert sorted(late[0]) == sorted(calls[0]) == [("a", None, "a"), ("b", None, "b")]


def test_a_late_subscriber_may_be_a_generator() -> None:
    graph = Graph()
    source = letters(graph)
    with graph.transaction():
        source.put("a")
    seen: list[str] = []

    def handler(changes: Sequence[Change[str, str]]) -> Iterator[None]:
        yield
        seen.extend(change.key for change in changes)

    source.subscribe(handler)
    assert seen == ["a"]


def test_subscribers_get_net_changes_in_one_call_or_none() -> None:
    graph = Graph()
    source = letters(graph)
    calls: list[list[Change[str, str]]] = []
    source.subscribe(lambda changes: calls.append(sorted(changes)))
    with graph.transaction():
        source.put("a")
        source.put("b")
    with graph.transaction():
        source.put("a2")
        source.put("a")
        source.remove("b")
        source.put("b")
    with graph.transaction():
        source.put("a2")
        source.remove("b")
        source.put("c")
        source.remove("c")
    assert calls == [
        [("a", None, "a"), ("b", None, "b")],
        [("a", "a", "a2"), ("b", "b", None)],
    ]


def test_an_equal_value_does_not_replace_the_one_that_is_there() -> None:
    graph = Graph()
    pairs = graph.input("pairs", tuple, key=lambda pair: pair[0])
    first, second = (1, "x" * 3), (1, "".join(["x"] * 3))
    with graph.transaction():
        pairs.put(first)
    with graph.transaction():
        pairs.put(second)
    assert pairs.get(1) is first


@pytest.mark.parametrize("shuffle", range(3))
def test_shuffling_does_not_lose_changes(shuffle: int) -> None:
    graph = Graph(shuffle=shuffle)
    numbers = graph.input("numbers", int, key=lambda number: number)
    seen: list[int] = []
    numbers.subscribe(lambda changes: seen.extend(change.key for change in changes))
    with graph.transaction():
        numbers.replace(range(1000))
    assert seen != list(range(1000))
    assert sorted(seen) == list(range(1000))
