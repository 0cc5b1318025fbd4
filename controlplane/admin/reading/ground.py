"""What every list stands on: committed collections, where objects were read, who holds what."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from controlplane.admin.reading.fleet import FleetNow, FleetReading
from controlplane.admin.reading.holders import Holders
from controlplane.admin.reading.listing import Listing
from controlplane.admin.reading.residence import Residence
from controlplane.admin.values.common import Page, Reference, Source
from controlplane.admin.values.mesh import ConditionValue
from controlplane.admin.viewer import Viewer
from controlplane.dataflow import Change
from controlplane.insight.resource_objects import object_of
from controlplane.insight.waypoint_snapshot import object_behind, waypoint_of
from controlplane.manifests.istio import ServiceEntry
from controlplane.model.names import Name, ObjectReference, ServiceName
from controlplane.model.problem import Condition
from controlplane.pipeline.assembly import Pipeline
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import WAYPOINT_TYPES
from controlplane.sources.source import Origin

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")

TOLD: Final = 25
"""Elements turned into values between two chances for the event loop."""

Origins = Callable[[ObjectReference], Origin | None]
"""Tells where an object was read (``Intake.origin``)."""


class NamespacedQuery(Protocol):
    """A page of a list, maybe narrowed to a namespace ("": to none)."""

    @property
    def namespace(self) -> str:
        """Return the namespace."""
        ...

    @property
    def after(self) -> str:
        """Return the cursor that the page begins behind; "" for the first page."""
        ...

    @property
    def limit(self) -> int:
        """Return how many elements are wanted at most."""
        ...


@dataclass(slots=True, kw_only=True)
class Ground:
    """Committed state, and what is kept beside it to answer quickly."""

    pipeline: Pipeline
    catalog: Catalog
    origins: Origins
    fleet: FleetReading
    scopes_to_nodes: bool = True
    residence: Residence = field(init=False)
    _conditions: dict[ObjectReference, dict[str, Condition]] = field(init=False)
    _entries: dict[ServiceName, dict[Name, None]] = field(init=False)
    _holders: tuple[FleetNow, Holders] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        world = self.pipeline.world
        self._conditions = {}
        self._entries = {}
        self.residence = Residence(world.workloads)
        world.told.subscribe(self._conditions_changed)
        world.service_entries.subscribe(self._entries_changed)

    async def page(
        self,
        listing: Listing[K, V],
        viewer: Viewer,
        query: NamespacedQuery,
        *,
        keep: Callable[[K, V], bool] | None,
        values: Callable[[Iterable[V]], Awaitable[Sequence[T]]],
    ) -> Page[T]:
        """Return a page of ``listing``: of what ``keep`` keeps (None: all), in ``values``.

        Raises:
            BadCursorError: ``query.after`` is nothing this list gave out.
        """
        namespace, commit = viewer.narrowed(query.namespace), self.catalog.commit
        found = await listing.page(
            after=query.after, limit=query.limit, namespace=namespace, keep=keep
        )
        return page_of(
            await values(value for _, value in found.items),
            next_cursor=found.next,
            total=listing.count(namespace) if keep is None else None,
            commit=commit,
        )

    async def holders(self) -> Holders:
        """Return who holds what, as connections were seen a moment ago."""
        now = await self.fleet.now()
        if self._holders is None or self._holders[0] is not now:
            found = Holders(
                self.catalog,
                now.own,
                others=now.others,
                scopes_to_nodes=self.scopes_to_nodes,
            )
            self._holders = (now, found)
        return self._holders[1]

    def object_of(
        self, type_url: str, name: str, waypoint: Name | None = None
    ) -> ObjectReference | None:
        """Return the object that a resource was made of, None when that cannot be told.

        ``waypoint`` is whose resource it is, None for those that waypoints have no part in.
        """
        if waypoint is not None and type_url in WAYPOINT_TYPES:
            return object_behind(self.pipeline.world, waypoint, name)
        return object_of(type_url, name, self._owner)

    def waypoint_of(self, pod: Name) -> Name | None:
        """Return the waypoint that a pod is of, None for every other pod."""
        return waypoint_of(self.pipeline.world, pod)

    def source(self, reference: ObjectReference | None) -> Source:
        """Return where an object comes from."""
        if reference is None:
            return Source()
        origin = self.origins(reference)
        return Source(
            object=Reference.of(reference),
            file="" if origin is None else origin.file,
            line=None if origin is None else origin.line,
            resource_version="" if origin is None else origin.version,
        )

    def conditions(self, reference: ObjectReference | None) -> tuple[ConditionValue, ...]:
        """Return the conditions of one object, by type."""
        if reference is None:
            return ()
        found = self._conditions.get(reference, {})
        return tuple(self.condition(found[kind]) for kind in sorted(found))

    def condition(self, condition: Condition) -> ConditionValue:
        """Return a condition as a value."""
        return ConditionValue(
            object=Reference.of(condition.object),
            type=condition.type,
            parent=condition.parent,
            status=condition.status,
            reason=condition.reason,
            message=condition.message,
            manager=condition.manager,
            observed_generation=condition.observed_generation,
            source=self.source(condition.object),
        )

    def _owner(self, service: ServiceName) -> ObjectReference | None:
        entries = self._entries.get(service)
        return None if not entries else ObjectReference("ServiceEntry", *min(entries))

    def _conditions_changed(
        self, changes: Sequence[Change[tuple[ObjectReference, str], Condition]]
    ) -> None:
        for (reference, kind), _, new in changes:
            if new is not None:
                self._conditions.setdefault(reference, {})[kind] = new
                continue
            held = self._conditions.get(reference, {})
            held.pop(kind, None)
            if not held:
                self._conditions.pop(reference, None)

    def _entries_changed(self, changes: Sequence[Change[Name, ServiceEntry]]) -> None:
        for key, old, new in changes:
            for host in () if old is None else old.hosts:
                place = ServiceName(key.namespace, host)
                entries = self._entries.get(place, {})
                entries.pop(key, None)
                if not entries:
                    self._entries.pop(place, None)
            for host in () if new is None else new.hosts:
                self._entries.setdefault(ServiceName(key.namespace, host), {})[key] = None


async def told(values: Iterable[T]) -> tuple[T, ...]:
    """Return ``values``, made one by one with chances for the event loop in between."""
    found: list[T] = []
    for value in values:
        found.append(value)
        if len(found) % TOLD == 0:
            await asyncio.sleep(0)
    return tuple(found)


def page_of(
    items: Sequence[T], *, next_cursor: str | None, total: int | None, commit: int
) -> Page[T]:
    """Return a page."""
    return Page(items=tuple(items), next=next_cursor, total=total, commit=commit)


def contains(text: str, *places: str) -> bool:
    """Return whether one of ``places`` contains ``text``, whatever the case; "" is in all."""
    return not text or any(text in place.lower() for place in places)


def visible_object(viewer: Viewer, reference: ObjectReference | None) -> bool:
    """Return whether the viewer may know of an object; of what has none only who sees all."""
    if reference is None:
        return viewer.sees_all
    if reference.kind == "Namespace":
        return viewer.may_see(reference.name)
    return viewer.may_see(reference.namespace)
