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
    label_keys: Index[str, LabelKey, LabelKey]

    def select(self, fetch: Fetch, namespace: str, labels: Mapping[str, str]) -> tuple[S, ...]:
        """Return the objects of ``namespace`` that select ``labels``, ordered by name.

        ``labels`` stay part of what the calling rule depends on and must not be changed later.
        """

        def is_there(label_key: LabelKey) -> bool:
            return not label_key.key or label_key.key in labels

        def selects(item: S) -> bool:
            return item.selector is not None and all(
                labels.get(key) == value for key, value in item.selector
            )

        found: list[S] = []
        for _, key in fetch.where(self.label_keys, namespace, is_there):
            bucket = LabelBucket(namespace, key, labels[key] if key else "")
            found += fetch.where(self.buckets, bucket, selects)
        found.sort(key=lambda item: item.key)
        return tuple(found)


def build_selectors(graph: Graph, name: str, source: Collection[Any, S]) -> Selectors[S]:
    """Declare the look-up of ``source`` by labels; ``name`` is what its selectors are called."""
    buckets = source.index(f"{name} by label", _buckets)
    label_keys = graph.distinct(f"label keys of {name}", source.index(f"{name} by key", _keys))
    by_namespace = label_keys.index(f"label keys of {name} by namespace", lambda key: key[:1])
    return Selectors(buckets, by_namespace)


def _buckets(item: Selecting) -> tuple[LabelBucket, ...]:
    if item.selector is None:
        return ()
    return (LabelBucket(item.key.namespace, *min(item.selector, default=("", ""))),)


def _keys(item: Selecting) -> tuple[LabelKey, ...]:
    return tuple(LabelKey(bucket.namespace, bucket.key) for bucket in _buckets(item))
