"""A control plane of a cluster without its writers: source, graph and discovery server over TLS."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controlplane.clock import SystemClock
from controlplane.dataflow import Batcher
from controlplane.encode.resource import Resource
from controlplane.manifests.reading import read_documents
from controlplane.mesh.settings import MeshSettings
from controlplane.pipeline.assembly import Pipeline, build_pipeline
from controlplane.pipeline.compilation import Compiled, compile_manifests
from controlplane.pipeline.intake import Intake
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import ADDRESSES, AUTHORIZATIONS
from controlplane.sources.source import Sink, Source
from controlplane.xds.server import Listener, XdsServer
from controlplane.xds.settings import XdsSettings
from controlplane.xds.tls import HotCertificate
from tests.bench.serving_certificate import make_serving_certificate
from tests.support.kubernetes_objects import KubernetesObjects

SETTINGS = MeshSettings()
Versions = tuple[dict[str, str], dict[str, str]]


@dataclass
class FedMesh:
    """A pipeline that a source feeds; ``changed`` counts the resources that it ever sent out."""

    pipeline: Pipeline
    catalog: Catalog
    batcher: Batcher
    sink: Sink
    changed: int = 0
    turn: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until ``holds()``, looking again at every commit and now and then."""
        while not holds():
            self.turn.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.turn.wait(), 0.01)

    async def ready(self) -> None:
        await self.until(lambda: self.pipeline.graph.ready)

    def versions(self) -> Versions:
        """Return name -> version of addresses and of policies, as they are served now."""
        return (
            versions_of(self.catalog.table(ADDRESSES).resources()),
            versions_of(self.catalog.table(AUTHORIZATIONS).resources()),
        )


@asynccontextmanager
async def a_mesh(source: Source, settings: MeshSettings = SETTINGS) -> AsyncIterator[FedMesh]:
    """Run ``source`` into a pipeline of its own."""
    pipeline, catalog = build_pipeline(settings), Catalog()
    pipeline.publish_to(catalog)
    batcher = Batcher(pipeline.graph, SystemClock())
    sink = Intake(pipeline.inputs, pipeline.found_problems, batcher)
    mesh = FedMesh(pipeline, catalog, batcher, sink)
    for sent in (pipeline.encoded.workloads, pipeline.encoded.services):
        sent.subscribe(lambda changes: _count(mesh, changes))
    pipeline.graph.on_commit(lambda _: mesh.turn.set())
    tasks = [asyncio.create_task(batcher.run()), asyncio.create_task(source.run(sink))]
    try:
        yield mesh
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def a_server(catalog: Catalog, folder: Path) -> AsyncIterator[tuple[str, bytes]]:
    """Serve a catalog over TLS; yield the address and the root that vouches for it."""
    pair = make_serving_certificate(folder, names=("127.0.0.1",), now=datetime.now(UTC))
    server = XdsServer(catalog, XdsSettings(), SystemClock())
    certificate = HotCertificate(pair.chain, pair.key)
    (port,) = await server.start([Listener(address="127.0.0.1:0", certificate=certificate)])
    try:
        yield f"127.0.0.1:{port}", pair.root_file.read_bytes()
    finally:
        await server.stop(1)


def from_scratch(objects: KubernetesObjects, settings: MeshSettings = SETTINGS) -> Compiled:
    """Return what the objects of a cluster come to, read as files are and all at once."""
    kinds = {each.plural: each for each in objects.resources.values()}
    documents = []
    for plural, held in objects.held.items():
        resource = kinds[plural]
        version = f"{resource.group}/{resource.versions[0]}".lstrip("/")
        for document in held.values():
            typed = {**document, "apiVersion": version, "kind": resource.kind}
            documents.append(json.dumps(typed))
    reading = read_documents("\n---\n".join(documents))
    return compile_manifests(((each.manifest, None) for each in reading.documents), settings)


def versions_of(resources: Iterable[Resource]) -> dict[str, str]:
    return {each.name: each.version for each in resources}


def _count(mesh: FedMesh, changes: Sequence[Any]) -> None:
    mesh.changed += len(changes)
