"""Which routes waypoints apply to requests, as HTTPRoutes and GRPCRoutes say.

Routes and what waypoints serve come in; the sorted routes of each HTTP port go out, what the
author is told about each parent, and what is wrong as Problems. docs/protocol/http-routes.md.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.http_route import Route
from controlplane.mesh.foreign_services import ForeignKey
from controlplane.mesh.inputs import Manifests
from controlplane.mesh.namespaces import Membership, revision_filter
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.route_backends import (
    NOT_PERMITTED,
    Attachment,
    RefusedBackend,
    RouteBackends,
)
from controlplane.mesh.route_detours import Lead, leads_of
from controlplane.mesh.route_limits import (
    MOST_OF_CONSUMERS,
    MOST_OF_NAMESPACE,
    FittingRoutes,
    PortShare,
    fitting_routes,
)
from controlplane.mesh.route_order import RankedRoute, ordered_routes
from controlplane.mesh.route_parents import (
    ACCEPTED,
    RESOLVED_REFERENCES,
    JudgedParent,
    RouteParents,
    parent_owner,
    parent_owners,
)
from controlplane.mesh.route_rules import (
    JudgedRoute,
    JudgedRule,
    RouteFault,
    WantedBackend,
    WantedMirror,
    judge_route,
)
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.model.http_route import Destination, HttpRoute, Mirror, RouteBackend
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity
from controlplane.model.route_parent import ParentCondition, ParentReference, RouteParent
from controlplane.model.waypoint_traffic import Layer, ServedService

_NOBODY: Final = ""
_DEFAULT: Final = "default"
_MOST_TOLD: Final = 8
_TOO_MANY: Final = "TooManyMatches"
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


class ParentKey(NamedTuple):
    """One parent of one route, as the route names it."""

    route: ObjectReference
    parent: ParentReference


class Verdict(NamedTuple):
    """What the author of a route is told, and what others are shown."""

    parents: tuple[RouteParent, ...]
    problems: tuple[Problem, ...]


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
        return _verdict(fetch, parents, each, fetch.where(refusing, each.reference))

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
        found = backends.resolve_for(fetch, attachment, wanted.reference, Layer.HTTP)
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
    mirrors: Iterable[WantedMirror],
) -> Iterator[Mirror]:
    for wanted in mirrors:
        found = backends.resolve_for(fetch, attachment, wanted.reference, Layer.HTTP)
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


def _verdict(
    fetch: Fetch, parents: RouteParents, route: JudgedRoute, refusing: Iterable[PortRoutes]
) -> Verdict:
    """Return what is said of ``route``; ``refusing`` are ports that have no place for it."""
    namespace = route.reference.namespace
    told: list[RouteParent] = []
    problems: dict[ProblemKey, Problem] = {}
    faults = list(route.faults)
    for index, parent in enumerate(route.parents):
        judged = parents.judge(fetch, parent, namespace)
        if judged is None:
            continue
        owner = parent_owner(parent, namespace) or route.reference
        full = sorted({each.key.port for each in refusing if each.owner == owner})
        if full:
            judged = judged._replace(accepted=_too_many(owner, full), waypoints=())
        attached = _Attached(
            tuple(
                Attachment(waypoint, namespace, owner)
                for waypoint in judged.waypoints or (Name(namespace, ""),)
            ),
            parents.attached_ports(fetch, [parent], namespace, owner)
            & {
                port.number
                for service in fetch.where(parents.served, owner)
                for port in service.ports
                if Layer.HTTP in port.layers
            },
        )
        unresolved = _unresolved(fetch, parents.backends, attached, route.rules)
        faults += unresolved
        told.append(
            RouteParent(
                route=route.reference,
                parent=parent,
                conditions=_conditions(judged, (*route.faults, *unresolved)),
                observed_generation=route.generation,
            )
        )
        found = _parent_problem(route.reference, index, judged)
        if found is not None:
            problems[problem_key(found)] = found
    if told:
        for fault in faults:
            found = _fault_problem(route.reference, fault)
            problems.setdefault(problem_key(found), found)
    return Verdict(tuple(told), tuple(problems.values()))


class _Attached(NamedTuple):
    """One parent of a route: at each of its waypoints, and the ports there."""

    places: tuple[Attachment, ...]
    ports: frozenset[int]


def _unresolved(
    fetch: Fetch, backends: RouteBackends, attached: _Attached, rules: Iterable[JudgedRule]
) -> tuple[RouteFault, ...]:
    """Return the backends that cannot be, as the waypoints of a parent see them."""
    found: dict[str, RouteFault] = {}
    for attachment in attached.places:
        for rule in rules:
            places = [(wanted.reference, wanted.field) for wanted in rule.backends]
            places += [(wanted.reference, wanted.field) for wanted in rule.mirrors]
            for reference, field in places:
                resolved = backends.resolve_for(fetch, attachment, reference, Layer.HTTP)
                if isinstance(resolved, RefusedBackend):
                    refused = resolved
                elif (
                    not attachment.is_producer
                    and resolved.owner == attachment.parent
                    and attached.ports - {resolved.port.number}
                ):
                    message = f"requests to another port are not sent to {resolved.port.number}"
                    refused = RefusedBackend(NOT_PERMITTED, message)
                else:
                    continue
                code = "route.backend-not-usable"
                fault = RouteFault(refused.reason, code, field, refused.message)
                found.setdefault(field, fault)
    return tuple(found.values())


def _conditions(
    parent: JudgedParent, faults: tuple[RouteFault, ...]
) -> tuple[ParentCondition, ...]:
    """Return what is said at one parent; the first fault is the reason, more are told."""
    first = faults[0].reason if faults else RESOLVED_REFERENCES
    texts = [f"{fault.field}: {fault.message}" for fault in faults[:_MOST_TOLD]]
    if len(faults) > _MOST_TOLD:
        texts.append(f"and {len(faults) - _MOST_TOLD} more")
    message = "; ".join(texts)
    resolved = ParentCondition(
        RESOLVED_REFERENCES,
        status=not faults,
        reason=first,
        message=message or "All references resolved",
    )
    both = (parent.accepted, resolved)
    return both if parent.resolved is None else (*both, parent.resolved)


def _too_many(owner: ObjectReference, ports: Iterable[int]) -> ParentCondition:
    """Return that older routes have taken all there is; others say where requests go (HR-27)."""
    message = (
        f"{owner} has too many matches for requests of others at port "
        f"{', '.join(map(str, ports))}: {MOST_OF_NAMESPACE} of one namespace and "
        f"{MOST_OF_CONSUMERS} of all are applied, those of older routes first"
    )
    return ParentCondition(ACCEPTED, status=False, reason=_TOO_MANY, message=message)


def _parent_problem(route: ObjectReference, index: int, parent: JudgedParent) -> Problem | None:
    code = "route.no-waypoint" if parent.accepted.status else "route.parent-not-accepted"
    if parent.accepted.reason == _TOO_MANY:
        code = "route.too-many-matches"
    said = parent.resolved if parent.accepted.status else parent.accepted
    if said is None or parent.waypoints:
        return None
    return Problem(
        severity=Severity.WARNING,
        code=code,
        message=said.message,
        object=route,
        field=f"spec.parentRefs[{index}]",
    )


def _fault_problem(route: ObjectReference, fault: RouteFault) -> Problem:
    return Problem(
        severity=Severity.WARNING if fault.is_served else Severity.ERROR,
        code=fault.code,
        message=fault.message,
        object=route,
        field=fault.field,
    )
