"""A cluster as a source: every kind that is read, each followed on its own.

Objects of the API server come in; puts, removals and Problems go out to the sink, and ``synced``
once every kind was handed over or is known not to exist. Rules: docs/protocol/cluster.md.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from controlplane.clock import Clock, SystemClock
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.errors import ClusterError
from controlplane.manifests.reading import SYSTEM_NAMESPACE
from controlplane.model.names import Name
from controlplane.sources.kubernetes.definitions import Definitions
from controlplane.sources.kubernetes.following import Follower, FollowSettings
from controlplane.sources.kubernetes.kinds import (
    DEFINITIONS_PATH,
    CustomKind,
    WatchedKind,
    core_kinds,
    custom_kinds,
)
from controlplane.sources.kubernetes.receiving import KindReceiver
from controlplane.sources.kubernetes.references import (
    CONFIG_MAP,
    Reference,
    ReferenceSink,
    named_config_map,
)
from controlplane.sources.kubernetes.state import KindState
from controlplane.sources.kubernetes.wire import NotUnderstoodError
from controlplane.sources.source import Sink

_DEFINITION: Final = "CustomResourceDefinition"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings:
    """How a cluster is watched. ``patience``: see ``KindReceiver``."""

    system_namespace: str = SYSTEM_NAMESPACE
    follow: FollowSettings = field(default_factory=FollowSettings)
    patience: float = 5.0


class KubernetesSource:
    """The objects of one cluster.

    ``lag`` is called with a kind and the seconds from an object's making to its arrival here.
    """

    def __init__(
        self,
        client: ClusterClient,
        *,
        settings: KubernetesSettings | None = None,
        clock: Clock | None = None,
        lag: Callable[[str, float], None] = lambda _kind, _seconds: None,
    ) -> None:
        self._client = client
        self._settings = settings or KubernetesSettings()
        self._clock = clock or SystemClock()
        self._lag = lag
        self._core = core_kinds(self._settings.system_namespace)
        self._custom = custom_kinds()
        self._receivers: dict[str, KindReceiver] = {}
        self._custom_names = {each.kind for each in self._custom}
        self._waiting: set[str] = set()
        self._is_synced = False
        self._definitions: Definitions | None = None
        self._troubles: KindReceiver | None = None

    @property
    def states(self) -> tuple[KindState, ...]:
        """Return how far each kind is, definitions of kinds first; nothing before the source runs.

        A custom kind that waits for the definitions says so, and why they cannot be read.
        """
        if self._definitions is None or self._troubles is None:
            return ()
        known = self._definitions.is_known
        definitions = replace(
            self._troubles.state,
            objects=len(self._definitions),
            is_synced=known,
            is_present=True,
            is_current=known and not self._troubles.state.trouble,
        )
        return definitions, *(
            replace(found, trouble=f"its definition is not known: {definitions.trouble}")
            if definitions.trouble and not known and found.kind in self._custom_names
            else found
            for found in (each.state for each in self._receivers.values())
        )

    def path_of(self, kind: str) -> str | None:
        """Return where ``kind`` is listed, in the version that is read.

        None for one that the cluster does not have, or that is not known yet.
        """
        receiver = self._receivers.get(kind)
        return None if receiver is None else receiver.path

    async def run(self, sink: Sink) -> None:
        """Feed ``sink`` until cancelled."""
        kinds = (*(each.kind for each in self._core), *(each.kind for each in self._custom))
        self._waiting = set(kinds)
        problems = self._receiver(_DEFINITION, sink)
        definitions = Definitions(
            frozenset(each.definition for each in self._custom), _troubled_in(problems)
        )
        self._definitions, self._troubles = definitions, problems
        async with asyncio.TaskGroup() as tasks:
            seen = self._references(sink, tasks)
            self._receivers = {kind: self._receiver(kind, seen) for kind in kinds}
            tasks.create_task(self._follower(DEFINITIONS_PATH, {}).run(definitions))
            for watched in self._core:
                tasks.create_task(self._follow(watched))
            for custom in self._custom:
                tasks.create_task(self._follow_custom(custom, definitions))

    def _references(self, sink: Sink, tasks: asyncio.TaskGroup) -> ReferenceSink:
        receivers: dict[Name, KindReceiver] = {}

        def follow(name: Name) -> asyncio.Task[None]:
            known_as = f"{CONFIG_MAP} {name}"
            watched = named_config_map(name)
            receiver = receivers[name] = self._receiver(known_as, sink)
            receiver.placed(watched)
            if not self._is_synced:
                # Without its authority a connection fails: not because we have just started.
                self._waiting.add(known_as)
            reference = Reference(receiver, lambda: self._settled(known_as, sink))
            follower = self._follower(watched.path, watched.parameters)
            return tasks.create_task(follower.run(reference))

        def forget(name: Name) -> None:
            receivers.pop(name).absent()

        return ReferenceSink(sink, follow=follow, forget=forget)

    async def _follow(self, watched: WatchedKind) -> None:
        receiver = self._receivers[watched.kind]
        receiver.placed(watched)
        await self._follower(watched.path, watched.parameters).run(receiver)

    async def _follow_custom(self, custom: CustomKind, definitions: Definitions) -> None:
        """Follow a kind while it is defined, and anew when it is defined otherwise."""
        receiver = self._receivers[custom.kind]
        await definitions.known()
        while True:
            definition = definitions.get(custom.definition)
            watched = None
            if definition is None:
                receiver.absent()
            elif definition.is_established:
                watched = custom.at(definition.versions, definition.plural)
                if watched is None:
                    served = ", ".join(definition.versions) or "no version"
                    receiver.unreadable(f"the cluster serves {served}")
            else:
                receiver.awaited()
            async with asyncio.TaskGroup() as tasks:
                following = None if watched is None else tasks.create_task(self._follow(watched))
                await definitions.until_other_than(custom.definition, definition)
                if following is not None:
                    following.cancel()

    def _follower(self, path: str, parameters: dict[str, str]) -> Follower:
        return Follower(
            self._client, path, parameters, clock=self._clock, settings=self._settings.follow
        )

    def _receiver(self, kind: str, sink: Sink) -> KindReceiver:
        return KindReceiver(
            kind,
            sink,
            self._clock,
            synced=lambda kind: self._settled(kind, sink),
            lag=self._lag,
            patience=self._settings.patience,
        )

    def _settled(self, kind: str, sink: Sink) -> None:
        if kind in self._waiting:
            self._waiting.discard(kind)
            if not self._waiting:
                self._is_synced = True
                sink.synced()


def _troubled_in(
    receiver: KindReceiver,
) -> Callable[[ClusterError | NotUnderstoodError | None], None]:
    """Return what shows trouble with definitions as trouble with their own kind."""

    def troubled(error: ClusterError | NotUnderstoodError | None) -> None:
        if error is None:
            receiver.heard()
        else:
            receiver.troubled(error)

    return troubled
