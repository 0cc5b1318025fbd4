"""Which routes waypoints apply to requests, as HTTPRoutes and GRPCRoutes say.

Routes and what waypoints serve come in; the sorted routes of each HTTP port go out, with what
``http_route_verdicts`` tells their authors. docs/protocol/http-routes.md.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.http_route import Route
from controlplane.mesh.foreign_services import ForeignKey
from controlplane.mesh.http_route_verdicts import FullPort, Verdict, verdict_on
from controlplane.mesh.inputs import Manifests
from controlplane.mesh.namespaces import Membership, revision_filter
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.route_backends import Attachment, RefusedBackend, RouteBackends
from controlplane.mesh.route_detours import Lead, leads_of
from controlplane.mesh.route_filters import MirrorTarget
from controlplane.mesh.route_limits import FittingRoutes, PortShare, fitting_routes
from controlplane.mesh.route_order import RankedRoute, ordered_routes
from controlplane.mesh.route_parents import ParentKey, RouteParents, parent_owners
from controlplane.mesh.route_rules import JudgedRoute, WantedBackend, judge_route
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.model.http_route import Destination, HttpRoute, Mirror, RouteBackend
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Problem
from controlplane.model.route_parent import RouteParent
from controlplane.model.waypoint_traffic import Layer, ServedService

_NOBODY: Final = ""
_DEFAULT: Final = "default"
_INVALID: Final = Destination(is_valid=False)


class PortRoutes(NamedTuple):
    """The routes of one port, and where they send beyond what the waypoint serves.

    ``leads`` are the other services they send to, ``refused`` routes beyond what others than the
    producer may have there.
    """

    key: EndpointsKey
    owner: ObjectReference
    routes: tuple[HttpRoute, ...]
    foreign: tuple[ForeignKey, ...]
    leads: frozenset[Lead]
    refused: frozenset[ObjectReference]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRoutes:
    """What applies to requests, and what the authors of routes are told.

    A port without routes has no entry in ``by_port``. ``wanted`` are the services that routes send
    to beyond what their waypoint serves, ``leads`` all that they send to.
    """

    by_port: Collection[EndpointsKey, tuple[HttpRoute, ...]]
    parents: Collection[ParentKey, RouteParent]
    wanted: Collection[ForeignKey, ForeignKey]
    leads: Collection[Lead, Lead]
    problems: Collection[ProblemKey, Problem]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRouteSources:
    """What routes are judged by."""

    manifests: Manifests
    membership: Membership
    parents: RouteParents
    served: Collection[WaypointHost, ServedService]
    settings: MeshSettings


def build_http_routes(graph: Graph, sources: HttpRouteSources) -> HttpRoutes:
    """Declare the routes of requests on ``graph``."""
    membership, parents, backends = sources.membership, sources.parents, sources.parents.backends
    is_of_revision = revision_filter(sources.settings.revision)

    def judge(fetch: Fetch, manifest: Route) -> JudgedRoute | None:
        is_member = membership.includes(fetch, manifest.metadata.namespace)
        return judge_route(manifest) if is_member and is_of_revision(manifest) else None

    judged = graph.derive("judged routes of requests", sources.manifests.routes, judge)
    by_owner = judged.index(
        "routes of requests by parent",
        lambda route: parent_owners(route.parents, route.reference.namespace),
    )

    def route(fetch: Fetch, service: ServedService) -> Mapping[EndpointsKey, PortRoutes]:
        found = sorted(fetch.where(by_owner, service.owner), key=lambda each: each.age)
        if not found:
            return {}
        attached = [
            (
                parents.attached_ports(
                    fetch, each.parents, each.reference.namespace, service.owner
                ),
                _share(fetch, backends, service, each),
            )
            for each in found
        ]
        made_for = {
            EndpointsKey(service.waypoint, service.hostname, port.number): fitting_routes(
                share for ports, share in attached if port.number in ports
            )
            for port in service.ports
            if Layer.HTTP in port.layers
        }
        return {
            key: _port_routes(service, key, fitting)
            for key, fitting in made_for.items()
            if fitting.matches or fitting.refused
        }

    by_port = graph.derive_many("requests to served services", sources.served, route)

    refusing = by_port.index("ports without a route", lambda each: each.refused)

    def tell(fetch: Fetch, each: JudgedRoute) -> Verdict:
        found = fetch.where(refusing, each.reference)
        full = frozenset(FullPort(port.owner, port.key.port) for port in found)
        return verdict_on(fetch, parents, each, full)

    verdicts = graph.derive("verdicts on routes of requests", judged, tell)
    return HttpRoutes(
        by_port=graph.derive(
            "routes of requests by port", by_port, lambda _, value: value.routes or None
        ),
        parents=graph.derive_many(
            "parents of routes of requests",
            verdicts,
            lambda _, verdict: {
                ParentKey(told.route, told.parent): told for told in verdict.parents
            },
        ),
        wanted=graph.distinct(
            "foreign ports of requests", by_port.index("foreign ports", lambda each: each.foreign)
        ),
        leads=graph.distinct(
            "where requests are led", by_port.index("leads of requests", lambda each: each.leads)
        ),
        problems=graph.derive_many(
            "problems of routes of requests",
            verdicts,
            lambda _, verdict: {problem_key(problem): problem for problem in verdict.problems},
        ),
    )


def _share(
    fetch: Fetch, backends: RouteBackends, service: ServedService, route: JudgedRoute
) -> PortShare:
    """Return what one route object has at every port of a service."""
    namespace = route.reference.namespace
    attachment = Attachment(service.waypoint, namespace, service.owner)
    consumer = _NOBODY if attachment.is_producer else namespace
    matches = tuple(_routes(fetch, backends, attachment, route))
    return PortShare(route.reference, consumer, matches)


def _port_routes(service: ServedService, key: EndpointsKey, fitting: FittingRoutes) -> PortRoutes:
    routes = ordered_routes(_on_port(each, service.hostname, key.port) for each in fitting.matches)
    return PortRoutes(
        key,
        service.owner,
        _complete(service, key.port, routes) if routes else (),
        tuple(_foreign(key, routes)),
        frozenset(leads_of(WaypointHost(key.waypoint, key.hostname), routes)),
        fitting.refused,
    )


def _routes(
    fetch: Fetch, backends: RouteBackends, attachment: Attachment, route: JudgedRoute
) -> Iterator[RankedRoute]:
    """Yield the routes of one route object at one service, in the order they are written."""
    namespace = route.reference.namespace
    for rule in route.rules:
        made = replace(
            rule.template,
            consumer=_NOBODY if attachment.is_producer else namespace,
            backends=tuple(
                _backend(fetch, backends, attachment, wanted) for wanted in rule.backends
            ),
            mirrors=tuple(_mirrors(fetch, backends, attachment, rule.mirrors)),
        )
        for match, rank in zip(rule.matches, rule.ranks, strict=True):
            yield RankedRoute(rank, replace(made, match=match))


def _on_port(ranked: RankedRoute, hostname: str, port: int) -> RankedRoute:
    """Return a route as it is on one port: policies of another port were not asked (HR-26)."""
    route = ranked.route
    if not route.consumer:
        return ranked

    def is_elsewhere(place: Destination) -> bool:
        return place.hostname == hostname and place.port != port

    backends = tuple(
        replace(each, destination=_INVALID) if is_elsewhere(each.destination) else each
        for each in route.backends
    )
    mirrors = tuple(each for each in route.mirrors if not is_elsewhere(each.destination))
    return ranked._replace(route=replace(route, backends=backends, mirrors=mirrors))


def _backend(
    fetch: Fetch, backends: RouteBackends, attachment: Attachment, wanted: WantedBackend
) -> RouteBackend:
    destination = _INVALID
    if wanted.is_usable:
        found = backends.resolve_for(fetch, attachment, wanted.target, Layer.HTTP)
        destination = _INVALID if isinstance(found, RefusedBackend) else found.destination
    return RouteBackend(
        destination=destination,
        weight=wanted.weight,
        request_headers=wanted.request_headers,
        response_headers=wanted.response_headers,
    )


def _mirrors(
    fetch: Fetch,
    backends: RouteBackends,
    attachment: Attachment,
    mirrors: Iterable[MirrorTarget],
) -> Iterator[Mirror]:
    for wanted in mirrors:
        found = backends.resolve_for(fetch, attachment, wanted.target, Layer.HTTP)
        if not isinstance(found, RefusedBackend):
            yield Mirror(found.destination, wanted.millionths)


def _complete(
    service: ServedService, port: int, routes: tuple[HttpRoute, ...]
) -> tuple[HttpRoute, ...]:
    """Return ``routes``; where all are for consumers, others go to the service as without them."""
    if not all(route.consumer for route in routes):
        return routes
    itself = RouteBackend(destination=Destination(hostname=service.hostname, port=port))
    return (*routes, HttpRoute(name=_DEFAULT, owner=service.owner, backends=(itself,)))


def _foreign(key: EndpointsKey, routes: Iterable[HttpRoute]) -> Iterator[ForeignKey]:
    for route in routes:
        used = [backend.destination for backend in route.backends if backend.weight]
        for place in (*used, *(mirror.destination for mirror in route.mirrors)):
            if place.is_valid and not place.is_served:
                yield ForeignKey(key.waypoint, place.hostname, place.port, Layer.HTTP)
