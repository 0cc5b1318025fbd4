"""The classes of waypoints: GatewayClasses as they are in, missing ones and statuses out.

Only the leader writes. A class that is there is never changed, whoever made it; its status is
(docs/protocol/gateway-status.md GS-1, GS-2).
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.clock import Clock
from controlplane.cluster.apply import Applied, Applier, Lead, Outcome, Target
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.existence import Existence
from controlplane.controllers.gateway_conditions import (
    STATUS_MANAGER,
    class_condition,
    default_gateway_classes,
)
from controlplane.controllers.gateway_patches import GATEWAY_API, class_patch
from controlplane.controllers.live_objects import Live, LiveObjects, while_leading, working
from controlplane.controllers.queue import Trouble, WorkQueue
from controlplane.manifests.gateway import GatewayClass
from controlplane.manifests.metadata import Metadata
from controlplane.model.names import Name
from controlplane.sources.kubernetes.following import FollowSettings

PATH: Final = f"/apis/{GATEWAY_API}/gatewayclasses"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPace:
    """Seconds: between two looks at the lead, until everything is gone over again.

    ``rewrites`` is how often between two goings-over what others changed of one object is put
    right. ``follow`` says how objects are listed and watched.
    """

    look: float = 1.0
    resync: float = 600.0
    rewrites: int = 5
    follow: FollowSettings | None = None


class GatewayClasses:
    """Makes the classes that are missing, and accepts those that are handled here."""

    def __init__(
        self,
        client: ClusterClient,
        *,
        lead: Lead,
        clock: Clock,
        draw: Callable[[], float],
        pace: GatewayPace | None = None,
    ) -> None:
        self._client = client
        self._lead = lead
        self._clock = clock
        self._draw = draw
        self._pace = pace or GatewayPace()
        self._defaults = {item["metadata"]["name"]: item for item in default_gateway_classes()}
        self._begin()

    @property
    def name(self) -> str:
        """Return its name for people."""
        return "gateway-classes"

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """Return what is wrong, by class, or by path where they cannot be followed."""
        found = dict(self._queue.troubles)
        if self._live.trouble is not None:
            found[self._live.path] = self._live.trouble
        return found

    async def run(self) -> None:
        """Keep them until cancelled, whenever it leads."""
        await while_leading(self._lead, self._clock, self._lead_on, look=self._pace.look)

    async def _lead_on(self) -> None:
        self._begin()
        try:
            await working(
                self._live.run(),
                self._queue.run(),
                clock=self._clock,
                every=self._pace.resync,
                again=self._go_over,
            )
        finally:
            self._begin()

    def _go_over(self) -> None:
        """Look at everything again, also where others were left to have their way."""
        self._rewrites.clear()
        self._known()

    def _begin(self) -> None:
        self._applier = Applier(self._client, manager=STATUS_MANAGER, lead=self._lead)
        self._existence = Existence(self._client, manager=STATUS_MANAGER, lead=self._lead)
        self._rewrites: Counter[str] = Counter()
        self._queue: WorkQueue[str] = WorkQueue(
            self._work, name=self.name, clock=self._clock, draw=self._draw
        )
        self._live = LiveObjects(
            self._client,
            PATH,
            {},
            changed=self._changed,
            known=self._known,
            clock=self._clock,
            settings=self._pace.follow,
        )

    def _known(self) -> None:
        if self._live.is_listed:
            self._queue.add(*self._defaults, *(live["metadata"]["name"] for live in self._live))

    def _changed(self, key: Name, before: Live | None, after: Live | None) -> None:
        if not self._live.is_listed or (after is not None and self._is_right(key.name, after)):
            return
        # One that is new to us was not changed by anybody.
        self._rewrites[key.name] += before is not None
        if self._rewrites[key.name] <= self._pace.rewrites:
            self._queue.add(key.name)

    async def _work(self, name: str) -> Applied:
        live = self._live.get(Name("", name))
        if live is None:
            if name not in self._defaults:
                return Applied(outcome=Outcome.GONE)
            return await self._existence.make(_target(name), self._defaults[name])
        if self._is_right(name, live):
            return Applied(outcome=Outcome.UNCHANGED)

        def wish(found: Live | None) -> Live | Applied:
            return self._wanted(name, found) or Applied(outcome=Outcome.UNCHANGED)

        return await self._applier.apply(_target(name), wish, subresource="status", is_forced=True)

    def _is_right(self, name: str, live: Live) -> bool:
        wanted = self._wanted(name, live)
        return wanted is None or self._applier.is_applied(
            _target(name), live, wanted, subresource="status"
        )

    def _wanted(self, name: str, live: Live | None) -> Live | None:
        """Return what to apply to the status, None where the class is none of ours."""
        condition = class_condition(_read(name, live or {}))
        return None if condition is None else class_patch(name, condition, live, self._clock.now())


def _read(name: str, live: Live) -> GatewayClass:
    spec: Mapping[str, Any] = live.get("spec") or {}
    metadata: Mapping[str, Any] = live.get("metadata") or {}
    return GatewayClass(
        metadata=Metadata(name=name, generation=metadata.get("generation")),
        controller_name=str(spec.get("controllerName") or ""),
    )


def _target(name: str) -> Target:
    return Target(api_version=GATEWAY_API, plural="gatewayclasses", name=name)
