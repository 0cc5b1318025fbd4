"""The last rules for waypoints: what each one serves comes in, its resources go out.

Every collection is keyed by waypoint and resource name, so that a change costs what it touches: a
pod one set of endpoints, a route one route configuration. ``publication`` hands them to the
catalog. docs/protocol/waypoint-config.md WC-10 to WC-13.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.encode.cluster import (
    encode_connect_originate_cluster,
    encode_encapsulate_cluster,
    encode_main_internal_cluster,
    encode_service_cluster,
)
from controlplane.encode.endpoint import encode_endpoints
from controlplane.encode.envelope import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
)
from controlplane.encode.errors import EncodeError
from controlplane.encode.filter_chain import Chain, direct_chains, encode_service_chains
from controlplane.encode.listener import (
    encode_connect_originate,
    encode_connect_terminate,
    encode_main_internal,
)
from controlplane.encode.route import encode_direct_routes, encode_service_routes
from controlplane.encode.waypoint_names import (
    CONNECT_ORIGINATE,
    CONNECT_TERMINATE,
    ENCAPSULATE,
    MAIN_INTERNAL,
    direct_name,
    service_name,
)
from controlplane.mesh.problems import ProblemKey
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.waypoint_traffic import WaypointTraffic
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem
from controlplane.model.waypoint_traffic import (
    DirectWorkloads,
    Layer,
    ServedService,
    ServiceEndpoints,
    WaypointFrame,
)
from controlplane.pipeline.refusals import Refusal, Sent, attempt, refusal_problems, refusals


class WaypointResource(NamedTuple):
    """A resource of one waypoint; its type is that of the collection."""

    waypoint: Name
    name: str


class Chained(NamedTuple):
    """A service and its filter chains, ready to be part of a listener."""

    service: ServedService
    chains: tuple[Chain, ...]


Resources = Mapping[WaypointResource, Sent]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedWaypoints:
    """What the pods of each waypoint are sent, secrets excepted, and what cannot be sent."""

    clusters: Collection[WaypointResource, Sent]
    endpoints: Collection[WaypointResource, Sent]
    listeners: Collection[WaypointResource, Sent]
    routes: Collection[WaypointResource, Sent]
    problems: Collection[ProblemKey, Problem]

    def by_type(self) -> tuple[tuple[str, Collection[WaypointResource, Sent]], ...]:
        """Return the collections with their type URLs."""
        return (
            (CLUSTER_TYPE, self.clusters),
            (ENDPOINT_TYPE, self.endpoints),
            (LISTENER_TYPE, self.listeners),
            (ROUTE_TYPE, self.routes),
        )


def build_encoded_waypoints(graph: Graph, traffic: WaypointTraffic) -> EncodedWaypoints:
    """Declare the resources of every waypoint on ``graph``."""
    chained: Collection[WaypointHost, Chained | Refusal] = graph.derive(
        "filter chains of waypoints", traffic.services, lambda _, service: _chained(service)
    )
    # A service without chains has no use for anything else, and is one problem, not five.
    sendable: Collection[WaypointHost, ServedService] = graph.derive(
        "sendable services of waypoints",
        chained,
        lambda _, value: value.service if isinstance(value, Chained) else None,
    )

    def endpoints(fetch: Fetch, value: ServiceEndpoints) -> Resources:
        service = fetch.one(sendable, WaypointHost(value.waypoint, value.hostname))
        return {} if service is None else _endpoints(value)

    encoded = {
        "clusters": graph.union(
            "clusters of waypoints",
            _fixed_clusters(graph, traffic),
            _service_clusters(graph, traffic, sendable),
        ),
        "endpoints": graph.derive_many(
            "encoded endpoints of waypoints", traffic.endpoints, endpoints
        ),
        "listeners": _listeners(graph, traffic, chained),
        "routes": graph.union(
            "routes of waypoints",
            graph.derive_many(
                "routes of served services", sendable, lambda _, value: _routes(value)
            ),
            graph.derive_many(
                "routes of direct workloads", traffic.direct, lambda _, value: _direct(value)
            ),
        ),
    }
    refused = [
        graph.distinct(
            f"refused {name} of waypoints", collection.index(f"refused {name}", refusals)
        )
        for name, collection in encoded.items()
    ]
    refused.append(
        graph.distinct("refused chains of waypoints", chained.index("refused chains", refusals))
    )
    return EncodedWaypoints(
        **encoded,
        problems=graph.derive_many(
            "encoding problems of waypoints",
            graph.union("refusals of waypoints", *refused),
            lambda _, refusal: refusal_problems(refusal),
        ),
    )


def _fixed_clusters(graph: Graph, traffic: WaypointTraffic) -> Collection[WaypointResource, Sent]:
    main, onward = encode_main_internal_cluster(), encode_encapsulate_cluster()

    def rule(fetch: Fetch, frame: WaypointFrame) -> Resources:
        waypoint = frame.waypoint
        found: dict[WaypointResource, Sent] = {
            WaypointResource(waypoint, MAIN_INTERNAL): main,
            WaypointResource(waypoint, CONNECT_ORIGINATE): attempt(
                _gateway(waypoint), lambda: encode_connect_originate_cluster(frame)
            ),
        }
        if fetch.one(traffic.direct, waypoint) is not None:
            found[WaypointResource(waypoint, ENCAPSULATE)] = onward
        return found

    return graph.derive_many("fixed clusters of waypoints", traffic.frames, rule)


def _service_clusters(
    graph: Graph, traffic: WaypointTraffic, sendable: Collection[WaypointHost, ServedService]
) -> Collection[WaypointResource, Sent]:
    # Narrow on purpose: the clusters of services that are discovered do not hear of their pods.
    looked_up = graph.derive(
        "endpoints that waypoints look up",
        traffic.endpoints,
        lambda _, value: value if value.are_looked_up else None,
    )

    def rule(fetch: Fetch, service: ServedService) -> Resources:
        found: dict[WaypointResource, Sent] = {}
        for port in service.ports:
            key = EndpointsKey(service.waypoint, service.hostname, port.number)
            endpoints = fetch.one(looked_up, key)
            for layer in port.layers:
                name = service_name(port.number, layer, service.hostname)
                found[WaypointResource(service.waypoint, name)] = attempt(
                    service.owner,
                    partial(encode_service_cluster, service, port, layer, endpoints),
                )
        return found

    return graph.derive_many("clusters of served services", sendable, rule)


def _listeners(
    graph: Graph,
    traffic: WaypointTraffic,
    chained: Collection[WaypointHost, Chained | Refusal],
) -> Collection[WaypointResource, Sent]:
    by_waypoint = chained.index("filter chains by waypoint", _waypoint_of)
    onward = encode_connect_originate()
    direct_ones = direct_chains()

    def rule(fetch: Fetch, frame: WaypointFrame) -> Resources:
        waypoint = frame.waypoint
        served = [
            value for value in fetch.where(by_waypoint, waypoint) if isinstance(value, Chained)
        ]
        direct = fetch.one(traffic.direct, waypoint)
        chains = [chain for value in served for chain in value.chains]
        chains += direct_ones if direct is not None else ()
        services = [value.service for value in served]
        owner = _gateway(waypoint)
        return {
            WaypointResource(waypoint, CONNECT_TERMINATE): attempt(
                owner, lambda: encode_connect_terminate(frame)
            ),
            WaypointResource(waypoint, MAIN_INTERNAL): attempt(
                owner, lambda: encode_main_internal(services, chains, direct)
            ),
            WaypointResource(waypoint, CONNECT_ORIGINATE): onward,
        }

    return graph.derive_many("listeners of waypoints", traffic.frames, rule)


def _chained(service: ServedService) -> Chained | Refusal:
    try:
        return Chained(service, encode_service_chains(service))
    except EncodeError as error:
        return Refusal(service.owner, error.name, error.reason)


def _waypoint_of(value: Chained | Refusal) -> tuple[Name, ...]:
    return (value.service.waypoint,) if isinstance(value, Chained) else ()


def _endpoints(value: ServiceEndpoints) -> Resources:
    if value.are_looked_up:
        return {}
    return dict(_endpoints_by_layer(value))


def _endpoints_by_layer(value: ServiceEndpoints) -> Iterator[tuple[WaypointResource, Sent]]:
    for layer in value.port.layers:
        name = service_name(value.port.number, layer, value.hostname)
        sent = attempt(value.owner, partial(encode_endpoints, value, layer))
        yield WaypointResource(value.waypoint, name), sent


def _routes(service: ServedService) -> Resources:
    return {
        WaypointResource(
            service.waypoint, service_name(port.number, Layer.HTTP, service.hostname)
        ): attempt(service.owner, partial(encode_service_routes, service, port))
        for port in service.ports
        if Layer.HTTP in port.layers
    }


def _direct(value: DirectWorkloads) -> Resources:
    key = WaypointResource(value.waypoint, direct_name(Layer.HTTP))
    return {key: encode_direct_routes()}


def _gateway(waypoint: Name) -> ObjectReference:
    return ObjectReference("Gateway", *waypoint)
