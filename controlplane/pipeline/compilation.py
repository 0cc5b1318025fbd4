"""Compilation: manifests in, the resources every client would be sent out, once and offline.

The same pipeline and tables as a server's, so that what ``snapshot`` prints is what is served.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.encode.resource import Resource
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import Identity, identity_of
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.world import World
from controlplane.model.names import Name
from controlplane.model.problem import Condition, Problem
from controlplane.pipeline.assembly import Pipeline, build_pipeline
from controlplane.pipeline.intake import at_origin, input_of
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import (
    ADDRESSES,
    AUTHORIZATIONS,
    GLOBAL_AUTHORIZATIONS,
    node_authorizations,
)
from controlplane.sources.source import Origin

Located = tuple[Manifest | MeshConfig, Origin | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What one set of manifests comes to; every tuple is sorted, whatever the order of input.

    ``problems`` are those of rules and encoders: what is wrong with the text is the reader's.
    """

    world: World
    catalog: Catalog
    problems: tuple[Problem, ...]
    conditions: tuple[Condition, ...]
    nodes: frozenset[str]

    def addresses(self) -> tuple[Resource, ...]:
        """Return every workload and service, by name."""
        return _by_name(self.catalog.table(ADDRESSES).resources())

    def authorizations(self, node: str | None = None) -> tuple[Resource, ...]:
        """Return the policies that ``node`` needs, or all policies when it is None, by name."""
        if node is None:
            return _by_name(self.catalog.table(AUTHORIZATIONS).resources())
        keys = (GLOBAL_AUTHORIZATIONS, node_authorizations(node))
        return _by_name(
            resource for key in keys for resource in self.catalog.table(key).resources()
        )


def compile_manifests(
    manifests: Iterable[Located], settings: MeshSettings, *, shuffle: int | None = None
) -> Compiled:
    """Return what ``manifests`` come to; of two for one object the last is taken.

    Raises ValueError when a range in ``settings`` is not a CIDR.
    """
    pipeline = build_pipeline(settings, shuffle=shuffle)
    catalog = Catalog()
    pipeline.publish_to(catalog)
    origins: dict[Identity, Origin | None] = {}
    with pipeline.graph.transaction():
        for manifest, origin in manifests:
            identity = identity_of(manifest)
            origins[identity] = origin
            place = input_of(pipeline.inputs, identity)
            if place is not None:
                place[0].put(manifest)
        for source in (*pipeline.inputs.all(), pipeline.found_problems):
            source.mark_synced()
    return Compiled(
        world=pipeline.world,
        catalog=catalog,
        problems=_problems(pipeline, origins),
        conditions=tuple(condition for _, condition in sorted(pipeline.world.told.items())),
        nodes=frozenset(
            workload.node for _, workload in pipeline.world.workloads.items() if workload.node
        ),
    )


def _problems(pipeline: Pipeline, origins: dict[Identity, Origin | None]) -> tuple[Problem, ...]:
    found = []
    for _, problem in sorted(pipeline.problems.items(), key=lambda item: item[0]):
        kind, namespace, name = problem.object or ("", "", "")
        found.append(at_origin(problem, origins.get(Identity(kind, Name(namespace, name)))))
    return tuple(found)


def _by_name(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    return tuple(sorted(resources, key=lambda resource: resource.name))
