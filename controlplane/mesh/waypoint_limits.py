"""What services ask for that a waypoint does not do for them, said instead of left out silently.

Served services come in, Problems go out. docs/protocol/waypoint-config.md WC-73, WC-76, WC-79.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.istio import ServiceEntry, WorkloadSpec
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.mesh.waypoint_reach import ADMIN_PORT, Reach, may_be_itself
from controlplane.mesh.waypoint_traffic import WaypointTraffic
from controlplane.model.names import Name
from controlplane.model.network import address_from_text
from controlplane.model.problem import Problem, Severity
from controlplane.model.waypoint_traffic import ServedService, ServiceEndpoints

_LOOKED_UP: Final = frozenset({"DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"})


class LookedUp(NamedTuple):
    """What endpoints of one port ask for that a cluster which looks names up does not do."""

    is_near: bool
    has_tunnels: bool


def build_waypoint_limits(
    graph: Graph, membership: Membership, traffic: WaypointTraffic
) -> Collection[ProblemKey, Problem]:
    """Declare what waypoints leave undone on ``graph``."""
    # Narrow on purpose: pods that come and go are no news here.
    looked_up = graph.derive("limits of endpoints looked up", traffic.endpoints, _looked_up)

    def rule(fetch: Fetch, service: ServedService) -> Mapping[ProblemKey, Problem]:
        found = (
            *_nearness(service, _found(fetch, looked_up, service)),
            *_in_the_clear(service, _found(fetch, looked_up, service)),
            *_wildcard(fetch, membership, service),
            *_itself(fetch, membership, service, traffic.reach),
        )
        return {problem_key(problem): problem for problem in found}

    return graph.derive_many("limits of waypoints", traffic.services, rule)


def _looked_up(_: Fetch, endpoints: ServiceEndpoints) -> LookedUp | None:
    if not endpoints.are_looked_up:
        return None
    has_tunnels = any(endpoint.is_tunnelled for endpoint in endpoints.endpoints)
    return LookedUp(is_near=endpoints.nearness is not None, has_tunnels=has_tunnels)


def _found(
    fetch: Fetch, looked_up: Collection[EndpointsKey, LookedUp], service: ServedService
) -> tuple[LookedUp, ...]:
    keys = (EndpointsKey(service.waypoint, service.hostname, port.number) for port in service.ports)
    found = (fetch.one(looked_up, key) for key in keys)
    return tuple(each for each in found if each is not None)


def _in_the_clear(service: ServedService, found: tuple[LookedUp, ...]) -> Iterator[Problem]:
    if any(each.has_tunnels for each in found):
        yield Problem(
            severity=Severity.WARNING,
            code="waypoint.spoken-in-the-clear",
            message=(
                f'waypoint "{service.waypoint}" speaks no HBONE to endpoints of '
                f"{service.hostname} that would take it: names of endpoints are looked up there, "
                "and such a cluster has no tunnels"
            ),
            object=service.owner,
            field=f"{service.waypoint}/{service.hostname}",
        )


def _nearness(service: ServedService, found: tuple[LookedUp, ...]) -> Iterator[Problem]:
    if any(each.is_near for each in found):
        yield Problem(
            severity=Severity.INFO,
            code="waypoint.nearness-not-applied",
            message=(
                f'waypoint "{service.waypoint}" spreads the connections to {service.hostname} over '
                "all endpoints: it looks up their names, which no pod of it does differently"
            ),
            object=service.owner,
            field=f"{service.waypoint}/{service.hostname}",
        )


def _wildcard(fetch: Fetch, membership: Membership, service: ServedService) -> Iterator[Problem]:
    if not service.hostname.startswith("*"):
        return
    entry = fetch.one(membership.service_entries, Name(service.owner.namespace, service.owner.name))
    if entry is None or entry.endpoints or entry.resolution not in _LOOKED_UP:
        return
    yield Problem(
        severity=Severity.WARNING,
        code="waypoint.wildcard-not-resolved",
        message=(
            f'waypoint "{service.waypoint}" does not look up names below {service.hostname}: it '
            "answers 503, and closes connections that are not HTTP"
        ),
        object=service.owner,
        field=f"{service.waypoint}/{service.hostname}",
    )


def _itself(
    fetch: Fetch, membership: Membership, service: ServedService, reach: Reach
) -> Iterator[Problem]:
    if service.owner.kind != "ServiceEntry":
        return
    entry = fetch.one(membership.service_entries, Name(service.owner.namespace, service.owner.name))
    if entry is not None and _leads_back(fetch, entry, service.hostname, reach):
        yield Problem(
            severity=Severity.WARNING,
            code="waypoint.leads-to-itself",
            message=(
                f'waypoint "{service.waypoint}" does not send what is for {service.hostname} to '
                "loopback or to a waypoint, nor to port 15000 of a name: that may be itself"
            ),
            object=service.owner,
            field=f"{service.waypoint}/{service.hostname}",
        )


def _leads_back(fetch: Fetch, entry: ServiceEntry, hostname: str, reach: Reach) -> bool:
    targets = [port.target_port or port.number for port in entry.ports]
    if entry.resolution == "NONE":
        return ADMIN_PORT in targets
    specs = entry.endpoints
    if not specs and entry.resolution in _LOOKED_UP:
        specs = (WorkloadSpec(address=hostname),)
    places = [(address_from_text(spec.address) or spec.address, spec) for spec in specs]
    return any(
        may_be_itself(address, spec.ports.get(port.name, target), on_loopback=reach.on_loopback)
        or reach.is_waypoint(fetch, address)
        for address, spec in places
        if address
        for port, target in zip(entry.ports, targets, strict=True)
    )
