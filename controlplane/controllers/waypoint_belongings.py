"""What waypoint Gateways have in the cluster: objects that are wanted in, writes out.

One Gateway at a time: what is wanted is applied where it differs, what is wanted no more is
removed, and what is somebody else's is left alone. What goes with a Gateway is the business of the
cluster's garbage collector. Source: docs/protocol/waypoint-deployment.md WO-30 to WO-36.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controlplane.clock import Clock
from controlplane.cluster.apply import Applied, Applier, Lead, Outcome, Target, Wish
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.existence import Existence
from controlplane.controllers.live_objects import Live, LiveObjects
from controlplane.controllers.queue import Trouble
from controlplane.controllers.waypoint_identity import GATEWAY_NAME, MANAGED, MANAGED_BY_US
from controlplane.controllers.waypoint_objects import FIELD_MANAGER
from controlplane.model.names import Name
from controlplane.sources.kubernetes.following import FollowSettings

Place = tuple[str, str]
"""Kind and name of an object in the namespace of its Gateway."""

_OWNER_KIND: Final = "Gateway"
_DEPLOYMENT: Final = "Deployment"
_API: Final = {
    "ServiceAccount": ("v1", "serviceaccounts"),
    "ConfigMap": ("v1", "configmaps"),
    _DEPLOYMENT: ("apps/v1", "deployments"),
    "Service": ("v1", "services"),
    "HorizontalPodAutoscaler": ("autoscaling/v2", "horizontalpodautoscalers"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """Something happened to an object that is labelled as ours; ``live`` None: it is gone.

    ``gateway`` is the one that it says it is of, by its owner or its label.
    """

    gateway: Name
    place: Place
    live: Live | None


class WaypointBelongings:
    """Follows and writes the objects, during one lead."""

    def __init__(
        self,
        client: ClusterClient,
        *,
        lead: Lead,
        noticed: Callable[[Noticed], None],
        known: Callable[[], None],
        clock: Clock,
        settings: FollowSettings | None = None,
    ) -> None:
        self._applier = Applier(client, manager=FIELD_MANAGER, lead=lead)
        self._existence = Existence(client, manager=FIELD_MANAGER, lead=lead)
        self._noticed = noticed
        self._moving: set[Name] = set()
        self._live = {
            kind: LiveObjects(
                client,
                f"/{'apis' if '/' in version else 'api'}/{version}/{plural}",
                {"labelSelector": f"{MANAGED}={MANAGED_BY_US}"},
                changed=self._teller(kind),
                known=known,
                clock=clock,
                settings=settings,
            )
            for kind, (version, plural) in _API.items()
        }

    @property
    def is_tried(self) -> bool:
        """Return whether every kind was listed, or could not be."""
        return all(live.is_tried for live in self._live.values())

    def troubles(self) -> Iterator[tuple[str, Trouble]]:
        """Yield what cannot be followed just now, and why."""
        for live in self._live.values():
            if live.trouble is not None:
                yield live.path, live.trouble

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for live in self._live.values():
                group.create_task(live.run())

    def is_right(self, gateway: Name, wanted: Mapping[str, Any], live: Live) -> bool:
        """Return whether ``live`` is as the Gateway wants it."""
        return self._applier.is_applied(_target(gateway, _place(wanted)), live, wanted)

    async def has_gateway(self, gateway: Name, uid: str) -> bool:
        """Return whether the Gateway with ``uid`` is there to stay; when in doubt it is."""
        target = Target(
            api_version="gateway.networking.k8s.io/v1",
            plural="gateways",
            namespace=gateway.namespace,
            name=gateway.name,
        )
        return await self._existence.is_there(target, uid)

    async def make(self, gateway: Name, wanted: Sequence[Mapping[str, Any]]) -> Applied:
        """Apply what differs, each object whatever comes of the others; return the worst of it."""
        found = Applied(outcome=Outcome.UNCHANGED)
        for item in wanted:
            kind, name = place = _place(item)
            live = self._live[kind].get(Name(gateway.namespace, name))
            if live is not None and self.is_right(gateway, item, live):
                continue
            target = _target(gateway, place)
            applied = await self._applier.apply(target, _wish(gateway, item), is_forced=True)
            if applied.outcome in {Outcome.GONE, Outcome.NOT_LEADING}:
                return applied
            found = _worse(found, applied, target)
        return found

    async def clear(self, gateway: Name, uid: str, keep: frozenset[Place]) -> Applied:
        """Remove what was made for the Gateway with ``uid`` and is not to be kept.

        Nothing yet while that is what serves, and what is kept does not (``is_moving``).
        """
        found = Applied(outcome=Outcome.UNCHANGED)
        unwanted = {
            (kind, live["metadata"]["name"]): live
            for kind, followed in self._live.items()
            for live in followed
            if _is_made_for(gateway, uid, live) and (kind, live["metadata"]["name"]) not in keep
        }
        self._moving.discard(gateway)
        if self._serves(gateway, unwanted) and keep and not self._serves(gateway, keep):
            self._moving.add(gateway)
            return found
        for place, live in unwanted.items():
            target = _target(gateway, place)
            removed = await self._existence.remove(target, live)
            self._applier.forget(target)
            if removed.outcome is Outcome.NOT_LEADING:
                return removed
            if removed.outcome is not Outcome.GONE:
                found = _worse(found, removed, target)
        return found

    def is_moving(self, gateway: Name) -> bool:
        """Return whether what is wanted no more stays until what is wanted can serve."""
        return gateway in self._moving

    def _serves(self, gateway: Name, places: Iterable[Place]) -> bool:
        """Return whether a Deployment among ``places`` has pods that are available."""
        deployments = [
            self._live[kind].get(Name(gateway.namespace, name))
            for kind, name in places
            if kind == _DEPLOYMENT
        ]
        return any(
            ((live or {}).get("status") or {}).get("availableReplicas") for live in deployments
        )

    def forget(self, gateway: Name, places: Iterable[Place]) -> None:
        """Forget what was written for a Gateway that is not deployed any more."""
        self._moving.discard(gateway)
        for place in places:
            self._applier.forget(_target(gateway, place))

    def _teller(self, kind: str) -> Callable[[Name, Live | None, Live | None], None]:
        def changed(key: Name, before: Live | None, after: Live | None) -> None:
            for name in _gateways_of(after or before):
                gateway = Name(key.namespace, name)
                self._noticed(Noticed(gateway=gateway, place=(kind, key.name), live=after))

        return changed


def places_of(wanted: Sequence[Mapping[str, Any]]) -> dict[Place, Mapping[str, Any]]:
    """Return objects by where they are."""
    return {_place(item): item for item in wanted}


def _wish(gateway: Name, wanted: Mapping[str, Any]) -> Wish:
    """Apply over nothing, or over what is ours and still as it was looked at."""

    def decide(live: Live | None) -> Mapping[str, Any] | Applied:
        if live is None:
            return wanted
        theirs = _theirs(gateway, live)
        if theirs is not None:
            return Applied(outcome=Outcome.CONFLICT, live=live, message=theirs)
        metadata = {
            **wanted["metadata"],
            "resourceVersion": live["metadata"]["resourceVersion"],
        }
        return {**wanted, "metadata": metadata}

    return decide


def _theirs(gateway: Name, live: Live) -> str | None:
    """Return why an object is somebody else's, None where it is the Gateway's."""
    labels = _labels(live)
    if labels.get(MANAGED) != MANAGED_BY_US:
        return f"it is left alone, because it is there without the label {MANAGED}={MANAGED_BY_US}"
    named = _gateways_of(live)
    if named and gateway.name not in named:
        return f"it is left alone, because it is of another Gateway, {', '.join(named)}"
    return None


def _is_made_for(gateway: Name, uid: str, live: Live) -> bool:
    metadata = live["metadata"]
    labels = _labels(live)
    return (
        bool(uid)
        and metadata.get("namespace") == gateway.namespace
        and labels.get(MANAGED) == MANAGED_BY_US
        and labels.get(GATEWAY_NAME) == gateway.name
        and not metadata.get("deletionTimestamp")
        and any(
            owner.get("kind") == _OWNER_KIND and owner.get("uid") == uid
            for owner in metadata.get("ownerReferences") or ()
        )
    )


def _gateways_of(live: Live | None) -> tuple[str, ...]:
    """Return the Gateways that own an object; without an owner the one it is labelled for."""
    if live is None:
        return ()
    owners = live["metadata"].get("ownerReferences") or ()
    names = [str(owner.get("name")) for owner in owners if owner.get("kind") == _OWNER_KIND]
    label = _labels(live).get(GATEWAY_NAME)
    return tuple(names) if names or label is None else (label,)


def _labels(live: Live) -> Mapping[str, str]:
    return live["metadata"].get("labels") or {}


def _place(item: Mapping[str, Any]) -> Place:
    return item["kind"], item["metadata"]["name"]


def _target(gateway: Name, place: Place) -> Target:
    kind, name = place
    version, plural = _API[kind]
    return Target(api_version=version, plural=plural, namespace=gateway.namespace, name=name)


def _worse(first: Applied, second: Applied, target: Target) -> Applied:
    """Return the first thing that went wrong, with the name of its object; else the last write."""
    if not first.is_done:
        return first
    if not second.is_done:
        return Applied(outcome=second.outcome, message=f"{target}: {second.message}")
    return second if second.outcome is Outcome.WRITTEN else first
