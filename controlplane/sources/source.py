"""What every source offers and what it asks of whoever receives.

A source reads objects somewhere, keeps watching, and tells its ``Sink``; the pipeline's sink fills
the inputs of the graph. Rules: docs/protocol/files.md.
"""

from typing import Protocol

import msgspec

from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.model.names import Name
from controlplane.model.problem import Problem


class Origin(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where an object or a finding comes from; ``line`` is 1-based.

    ``file`` is a path as users know it, the folder itself for findings about the folder, or the
    source's own name when there are no files. ``version`` is the resource version that a cluster
    gave the object when what is read of it last changed; "" for files. There is one for every
    object of the mesh, so it is a struct that the collector does not look at.
    """

    file: str
    line: int | None = None
    version: str = ""


class Sink(Protocol):
    """Receives what a source found.

    A source makes all calls that belong together without awaiting in between, so a receiver that
    commits on a later turn of the loop never sees half of an edit.
    """

    def put(
        self, manifest: Manifest | MeshConfig, origin: Origin, *, written_at: float = 0.0
    ) -> None:
        """Take a new or changed object; replaces the one of the same kind and key.

        ``written_at`` is when the object itself says it was written, in Unix seconds; 0.0 when it
        does not.
        """
        ...

    def remove(self, kind: str, key: Name) -> None:
        """Forget an object; the mesh configuration is kind ``MeshConfig``, key ``/mesh``."""
        ...

    def problems(self, origin: Origin, found: tuple[Problem, ...]) -> None:
        """Take everything now wrong at ``origin.file``, replacing what was said about it before."""
        ...

    def synced(self) -> None:
        """Learn, once, that everything that existed at the start has been put."""
        ...


class Source(Protocol):
    """Something that objects come from."""

    async def run(self, sink: Sink) -> None:
        """Feed ``sink`` until cancelled: everything there is, ``synced``, then every change."""
        ...
