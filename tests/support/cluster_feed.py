"""The API server in memory with open watches: lists by selector, events of every write, deletion.

For controllers under virtual time, which have nobody to wait for but each other.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from controlplane.cluster.client import Answer
from tests.support.cluster_memory import Asked, ClusterMemory, Json, a_refusal


class _Watch(NamedTuple):
    path: str
    params: Mapping[str, str]
    lines: asyncio.Queue[bytes]


@dataclass
class WatchedCluster(ClusterMemory):
    """``absent`` are the plurals of kinds that the cluster does not have."""

    absent: set[str] = field(default_factory=set)
    watches: list[_Watch] = field(default_factory=list)

    def put(self, path: str, document: Json) -> Json:
        before = self.objects.get(path)
        metadata = {"uid": f"uid-of-{path}-{self.revision}", **(document.get("metadata") or {})}
        if before is not None:
            metadata["uid"] = before["metadata"]["uid"]
        after = super().put(path, {**document, "metadata": metadata})
        self._tell("ADDED" if before is None else "MODIFIED", path, after)
        return after

    def change(self, path: str, **fields: Any) -> None:
        """Write fields as somebody else."""
        self.put(path, {**deepcopy(self.objects[path]), **fields})

    def delete(self, path: str) -> None:
        """Delete as somebody else."""
        self.revision += 1
        found = self.objects.pop(path)
        metadata = {**found["metadata"], "resourceVersion": str(self.revision)}
        self._tell("DELETED", path, {**found, "metadata": metadata})

    async def stream(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        self.asked.append(Asked("WATCH", path, params, None, 0.0))
        watch = _Watch(path, params, asyncio.Queue())
        self.watches.append(watch)
        try:
            yield b""
            while True:
                yield await watch.lines.get()
        finally:
            self.watches.remove(watch)

    def _answer(self, method: str, path: str, params: Mapping[str, str], body: Any) -> Answer:
        plural = path.rpartition("/")[2]
        if method == "GET" and path not in self.objects and plural.endswith("s"):
            if plural in self.absent:
                return a_refusal(404, "NotFound")
            items = [live for at, live in self.objects.items() if _passes(at, live, path, params)]
            version = {"resourceVersion": str(self.revision)}
            return Answer(200, json.dumps({"metadata": version, "items": items}).encode())
        if method == "DELETE":
            found = self.objects.get(path)
            if found is None:
                return a_refusal(404, "NotFound")
            asked = body["preconditions"]
            if asked != {name: found["metadata"][name] for name in asked}:
                return a_refusal(409, "Conflict")
            self.delete(path)
            return Answer(200, b"{}")
        return super()._answer(method, path, params, body)

    def _tell(self, kind: str, path: str, live: Json) -> None:
        line = json.dumps({"type": kind, "object": live}).encode()
        for watch in self.watches:
            if _passes(path, live, watch.path, watch.params):
                watch.lines.put_nowait(line)


def _passes(at: str, live: Json, path: str, params: Mapping[str, str]) -> bool:
    head, plural, name = at.rsplit("/", 2)
    group, _, _ = head.partition("/namespaces/")
    if path not in {f"{head}/{plural}", f"{group}/{plural}"}:
        return False
    field_selector = params.get("fieldSelector", "").partition("metadata.name=")[2]
    if field_selector not in {"", name}:
        return False
    label, equals, value = params.get("labelSelector", "").partition("=")
    labels = live["metadata"].get("labels", {})
    return not label or (label in labels and (not equals or labels[label] == value))
