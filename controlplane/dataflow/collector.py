"""The garbage collector and a big graph: keep full collections off the settled objects.

A settled graph is millions of objects that will not die soon, and cells form no cycles. A full
collection that walks them stalls the loop for a tenth of a second and frees nothing, so they are
frozen after the first complete commit and after each bulk one.
"""

import gc
from typing import Final

from controlplane.dataflow.graph import Graph
from controlplane.dataflow.values import CommitSummary

THRESHOLDS: Final = (20_000, 5, 100)
BULK: Final = 10_000


def tune_collector(graph: Graph) -> None:
    """Raise the collector's thresholds now, and freeze what `graph` holds once it is ready.

    Cost: one full collection at the first ready commit; at later commits of `BULK` changed keys or
    more one of the young generations, so that no garbage is frozen with the rest.
    """
    gc.set_threshold(*THRESHOLDS)
    is_first = True

    def committed(summary: CommitSummary) -> None:
        nonlocal is_first
        if not summary.is_ready:
            return
        if is_first:
            is_first = False
            gc.collect()
            gc.freeze()
        elif sum(summary.changed.values()) >= BULK:
            gc.collect(1)
            gc.freeze()

    graph.on_commit(committed)
