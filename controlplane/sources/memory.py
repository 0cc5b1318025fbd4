"""A source that holds what it is given: for tests and for embedding.

Objects come in through ``put`` and ``remove``, before or while it runs; they go out to the sink in
the order given.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import Identity, identity_of
from controlplane.sources.source import Origin, Sink

_ORIGIN: Final = Origin(file="memory")


class MemorySource:
    """Objects in memory."""

    def __init__(self, manifests: Iterable[Manifest | MeshConfig] = ()) -> None:
        self._objects = {identity_of(manifest): manifest for manifest in manifests}
        self._changed: dict[Identity, None] = dict.fromkeys(self._objects)
        self._stirred = asyncio.Event()

    def put(self, manifest: Manifest | MeshConfig) -> None:
        """Add or replace an object."""
        self._objects[identity_of(manifest)] = manifest
        self._touch(identity_of(manifest))

    def remove(self, identity: Identity) -> None:
        """Remove an object; one that is not there is no error."""
        if self._objects.pop(identity, None) is not None:
            self._touch(identity)

    async def run(self, sink: Sink) -> None:
        """Feed ``sink`` until cancelled."""
        self._deliver(sink)
        sink.synced()
        while True:
            await self._stirred.wait()
            self._deliver(sink)

    def _touch(self, identity: Identity) -> None:
        self._changed[identity] = None
        self._stirred.set()

    def _deliver(self, sink: Sink) -> None:
        self._stirred.clear()
        changed, self._changed = self._changed, {}
        for identity in changed:
            manifest = self._objects.get(identity)
            if manifest is None:
                sink.remove(identity.kind, identity.key)
            else:
                sink.put(manifest, _ORIGIN)
