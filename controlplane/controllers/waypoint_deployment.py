"""Waypoints as objects of the cluster: Gateways of the mesh in, Deployments and Services out.

Only the leader writes, differences only, one Gateway at a time. What a Gateway is deployed as says
``waypoint_objects``; this says when, and what becomes of what was made before
(docs/protocol/waypoint-deployment.md WO-30 to WO-38).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import replace

from controlplane.clock import Clock
from controlplane.cluster.apply import Applied, Lead, Outcome
from controlplane.cluster.client import ClusterClient
from controlplane.controllers.waypoint_belongings import (
    Noticed,
    Place,
    WaypointBelongings,
    places_of,
)
from controlplane.controllers.waypoint_objects import (
    is_abandoned,
    is_deployed,
    parameters_of,
    waypoint_objects,
)
from controlplane.controllers.waypoint_parameters import WaypointParameters
from controlplane.controllers.waypoint_settings import WaypointSettings
from controlplane.controllers.work_in_leads import Followed, LeadPace, WorkInLeads
from controlplane.dataflow import Change, Collection
from controlplane.manifests.gateway import Gateway, GatewayClass
from controlplane.mesh.namespaces import is_kept_by
from controlplane.model.names import Name
from controlplane.model.problem import Problem

_UNREADABLE: Final = "ConfigMaps with parameters cannot be read"


class WaypointDeployment(WorkInLeads[Name]):
    """Deploys the ``gateways`` of the mesh, committed; run it when the sources are synced."""

    def __init__(  # noqa: PLR0913 - what the composition root decides, by name
        self,
        client: ClusterClient,
        *,
        lead: Lead,
        gateways: Collection[Name, Gateway],
        gateway_classes: Collection[Name, GatewayClass],
        settings: WaypointSettings,
        root_namespace: str,
        clock: Clock,
        draw: Callable[[], float],
        pace: LeadPace | None = None,
    ) -> None:
        super().__init__(
            client, name="waypoint-deployment", lead=lead, clock=clock, draw=draw, pace=pace
        )
        self._gateways = gateways
        self._gateway_classes = gateway_classes
        self._settings = settings
        self._root_namespace = root_namespace
        self._revision = settings.revision
        self._handlers: list[Callable[[Name], None]] = []
        self._problems: Mapping[Name, tuple[Problem, ...]] = MappingProxyType({})
        self._judged: dict[Name, tuple[Problem, ...]] = {}
        self._wanted: dict[Name, dict[Place, Mapping[str, Any]]] = {}
        self._bereft: set[Name] = set()
        self._is_ready = False
        self._begin()
        gateways.subscribe(self._gateways_changed)
        gateway_classes.subscribe(self._classes_changed)

    @property
    def problems(self) -> Mapping[Name, tuple[Problem, ...]]:
        """Return what Gateways ask for that cannot be done, by Gateway; empty without a lead."""
        return self._problems

    def judged(self, gateway: Name) -> tuple[Problem, ...] | None:
        """Return what is wrong with a Gateway; None when it was not looked at in this lead."""
        return self._judged.get(gateway)

    def subscribe(self, handler: Callable[[Name], None]) -> None:
        """Call ``handler`` when ``judged`` changes for a Gateway."""
        self._handlers.append(handler)

    def configure(self, settings: WaypointSettings, root_namespace: str) -> None:
        """Deploy by these from now on; everything is gone over again where they are others.

        The revision stays the one that it was made with.
        """
        if root_namespace != self._root_namespace:
            self._root_namespace = root_namespace
            self._parameters.move(root_namespace)
        elif settings == self._settings:
            return
        self._settings = settings
        self._queue_all()

    def _followed(self) -> Iterable[Followed]:
        return self._belongings, self._parameters

    def _begin(self) -> None:
        super()._begin()
        follow = self._pace.follow
        self._is_ready = False
        self._judged = {}
        self._problems = MappingProxyType({})
        self._wanted = {}
        self._bereft = set()
        self._belongings = WaypointBelongings(
            self._client,
            lead=self._lead,
            noticed=self._noticed,
            known=self._known,
            clock=self._clock,
            settings=follow,
        )
        self._parameters = WaypointParameters(
            self._client,
            root_namespace=self._root_namespace,
            changed=self._parameters_changed,
            known=self._known,
            clock=self._clock,
            settings=follow,
        )

    def _known(self) -> None:
        """Start when everything was listed or could not be; go over all when more is known."""
        self._is_ready = self._belongings.is_tried and self._parameters.is_tried
        self._queue_all()

    def _queue_all(self) -> None:
        if self._is_ready:
            self._queue.add(*(key for key, _ in self._gateways.items()))

    def _gateways_changed(self, changes: Sequence[Change[Name, Gateway]]) -> None:
        if self._is_ready:
            self._queue.add(*(change.key for change in changes if _is_other(change)))

    def _classes_changed(self, changes: Sequence[Change[Name, GatewayClass]]) -> None:
        if self._is_ready:
            names = {change.key.name for change in changes}
            gateways = self._gateways.items()
            self._queue.add(*(key for key, gateway in gateways if gateway.class_name in names))

    def _parameters_changed(self, gateways: frozenset[Name] | None) -> None:
        if gateways is None:
            self._queue_all()
        elif self._is_ready:
            self._queue.add(*gateways)

    def _noticed(self, noticed: Noticed) -> None:
        """Put right what somebody else changed, within the bounds of ``rewrites``."""
        gateway, place, live = noticed.gateway, noticed.place, noticed.live
        if live is None:
            # Whoever wants the name of something that is gone can have it now.
            bereft = [
                key
                for key, wanted in self._wanted.items()
                if key.namespace == gateway.namespace and place in wanted
            ]
            self._bereft.update(bereft)
            self._rewrite(bereft)
        elif self._belongings.is_moving(gateway):
            self._queue.add(gateway)
        elif gateway in self._wanted:
            wanted = self._wanted[gateway].get(place)
            if wanted is None or not self._belongings.is_right(gateway, wanted, live):
                self._rewrite((gateway,))

    def _rewrite(self, gateways: Iterable[Name]) -> None:
        for gateway in gateways:
            self._put_right(gateway)

    async def _work(self, key: Name) -> Applied:
        gateway = self._gateways.get(key)
        if gateway is None or gateway.metadata.deleting or not is_kept_by(gateway, self._revision):
            return self._let_go(key)
        gateway_class = self._gateway_classes.get(Name("", gateway.class_name))
        if is_deployed(gateway, gateway_class):
            return await self._deploy(gateway)
        done = self._let_go(key)
        if is_abandoned(gateway, gateway_class):
            return await self._belongings.clear(key, gateway.metadata.uid, frozenset())
        return done

    async def _deploy(self, gateway: Gateway) -> Applied:
        key, reference = gateway.key, parameters_of(gateway)
        self._parameters.refer(key, reference)
        if not self._parameters.is_known(reference):
            if self._parameters.is_refused(reference):
                return Applied(outcome=Outcome.UNAVAILABLE, message=_UNREADABLE)
            return Applied(outcome=Outcome.UNCHANGED)
        found = waypoint_objects(
            gateway,
            self._settings,
            defaults=self._parameters.defaults(gateway.class_name),
            parameters=self._parameters.referenced(reference),
        )
        self._wanted[key] = places_of(found.objects)
        self._judge(key, found.problems)
        if key in self._bereft:
            # Maybe with the Gateway itself: the garbage collector may be ahead of what is known.
            if not await self._belongings.has_gateway(key, gateway.metadata.uid):
                return Applied(outcome=Outcome.GONE)
            self._bereft.discard(key)
        # Where nothing can be made of it, what runs goes on running until it can.
        applied = await self._belongings.make(key, found.objects)
        if not applied.is_done or not found.objects:
            return applied
        keep = frozenset(self._wanted[key])
        cleared = await self._belongings.clear(key, gateway.metadata.uid, keep)
        return applied if cleared.is_done else cleared

    def _let_go(self, key: Name) -> Applied:
        """Forget a Gateway: it is gone, or somebody else's."""
        self._parameters.refer(key, None)
        self._belongings.forget(key, self._wanted.pop(key, {}))
        self._bereft.discard(key)
        self._rewrites.pop(key, None)
        self._judge(key, None)
        return Applied(outcome=Outcome.GONE)

    def _judge(self, key: Name, problems: tuple[Problem, ...] | None) -> None:
        if self._judged.get(key) == problems:
            return
        if problems is None:
            del self._judged[key]
        else:
            self._judged[key] = problems
        self._problems = MappingProxyType({at: held for at, held in self._judged.items() if held})
        for handler in self._handlers:
            handler(key)


def _is_other(change: Change[Name, Gateway]) -> bool:
    """Return whether a change is of more than what is said in the status."""
    old, new = change.old, change.new
    if old is None or new is None:
        return True
    return replace(new, status_addresses=old.status_addresses) != old
