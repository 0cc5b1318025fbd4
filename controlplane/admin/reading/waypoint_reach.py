"""What one waypoint serves, and what is in force there: committed collections in, values out."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from controlplane.admin.reading.ground import Ground, visible_object
from controlplane.admin.values.common import Reference
from controlplane.admin.values.mesh import InForceValue, WaypointReach, WaypointServiceValue
from controlplane.admin.viewer import Viewer
from controlplane.dataflow import Change
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.model.names import Name, ObjectReference
from controlplane.model.waypoint_traffic import ServedService

SERVICES: Final = 200
"""Services told of one waypoint; all that may be seen are counted."""


class WaypointReaches:
    """Services by waypoint, and the routes and policies that apply to each."""

    def __init__(self, ground: Ground) -> None:
        world = ground.pipeline.world
        self._ground = ground
        self._services = world.traffic.services
        self._requests = world.http_routes.by_port
        self._connections = world.connection_routes.by_port
        self._policies = world.http_policies
        self._hosts: dict[Name, dict[WaypointHost, None]] = {}
        self._services.subscribe(self._changed)

    def reach(self, viewer: Viewer, waypoint: Name) -> WaypointReach:
        """Return what ``viewer`` may know of a waypoint's services, the first SERVICES by name."""
        found = [
            service
            for host in sorted(self._hosts.get(waypoint, ()))
            if (service := self._services.get(host)) is not None
            and viewer.may_see(service.service.namespace)
        ]
        routes: dict[ObjectReference, None] = {}
        policies = dict.fromkeys(
            _named(each.key for each in self._policies.by_waypoint.get(waypoint) or ())
        )
        services = []
        for service in islice(found, SERVICES):
            host = WaypointHost(waypoint, service.hostname)
            own = dict.fromkeys(
                _named(each.key for each in self._policies.by_service.get(host) or ())
            )
            routed = dict.fromkeys(self._routes(service))
            policies |= own
            routes |= routed
            services.append(
                WaypointServiceValue(
                    namespace=service.service.namespace,
                    hostname=service.hostname,
                    ports=tuple(each.number for each in service.ports),
                    routes=_references(viewer, routed),
                    policies=_references(viewer, own),
                )
            )
        return WaypointReach(
            services=tuple(services),
            service_count=len(found),
            routes=self._in_force(viewer, routes),
            policies=self._in_force(viewer, policies),
        )

    def _routes(self, service: ServedService) -> Iterable[ObjectReference]:
        for port in service.ports:
            key = EndpointsKey(service.waypoint, service.hostname, port.number)
            yield from (each.owner for each in self._requests.get(key) or ())
            connections = self._connections.get(key)
            if connections is not None:
                yield connections.owner

    def _in_force(
        self, viewer: Viewer, references: Iterable[ObjectReference]
    ) -> tuple[InForceValue, ...]:
        return tuple(
            InForceValue(source=self._ground.source(each), conditions=self._ground.conditions(each))
            for each in sorted(references)
            if visible_object(viewer, each)
        )

    def _changed(self, changes: Sequence[Change[WaypointHost, ServedService]]) -> None:
        for host, _, new in changes:
            if new is not None:
                self._hosts.setdefault(host.waypoint, {})[host] = None
                continue
            held = self._hosts.get(host.waypoint, {})
            held.pop(host, None)
            if not held:
                self._hosts.pop(host.waypoint, None)


def _named(keys: Iterable[Name]) -> Iterable[ObjectReference]:
    return (ObjectReference("AuthorizationPolicy", *key) for key in keys)


def _references(viewer: Viewer, found: Iterable[ObjectReference]) -> tuple[Reference, ...]:
    return tuple(Reference.of(each) for each in sorted(found) if visible_object(viewer, each))
