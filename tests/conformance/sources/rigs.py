"""One rig per source: how objects are changed where the source finds them."""

import asyncio
from pathlib import Path
from typing import Protocol

from controlplane.manifests.reading import Identity, read_documents
from controlplane.sources.files import FilesSettings, FilesSource
from controlplane.sources.memory import MemorySource
from controlplane.sources.source import Source


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


class Running:
    """A source that runs for the length of a test."""

    def __init__(self, source: Source, sink: object) -> None:
        self._task = asyncio.ensure_future(source.run(sink))  # type: ignore[arg-type] # any sink

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
