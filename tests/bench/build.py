"""Benchmark ``build``: a whole mesh through the pipeline, from manifests to committed resources.

Measured from the first ``put`` to the end of the commit, collector settings as in a server.
Reading text is not part of it. Memory is that of the whole process, manifests included.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from controlplane.dataflow.collector import tune_collector
from controlplane.manifests.reading import identity_of
from controlplane.mesh.settings import MeshSettings
from controlplane.pipeline.assembly import Pipeline, build_pipeline
from controlplane.pipeline.intake import input_of
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import ADDRESSES, AUTHORIZATIONS
from tests.bench.measure import resident, settled_resident
from tests.bench.mesh import Sizes, pods, surroundings


@dataclass(frozen=True, slots=True)
class Built:
    """A pipeline that publishes to a catalog."""

    pipeline: Pipeline
    catalog: Catalog


def build(sizes: Sizes) -> Built:
    """Return the mesh of ``sizes``, committed."""
    return fill(empty(), sizes)


def empty() -> Built:
    """Return a pipeline without manifests."""
    pipeline = build_pipeline(MeshSettings())
    catalog = Catalog()
    pipeline.publish_to(catalog)
    tune_collector(pipeline.graph)
    return Built(pipeline, catalog)


def fill(built: Built, sizes: Sizes) -> Built:
    """Put every manifest of ``sizes`` and commit once."""
    inputs = built.pipeline.inputs
    with built.pipeline.graph.transaction():
        for manifest in surroundings(sizes):
            place = input_of(inputs, identity_of(manifest))
            if place is not None:
                place[0].put(manifest)
        for pod in pods(sizes):
            inputs.pods.put(pod)
        for source in (*inputs.all(), built.pipeline.found_problems):
            source.mark_synced()
    return built


def run(emit: Callable[[dict[str, Any]], None], *, pods_wanted: int, small: bool) -> None:
    """Build once in this process, which must be fresh, and emit what it took."""
    sizes = Sizes(pods=pods_wanted, services=1_000 if small else 10_000)
    before = resident()
    started = time.perf_counter()
    made = sum(1 for _ in pods(sizes)) + sum(1 for _ in surroundings(sizes))
    making = time.perf_counter() - started
    built = empty()
    started = time.perf_counter()
    fill(built, sizes)
    seconds = time.perf_counter() - started - making
    addresses = built.catalog.table(ADDRESSES).resources()
    emit(
        {
            "bench": "build",
            "pods": sizes.pods,
            "services": sizes.services,
            "policies": sizes.policies,
            "manifests": made,
            "seconds": seconds,
            "making_manifests_seconds": making,
            "us_per_workload": seconds / sizes.pods * 1e6,
            "rule_calls": built.pipeline.graph.rule_calls,
            "addresses": len(addresses),
            "authorizations": len(built.catalog.table(AUTHORIZATIONS)),
            "mean_address_bytes": sum(len(each.body) for each in addresses) / len(addresses),
            "resident_mb": settled_resident(),
            "resident_before_mb": before,
        }
    )
