"""A million pod changes through the graph and the tables leave no trace."""

import pytest

from controlplane.snapshots.scope import ADDRESSES
from tests.bench.build import build
from tests.bench.measure import settled_resident
from tests.bench.mesh import Sizes, a_pod

SIZES = Sizes(pods=40, services=4, policies=2, namespaces=2, nodes=2)
CHANGES = 1_000_000
PER_COMMIT = 20
WARM = CHANGES // 10


@pytest.mark.timeout(240)
def test_a_million_pod_changes_leave_memory_flat() -> None:
    built = build(SIZES)
    graph, inputs, catalog = built.pipeline.graph, built.pipeline.inputs, built.catalog
    cells = {each.name: (each.size, each.cells) for each in graph.describe()}
    view = catalog.addresses()
    # Ready and unready in turn, and every tenth change a pod under a name never seen before.
    flips = [
        a_pod(SIZES, number, ready=is_ready) for is_ready in (False, True) for number in range(36)
    ]
    warm = 0.0
    made = 0
    extra = None
    while made < CHANGES:
        since = catalog.commit
        with graph.transaction():
            for _ in range(PER_COMMIT - 2):
                inputs.pods.put(flips[made % len(flips)])
                made += 1
            if extra is not None:
                inputs.pods.remove(extra.key)
            extra = a_pod(SIZES, 1_000_000 + made)
            inputs.pods.put(extra)
            made += 2
        assert not view.frame(since).is_empty
        if not warm and made >= WARM:
            warm = settled_resident()
    assert settled_resident() - warm < 8
    with graph.transaction():
        if extra is not None:
            inputs.pods.remove(extra.key)
        for number in range(36):
            inputs.pods.put(a_pod(SIZES, number))
    assert {each.name: (each.size, each.cells) for each in graph.describe()} == cells
    assert len(catalog.table(ADDRESSES)) == SIZES.pods + SIZES.services
