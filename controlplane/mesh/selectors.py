"""Selectors turned around: which of many objects select one set of labels.

Objects with a ``key`` and a ``selector`` come in; for a namespace and labels the objects whose
selector they meet go out. Every selector is filed under its smallest label, so that a look-up
reads only buckets that can match, whatever number of selectors a namespace has. Rules for
policies continue from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from controlplane.dataflow import Collection, Fetch, Graph, Index
from controlplane.model.names import Name, ServiceName

Pairs = frozenset[tuple[str, str]]


class Selecting(Protocol):
    """What selects by labels; a ``selector`` of None selects nothing, an empty one everything."""

    @property
    def key(self) -> Name | ServiceName:
        """Return the name; objects select within its namespace."""
        ...

    @property
    def selector(self) -> Pairs | None:
        """Return the labels, all of which must be there."""
        ...


S = TypeVar("S", bound=Selecting)


class LabelKey(NamedTuple):
    """A label key that selectors of a namespace are filed under; "" holds the empty selectors."""

    namespace: str
    key: str


class LabelBucket(NamedTuple):
    """Where a selector is filed."""

    namespace: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Selectors(Generic[S]):
    """The selecting objects by label, and which label keys are worth looking at."""

    buckets: Index[LabelBucket, Any, S]
    label_keys: Collection[str, tuple[LabelKey, ...]]

    def select(self, fetch: Fetch, namespace: str, labels: Mapping[str, str]) -> tuple[S, ...]:
        """Return the objects of ``namespace`` that select ``labels``, ordered by name."""
        pairs = frozenset(labels.items())

        def selects(item: S) -> bool:
            return item.selector is not None and item.selector <= pairs

        found: list[S] = []
        for _, key in fetch.one(self.label_keys, namespace) or ():
            value = labels.get(key) if key else ""
            if value is not None:
                bucket = LabelBucket(namespace, key, value)
                found += fetch.where(self.buckets, bucket, selects)
        found.sort(key=lambda item: item.key)
        return tuple(found)


def build_selectors(graph: Graph, name: str, source: Collection[Any, S]) -> Selectors[S]:
    """Declare the look-up of ``source`` by labels; ``name`` is what its selectors are called."""
    buckets = source.index(f"{name} by label", _buckets)
    label_keys = graph.distinct(f"label keys of {name}", source.index(f"{name} by key", _keys))
    by_namespace = label_keys.index(f"label keys of {name} by namespace", lambda key: key[:1])
    return Selectors(buckets, graph.group(f"label keys of {name} in namespaces", by_namespace))


def _buckets(item: Selecting) -> tuple[LabelBucket, ...]:
    if item.selector is None:
        return ()
    return (LabelBucket(item.key.namespace, *min(item.selector, default=("", ""))),)


def _keys(item: Selecting) -> tuple[LabelKey, ...]:
    return tuple(LabelKey(bucket.namespace, bucket.key) for bucket in _buckets(item))
