"""Listeners of waypoints: what each serves comes in, its chains and then its listeners go out.

docs/protocol/waypoint-config.md WC-10 to WC-13.
"""

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.encode.errors import EncodeError
from controlplane.encode.filter_chain import direct_chains, encode_service_chains
from controlplane.encode.listener import (
    encode_connect_originate,
    encode_connect_terminate,
    encode_main_internal,
)
from controlplane.encode.waypoint_names import (
    CONNECT_ORIGINATE,
    CONNECT_TERMINATE,
    MAIN_INTERNAL,
)
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.world import World
from controlplane.model.names import Name
from controlplane.model.waypoint_traffic import ServedService, WaypointFrame
from controlplane.pipeline.refusals import Refusal, Sent, attempt
from controlplane.pipeline.waypoint_resources import (
    Chained,
    Resources,
    WaypointResource,
    gateway_of,
)

Chains = Collection[WaypointHost, Chained | Refusal]


def build_chains(graph: Graph, world: World) -> Chains:
    """Declare the filter chains of every served service on ``graph``."""
    return graph.derive(
        "filter chains of waypoints", world.traffic.services, lambda _, service: _chained(service)
    )


def build_sendable(graph: Graph, chained: Chains) -> Collection[WaypointHost, ServedService]:
    """Declare the services whose chains can be sent on ``graph``.

    One without has no use for clusters or routes either, and is one problem, not five.
    """
    return graph.derive(
        "sendable services of waypoints",
        chained,
        lambda _, value: value.service if isinstance(value, Chained) else None,
    )


def build_waypoint_listeners(
    graph: Graph, world: World, chained: Chains
) -> Collection[WaypointResource, Sent]:
    """Declare the listeners of every waypoint on ``graph``."""
    by_waypoint = chained.index("filter chains by waypoint", _waypoint_of)
    onward = encode_connect_originate()
    direct_ones = direct_chains()

    def rule(fetch: Fetch, frame: WaypointFrame) -> Resources:
        waypoint = frame.waypoint
        served = [
            value for value in fetch.where(by_waypoint, waypoint) if isinstance(value, Chained)
        ]
        direct = fetch.one(world.traffic.direct, waypoint)
        chains = [chain for value in served for chain in value.chains]
        chains += direct_ones if direct is not None else ()
        services = [value.service for value in served]
        owner = gateway_of(waypoint)
        return {
            WaypointResource(waypoint, CONNECT_TERMINATE): attempt(
                owner, lambda: encode_connect_terminate(frame)
            ),
            WaypointResource(waypoint, MAIN_INTERNAL): attempt(
                owner, lambda: encode_main_internal(services, chains, direct)
            ),
            WaypointResource(waypoint, CONNECT_ORIGINATE): onward,
        }

    return graph.derive_many("listeners of waypoints", world.traffic.frames, rule)


def _chained(service: ServedService) -> Chained | Refusal:
    try:
        return Chained(service, encode_service_chains(service))
    except EncodeError as error:
        return Refusal(service.owner, error.name, error.reason)


def _waypoint_of(value: Chained | Refusal) -> tuple[Name, ...]:
    return (value.service.waypoint,) if isinstance(value, Chained) else ()
