"""The dataflow graph as people look into it: collections, failures, clashes."""

from typing import Final

from controlplane.admin.reading.ground import Ground
from controlplane.admin.values.machinery import (
    ClashValue,
    CollectionValue,
    FailureValue,
    GraphValue,
)

_LISTED: Final = 200
_LONGEST: Final = 2000


def read_graph(ground: Ground) -> GraphValue:
    """Return the state of the graph; lists of failures and clashes are cut."""
    graph = ground.pipeline.graph
    return GraphValue(
        is_ready=graph.ready,
        commit=ground.catalog.commit,
        rule_calls=graph.rule_calls,
        collections=tuple(
            CollectionValue(
                name=each.name,
                kind=each.kind,
                size=each.size,
                cells=each.cells,
                reads=each.reads,
                rule_calls=each.rule_calls,
                failures=each.failures,
                clashes=each.clashes,
                indexes=each.indexes,
                last_seconds=each.last_seconds,
                total_seconds=each.total_seconds,
            )
            for each in graph.describe()
        ),
        failures=tuple(
            FailureValue(collection=name, key=str(key)[:_LONGEST], error=repr(error)[:_LONGEST])
            for (name, key), error in list(graph.failures.items())[:_LISTED]
        ),
        clashes=tuple(
            ClashValue(
                collection=clash.collection,
                key=str(clash.key)[:_LONGEST],
                owners=tuple(str(owner) for owner in clash.owners),
            )
            for clash in graph.clashes[:_LISTED]
        ),
    )
