"""Label sets: the labels of a workload together with its namespace, as one key.

Thousands of pods share few label sets; what depends on labels alone is worked out once for each.
Equal sets are one object, so that keeping them per pod costs a pointer.
"""

from collections.abc import Mapping
from weakref import WeakValueDictionary

Pairs = tuple[tuple[str, str], ...]


class LabelSet:
    """A namespace and sorted labels. Made by ``label_set``, compared by identity there is one of.

    Ordered by namespace, then labels, so that everything built on it is deterministic.
    """

    __slots__ = ("__weakref__", "labels", "namespace")

    def __init__(self, namespace: str, labels: Pairs) -> None:
        self.namespace = namespace
        self.labels = labels

    def __lt__(self, other: "LabelSet") -> bool:
        return (self.namespace, self.labels) < (other.namespace, other.labels)

    def __repr__(self) -> str:
        return f"LabelSet({self.namespace!r}, {self.labels!r})"


_known: WeakValueDictionary[tuple[str, Pairs], LabelSet] = WeakValueDictionary()


def label_set(namespace: str, labels: Mapping[str, str]) -> LabelSet:
    """Return the one label set of ``namespace`` and ``labels``."""
    key = (namespace, tuple(sorted(labels.items())))
    known = _known.get(key)
    if known is None:
        known = _known[key] = LabelSet(*key)
    return known
