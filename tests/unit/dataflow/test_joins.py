from controlplane.dataflow import Change, Graph
from tests.support.dataflow import leftovers


def test_a_union_shows_the_earliest_listed_collection() -> None:
    graph = Graph()
    first = graph.input("first", str, key=lambda word: word[0])
    second = graph.input("second", str, key=lambda word: word[0])
    # Listed against the order of construction.
    union = graph.union("union", second, first)
    changes: list[Change[str, str]] = []
    union.subscribe(changes.extend)
    with graph.transaction():
        first.put("a1")
        first.put("b1")
    with graph.transaction():
        second.put("a2")
    assert dict(union.items()) == {"a": "a2", "b": "b1"}
    assert [(c.collection, c.key, c.owners) for c in graph.clashes] == [
        ("union", "a", ("second", "first"))
    ]
    with graph.transaction():
        second.remove("a")
        first.put("a3")
    assert union.get("a") == "a3"
    assert graph.clashes == ()
    assert [change.new for change in changes if change.key == "a"] == ["a1", "a2", "a3"]
    with graph.transaction():
        first.replace([])
    assert leftovers(graph) == []


def test_a_group_lists_the_ordered_keys_of_a_bucket() -> None:
    graph = Graph()
    words = graph.input("words", str, key=lambda word: word[0])
    by_length = words.index("length", lambda word: [len(word)])
    groups = graph.group("groups", by_length)
    changes: list[Change[int, tuple[str, ...]]] = []
    groups.subscribe(changes.extend)
    with graph.transaction():
        words.replace(["b2", "a2", "c33"])
    assert dict(groups.items()) == {2: ("a", "b"), 3: ("c",)}
    changes.clear()
    with graph.transaction():
        words.put("a9")
    assert changes == []
    with graph.transaction():
        words.put("a99")
    assert sorted(changes) == [(2, ("a", "b"), ("b",)), (3, ("c",), ("a", "c"))]
    with graph.transaction():
        words.replace([])
    assert leftovers(graph) == []


def test_a_distinct_bucket_lives_while_it_has_members() -> None:
    graph = Graph()
    words = graph.input("words", str, key=lambda word: word[0])
    lengths = graph.distinct("lengths", words.index("length", lambda word: [len(word)]))
    changes: list[Change[int, int]] = []
    lengths.subscribe(changes.extend)
    with graph.transaction():
        words.replace(["a", "b", "cc"])
    with graph.transaction():
        words.remove("a")
    with graph.transaction():
        words.remove("b")
    assert sorted(changes[:2]) == [(1, None, 1), (2, None, 2)]
    assert changes[2:] == [(1, 1, None)]
