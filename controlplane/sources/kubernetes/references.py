"""ConfigMaps that policies name: each is followed by its name, others are never asked for.

A ``ReferenceSink`` stands in front of the real sink and sees the policies go by. A cluster has far
more ConfigMaps than authorities, and what is in the others is nobody's business here
(docs/protocol/cluster.md KS-20).
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from controlplane.cluster.errors import ClusterError
from controlplane.manifests.connections import BackendTLSPolicy
from controlplane.manifests.decoding import Kind
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.read_connections import RawConfigMap, read_config_map
from controlplane.model.names import Name
from controlplane.model.problem import Problem
from controlplane.sources.kubernetes.kinds import WatchedKind, reader
from controlplane.sources.kubernetes.receiving import KindReceiver
from controlplane.sources.kubernetes.wire import NotUnderstoodError
from controlplane.sources.source import Origin, Sink

CONFIG_MAP: Final = "ConfigMap"
_READ: Final = reader(
    Kind(group="", kind=CONFIG_MAP, versions=("v1",), raw=RawConfigMap, read=read_config_map)
)
_POLICY: Final = "BackendTLSPolicy"
_MOST: Final = 500
"""Watches that policies can make us open; of more the connections fail closed."""


class Reference:
    """Receives one named object; ``settled`` is called once it is there, not there or refused."""

    def __init__(self, receiver: KindReceiver, settled: Callable[[], None]) -> None:
        self._receiver = receiver
        self._settled = settled

    def list_began(self) -> None:
        """Take note that a list starts, maybe again."""
        self._receiver.list_began()

    def listed(self, text: msgspec.Raw) -> None:
        """Take the object."""
        self._receiver.listed(text)

    def list_ended(self) -> None:
        """Take note that the list was whole."""
        self._receiver.list_ended()
        self._settled()

    def happened(self, event: str, text: msgspec.Raw) -> None:
        """Take one event."""
        self._receiver.happened(event, text)

    def heard(self) -> None:
        """Take note that the API server answered."""
        self._receiver.heard()

    def troubled(self, error: ClusterError | NotUnderstoodError) -> None:
        """Take note that it cannot be read; one that is refused is not waited for."""
        self._receiver.troubled(error)
        if isinstance(error, NotUnderstoodError) or not error.is_passing:
            self._settled()


class ReferenceSink:
    """Passes everything on to ``sink``, and follows what policies refer to.

    ``follow`` is given a name, feeds the real sink with it and goes on until it is cancelled;
    ``forget`` is given one that nobody refers to any more.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        follow: Callable[[Name], asyncio.Task[None]],
        forget: Callable[[Name], None],
    ) -> None:
        self._sink = sink
        self._follow = follow
        self._forget = forget
        self._wanted: dict[Name, frozenset[Name]] = {}
        self._following: dict[Name, asyncio.Task[None]] = {}

    def put(
        self, manifest: Manifest | MeshConfig, origin: Origin, *, written_at: float = 0.0
    ) -> None:
        """Take an object."""
        self._sink.put(manifest, origin, written_at=written_at)
        if isinstance(manifest, BackendTLSPolicy):
            self._refer(manifest.key, references_of(manifest))

    def remove(self, kind: str, key: Name) -> None:
        """Forget an object."""
        self._sink.remove(kind, key)
        if kind == _POLICY:
            self._refer(key, frozenset())

    def problems(self, origin: Origin, found: tuple[Problem, ...]) -> None:
        """Take what is wrong."""
        self._sink.problems(origin, found)

    def synced(self) -> None:
        """Take note that everything there was has been put."""
        self._sink.synced()

    def _refer(self, policy: Name, names: frozenset[Name]) -> None:
        if names:
            self._wanted[policy] = names
        else:
            self._wanted.pop(policy, None)
        wanted = frozenset().union(*self._wanted.values())
        for name in sorted(self._following.keys() - wanted):
            self._following.pop(name).cancel()
            self._forget(name)
        for name in sorted(wanted - self._following.keys()):
            if len(self._following) < _MOST:
                self._following[name] = self._follow(name)


def references_of(policy: BackendTLSPolicy) -> frozenset[Name]:
    """Return the ConfigMaps that ``policy`` takes its authorities from."""
    return frozenset(
        Name(policy.metadata.namespace, each.name)
        for each in policy.authorities
        if (each.group, each.kind) == ("", CONFIG_MAP)
    )


def named_config_map(name: Name) -> WatchedKind:
    """Return where one ConfigMap is watched."""
    return WatchedKind(
        kind=CONFIG_MAP,
        path=f"/api/v1/namespaces/{name.namespace}/configmaps",
        read=_READ,
        parameters={"fieldSelector": f"metadata.name={name.name}"},
    )
