"""Endpoints of services that prefer near ones: ports and places come in, resources go out.

A pod that comes or goes costs one resource for every node that pods of the waypoint run on, a pod
of the waypoint on another node what is near to that node.
docs/protocol/waypoint-config.md WC-72 to WC-75.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph, Index
from controlplane.encode.endpoint import encode_endpoints
from controlplane.encode.waypoint_names import outbound_name, service_name
from controlplane.mesh.backend_tls import PortKey
from controlplane.mesh.foreign_services import ForeignKey, ForeignPort
from controlplane.mesh.nearness import PlaceKey, tiers
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.world import World
from controlplane.model.names import Name
from controlplane.model.waypoint_traffic import (
    Layer,
    Place,
    ServedPort,
    ServedService,
    ServiceEndpoints,
)
from controlplane.pipeline.refusals import Sent, attempt
from controlplane.pipeline.waypoint_resources import PlacedResource


class _View(NamedTuple):
    """A port on one layer as it is seen from one place."""

    place: PlaceKey
    hostname: str
    port: int
    layer: Layer


_Views = Mapping[_View, _View]
_Places = Index[Name, PlaceKey, Place]
_Find = Callable[[Fetch, _View], ServiceEndpoints | None]


def build_near_endpoints(
    graph: Graph, world: World, sendable: Collection[WaypointHost, ServedService]
) -> Collection[PlacedResource, Sent]:
    """Declare what is near to the places of every waypoint on ``graph``."""
    places = world.traffic.places.index("places by waypoint", lambda place: (place.waypoint,))

    def served(fetch: Fetch, service: ServedService) -> _Views:
        on_layers = ((port, layer) for port in service.ports for layer in port.layers)
        return _views(fetch, places, service, on_layers)

    def foreign(fetch: Fetch, wanted: ForeignPort) -> _Views:
        return _views(fetch, places, wanted.service, ((wanted.port, wanted.layer),))

    def of_served(fetch: Fetch, view: _View) -> ServiceEndpoints | None:
        key = EndpointsKey(view.place.waypoint, view.hostname, view.port)
        return fetch.one(world.traffic.endpoints, key)

    def of_foreign(fetch: Fetch, view: _View) -> ServiceEndpoints | None:
        key = ForeignKey(view.place.waypoint, view.hostname, view.port, view.layer)
        return fetch.one(world.foreign.endpoints, key)

    return graph.union(
        "near endpoints of waypoints",
        graph.derive_many(
            "near endpoints of served services",
            graph.derive_many("served services seen from places", sendable, served),
            _rule(world, of_served, is_outbound=False),
        ),
        graph.derive_many(
            "near endpoints of foreign services",
            graph.derive_many("foreign services seen from places", world.foreign.ports, foreign),
            _rule(world, of_foreign, is_outbound=True),
        ),
    )


def _views(
    fetch: Fetch,
    places: _Places,
    service: ServedService,
    ports: Iterable[tuple[ServedPort, Layer]],
) -> _Views:
    if service.nearness is None:
        return {}
    keys = [PlaceKey(place.waypoint, place.node) for place in fetch.where(places, service.waypoint)]
    views = (
        _View(key, service.hostname, port.number, layer) for port, layer in ports for key in keys
    )
    return {view: view for view in views}


def _rule(
    world: World, find: _Find, *, is_outbound: bool
) -> Callable[[Fetch, _View], Mapping[PlacedResource, Sent]]:
    """Return what makes the endpoints of one view."""
    named = outbound_name if is_outbound else service_name

    def made(fetch: Fetch, view: _View) -> Iterator[tuple[PlacedResource, Sent]]:
        value = find(fetch, view)
        place = fetch.one(world.traffic.places, view.place)
        if value is None or value.nearness is None or place is None or value.are_looked_up:
            return
        tls = fetch.one(world.backend_tls.by_port, PortKey(value.owner, view.port))
        if tls is not None and not tls.is_usable:
            return
        encode = partial(
            encode_endpoints,
            value,
            view.layer,
            is_outbound=is_outbound,
            tiers=tiers(value.endpoints, value.nearness, place),
        )
        name = named(view.port, view.layer, view.hostname)
        yield PlacedResource(*view.place, name), attempt(value.owner, encode)

    return lambda fetch, view: dict(made(fetch, view))
