"""For tests of sources: a sink that remembers what it was told, and small manifests as text."""

import asyncio
from collections.abc import Callable

from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import Identity, identity_of
from controlplane.model.names import Name
from controlplane.model.problem import Problem
from controlplane.sources.source import Origin


class RecordingSink:
    """Objects and Problems as a receiver would hold them, and every call in order."""

    def __init__(self) -> None:
        self.objects: dict[Identity, tuple[Manifest | MeshConfig, Origin]] = {}
        self.written_at: dict[Identity, float] = {}
        self.found: dict[str, tuple[Problem, ...]] = {}
        self.calls: list[tuple[str, object]] = []
        self.synced_times = 0
        self._told = asyncio.Event()

    def put(
        self, manifest: Manifest | MeshConfig, origin: Origin, *, written_at: float = 0.0
    ) -> None:
        identity = identity_of(manifest)
        self.objects[identity] = (manifest, origin)
        self.written_at[identity] = written_at
        self._record("put", str(identity.key))

    def remove(self, kind: str, key: Name) -> None:
        del self.objects[Identity(kind, key)]
        self._record("remove", str(key))

    def problems(self, origin: Origin, found: tuple[Problem, ...]) -> None:
        assert self.found.get(origin.file, ()) != found, "told twice"
        self.found[origin.file] = found
        if not found:
            del self.found[origin.file]
        self._record("problems", (origin.file, tuple(problem.code for problem in found)))

    def synced(self) -> None:
        self.synced_times += 1
        self._record("synced", None)

    def names(self) -> list[str]:
        return sorted(f"{identity.kind} {identity.key}" for identity in self.objects)

    def codes(self) -> list[str]:
        return sorted(problem.code for found in self.found.values() for problem in found)

    def file_of(self, name: str) -> str:
        (origin,) = [
            origin for identity, (_, origin) in self.objects.items() if identity.key.name == name
        ]
        return origin.file.rpartition("/")[2]

    async def until(self, holds: Callable[["RecordingSink"], bool]) -> None:
        """Wait until ``holds`` does; the test's own timeout bounds it."""
        while not holds(self):
            self._told.clear()
            await self._told.wait()

    def _record(self, call: str, about: object) -> None:
        self.calls.append((call, about))
        self._told.set()


def pod(name: str, label: str = "x1") -> str:
    """Return a pod with one label, as a YAML document."""
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{l: {label}}}}}\n---\n"


def policy(name: str, body: str = "{}") -> str:
    """Return an AuthorizationPolicy with the spec ``body``, as a YAML document."""
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}}}\nspec: {body}\n---\n"
    )
