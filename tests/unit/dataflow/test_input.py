from typing import Any

import pytest

from controlplane.dataflow import Change, Graph, Input, InputTypeError, TransactionError


def letters(graph: Graph) -> Input[str, str]:
    return graph.input("letters", str, key=lambda word: word[0])


def test_the_last_word_on_a_key_counts() -> None:
    graph = Graph()
    source = letters(graph)
    with graph.transaction():
        source.put("a1")
        source.put("a2")
        source.remove("a")
        source.put("b")
        source.remove("b")
        source.put("b2")
        source.remove("unknown")
    assert source.items() == [("b", "b2")]


def test_replace_leaves_exactly_what_it_was_given() -> None:
    graph = Graph()
    source = letters(graph)
    changes: list[Change[str, str]] = []
    with graph.transaction():
        source.replace(["a", "b", "c"])
    source.subscribe(changes.extend)
    changes.clear()
    with graph.transaction():
        source.put("e")
        source.replace(["b", "cc"])
        source.put("d")
    assert sorted(source.items()) == [("b", "b"), ("c", "cc"), ("d", "d")]
    assert {change.key for change in changes} == {"a", "c", "d"}


@pytest.mark.parametrize("method", ["put", "remove", "replace", "mark_synced"])
def test_inputs_change_inside_a_transaction_only(method: str) -> None:
    source = letters(Graph())
    arguments: list[Any] = [] if method == "mark_synced" else ["a"]
    with pytest.raises(TransactionError, match="outside a transaction"):
        getattr(source, method)(*arguments)
    assert not source.is_synced


def test_a_value_of_another_type_is_refused() -> None:
    graph = Graph()
    source = letters(graph)
    with pytest.raises(InputTypeError, match="holds str"), graph.transaction():
        source.put(3)  # type: ignore[arg-type]
    pairs = graph.input("pairs", tuple[int, int], key=lambda pair: pair[0])
    with graph.transaction():
        pairs.put((1, 2))
    assert pairs.get(1) == (1, 2)


def test_a_large_replacement_is_applied_in_slices() -> None:
    graph = Graph()
    source = graph.input("numbers", int, key=lambda number: number)
    with graph.transaction():
        source.replace(range(1000))
    with graph.transaction():
        source.replace(range(500, 2000))
    assert sorted(key for key, _ in source.items()) == list(range(500, 2000))
