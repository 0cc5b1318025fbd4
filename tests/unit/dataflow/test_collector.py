import gc
from collections.abc import Iterator

import pytest

from controlplane.dataflow import Graph, tune_collector
from controlplane.dataflow.collector import BULK, THRESHOLDS


@pytest.fixture(autouse=True)
def _collector_as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    # What other tests froze may be freed while this one counts.
    gc.unfreeze()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


# Collecting looks at whatever the tests before have left behind.
@pytest.mark.timeout(120)
def test_objects_are_frozen_once_the_graph_is_ready_and_after_bulk_commits() -> None:
    graph = Graph()
    numbers = graph.input("numbers", int, key=lambda number: number)
    tune_collector(graph)
    assert gc.get_threshold() == THRESHOLDS
    with graph.transaction():
        numbers.put(1)
    assert gc.get_freeze_count() == 0
    with graph.transaction():
        numbers.mark_synced()
    first = gc.get_freeze_count()
    assert first > 0
    with graph.transaction():
        numbers.put(2)
    assert gc.get_freeze_count() <= first
    kept = [[number] for number in range(100)]
    with graph.transaction():
        numbers.replace(range(2 * BULK))
    assert gc.get_freeze_count() > first
    assert len(kept) == 100
