"""Which services each waypoint accepts traffic for.

Published services and their bindings come in; one ``ServedService`` for each waypoint and
hostname goes out, waypoints that are not ready yet included, and a Problem for each service whose
hostname another one has there. A service that was bound a moment ago lingers where it was.
docs/protocol/waypoint-config.md WC-2, WC-4, docs/protocol/waypoint-sessions.md WS-40 to WS-44.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.mesh.binding import bind_service, may_serve
from controlplane.mesh.hostnames import Services, Winner
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.waypoint_reach import ADMIN_PORT
from controlplane.mesh.waypoints import Waypoints
from controlplane.model.names import Name
from controlplane.model.network import NetworkAddress
from controlplane.model.problem import Problem, Severity
from controlplane.model.service import LoadBalancingMode, Service
from controlplane.model.waypoint_traffic import (
    AddressRange,
    Nearness,
    Resolution,
    ServedBefore,
    ServedService,
)


class WaypointHost(NamedTuple):
    """A hostname as one waypoint knows it."""

    waypoint: Name
    hostname: str


class Claim(NamedTuple):
    """A service that a waypoint is asked to serve; ``is_canonical`` decides between namesakes.

    One that ``is_lingering`` was asked for before, and gives way to every other.
    """

    served: ServedService
    is_canonical: bool
    is_lingering: bool = False


class Settled(NamedTuple):
    """What became of the claims to one hostname of one waypoint."""

    served: ServedService
    lost: tuple[ServedService, ...] = ()
    is_lingering: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WaypointServices:
    """The services that waypoints serve, and those that they cannot.

    ``claims`` is what they are asked for, what lingers included.
    """

    claims: Collection[ServedBefore, Claim]
    served: Collection[WaypointHost, ServedService]
    problems: Collection[ProblemKey, Problem]


def build_waypoint_services(
    graph: Graph,
    services: Services,
    waypoints: Waypoints,
    before: Collection[ServedBefore, ServedBefore],
) -> WaypointServices:
    """Declare what each waypoint serves on ``graph``; ``before`` lingers where it is bound no more.

    What lingers is the service as it is now, with the policies of now.
    """
    expected = waypoints.as_expected()
    before_by_service = before.index(
        "services served before by service", lambda value: (value.service,)
    )

    def claim(fetch: Fetch, winner: Winner) -> Mapping[ServedBefore, Claim]:
        binding = bind_service(fetch, expected, winner.candidate.subject)
        asked = dict.fromkeys(key for key in (binding.key, binding.canary) if key is not None)
        service = winner.candidate.service.key
        claims = {
            ServedBefore(waypoint, service): Claim(
                served_service(waypoint, winner), winner.is_canonical
            )
            for waypoint in asked
        }
        for key in fetch.where(before_by_service, service):
            if key not in claims and may_serve(
                fetch, expected, key.waypoint, winner.candidate.subject
            ):
                lingering = served_service(key.waypoint, winner)
                claims[key] = Claim(lingering, winner.is_canonical, is_lingering=True)
        return claims

    claims = graph.derive_many("services asked of waypoints", services.winners, claim)
    by_host = claims.index(
        "services asked of waypoints by hostname",
        lambda value: (WaypointHost(value.served.waypoint, value.served.hostname),),
    )
    by_range = claims.index(
        "services asked of waypoints by address", lambda value: places(value.served)
    )
    hosts = graph.distinct("hostnames asked of waypoints", by_host)

    def settle(fetch: Fetch, host: WaypointHost) -> Settled | None:
        found = settle_claims(fetch.where(by_host, host))
        if found is None or not found.is_lingering:
            return found
        rivals = (
            rival
            for place in places(found.served)
            for rival in fetch.where(by_range, place)
            if not rival.is_lingering
        )
        return None if any(rivals) else found

    settled = graph.derive("settled services of waypoints", hosts, settle)
    return WaypointServices(
        claims=claims,
        served=graph.derive("services of waypoints", settled, lambda _, value: value.served),
        problems=graph.derive_many("problems of services of waypoints", settled, _problems),
    )


def settle_claims(claims: Iterable[Claim]) -> Settled | None:
    """Return which of ``claims`` to one hostname a waypoint serves: canonical, then by name.

    What lingers comes last, and has lost nothing that it still had a right to.
    """
    ordered = sorted(
        claims, key=lambda claim: (claim.is_lingering, not claim.is_canonical, claim.served.service)
    )
    if not ordered:
        return None
    first, *others = ordered
    lost = tuple(claim.served for claim in others if not claim.is_lingering)
    return Settled(first.served, lost, is_lingering=first.is_lingering)


def places(served: ServedService) -> tuple[tuple[Name, AddressRange], ...]:
    """Return the addresses that a service has at its waypoint, as what lingers is compared by."""
    return tuple((served.waypoint, each) for each in served.ranges)


def served_service(waypoint: Name, winner: Winner) -> ServedService:
    """Return a published service as ``waypoint`` has to know it."""
    candidate = winner.candidate
    service = candidate.service
    resolution = _resolution(service)
    ports = candidate.served_ports
    if resolution is Resolution.ORIGINAL_DESTINATION:
        # A client chooses the address: on this port it could be the waypoint's own (WC-77).
        ports = tuple(port for port in ports if port.number != ADMIN_PORT)
    return ServedService(
        waypoint=waypoint,
        service=service.key,
        owner=candidate.owner,
        ranges=tuple(sorted({_range(address) for address in service.addresses})),
        ports=ports,
        resolution=resolution,
        nearness=_nearness(service),
    )


def _range(address: NetworkAddress) -> AddressRange:
    length = len(address.address) * 8 if address.length is None else address.length
    return AddressRange(address.address, length)


def _resolution(service: Service) -> Resolution:
    balancing = service.load_balancing
    if balancing is not None and balancing.mode is LoadBalancingMode.PASSTHROUGH:
        return Resolution.ORIGINAL_DESTINATION
    return Resolution.DISCOVERED


def _nearness(service: Service) -> Nearness | None:
    balancing = service.load_balancing
    if balancing is None or not balancing.routing_preference:
        return None
    match balancing.mode:
        case LoadBalancingMode.STRICT:
            return Nearness(balancing.routing_preference, is_strict=True)
        case LoadBalancingMode.FAILOVER:
            return Nearness(balancing.routing_preference)
        case _:
            return None


def _problems(_: Fetch, settled: Settled) -> Mapping[ProblemKey, Problem]:
    problems = [
        Problem(
            severity=Severity.ERROR,
            code="waypoint.hostname-taken",
            message=(
                f'waypoint "{lost.waypoint}" serves the hostname "{lost.hostname}" of '
                f"{settled.served.owner}; it refuses connections to this one"
            ),
            object=lost.owner,
            field=f"hosts[{lost.hostname}]",
        )
        for lost in settled.lost
    ]
    return {problem_key(problem): problem for problem in problems}
