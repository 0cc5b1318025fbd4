"""What waypoint Gateways are told, in the cluster: the committed mesh in, statuses out.

Only the leader writes, differences only. What a status says is decided in ``gateway_conditions``;
its addresses are what makes a waypoint exist for everybody else
(docs/protocol/gateway-status.md GS-3 to GS-9).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from msgspec.structs import replace

from controlplane.clock import Clock
from controlplane.cluster.apply import Applied, Applier, Lead, Outcome, Target
from controlplane.cluster.client import ClusterClient
from controlplane.controllers.gateway_conditions import (
    STATUS_MANAGER,
    WantedStatus,
    gateway_status,
    is_remote_class,
    remote_status,
    requested_hosts,
)
from controlplane.controllers.gateway_hosts import GatewayHosts
from controlplane.controllers.gateway_patches import GATEWAY_API, gateway_patch, with_addresses_of
from controlplane.controllers.live_objects import Live, LiveObjects
from controlplane.controllers.waypoint_identity import waypoint_identity
from controlplane.controllers.waypoint_objects import is_known_version
from controlplane.controllers.waypoint_settings import WaypointSettings
from controlplane.controllers.work_in_leads import LeadPace, WorkInLeads
from controlplane.dataflow import Change, Collection
from controlplane.manifests.core import EndpointSlice, Service
from controlplane.manifests.gateway import Gateway, GatewayClass
from controlplane.mesh.expansion_waypoints import is_managed
from controlplane.mesh.namespaces import is_kept_by
from controlplane.mesh.waypoint_gateways import is_waypoint_class
from controlplane.model.names import Name
from controlplane.model.problem import Problem

PATH: Final = f"/apis/{GATEWAY_API}/gateways"


class Judgements(Protocol):
    """What is wrong with Gateways that are deployed; ``WaypointDeployment`` says so."""

    def judged(self, gateway: Name) -> tuple[Problem, ...] | None:
        """Return what is wrong with a Gateway; None when that is yet to be found out."""
        ...

    def subscribe(self, handler: Callable[[Name], None]) -> None:
        """Call ``handler`` when ``judged`` changes for a Gateway."""
        ...


class GatewayStatus(WorkInLeads[Name]):
    """Tells the ``gateways`` of the mesh, committed; run it when the sources are synced.

    ``judgements`` None: nobody here deploys waypoints.
    """

    def __init__(  # noqa: PLR0913 - what the composition root decides, by name
        self,
        client: ClusterClient,
        *,
        lead: Lead,
        gateways: Collection[Name, Gateway],
        gateway_classes: Collection[Name, GatewayClass],
        services: Collection[Name, Service],
        endpoint_slices: Collection[Name, EndpointSlice],
        judgements: Judgements | None,
        settings: WaypointSettings,
        clock: Clock,
        draw: Callable[[], float],
        pace: LeadPace | None = None,
    ) -> None:
        super().__init__(
            client, name="gateway-status", lead=lead, clock=clock, draw=draw, pace=pace
        )
        self._gateways = gateways
        self._gateway_classes = gateway_classes
        self._judgements = judgements
        self._settings = settings
        self._revision = settings.revision
        self._is_leading = False
        self._hosts = GatewayHosts(
            services,
            endpoint_slices,
            domain_suffix=settings.domain_suffix,
            changed=self._queue_these,
        )
        self._begin()
        gateways.subscribe(self._gateways_changed)
        gateway_classes.subscribe(self._classes_changed)
        if judgements is not None:
            judgements.subscribe(lambda key: self._queue_these((key,)))

    def _followed(self) -> Iterable[LiveObjects]:
        return (self._live,)

    def _begin(self) -> None:
        super()._begin()
        self._is_leading = False
        self._applier = Applier(self._client, manager=STATUS_MANAGER, lead=self._lead)
        self._live = LiveObjects(
            self._client,
            PATH,
            {},
            changed=self._live_changed,
            known=self._known,
            clock=self._clock,
            settings=self._pace.follow,
        )

    def _known(self) -> None:
        self._is_leading = True
        self._queue_all()

    def _queue_all(self) -> None:
        self._queue_these(key for key, _ in self._gateways.items())

    def _queue_these(self, gateways: Iterable[Name]) -> None:
        if self._is_leading:
            self._queue.add(*gateways)

    def _gateways_changed(self, changes: Sequence[Change[Name, Gateway]]) -> None:
        for change in changes:
            if change.new is None:
                self._hosts.forget(change.key)
                self._applier.forget(_target(change.key))
        self._queue_these(change.key for change in changes)

    def _classes_changed(self, changes: Sequence[Change[Name, GatewayClass]]) -> None:
        names = {change.key.name for change in changes}
        gateways = self._gateways.items()
        self._queue_these(key for key, gateway in gateways if gateway.class_name in names)

    def _live_changed(self, key: Name, before: Live | None, after: Live | None) -> None:
        """Put right what somebody else changed, within the bounds of ``rewrites``."""
        if before is None or after is None or not self._is_leading:
            return
        wanted = self._wanted(key, after)
        if isinstance(wanted, Applied) or self._is_right(key, after, wanted):
            return
        self._put_right(key, counts=before.get("status") != after.get("status"))

    async def _work(self, key: Name) -> Applied:
        live = self._live.get(key)
        wanted = self._wanted(key, live)
        if isinstance(wanted, Applied):
            return wanted
        if live is not None and self._is_right(key, live, wanted):
            return Applied(outcome=Outcome.UNCHANGED)
        return await self._applier.apply(
            _target(key),
            lambda found: self._wanted(key, found),
            subresource="status",
            is_forced=True,
        )

    def _is_right(self, key: Name, live: Live, wanted: Live) -> bool:
        return self._applier.is_applied(_target(key), live, wanted, subresource="status")

    def _wanted(self, key: Name, live: Live | None) -> Live | Applied:
        """Return what to apply to the status, or what comes of saying nothing."""
        gateway = self._gateways.get(key)
        if gateway is None or gateway.metadata.deleting:
            return Applied(outcome=Outcome.GONE)
        # What the mesh knows is older than what is there: it will know soon.
        if live is not None and _is_newer(live, gateway):
            return Applied(outcome=Outcome.UNCHANGED)
        said = self._said(replace(gateway, status_addresses=with_addresses_of(gateway, live)))
        if said is None:
            return Applied(outcome=Outcome.UNCHANGED)
        return gateway_patch(key, said, live, self._clock.now())

    def _said(self, gateway: Gateway) -> WantedStatus | None:
        """Return what to tell the Gateway; None where that is not for us, or not yet."""
        if not is_kept_by(gateway, self._revision) or not is_known_version(gateway):
            return None
        gateway_class = self._gateway_classes.get(Name("", gateway.class_name))
        if is_remote_class(gateway.class_name, gateway_class):
            return remote_status(gateway)
        if not is_waypoint_class(gateway.class_name, gateway_class):
            return None
        problems = self._problems(gateway)
        if problems is None:
            return None
        identity, _ = waypoint_identity(gateway, self._settings)
        workload = gateway.metadata.name if identity is None else identity.workload
        hosts = requested_hosts(gateway, workload, self._settings.domain_suffix)
        found = self._hosts.ask(gateway.key, hosts, is_made_for_it=is_managed(gateway))
        return gateway_status(gateway, found, problems)

    def _problems(self, gateway: Gateway) -> tuple[Problem, ...] | None:
        if self._judgements is None or not is_managed(gateway):
            return ()
        return self._judgements.judged(gateway.key)


def _is_newer(live: Live, gateway: Gateway) -> bool:
    metadata = live["metadata"]
    generation = metadata.get("generation")
    if metadata.get("uid") != gateway.metadata.uid:
        return True
    return generation is not None and generation > (gateway.metadata.generation or 0)


def _target(key: Name) -> Target:
    return Target(
        api_version=GATEWAY_API, plural="gateways", namespace=key.namespace, name=key.name
    )
