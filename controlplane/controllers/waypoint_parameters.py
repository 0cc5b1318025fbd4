"""What users want changed in waypoints: ConfigMaps as the cluster has them now.

The defaults of classes are followed by their label; of other ConfigMaps only those that a Gateway
refers to are asked for, each on its own, so that nobody's other ConfigMaps are read. Source:
docs/protocol/waypoint-deployment.md WO-20, WO-21, WO-37.
"""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime

from controlplane.clock import Clock
from controlplane.cluster.client import ClusterClient
from controlplane.controllers.live_objects import Live, LiveObjects
from controlplane.controllers.queue import Trouble
from controlplane.controllers.waypoint_overlays import DEFAULTS_FOR_CLASS, class_defaults
from controlplane.manifests.core import ConfigMap
from controlplane.manifests.metadata import Metadata
from controlplane.model.names import Name
from controlplane.sources.kubernetes.following import FollowSettings


class WaypointParameters:
    """Follows the ConfigMaps, during one lead.

    ``changed`` is called with the Gateways that refer to a ConfigMap that changed, or with None
    when defaults of a class did; ``known`` when the defaults were listed or could not be.
    """

    def __init__(
        self,
        client: ClusterClient,
        *,
        root_namespace: str,
        changed: Callable[[frozenset[Name] | None], None],
        known: Callable[[], None],
        clock: Clock,
        settings: FollowSettings | None = None,
    ) -> None:
        self._client = client
        self._root_namespace = root_namespace
        self._changed = changed
        self._known = known
        self._clock = clock
        self._settings = settings
        self._defaults = self._following_defaults()
        self._moved = asyncio.Event()
        self._referenced: dict[Name, LiveObjects] = {}
        self._tasks: dict[Name, asyncio.Task[None]] = {}
        self._references: dict[Name, Name] = {}
        self._group: asyncio.TaskGroup | None = None

    @property
    def is_tried(self) -> bool:
        """Return whether the defaults of classes were listed, or could not be."""
        return self._defaults.is_tried

    def troubles(self) -> Iterator[tuple[str, Trouble]]:
        """Yield what cannot be followed just now, and why."""
        for live in (self._defaults, *self._referenced.values()):
            if live.trouble is not None:
                yield live.path, live.trouble

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            while True:
                self._moved.clear()
                following = group.create_task(self._defaults.run())
                await self._moved.wait()
                following.cancel()

    def move(self, root_namespace: str) -> None:
        """Look for the defaults of classes in this namespace from now on."""
        self._root_namespace = root_namespace
        self._defaults = self._following_defaults()
        self._moved.set()

    def refer(self, gateway: Name, config_map: Name | None) -> None:
        """Learn which ConfigMap a Gateway refers to now; while it runs."""
        before = self._references.pop(gateway, None)
        if config_map is not None:
            self._references[gateway] = config_map
            if config_map not in self._referenced and self._group is not None:
                live = self._following(config_map)
                self._referenced[config_map] = live
                self._tasks[config_map] = self._group.create_task(live.run())
        if before is not None and before not in self._references.values():
            self._referenced.pop(before, None)
            task = self._tasks.pop(before, None)
            if task is not None:
                task.cancel()

    def is_known(self, config_map: Name | None) -> bool:
        """Return whether the defaults, and this ConfigMap, are known to be there or not."""
        if not self._defaults.is_listed:
            return False
        return config_map is None or self._referenced[config_map].is_listed

    def is_refused(self, config_map: Name | None) -> bool:
        """Return whether what is not known cannot be asked for just now."""
        followed = [self._defaults]
        if config_map is not None:
            followed.append(self._referenced[config_map])
        return any(live.is_tried and not live.is_listed for live in followed)

    def defaults(self, class_name: str) -> ConfigMap | None:
        """Return the defaults of a class."""
        found = [_config_map(live) for live in self._defaults]
        return class_defaults(found, class_name, self._root_namespace)

    def referenced(self, config_map: Name | None) -> ConfigMap | None:
        """Return a ConfigMap that a Gateway refers to; None where there is none."""
        live = None if config_map is None else self._referenced[config_map].get(config_map)
        return None if live is None else _config_map(live)

    def _following_defaults(self) -> LiveObjects:
        return LiveObjects(
            self._client,
            f"/api/v1/namespaces/{self._root_namespace}/configmaps",
            {"labelSelector": DEFAULTS_FOR_CLASS},
            changed=lambda *_: self._changed(None),
            known=self._known,
            clock=self._clock,
            settings=self._settings,
        )

    def _following(self, config_map: Name) -> LiveObjects:
        def tell(*_: object) -> None:
            referring = (gateway for gateway, at in self._references.items() if at == config_map)
            self._changed(frozenset(referring))

        return LiveObjects(
            self._client,
            f"/api/v1/namespaces/{config_map.namespace}/configmaps",
            {"fieldSelector": f"metadata.name={config_map.name}"},
            changed=tell,
            known=tell,
            clock=self._clock,
            settings=self._settings,
        )


def _config_map(live: Live) -> ConfigMap:
    metadata = live["metadata"]
    return ConfigMap(
        metadata=Metadata(
            name=metadata["name"],
            namespace=metadata.get("namespace") or "",
            labels=metadata.get("labels") or {},
            created=_moment(metadata.get("creationTimestamp")),
        ),
        data=live.get("data") or {},
    )


def _moment(text: object) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0
