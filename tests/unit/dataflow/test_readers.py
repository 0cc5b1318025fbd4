import pytest

from controlplane.dataflow import Graph
from controlplane.dataflow.readers import SLICE, Cell, Readers, is_affected
from controlplane.dataflow.values import ABSENT


def cells(count: int) -> list[Cell]:
    graph = Graph()
    node = graph.input("node", int, key=lambda number: number)
    return [Cell(node, number) for number in range(count)]


def test_a_single_plain_reader_costs_no_container() -> None:
    readers = Readers()
    (cell,) = cells(1)
    readers.add("k", cell, None)
    readers.add("k", cell, None)
    assert readers.cells == {"k": cell}
    readers.discard("k", cell)
    assert readers.cells == {}


def test_readers_of_one_key_share_its_copy() -> None:
    readers = Readers()
    first, second, third = cells(3)
    copies = [("a", str(number)[:0] + "b") for number in range(3)]
    readers.add(copies[0], first, None)
    shared = readers.add(copies[1], second, None)
    assert readers.add(copies[2], third, None) is shared
    for cell in (first, second, third):
        readers.discard(("a", "b"), cell)
    assert readers.cells == {}


def test_discarding_a_stranger_changes_nothing() -> None:
    readers = Readers()
    first, second = cells(2)
    readers.discard("k", first)
    readers.add("k", first, None)
    readers.discard("k", second)
    assert readers.cells == {"k": first}


def test_touching_many_readers_yields() -> None:
    readers = Readers()
    many = cells(2 * SLICE)
    for cell in many:
        readers.add("k", cell, None)
    assert len(list(readers.touch("k"))) == 2
    assert len(many[0].node.dirty) == 2 * SLICE


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1, 2, True),
        (2, 1, True),
        (1, 1, False),
        (ABSENT, 2, True),
        (2, ABSENT, True),
        (ABSENT, 1, False),
        (1, ABSENT, False),
        ("x", 1, True),
    ],
)
def test_a_predicate_is_judged_on_old_and_new(old: object, new: object, *, expected: bool) -> None:
    assert is_affected(lambda value: 2 // value == 1, old, new) is expected
