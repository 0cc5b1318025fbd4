from dataclasses import dataclass
from random import Random
from typing import Any

from controlplane.dataflow import Collection, Graph, Index, Input
from controlplane.dataflow.index import in_order
from tests.support.dataflow import leftovers


@dataclass(frozen=True, slots=True)
class Pod:
    """A value in several buckets."""

    name: Any
    labels: tuple[Any, ...] = ()


def shelf() -> tuple[Graph, Input[Any, Pod], Index[Any, Any, Pod], Collection[str, Any]]:
    """Pods by label, and what a rule sees in bucket "x"."""
    graph = Graph()
    pods = graph.input("pods", Pod, key=lambda pod: pod.name)
    by_label = pods.index("label", lambda pod: pod.labels)
    askers = graph.input("askers", str, key=lambda name: name)
    seen = graph.derive(
        "seen", askers, lambda fetch, bucket: [pod.name for pod in fetch.where(by_label, bucket)]
    )
    with graph.transaction():
        askers.put("x")
    return graph, pods, by_label, seen


def test_a_value_is_in_all_its_buckets_once() -> None:
    graph, pods, by_label, _ = shelf()
    with graph.transaction():
        pods.put(Pod("a", ("x", "y", "x")))
        pods.put(Pod("b", ("y",)))
        pods.put(Pod("c"))
    assert by_label.members("x") == ("a",)
    assert by_label.members("y") == ("a", "b")
    assert by_label.members("z") == ()
    assert [by_label.size(bucket) for bucket in "xyz"] == [1, 2, 0]


def test_values_come_in_key_order_whatever_the_history() -> None:
    random = Random(5)
    graph, pods, _, seen = shelf()
    present: set[int] = set()
    for size in (1, 2, 3, 40, 3, 60, 1):
        with graph.transaction():
            for name in random.sample(range(100), size):
                if name in present and random.random() < 0.5:
                    present.remove(name)
                    pods.remove(name)
                else:
                    present.add(name)
                    pods.put(Pod(name, ("x", random.random())))
        assert seen.get("x") == sorted(present)
    with graph.transaction():
        pods.replace([])
    assert seen.get("x") == []
    assert leftovers_of_pods(graph) == []


def leftovers_of_pods(graph: Graph) -> list[str]:
    return [found for found in leftovers(graph) if found.startswith("pods/label.buckets")]


def test_keys_that_do_not_compare_are_ordered_by_their_text() -> None:
    names = [3, "b", 1, None, "a", 2]
    histories = [names, names[::-1], [*names[:2], 7, *names[2:]]]
    results = []
    for history in histories:
        graph, pods, _, seen = shelf()
        for name in history:
            with graph.transaction():
                pods.put(Pod(name, ("x",)))
        with graph.transaction():
            pods.remove(7)
        results.append(seen.get("x"))
    assert results[0] == results[1] == results[2] == in_order(names)
    for name in ("b", None, "a"):
        with graph.transaction():
            pods.remove(name)
    assert seen.get("x") == [1, 2, 3]


def test_a_key_that_comes_and_goes_between_reads_leaves_nothing() -> None:
    graph, pods, by_label, _ = shelf()
    with graph.transaction():
        for name in "abc":
            pods.put(Pod(name, ("q",)))
    assert by_label.members("q") == ("a", "b", "c")
    for pod in (Pod("d", ("q",)), Pod("d"), Pod("a"), Pod("a", ("q",))):
        with graph.transaction():
            pods.put(pod)
    assert by_label.members("q") == ("a", "b", "c")


def test_an_index_declared_late_knows_what_is_there() -> None:
    graph, pods, _, _ = shelf()
    with graph.transaction():
        pods.put(Pod("a", ("x",)))
        pods.put(Pod("b", ("x", "y")))
    late = pods.index("late", lambda pod: pod.labels)
    assert late.members("x") == ("a", "b")
    with graph.transaction():
        pods.remove("a")
    assert late.members("x") == ("b",)


def test_a_raising_index_function_leaves_the_value_out_and_is_recorded() -> None:
    graph = Graph()
    pods = graph.input("pods", Pod, key=lambda pod: pod.name)
    first = pods.index("first", lambda pod: [pod.labels[0]])
    failures: list[int] = []
    graph.on_commit(lambda summary: failures.append(len(summary.failures)))
    with graph.transaction():
        pods.put(Pod("a"))
        pods.put(Pod("b", ("x",)))
        pods.put(Pod("c", ([],)))
    assert {key: type(error) for key, error in graph.failures.items()} == {
        ("pods/first", "a"): IndexError,
        ("pods/first", "c"): TypeError,
    }
    with graph.transaction():
        pods.put(Pod("a", ("x",)))
        pods.remove("c")
    assert graph.failures == {}
    assert failures == [2, 0]
    assert first.members("x") == ("a", "b")
