"""Connections of all replicas, a page at a time, with verdicts; and the fleet in numbers."""

import asyncio
from collections import Counter
from datetime import datetime
from typing import Final

from controlplane.admin.errors import BadCursorError, NotFoundError
from controlplane.admin.queries import ConnectionQuery
from controlplane.admin.reading.cursor import read_cursor, write_cursor
from controlplane.admin.reading.fleet import FleetNow
from controlplane.admin.reading.ground import Ground, contains, page_of, told, visible_object
from controlplane.admin.reading.texts import short_type
from controlplane.admin.values.common import Page, Reference
from controlplane.admin.values.fleet import (
    ConnectionValue,
    FleetValue,
    RejectedResource,
    ReplicaValue,
    TypeValue,
)
from controlplane.admin.viewer import Viewer
from controlplane.insight.sync import connection_verdict, sync_verdict
from controlplane.model.connection import Connection, TypeProgress
from controlplane.model.names import Name

_SLICE: Final = 64
_UNTOLD: Final = "something was refused, of other namespaces perhaps"


class Connections:
    """Everybody who is connected. ``replica`` is this process."""

    def __init__(self, ground: Ground, *, replica: str) -> None:
        self._ground = ground
        self._replica = replica
        self._sorted: tuple[FleetNow, list[Connection]] | None = None

    async def page(self, viewer: Viewer, query: ConnectionQuery) -> Page[ConnectionValue]:
        """Return connections, by name, replica and number.

        Raises:
            BadCursorError: ``after`` is nothing this list gave out.
        """
        last = _read(query.after) if query.after else None
        now = await self._ground.fleet.now()
        found: list[Connection] = []
        total = 0
        for number, connection in enumerate(self._in_order(now)):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            if not visible(viewer, connection) or not _is(query, connection, now.at):
                continue
            total += 1
            if (last is None or _place(connection) > last) and len(found) <= query.limit:
                found.append(connection)
        shown = found[: query.limit]
        return page_of(
            await told(self.value(viewer, connection, now.at) for connection in shown),
            next_cursor=write_cursor(_place(shown[-1])) if len(found) > query.limit else None,
            total=total,
            commit=self._ground.catalog.commit,
        )

    async def one(self, viewer: Viewer, replica: str, number: int) -> ConnectionValue:
        """Return one connection.

        Raises:
            NotFoundError: there is none, or the viewer may not see it.
        """
        now = await self._ground.fleet.now()
        for connection in now.view.connections:
            if (connection.replica, connection.number) == (replica, number):
                if visible(viewer, connection):
                    return self.value(viewer, connection, now.at)
                break
        raise NotFoundError(f"replica {replica!r} has no connection {number}")

    async def everybody(self) -> tuple[Connection, ...]:
        """Return the connections of every replica by name; whoever asks judges who may see them."""
        return tuple(self._in_order(await self._ground.fleet.now()))

    async def of_proxy(self, viewer: Viewer, proxy: str) -> tuple[ConnectionValue, ...]:
        """Return connections whose node id contains ``proxy``, or that are called so."""
        now = await self._ground.fleet.now()
        return await told(
            self.value(viewer, connection, now.at)
            for connection in self._in_order(now)
            if visible(viewer, connection)
            and (proxy in connection.node_id or proxy == connection.name)
        )

    async def of_waypoint(self, viewer: Viewer, waypoint: Name) -> tuple[ConnectionValue, ...]:
        """Return the connections of a waypoint's pods, by name, replica and number."""
        now = await self._ground.fleet.now()
        return await told(
            self.value(viewer, connection, now.at)
            for connection in self._in_order(now)
            if connection.namespace == waypoint.namespace
            and visible(viewer, connection)
            and self._ground.waypoint_of(Name(connection.namespace, connection.pod)) == waypoint
        )

    async def fleet(self, viewer: Viewer) -> FleetValue:
        """Return the connections the viewer may see, in numbers, and the replicas."""
        now = await self._ground.fleet.now()
        states: Counter[str] = Counter()
        replicas: Counter[str] = Counter()
        for number, connection in enumerate(now.view.connections):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            if visible(viewer, connection):
                states[connection_verdict(connection, now.at).state.value] += 1
                replicas[connection.replica] += 1
        others = [
            ReplicaValue(
                name=each.replica,
                seen_at=each.seen_at,
                is_this=False,
                connections=replicas[each.replica],
            )
            for each in now.view.replicas
        ]
        own = ReplicaValue(
            name=self._replica,
            seen_at=now.at,
            is_this=True,
            connections=replicas[self._replica],
        )
        return FleetValue(
            connections=sum(states.values()),
            states=dict(sorted(states.items())),
            replicas=(own, *others),
            trouble=now.view.trouble,
        )

    def value(self, viewer: Viewer, connection: Connection, now: datetime) -> ConnectionValue:
        """Return a connection as a value."""
        verdict = connection_verdict(connection, now)
        waypoint = self._ground.waypoint_of(Name(connection.namespace, connection.pod))
        return ConnectionValue(
            name=connection.name,
            replica=connection.replica,
            number=connection.number,
            node_id=connection.node_id,
            kind=connection.kind,
            pod=connection.pod,
            namespace=connection.namespace,
            node=connection.node,
            version=connection.version,
            cluster=connection.cluster,
            peer=connection.peer,
            identity=connection.identity,
            connected_at=connection.connected_at,
            state=verdict.state.value,
            lag_commits=verdict.lag_commits,
            lag_seconds=verdict.lag_seconds,
            types=tuple(
                self._type(viewer, progress, now, waypoint) for progress in connection.types
            ),
        )

    def rejected(
        self,
        viewer: Viewer,
        type_url: str,
        names: tuple[str, ...],
        waypoint: Name | None = None,
    ) -> tuple[RejectedResource, ...]:
        """Return refused resources with the objects behind them; only those a viewer may see."""
        found = []
        for name in names:
            reference = self._ground.object_of(type_url, name, waypoint)
            if visible_object(viewer, reference):
                told_object = None if reference is None else Reference.of(reference)
                found.append(RejectedResource(name=name, object=told_object))
        return tuple(found)

    def _type(
        self, viewer: Viewer, progress: TypeProgress, now: datetime, waypoint: Name | None
    ) -> TypeValue:
        verdict = sync_verdict(progress, now)
        rejected = self.rejected(viewer, progress.type_url, progress.rejected, waypoint)
        return TypeValue(
            type_url=progress.type_url,
            short=short_type(progress.type_url),
            state=verdict.state.value,
            since=verdict.since,
            lag_commits=verdict.lag_commits,
            lag_seconds=verdict.lag_seconds,
            on_demand=progress.is_on_demand,
            nonce_sent=progress.nonce_sent,
            nonce_acknowledged=progress.nonce_acknowledged,
            commit_sent=progress.commit_sent,
            commit_acknowledged=progress.commit_acknowledged,
            commit_held=progress.commit_held,
            commit_due=progress.commit_due,
            sent_at=progress.sent_at,
            acknowledged_at=progress.acknowledged_at,
            behind_since=progress.behind_since,
            in_flight=progress.is_in_flight,
            held=progress.held,
            last_error=_told_error(viewer, progress, rejected),
            last_error_at=progress.last_error_at,
            rejected=rejected,
        )

    def _in_order(self, now: FleetNow) -> list[Connection]:
        if self._sorted is None or self._sorted[0] is not now:
            self._sorted = (now, sorted(now.view.connections, key=_place))
        return self._sorted[1]


def visible(viewer: Viewer, connection: Connection) -> bool:
    """Return whether the viewer may see a connection: by who was authenticated, if anybody was."""
    authenticated = connection.identity.partition("/")[0]
    return viewer.may_see(authenticated or connection.namespace)


def _told_error(
    viewer: Viewer, progress: TypeProgress, rejected: tuple[RejectedResource, ...]
) -> str:
    """Return what a client said, unless it may have named what the viewer may not see."""
    is_told = viewer.sees_all or (bool(rejected) and len(rejected) == len(progress.rejected))
    return progress.last_error if is_told or not progress.last_error else _UNTOLD


def _place(connection: Connection) -> tuple[str, str, int]:
    return connection.name, connection.replica, connection.number


def _is(query: ConnectionQuery, connection: Connection, now: datetime) -> bool:
    return (
        (not query.namespace or connection.namespace == query.namespace)
        and (not query.node or connection.node == query.node)
        and (not query.kind or connection.kind == query.kind)
        and (not query.replica or connection.replica == query.replica)
        and contains(query.name.lower(), connection.name)
        and (not query.state or connection_verdict(connection, now).state.value == query.state)
    )


def _read(text: str) -> tuple[str, str, int]:
    match read_cursor(text):
        case (str(name), str(replica), int(number)):
            return name, replica, number
    raise BadCursorError("the cursor is none that this list gave out")
