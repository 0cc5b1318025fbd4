"""The machinery: the dataflow graph behind everything, for people who look into the engine."""

from controlplane.admin.values.common import Value


class CollectionValue(Value):
    """One collection of the graph; seconds are 0 unless timing is on."""

    name: str
    kind: str
    size: int
    cells: int
    reads: int
    rule_calls: int
    failures: int
    clashes: int
    indexes: tuple[str, ...]
    last_seconds: float
    total_seconds: float


class FailureValue(Value):
    """A rule that raised: a fault of ours. The last good result is still in force."""

    collection: str
    key: str
    error: str


class ClashValue(Value):
    """A key that is claimed more than once; the first owner's claim is the one in force."""

    collection: str
    key: str
    owners: tuple[str, ...]


class GraphValue(Value):
    """The graph: collections in the order they are computed, and what is wrong with them."""

    is_ready: bool
    commit: int
    rule_calls: int
    collections: tuple[CollectionValue, ...]
    failures: tuple[FailureValue, ...]
    clashes: tuple[ClashValue, ...]
