"""Where connections go that waypoints pass on as bytes, as TLSRoutes and TCPRoutes say.

Routes and what waypoints serve come in; one ``ConnectionRoute`` for each port that a route is for
goes out, what the author is told about each parent, and what is wrong as Problems.
docs/protocol/connection-routes.md CR-1 to CR-12.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph, Index
from controlplane.manifests import connections
from controlplane.mesh.foreign_services import ForeignKey
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.route_backends import (
    BackendReference,
    RefusedBackend,
    ResolvedBackend,
    RouteBackends,
)
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.model.connection_route import ConnectionBackend, ConnectionRoute
from controlplane.model.http_route import Destination
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity
from controlplane.model.route_parent import ParentCondition, ParentReference, RouteParent
from controlplane.model.waypoint_traffic import Layer, ServedPort, ServedService

Route = connections.ConnectionRoute

ACCEPTED: Final = "Accepted"
RESOLVED: Final = "ResolvedRefs"

_TLS: Final = "TLSRoute"
_NOWHERE: Final = Name("", "")
_NO_PARENT: Final = "NoMatchingParent"
_PARENT_KINDS: Final = {
    ("", "Service"): "Service",
    ("core", "Service"): "Service",
    ("networking.istio.io", "ServiceEntry"): "ServiceEntry",
}


class ParentKey(NamedTuple):
    """One parent of one route, as the route names it."""

    route: ObjectReference
    parent: ParentReference


class _Answer(NamedTuple):
    """What a condition says of a route at a parent."""

    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRoutes:
    """What applies to connections, and what the authors of routes are told.

    ``wanted`` are the services that routes send to beyond what their waypoint serves.
    """

    by_port: Collection[EndpointsKey, ConnectionRoute]
    parents: Collection[ParentKey, RouteParent]
    wanted: Collection[ForeignKey, ForeignKey]
    problems: Collection[ProblemKey, Problem]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parents:
    """Where the parents of routes are looked up."""

    backends: RouteBackends
    by_owner: Index[ObjectReference, WaypointHost, ServedService]
    by_port: Collection[EndpointsKey, ConnectionRoute]


def build_connection_routes(
    graph: Graph,
    membership: Membership,
    routes: Collection[tuple[str, Name], Route],
    services: Collection[WaypointHost, ServedService],
    backends: RouteBackends,
) -> ConnectionRoutes:
    """Declare the routes of connections on ``graph``."""

    def keep(fetch: Fetch, route: Route) -> Route | None:
        return route if membership.includes(fetch, route.metadata.namespace) else None

    members = graph.derive("connection routes of the mesh", routes, keep)
    by_parent = members.index("connection routes by parent", _parent_objects)

    def apply(fetch: Fetch, service: ServedService) -> Mapping[EndpointsKey, ConnectionRoute]:
        offered = sorted(fetch.where(by_parent, service.owner), key=precedence)
        found: dict[EndpointsKey, ConnectionRoute] = {}
        for port in service.ports if offered else ():
            chosen = next((route for route in offered if is_for(route, service, port)), None)
            if chosen is not None:
                key = EndpointsKey(service.waypoint, service.hostname, port.number)
                found[key] = _applied(fetch, backends, chosen, service.waypoint, port)
        return found

    by_port = graph.derive_many("connection routes of waypoints", services, apply)
    places = _Parents(
        backends=backends,
        by_owner=services.index("services of waypoints by owner", lambda each: (each.owner,)),
        by_port=by_port,
    )
    return ConnectionRoutes(
        by_port=by_port,
        parents=graph.derive_many(
            "parents of connection routes",
            members,
            lambda fetch, route: _told(fetch, places, route),
        ),
        wanted=graph.distinct(
            "services that connection routes want",
            by_port.index("connection routes by foreign service", _foreign),
        ),
        problems=graph.derive_many(
            "problems of connection routes",
            members,
            lambda fetch, route: _problems(fetch, places, route),
        ),
    )


def precedence(route: Route) -> tuple[bool, float, str, str]:
    """Return the order in which routes are asked: TLSRoutes first, then by age, then by name."""
    metadata = route.metadata
    return route.kind != _TLS, metadata.created, metadata.namespace, metadata.name


def is_for(route: Route, service: ServedService, port: ServedPort) -> bool:
    """Return whether ``route`` is for the connections to ``port`` that are not read as HTTP."""
    return (
        Layer.TCP in port.layers
        and _is_near(route, service)
        and _names(route, service.hostname)
        and any(
            parent_object(route, parent) == service.owner and parent.port in {0, port.number}
            for parent in route.parents
        )
    )


def parent_object(route: Route, parent: ParentReference) -> ObjectReference | None:
    """Return the Service or ServiceEntry that ``parent`` is; None for a parent of another kind."""
    kind = _PARENT_KINDS.get((parent.group, parent.kind))
    if kind is None:
        return None
    return ObjectReference(kind, parent.namespace or route.metadata.namespace, parent.name)


def _parent_objects(route: Route) -> tuple[ObjectReference, ...]:
    found = (parent_object(route, parent) for parent in route.parents)
    return tuple(dict.fromkeys(each for each in found if each is not None))


def _names(route: Route, hostname: str) -> bool:
    """Return whether a TLSRoute names the host; connections carry no other name there."""
    return route.kind != _TLS or hostname in {name.lower() for name in route.hostnames}


def _is_near(route: Route, service: ServedService) -> bool:
    return route.metadata.namespace in {service.service.namespace, service.waypoint.namespace}


def _applied(
    fetch: Fetch, backends: RouteBackends, route: Route, waypoint: Name, port: ServedPort
) -> ConnectionRoute:
    first = route.rules[0].backends if route.rules else ()
    found = []
    for backend in first:
        outcome = _resolve(fetch, backends, route, waypoint, backend)
        destination = (
            outcome.destination
            if isinstance(outcome, ResolvedBackend)
            else Destination(is_valid=False)
        )
        found.append(ConnectionBackend(destination, backend.weight))
    return ConnectionRoute(
        waypoint=waypoint, owner=route.reference, port=port.number, backends=tuple(found)
    )


def _resolve(
    fetch: Fetch,
    backends: RouteBackends,
    route: Route,
    waypoint: Name,
    backend: connections.BackendReference,
) -> ResolvedBackend | RefusedBackend:
    reference = BackendReference(
        backend.group, backend.kind, backend.namespace, backend.name, backend.port
    )
    return backends.resolve(fetch, waypoint, route.metadata.namespace, reference, Layer.TCP)


def _foreign(route: ConnectionRoute) -> tuple[ForeignKey, ...]:
    """Return what ``route`` sends to that its waypoint does not serve."""
    destinations = (backend.destination for backend in route.backends if backend.weight)
    return tuple(
        ForeignKey(route.waypoint, destination.hostname, destination.port, Layer.TCP)
        for destination in destinations
        if destination.is_valid and not destination.is_served
    )


def _told(fetch: Fetch, places: _Parents, route: Route) -> Mapping[ParentKey, RouteParent]:
    return {
        ParentKey(route.reference, parent): RouteParent(
            route=route.reference,
            parent=parent,
            conditions=_conditions(fetch, places, route, parent),
            observed_generation=route.metadata.generation or 0,
        )
        for parent in route.parents
        if parent_object(route, parent) is not None
    }


def _conditions(
    fetch: Fetch, places: _Parents, route: Route, parent: ParentReference
) -> tuple[ParentCondition, ...]:
    return (
        ParentCondition(ACCEPTED, *_acceptance(fetch, places, route, parent)),
        ParentCondition(RESOLVED, *_resolution(fetch, places, route, parent)),
    )


def _acceptance(fetch: Fetch, places: _Parents, route: Route, parent: ParentReference) -> _Answer:
    owner = parent_object(route, parent)
    if owner is None:
        return _Answer(status=False, reason=_NO_PARENT, message="no parent of the mesh")
    claims = [claim.served for claim in fetch.where(places.backends.by_owner, owner)]
    if not claims:
        return _Answer(status=False, reason=_NO_PARENT, message=f"{owner} was not found")
    ports = {port.number for served in claims for port in served.ports if Layer.TCP in port.layers}
    if not ports & ({parent.port} if parent.port else ports):
        wanted = f"port {parent.port}" if parent.port else "port"
        message = f"{owner} has no {wanted} that is passed on as bytes"
        return _Answer(status=False, reason=_NO_PARENT, message=message)
    if not any(_names(route, served.hostname) for served in claims):
        names = ", ".join(sorted(served.hostname for served in claims))
        message = f"no hostname of the route is that of {owner}: {names}"
        return _Answer(status=False, reason="NoMatchingListenerHostname", message=message)
    served = list(fetch.where(places.by_owner, owner))
    if route.metadata.namespace != owner.namespace and not any(
        _is_near(route, each) for each in served
    ):
        message = f"a route for {owner} is in its namespace or in that of its waypoint"
        return _Answer(status=False, reason="NotAllowedByListeners", message=message)
    return _Answer(status=True, reason=ACCEPTED, message="Route was valid")


def _resolution(fetch: Fetch, places: _Parents, route: Route, parent: ParentReference) -> _Answer:
    owner = parent_object(route, parent)
    served = [] if owner is None else list(fetch.where(places.by_owner, owner))
    waypoint = min((each.waypoint for each in served), default=_NOWHERE)
    for backend in _backends(route):
        outcome = _resolve(fetch, places.backends, route, waypoint, backend)
        if isinstance(outcome, RefusedBackend):
            return _Answer(status=False, reason=outcome.reason, message=outcome.message)
    return _Answer(status=True, reason=RESOLVED, message="All references resolved")


def _backends(route: Route) -> Iterable[connections.BackendReference]:
    return route.rules[0].backends if route.rules else ()


def _problems(fetch: Fetch, places: _Parents, route: Route) -> Mapping[ProblemKey, Problem]:
    found = []
    for index, parent in enumerate(route.parents):
        if parent_object(route, parent) is None:
            continue
        field = f"spec.parentRefs[{index}]"
        found += [
            _problem(route, "connection-route.not-in-force", condition.message, field)
            for condition in _conditions(fetch, places, route, parent)
            if not condition.status
        ][:1]
        winner = _winner(fetch, places, route, parent)
        if winner is not None:
            message = f"{winner} is for the same connections and comes first"
            found.append(_problem(route, "connection-route.shadowed", message, field))
    if len(route.rules) > 1:
        message = "only the first rule counts: nothing tells connections apart"
        found.append(_problem(route, "connection-route.further-rules", message, "spec.rules[1]"))
    return {problem_key(problem): problem for problem in found}


def _winner(
    fetch: Fetch, places: _Parents, route: Route, parent: ParentReference
) -> ObjectReference | None:
    """Return the route that has one of the ports that ``route`` is for at ``parent``."""
    owner = parent_object(route, parent)
    for service in () if owner is None else fetch.where(places.by_owner, owner):
        for port in service.ports:
            if parent.port not in {0, port.number} or not is_for(route, service, port):
                continue
            key = EndpointsKey(service.waypoint, service.hostname, port.number)
            applied = fetch.one(places.by_port, key)
            if applied is not None and applied.owner != route.reference:
                return applied.owner
    return None


def _problem(route: Route, code: str, message: str, field: str) -> Problem:
    return Problem(
        severity=Severity.WARNING, code=code, message=message, object=route.reference, field=field
    )
