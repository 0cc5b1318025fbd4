"""The classes of waypoints: GatewayClasses as they are in, missing ones and statuses out.

Only the leader writes. A class that is there is never changed, whoever made it; its status is
(docs/protocol/gateway-status.md GS-1, GS-2).
"""

from collections.abc import Callable, Iterable, Mapping
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
from controlplane.controllers.live_objects import Live, LiveObjects
from controlplane.controllers.work_in_leads import LeadPace, WorkInLeads
from controlplane.manifests.gateway import GatewayClass
from controlplane.manifests.metadata import Metadata
from controlplane.model.names import Name

PATH: Final = f"/apis/{GATEWAY_API}/gatewayclasses"


class GatewayClasses(WorkInLeads[str]):
    """Makes the classes that are missing, and accepts those that are handled here."""

    def __init__(
        self,
        client: ClusterClient,
        *,
        lead: Lead,
        clock: Clock,
        draw: Callable[[], float],
        pace: LeadPace | None = None,
    ) -> None:
        super().__init__(
            client, name="gateway-classes", lead=lead, clock=clock, draw=draw, pace=pace
        )
        self._defaults = {item["metadata"]["name"]: item for item in default_gateway_classes()}
        self._begin()

    def _followed(self) -> Iterable[LiveObjects]:
        return (self._live,)

    def _begin(self) -> None:
        super()._begin()
        self._applier = Applier(self._client, manager=STATUS_MANAGER, lead=self._lead)
        self._existence = Existence(self._client, manager=STATUS_MANAGER, lead=self._lead)
        self._live = LiveObjects(
            self._client,
            PATH,
            {},
            changed=self._changed,
            known=self._queue_all,
            clock=self._clock,
            settings=self._pace.follow,
        )

    def _queue_all(self) -> None:
        if self._live.is_listed:
            self._queue.add(*self._defaults, *(live["metadata"]["name"] for live in self._live))

    def _changed(self, key: Name, before: Live | None, after: Live | None) -> None:
        if not self._live.is_listed or (after is not None and self._is_right(key.name, after)):
            return
        # One that is new to us was not changed by anybody.
        self._put_right(key.name, counts=before is not None)

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
