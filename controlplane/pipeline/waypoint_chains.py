"""Filter chains of waypoints: what they are made of is gathered, then they are encoded.

``waypoint_listeners`` puts them together. docs/protocol/waypoint-config.md WC-11, WC-30, WC-50.
"""

from collections.abc import Callable
from typing import TypeVar

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.encode.connection_gate import encode_gate
from controlplane.encode.errors import EncodeError
from controlplane.encode.filter_chain import (
    connection_policies,
    encode_direct_chains,
    encode_service_chains,
)
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.world import World
from controlplane.model.chain_content import ChainContent
from controlplane.model.connection_route import ConnectionRoute
from controlplane.model.names import Name, ObjectReference
from controlplane.model.waypoint_traffic import DirectWorkloads, Layer, ServedService
from controlplane.pipeline.refusals import Refusal
from controlplane.pipeline.waypoint_resources import Chained, DirectChained, gateway_of

T = TypeVar("T")

ServiceChains = Collection[WaypointHost, Chained | Refusal]
DirectChains = Collection[Name, DirectChained | Refusal]


def build_service_chains(graph: Graph, world: World) -> ServiceChains:
    """Declare the filter chains of every served service on ``graph``."""

    def gathered(fetch: Fetch, service: ServedService) -> ChainContent | None:
        host = WaypointHost(service.waypoint, service.hostname)
        # A chain of HTTP does not hear of policies: they travel with its routes.
        is_bytes = any(Layer.TCP in port.layers for port in service.ports)
        is_http = any(Layer.HTTP in port.layers for port in service.ports)
        token_rules = fetch.one(world.token_rules.by_service, host) if is_http else ()
        if token_rules is None:
            return None
        return ChainContent(
            provider=world.authorization_providers.of_service(fetch, host),
            names_client=fetch.one(world.client_naming, service.waypoint) is not None,
            connection_policies=fetch.one(world.http_policies.by_service, host) if is_bytes else (),
            token_rules=token_rules,
            access_log=world.access_logs.of(fetch),
            path_normalization=world.path_normalizations.of(fetch),
            connection_routes=_connection_routes(fetch, world, service),
        )

    contents = graph.derive("content of chains of services", world.traffic.services, gathered)

    def chained(fetch: Fetch, service: ServedService) -> Chained | Refusal | None:
        content = fetch.one(contents, WaypointHost(service.waypoint, service.hostname))
        if content is None:
            return None
        return _attempt(
            service.owner,
            lambda: Chained(
                service,
                encode_service_chains(service, content),
                tuple(encode_gate(connection_policies(content, port)) for port in service.ports),
            ),
        )

    return graph.derive("filter chains of waypoints", world.traffic.services, chained)


def build_direct_chains(graph: Graph, world: World) -> DirectChains:
    """Declare the filter chains of workloads reached by address on ``graph``."""

    def gathered(fetch: Fetch, direct: DirectWorkloads) -> ChainContent | None:
        policies = fetch.one(world.http_policies.by_waypoint, direct.waypoint)
        token_rules = fetch.one(world.token_rules.by_waypoint, direct.waypoint)
        if token_rules is None:
            return None
        return ChainContent(
            provider=world.authorization_providers.of_waypoint(fetch, direct.waypoint),
            names_client=fetch.one(world.client_naming, direct.waypoint) is not None,
            connection_policies=policies,
            token_rules=token_rules,
            access_log=world.access_logs.of(fetch),
            path_normalization=world.path_normalizations.of(fetch),
        )

    contents = graph.derive("content of chains of workloads", world.traffic.direct, gathered)

    def chained(fetch: Fetch, direct: DirectWorkloads) -> DirectChained | Refusal | None:
        content = fetch.one(contents, direct.waypoint)
        if content is None:
            return None
        return _attempt(
            gateway_of(direct.waypoint),
            lambda: DirectChained(
                encode_direct_chains(content), encode_gate(content.connection_policies)
            ),
        )

    return graph.derive("filter chains of workloads", world.traffic.direct, chained)


def _connection_routes(
    fetch: Fetch, world: World, service: ServedService
) -> tuple[ConnectionRoute, ...]:
    found = (
        fetch.one(
            world.connection_routes.by_port,
            EndpointsKey(service.waypoint, service.hostname, port.number),
        )
        for port in service.ports
        if Layer.TCP in port.layers
    )
    return tuple(route for route in found if route is not None)


def _attempt(owner: ObjectReference, encode: Callable[[], T]) -> T | Refusal:
    try:
        return encode()
    except EncodeError as error:
        return Refusal(owner, error.name, error.reason)
