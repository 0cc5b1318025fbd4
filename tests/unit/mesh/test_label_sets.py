import gc

from controlplane.mesh import label_sets
from controlplane.mesh.label_sets import LabelSet, label_set


def test_equal_label_sets_are_one_object() -> None:
    one = label_set("shop", {"b": "2", "a": "1"})
    assert one is label_set("shop", {"a": "1", "b": "2"})
    assert one.labels == (("a", "1"), ("b", "2"))
    assert one is not label_set("other", {"a": "1", "b": "2"})
    assert one is not label_set("shop", {"a": "1"})


def test_label_sets_are_ordered_by_namespace_then_labels() -> None:
    wanted = [label_set("a", {"x": "2"}), label_set("b", {}), label_set("b", {"x": "1"})]
    assert sorted([wanted[2], wanted[0], wanted[1]]) == wanted


def test_label_sets_that_nobody_uses_are_forgotten() -> None:
    held: list[LabelSet] = [label_set("forgotten", {"number": str(n)}) for n in range(50)]
    known = [key for key in label_sets._known if key[0] == "forgotten"]
    assert len(known) == len(held)
    held.clear()
    gc.collect()
    assert [key for key in label_sets._known if key[0] == "forgotten"] == []
