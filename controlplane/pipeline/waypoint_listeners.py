"""Listeners of waypoints: what each serves and its chains come in, its listeners go out.

docs/protocol/waypoint-config.md WC-10 to WC-13, WC-53.
"""

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.encode.connection_gate import OPEN
from controlplane.encode.listener import (
    encode_connect_originate,
    encode_connect_terminate,
    encode_main_internal,
    encode_main_sniffed,
)
from controlplane.encode.listening import Gates
from controlplane.encode.waypoint_names import (
    CONNECT_ORIGINATE,
    CONNECT_TERMINATE,
    MAIN_INTERNAL,
    MAIN_SNIFFED,
)
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.world import World
from controlplane.model.names import Name
from controlplane.model.waypoint_traffic import ServedService, WaypointFrame
from controlplane.pipeline.refusals import Refusal, Sent, attempt
from controlplane.pipeline.waypoint_chains import DirectChains, ServiceChains
from controlplane.pipeline.waypoint_resources import (
    Chained,
    Resources,
    WaypointResource,
    gateway_of,
)


def build_sendable(graph: Graph, chained: ServiceChains) -> Collection[WaypointHost, ServedService]:
    """Declare the services whose chains can be sent on ``graph``.

    One without has no use for clusters or routes either, and is one problem, not five.
    """
    return graph.derive(
        "sendable services of waypoints",
        chained,
        lambda _, value: value.service if isinstance(value, Chained) else None,
    )


def build_waypoint_listeners(
    graph: Graph, world: World, chained: ServiceChains, direct_chained: DirectChains
) -> Collection[WaypointResource, Sent]:
    """Declare the listeners of every waypoint on ``graph``."""
    by_waypoint = chained.index("filter chains by waypoint", _waypoint_of)

    def rule(fetch: Fetch, frame: WaypointFrame) -> Resources:
        waypoint = frame.waypoint
        served = [
            value for value in fetch.where(by_waypoint, waypoint) if isinstance(value, Chained)
        ]
        chains = [chain for value in served for chain in value.chains]
        direct = fetch.one(world.traffic.direct, waypoint)
        direct_ones = fetch.one(direct_chained, waypoint)
        if direct_ones is None or isinstance(direct_ones, Refusal):
            direct = None
        else:
            chains += direct_ones.chains
        services = [value.service for value in served]
        gates = Gates(
            {value.service.hostname: value.gates for value in served},
            OPEN if direct_ones is None or isinstance(direct_ones, Refusal) else direct_ones.gate,
        )
        owner = gateway_of(waypoint)
        log = world.access_logs.of(fetch)
        found: dict[WaypointResource, Sent] = {
            WaypointResource(waypoint, CONNECT_TERMINATE): attempt(
                owner, lambda: encode_connect_terminate(frame, log)
            ),
            WaypointResource(waypoint, MAIN_INTERNAL): attempt(
                owner, lambda: encode_main_internal(services, chains, direct, gates, log)
            ),
            WaypointResource(waypoint, CONNECT_ORIGINATE): encode_connect_originate(log),
        }
        if direct is not None or any(value.is_sniffed for value in served):
            found[WaypointResource(waypoint, MAIN_SNIFFED)] = attempt(
                owner, lambda: encode_main_sniffed(services, chains, direct, gates, log)
            )
        return found

    return graph.derive_many("listeners of waypoints", world.traffic.frames, rule)


def _waypoint_of(value: Chained | Refusal) -> tuple[Name, ...]:
    return (value.service.waypoint,) if isinstance(value, Chained) else ()
