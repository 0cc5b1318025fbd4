"""One rig per source: how objects are changed where the source finds them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from controlplane.manifests.reading import Identity, read_documents
from controlplane.sources.files import FilesSettings, FilesSource
from controlplane.sources.kubernetes.source import KubernetesSource
from controlplane.sources.memory import MemorySource
from controlplane.sources.source import Source
from tests.support import kubernetes_cluster
from tests.support.kubernetes_api import KubernetesApi


class Rig(Protocol):
    """A source and a hand to change what it sees."""

    @property
    def source(self) -> Source:
        """The source under test."""

    def put(self, name: str, text: str) -> None:
        """Create or replace the object ``name``, written as ``text``."""

    def remove(self, name: str, identity: Identity) -> None:
        """Remove the object ``name``."""


class FilesRig:
    """A real folder, really watched."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.source = FilesSource(root, settings=FilesSettings(poll_seconds=0.2))

    def put(self, name: str, text: str) -> None:
        new = self._root / f".{name}.new"
        new.write_text(text)
        new.replace(self._root / f"{name}.yaml")

    def remove(self, name: str, identity: Identity) -> None:
        (self._root / f"{name}.yaml").unlink()


class MemoryRig:
    """Objects in memory."""

    def __init__(self) -> None:
        self.source = MemorySource()

    def put(self, name: str, text: str) -> None:
        (document,) = read_documents(text).documents
        self.source.put(document.manifest)

    def remove(self, name: str, identity: Identity) -> None:
        self.source.remove(identity)


class KubernetesRig:
    """A double of an API server, really asked over HTTP."""

    def __init__(self, api: KubernetesApi, source: KubernetesSource) -> None:
        self.api = api
        self.source = source

    def put(self, name: str, text: str) -> None:
        kubernetes_cluster.put(self.api.objects, text)

    def remove(self, name: str, identity: Identity) -> None:
        kubernetes_cluster.remove(self.api.objects, identity)


@asynccontextmanager
async def kubernetes_rig() -> AsyncIterator[KubernetesRig]:
    async with KubernetesApi() as api, kubernetes_cluster.client_of(api) as client:
        api.objects.define_all()
        yield KubernetesRig(api, KubernetesSource(client, settings=kubernetes_cluster.QUICK))


class Running:
    """A source that runs for the length of a test."""

    def __init__(self, source: Source, sink: object) -> None:
        self._task = asyncio.ensure_future(source.run(sink))  # type: ignore[arg-type] # any sink

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
