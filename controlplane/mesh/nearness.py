"""Which endpoints are near to the pods of a waypoint.

Pods of Gateways come in, the places of each waypoint go out; endpoints and a place come in, tiers
of endpoints go out, by the ranking that node proxies use. docs/protocol/waypoint-config.md WC-72
to WC-75.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.model.names import Name
from controlplane.model.resident import LIVE_PHASES, Resident
from controlplane.model.service import LoadBalancingScope
from controlplane.model.waypoint_traffic import Endpoint, Nearness, Place, WaypointFrame
from controlplane.model.workload import Locality


class PlaceKey(NamedTuple):
    """A node that pods of a waypoint run on, "" for wherever that is not known."""

    waypoint: Name
    node: str


def build_places(
    graph: Graph,
    frames: Collection[Name, WaypointFrame],
    residents: Collection[Name, Resident],
    localities: Collection[str, Locality],
) -> Collection[PlaceKey, Place]:
    """Declare on ``graph`` where the pods of each waypoint run; every waypoint has the place ""."""
    instances = residents.index("pods that run by gateway", _gateway_of)

    def rule(fetch: Fetch, frame: WaypointFrame) -> Mapping[PlaceKey, Place]:
        waypoint = frame.waypoint
        places = {PlaceKey(waypoint, ""): Place(waypoint)}
        for node in sorted({pod.node for pod in fetch.where(instances, waypoint)}):
            locality = fetch.one(localities, node) or Locality()
            places[PlaceKey(waypoint, node)] = Place(waypoint, node, locality)
        return places

    return graph.derive_many("places of waypoints", frames, rule)


def tiers(
    endpoints: Iterable[Endpoint], nearness: Nearness, place: Place
) -> tuple[tuple[Endpoint, ...], ...]:
    """Return ``endpoints`` in tiers, the nearest first; no tier is empty.

    Where the place is not known all are in one.
    """
    if not place.node:
        found = tuple(endpoints)
        return (found,) if found else ()
    preference = nearness.preference
    ranked = [(rank(place, endpoint, preference), endpoint) for endpoint in endpoints]
    if nearness.is_strict:
        ranked = [each for each in ranked if each[0] == len(preference)]
    # Sorting is stable, so each tier keeps the order of the endpoints.
    ranked.sort(key=itemgetter(0), reverse=True)
    return tuple(
        tuple(endpoint for _, endpoint in members)
        for _, members in groupby(ranked, key=itemgetter(0))
    )


def rank(place: Place, endpoint: Endpoint, preference: tuple[LoadBalancingScope, ...]) -> int:
    """Return how many leading scopes of ``preference`` an endpoint shares with ``place``."""
    points = 0
    for scope in preference:
        if not _is_shared(place, endpoint, scope):
            break
        points += 1
    return points


def _is_shared(place: Place, endpoint: Endpoint, scope: LoadBalancingScope) -> bool:
    here, there = place.locality, endpoint.locality
    match scope:
        case LoadBalancingScope.REGION:
            return here.region == there.region
        case LoadBalancingScope.ZONE:
            return here.zone == there.zone
        case LoadBalancingScope.SUBZONE:
            return here.subzone == there.subzone
        case LoadBalancingScope.NODE:
            return place.node == endpoint.node
        case LoadBalancingScope.CLUSTER | LoadBalancingScope.NETWORK:
            # A waypoint is told the endpoints of its own cluster and network only.
            return True


def _gateway_of(resident: Resident) -> tuple[Name, ...]:
    runs = resident.gateway and resident.node and resident.phase in LIVE_PHASES
    return (Name(resident.namespace, resident.gateway),) if runs else ()
