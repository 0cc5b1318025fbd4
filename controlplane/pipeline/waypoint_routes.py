"""Routes of waypoints: what each serves comes in, one route configuration per HTTP chain goes out.

And one for tunnels, which says who is listened to. docs/protocol/waypoint-config.md WC-10, WC-31,
WC-53; docs/protocol/http-route-config.md EH-1, EH-2.
"""

from collections.abc import Mapping
from functools import partial

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.encode.http_route import EncodedRoutes, encode_http_routes
from controlplane.encode.route import encode_direct_routes, encode_service_routes
from controlplane.encode.tunnel_routes import encode_tunnel_routes
from controlplane.encode.waypoint_names import CONNECT_TERMINATE, direct_name, service_name
from controlplane.mesh.problems import ProblemKey
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.world import World
from controlplane.model.http_route import HttpRoute
from controlplane.model.names import Name
from controlplane.model.problem import Problem
from controlplane.model.waypoint_traffic import DirectWorkloads, Layer, ServedService, WaypointFrame
from controlplane.pipeline.refusals import Sent, attempt, fault_problems
from controlplane.pipeline.waypoint_policies import EncodedPolicies
from controlplane.pipeline.waypoint_resources import Resources, WaypointResource, gateway_of


def build_encoded_routes(
    graph: Graph, world: World, sendable: Collection[WaypointHost, ServedService]
) -> Collection[EndpointsKey, EncodedRoutes]:
    """Declare the routes of every port that objects have routes for on ``graph``.

    An edit of a policy does not touch them.
    """

    def rule(fetch: Fetch, service: ServedService) -> Mapping[EndpointsKey, EncodedRoutes]:
        found = {}
        for port in service.ports:
            key = EndpointsKey(service.waypoint, service.hostname, port.number)
            routes = fetch.one(world.http_routes.by_port, key)
            if Layer.HTTP in port.layers and routes:
                domains = _trust_domains(fetch, world, service.waypoint, routes)
                found[key] = encode_http_routes(routes, port.number, domains)
        return found

    return graph.derive_many("encoded routes of requests", sendable, rule)


def build_route_problems(
    graph: Graph, encoded: Collection[EndpointsKey, EncodedRoutes]
) -> Collection[ProblemKey, Problem]:
    """Declare what is wrong with routes that are not sent as written on ``graph``."""
    return graph.derive_many(
        "problems of encoded routes",
        graph.distinct(
            "faults of routes", encoded.index("faults of routes", lambda routes: routes.faults)
        ),
        lambda _, fault: fault_problems(fault),
    )


def build_waypoint_routes(
    graph: Graph,
    world: World,
    sendable: Collection[WaypointHost, ServedService],
    policies: EncodedPolicies,
    encoded: Collection[EndpointsKey, EncodedRoutes],
) -> Collection[WaypointResource, Sent]:
    """Declare the routes of every waypoint on ``graph``."""

    def of_service(fetch: Fetch, service: ServedService) -> Resources:
        host = WaypointHost(service.waypoint, service.hostname)
        found: dict[WaypointResource, Sent] = {}
        for port in service.ports:
            if Layer.HTTP not in port.layers:
                continue
            key = EndpointsKey(service.waypoint, service.hostname, port.number)
            routes = fetch.one(encoded, key)
            overrides = policies.of_service(fetch, host, port.number)
            messages = None if routes is None else routes.messages
            name = service_name(port.number, Layer.HTTP, service.hostname)
            found[WaypointResource(service.waypoint, name)] = attempt(
                service.owner, partial(encode_service_routes, service, port, overrides, messages)
            )
        return found

    def of_waypoint(fetch: Fetch, value: DirectWorkloads) -> Resources:
        key = WaypointResource(value.waypoint, direct_name(Layer.HTTP))
        return {key: encode_direct_routes(policies.of_waypoint(fetch, value.waypoint))}

    # Narrow on purpose: what is spoken where, and nothing of chains and policies.
    served = sendable.index("sendable services by waypoint", lambda each: (each.waypoint,))

    def of_tunnels(fetch: Fetch, frame: WaypointFrame) -> Resources:
        waypoint = frame.waypoint
        services = list(fetch.where(served, waypoint))
        direct = fetch.one(world.traffic.direct, waypoint)
        key = WaypointResource(waypoint, CONNECT_TERMINATE)
        encode = partial(encode_tunnel_routes, services, direct)
        return {key: attempt(gateway_of(waypoint), encode)}

    return graph.union(
        "routes of waypoints",
        graph.derive_many("routes of tunnels", world.traffic.frames, of_tunnels),
        graph.derive_many("routes of served services", sendable, of_service),
        graph.derive_many("routes of direct workloads", world.traffic.direct, of_waypoint),
    )


def _trust_domains(
    fetch: Fetch, world: World, waypoint: Name, routes: tuple[HttpRoute, ...]
) -> tuple[str, ...]:
    """Return whose identities clients may have; only routes of consumers look at them."""
    if not any(route.consumer for route in routes):
        return ()
    frame = fetch.one(world.traffic.frames, waypoint)
    return () if frame is None else (frame.trust_domain, *frame.trust_domain_aliases)
