"""Nodes: what is on each, how its proxies are doing, and all that its ztunnel is sent."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from controlplane.admin.errors import BadCursorError, NotFoundError
from controlplane.admin.queries import NodeQuery
from controlplane.admin.reading.connections import visible
from controlplane.admin.reading.cursor import read_cursor, write_cursor
from controlplane.admin.reading.fleet import FleetNow
from controlplane.admin.reading.ground import Ground, contains, page_of, told
from controlplane.admin.reading.node_dump import NodeSnapshot, snapshot_of
from controlplane.admin.reading.services import Services
from controlplane.admin.reading.workloads import Workloads
from controlplane.admin.values.common import Page
from controlplane.admin.values.mesh import NodeDetail, NodeValue
from controlplane.admin.viewer import Viewer
from controlplane.insight.sync import connection_verdict, worst
from controlplane.model.connection import Connection
from controlplane.snapshots.scope import (
    AUTHORIZATIONS,
    GLOBAL_AUTHORIZATIONS,
    node_authorizations,
)

_SLICE: Final = 256


class Nodes:
    """Every node that has a workload or a connection."""

    def __init__(self, ground: Ground, workloads: Workloads, services: Services) -> None:
        self._ground = ground
        self._workloads = workloads
        self._services = services

    async def page(self, viewer: Viewer, query: NodeQuery) -> Page[NodeValue]:
        """Return nodes, by name.

        Raises:
            BadCursorError: ``after`` is nothing this list gave out.
        """
        last = _read(query.after) if query.after else ""
        now = await self._ground.fleet.now()
        by_node = self._connections(viewer, now)
        names = sorted({*self._ground.residence.nodes(), *by_node})
        wanted = query.name.lower()
        found: list[str] = []
        total = 0
        for number, name in enumerate(names):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            if not contains(wanted, name) or not self._is_visible(viewer, name, by_node):
                continue
            total += 1
            if name > last and len(found) <= query.limit:
                found.append(name)
        shown = found[: query.limit]
        return page_of(
            await told(self._value(viewer, name, by_node.get(name, ()), now) for name in shown),
            next_cursor=write_cursor((shown[-1],)) if len(found) > query.limit else None,
            total=total,
            commit=self._ground.catalog.commit,
        )

    async def one(self, viewer: Viewer, name: str) -> NodeDetail:
        """Return one node.

        Raises:
            NotFoundError: there is none, or nothing of it that the viewer may see.
        """
        now = await self._ground.fleet.now()
        by_node = self._connections(viewer, now)
        self._require(viewer, name, by_node)
        return NodeDetail(
            **dict(self._value(viewer, name, by_node.get(name, ()), now)),
            total_workloads=self._workloads.listing.count(viewer.namespace),
            total_services=self._services.listing.count(viewer.namespace),
            commit=self._ground.catalog.commit,
            dump=f"/api/v1/nodes/{name}/dump",
        )

    async def snapshot(self, viewer: Viewer, name: str) -> NodeSnapshot:
        """Return what a node's ztunnel is sent; what of it the viewer may see, ``dump`` decides.

        Raises:
            NotFoundError: there is no such node, or nothing of it that the viewer may see.
        """
        now = await self._ground.fleet.now()
        self._require(viewer, name, self._connections(viewer, now))
        return snapshot_of(self._ground.catalog, name, scopes_to_nodes=self._ground.scopes_to_nodes)

    def _require(
        self, viewer: Viewer, name: str, by_node: Mapping[str, Sequence[Connection]]
    ) -> None:
        is_known = name in by_node or bool(self._ground.residence.on_node(name))
        if not is_known or not self._is_visible(viewer, name, by_node):
            raise NotFoundError(f"nothing of the mesh is on a node called {name!r}")

    def _connections(self, viewer: Viewer, now: FleetNow) -> dict[str, list[Connection]]:
        found: dict[str, list[Connection]] = {}
        for connection in now.view.connections:
            if connection.node and visible(viewer, connection):
                found.setdefault(connection.node, []).append(connection)
        return found

    def _is_visible(
        self, viewer: Viewer, name: str, by_node: Mapping[str, Sequence[Connection]]
    ) -> bool:
        return viewer.sees_all or name in by_node or self._workloads_on(viewer, name) > 0

    def _workloads_on(self, viewer: Viewer, name: str) -> int:
        uids = self._ground.residence.on_node(name)
        if viewer.sees_all:
            return len(uids)
        workloads = map(self._ground.pipeline.world.workloads.get, uids)
        return sum(each is not None and viewer.may_see(each.namespace) for each in workloads)

    def _policies_of(self, viewer: Viewer, name: str) -> int:
        scoped = (GLOBAL_AUTHORIZATIONS, node_authorizations(name))
        keys = scoped if self._ground.scopes_to_nodes else (AUTHORIZATIONS,)
        tables = [self._ground.catalog.table(key) for key in keys]
        if viewer.sees_all:
            return sum(map(len, tables))
        prefix = f"{viewer.namespace}/"
        return sum(
            resource.name.startswith(prefix) for table in tables for resource in table.resources()
        )

    def _value(
        self, viewer: Viewer, name: str, connections: Sequence[Connection], now: FleetNow
    ) -> NodeValue:
        verdict = worst(connection_verdict(connection, now.at) for connection in connections)
        return NodeValue(
            name=name,
            workloads=self._workloads_on(viewer, name),
            policies=self._policies_of(viewer, name),
            connections=tuple(sorted(connection.name for connection in connections)),
            state=verdict.state.value if connections else "",
            lag_commits=verdict.lag_commits,
            lag_seconds=verdict.lag_seconds,
        )


def _read(text: str) -> str:
    match read_cursor(text):
        case (str(name),):
            return name
    raise BadCursorError("the cursor is none that this list gave out")
