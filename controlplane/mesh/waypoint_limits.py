"""What services ask for that a waypoint does not do for them, said instead of left out silently.

Served services come in, Problems go out. docs/protocol/waypoint-config.md WC-73, WC-76, WC-79.
"""

from collections.abc import Iterator, Mapping
from typing import Final

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


def build_waypoint_limits(
    graph: Graph, membership: Membership, traffic: WaypointTraffic
) -> Collection[ProblemKey, Problem]:
    """Declare what waypoints leave undone on ``graph``."""
    # Narrow on purpose: pods that come and go are no news here.
    everywhere = graph.derive(
        "near endpoints that waypoints look up",
        traffic.endpoints,
        lambda _, value: True if value.nearness is not None and value.are_looked_up else None,
    )

    in_the_clear = graph.derive(
        "tunnelled endpoints that waypoints look up",
        traffic.endpoints,
        lambda _, value: True if value.are_looked_up and _has_tunnels(value) else None,
    )

    def rule(fetch: Fetch, service: ServedService) -> Mapping[ProblemKey, Problem]:
        found = (
            *_nearness(fetch, everywhere, service),
            *_in_the_clear(fetch, in_the_clear, service),
            *_wildcard(fetch, membership, service),
            *_itself(fetch, membership, service, traffic.reach),
        )
        return {problem_key(problem): problem for problem in found}

    return graph.derive_many("limits of waypoints", traffic.services, rule)


def _has_tunnels(endpoints: ServiceEndpoints) -> bool:
    return any(endpoint.is_tunnelled for endpoint in endpoints.endpoints)


def _is_any(fetch: Fetch, marked: Collection[EndpointsKey, bool], service: ServedService) -> bool:
    """Return whether the endpoints of any port of ``service`` are among those ``marked``."""
    keys = (EndpointsKey(service.waypoint, service.hostname, port.number) for port in service.ports)
    return any(fetch.one(marked, key) for key in keys)


def _in_the_clear(
    fetch: Fetch, marked: Collection[EndpointsKey, bool], service: ServedService
) -> Iterator[Problem]:
    if _is_any(fetch, marked, service):
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


def _nearness(
    fetch: Fetch, everywhere: Collection[EndpointsKey, bool], service: ServedService
) -> Iterator[Problem]:
    if _is_any(fetch, everywhere, service):
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
