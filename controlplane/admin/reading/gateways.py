"""Gateways and the waypoints among them, a page at a time."""

from asyncio import to_thread
from collections.abc import Callable
from typing import Any

from controlplane.admin.errors import NotFoundError
from controlplane.admin.queries import ElementQuery
from controlplane.admin.reading.ground import Ground, contains, told
from controlplane.admin.reading.listing import Listing
from controlplane.admin.reading.texts import gateway_text
from controlplane.admin.reading.waypoint_reach import WaypointReaches
from controlplane.admin.values.common import Page
from controlplane.admin.values.mesh import (
    GatewayValue,
    ListenerValue,
    WaypointDetail,
    WaypointValue,
)
from controlplane.admin.viewer import Viewer
from controlplane.insight.waypoint_snapshot import served_to_waypoint, waypoint_document
from controlplane.manifests.gateway import Gateway
from controlplane.model.names import Name
from controlplane.model.waypoint import Waypoint


class Gateways:
    """Every Gateway of the mesh, and every usable waypoint."""

    def __init__(self, ground: Ground) -> None:
        world = ground.pipeline.world
        self._ground = ground
        self._gateways = world.gateways
        self._waypoints = world.waypoints
        self._reaches = WaypointReaches(ground)
        self.gateway_listing = Listing(self._gateways, _own_name)
        self.waypoint_listing = Listing(self._waypoints, _own_name)

    async def gateways(self, viewer: Viewer, query: ElementQuery) -> Page[GatewayValue]:
        """Return Gateways, by namespace and name.

        Raises:
            BadCursorError: ``after`` is nothing this list gave out.
        """
        return await self._ground.page(
            self.gateway_listing,
            viewer,
            query,
            keep=_kept(query),
            values=lambda found: told(map(self._gateway, found)),
        )

    async def waypoints(self, viewer: Viewer, query: ElementQuery) -> Page[WaypointValue]:
        """Return usable waypoints, by namespace and name.

        Raises:
            BadCursorError: ``after`` is nothing this list gave out.
        """
        return await self._ground.page(
            self.waypoint_listing,
            viewer,
            query,
            keep=_kept(query),
            values=lambda found: told(map(self._waypoint, found)),
        )

    def gateway(self, viewer: Viewer, key: Name) -> GatewayValue:
        """Return one Gateway.

        Raises:
            NotFoundError: there is none, or the viewer may not see it.
        """
        gateway = self._gateways.get(key)
        if gateway is None or not viewer.may_see(key.namespace):
            raise NotFoundError(f"there is no Gateway {key} in the mesh")
        return self._gateway(gateway)

    def waypoint(self, viewer: Viewer, key: Name) -> WaypointDetail:
        """Return one waypoint, with what it serves of what the viewer may see.

        Raises:
            NotFoundError: there is none, or the viewer may not see it.
        """
        waypoint = self._waypoints.get(key)
        if waypoint is None or not viewer.may_see(key.namespace):
            raise NotFoundError(f"there is no usable waypoint {key}")
        return WaypointDetail(
            **dict(self._waypoint(waypoint)), **dict(self._reaches.reach(viewer, key))
        )

    async def snapshot(self, key: Name) -> dict[str, Any]:
        """Return everything that the pods of a waypoint are sent, for who sees the whole mesh.

        A waypoint may serve any namespace, and its listeners are one with all of them.

        Raises:
            NotFoundError: there is no such waypoint.
        """
        served = served_to_waypoint(self._ground.pipeline.world, self._ground.catalog, key)
        if served is None:
            raise NotFoundError(f"there is no waypoint {key}")
        # A listener of many services takes long to decode, and is decoded in one piece.
        return await to_thread(waypoint_document, key, served)

    def _gateway(self, gateway: Gateway) -> GatewayValue:
        reference = gateway.reference
        return GatewayValue(
            name=gateway.key.name,
            namespace=gateway.key.namespace,
            class_name=gateway.class_name,
            listeners=tuple(
                ListenerValue(name=each.name, port=each.port, protocol=each.protocol)
                for each in gateway.listeners
            ),
            addresses=tuple(each.value for each in gateway.status_addresses or gateway.addresses),
            is_waypoint=self._waypoints.get(gateway.key) is not None,
            source=self._ground.source(reference),
            conditions=self._ground.conditions(reference),
        )

    def _waypoint(self, waypoint: Waypoint) -> WaypointValue:
        gateway = self._gateways.get(waypoint.key)
        reference = None if gateway is None else gateway.reference
        return WaypointValue(
            name=waypoint.key.name,
            namespace=waypoint.key.namespace,
            address=gateway_text(waypoint.address),
            port=waypoint.address.hbone_mtls_port,
            serves=_serves(waypoint),
            allowed_namespaces=waypoint.allowed.value,
            service_accounts=waypoint.service_accounts,
            source=self._ground.source(reference),
            conditions=self._ground.conditions(reference),
        )


def _serves(waypoint: Waypoint) -> str:
    if waypoint.serves_services and waypoint.serves_workloads:
        return "all"
    if waypoint.serves_services:
        return "service"
    return "workload" if waypoint.serves_workloads else "none"


def _own_name(key: Name, _: object) -> tuple[str, str]:
    return key.namespace, key.name


def _kept(query: ElementQuery) -> Callable[[Name, object], bool] | None:
    name = query.name.lower()
    return (lambda key, _: contains(name, key.name)) if name else None
