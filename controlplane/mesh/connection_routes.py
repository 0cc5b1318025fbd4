"""Where connections go that waypoints pass on as bytes, as TLSRoutes and TCPRoutes say.

Routes and what waypoints serve come in; one ``ConnectionRoute`` for each port that a route is for
goes out, what the author is told about each parent, and what is wrong as Problems.
docs/protocol/connection-routes.md CR-1 to CR-12.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests import connections
from controlplane.mesh.foreign_services import ForeignKey
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.route_backends import (
    RefusedBackend,
    ResolvedBackend,
    RouteBackends,
)
from controlplane.mesh.route_parents import (
    ACCEPTED,
    NO_MATCHING_PARENT,
    NOT_ALLOWED,
    RESOLVED_REFERENCES,
    ParentKey,
    RouteParents,
    parent_owner,
    parent_owners,
)
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.model.connection_route import ConnectionBackend, ConnectionRoute
from controlplane.model.http_route import Destination
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity
from controlplane.model.route_parent import ParentCondition, ParentReference, RouteParent
from controlplane.model.waypoint_traffic import Layer, ServedService

Route = connections.ConnectionRoute

_TLS: Final = "TLSRoute"
_NOWHERE: Final = Name("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRoutes:
    """What applies to connections, and what the authors of routes are told.

    ``wanted`` are the services that routes send to beyond what their waypoint serves.
    """

    by_port: Collection[EndpointsKey, ConnectionRoute]
    parents: Collection[ParentKey, RouteParent]
    wanted: Collection[ForeignKey, ForeignKey]
    problems: Collection[ProblemKey, Problem]


class _Places(NamedTuple):
    """Where the parents of routes are looked up, and what applies there."""

    parents: RouteParents
    by_port: Collection[EndpointsKey, ConnectionRoute]


def build_connection_routes(
    graph: Graph,
    membership: Membership,
    routes: Collection[tuple[str, Name], Route],
    services: Collection[WaypointHost, ServedService],
    parents: RouteParents,
) -> ConnectionRoutes:
    """Declare the routes of connections on ``graph``."""

    def keep(fetch: Fetch, route: Route) -> Route | None:
        return route if membership.includes(fetch, route.metadata.namespace) else None

    members = graph.derive("connection routes of the mesh", routes, keep)
    by_parent = members.index(
        "connection routes by parent",
        lambda route: parent_owners(route.parents, route.metadata.namespace),
    )

    def apply(fetch: Fetch, service: ServedService) -> Mapping[EndpointsKey, ConnectionRoute]:
        offered = sorted(fetch.where(by_parent, service.owner), key=precedence)
        taken: dict[int, Route] = {}
        for route in offered:
            for number in _ports(fetch, parents, route, route.parents, service):
                taken.setdefault(number, route)
        return {
            EndpointsKey(service.waypoint, service.hostname, number): _applied(
                fetch, parents.backends, route, service.waypoint, number
            )
            for number, route in taken.items()
        }

    by_port = graph.derive_many("connection routes of waypoints", services, apply)
    places = _Places(parents, by_port)
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


def _ports(
    fetch: Fetch,
    parents: RouteParents,
    route: Route,
    attached: Iterable[ParentReference],
    service: ServedService,
) -> tuple[int, ...]:
    """Return the ports of ``service`` that ``route`` is for by the parents in ``attached``."""
    namespace = route.metadata.namespace
    if not _is_near(route, service) or not _names(route, service.hostname):
        return ()
    found = parents.attached_ports(fetch, attached, namespace, service.owner)
    return tuple(
        port.number for port in service.ports if port.number in found and Layer.TCP in port.layers
    )


def _names(route: Route, hostname: str) -> bool:
    """Return whether a TLSRoute names the host; connections carry no other name there."""
    return route.kind != _TLS or hostname in {name.lower() for name in route.hostnames}


def _is_near(route: Route, service: ServedService) -> bool:
    return route.metadata.namespace in {service.service.namespace, service.waypoint.namespace}


def _applied(
    fetch: Fetch, backends: RouteBackends, route: Route, waypoint: Name, number: int
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
        waypoint=waypoint, owner=route.reference, port=number, backends=tuple(found)
    )


def _resolve(
    fetch: Fetch,
    backends: RouteBackends,
    route: Route,
    waypoint: Name,
    backend: connections.BackendReference,
) -> ResolvedBackend | RefusedBackend:
    return backends.resolve(fetch, waypoint, route.metadata.namespace, backend, Layer.TCP)


def _foreign(route: ConnectionRoute) -> tuple[ForeignKey, ...]:
    """Return what ``route`` sends to that its waypoint does not serve."""
    destinations = (backend.destination for backend in route.backends if backend.weight)
    return tuple(
        ForeignKey(route.waypoint, destination.hostname, destination.port, Layer.TCP)
        for destination in destinations
        if destination.is_valid and not destination.is_served
    )


def _told(fetch: Fetch, places: _Places, route: Route) -> Mapping[ParentKey, RouteParent]:
    judged = ((parent, _conditions(fetch, places, route, parent)) for parent in route.parents)
    return {
        ParentKey(route.reference, parent): RouteParent(
            route=route.reference,
            parent=parent,
            conditions=conditions,
            observed_generation=route.metadata.generation or 0,
        )
        for parent, conditions in judged
        if conditions
    }


def _conditions(
    fetch: Fetch, places: _Places, route: Route, parent: ParentReference
) -> tuple[ParentCondition, ...]:
    """Return what is said of ``route`` at ``parent``, nothing where that is not our business."""
    judged = places.parents.judge(fetch, parent, route.metadata.namespace)
    if judged is None:
        return ()
    owner = parent_owner(parent, route.metadata.namespace)
    accepted = judged.accepted
    if accepted.status and owner is not None:
        refusal = _refusal(fetch, places, route, parent, owner)
        if refusal is not None:
            reason, message = refusal
            accepted = ParentCondition(ACCEPTED, status=False, reason=reason, message=message)
    waypoint = judged.waypoints[0] if judged.waypoints else _NOWHERE
    resolved = _resolution(fetch, places.parents.backends, route, waypoint)
    told = (accepted, resolved, judged.resolved)
    return tuple(condition for condition in told if condition is not None)


def _refusal(
    fetch: Fetch, places: _Places, route: Route, parent: ParentReference, owner: ObjectReference
) -> tuple[str, str] | None:
    """Return why connections do not care for ``route``, although its parent is there."""
    namespace = route.metadata.namespace
    claims = [claim.served for claim in fetch.where(places.parents.backends.by_owner, owner)]
    ports = {port.number for each in claims for port in each.ports if Layer.TCP in port.layers}
    if not ports & places.parents.attached_ports(fetch, [parent], namespace, owner):
        return NO_MATCHING_PARENT, f"{owner} has no such port that is passed on as bytes"
    if not any(_names(route, each.hostname) for each in claims):
        names = ", ".join(sorted(each.hostname for each in claims))
        return "NoMatchingListenerHostname", f"no hostname of the route is that of {owner}: {names}"
    served = fetch.where(places.parents.served, owner)
    if namespace != owner.namespace and not any(_is_near(route, each) for each in served):
        return NOT_ALLOWED, f"a route for {owner} is in its namespace or in that of its waypoint"
    return None


def _resolution(
    fetch: Fetch, backends: RouteBackends, route: Route, waypoint: Name
) -> ParentCondition:
    for backend in _backends(route):
        found = _resolve(fetch, backends, route, waypoint, backend)
        if isinstance(found, RefusedBackend):
            reason, message = found
            return ParentCondition(
                RESOLVED_REFERENCES, status=False, reason=reason, message=message
            )
    return ParentCondition(
        RESOLVED_REFERENCES,
        status=True,
        reason=RESOLVED_REFERENCES,
        message="All references resolved",
    )


def _backends(route: Route) -> Iterable[connections.BackendReference]:
    return route.rules[0].backends if route.rules else ()


def _problems(fetch: Fetch, places: _Places, route: Route) -> Mapping[ProblemKey, Problem]:
    found = []
    for index, parent in enumerate(route.parents):
        field = f"spec.parentRefs[{index}]"
        conditions = _conditions(fetch, places, route, parent)
        refused = next((each for each in conditions if not each.status), None)
        winner = _winner(fetch, places, route, parent)
        if refused is not None:
            code = (
                "route.parent-not-accepted"
                if refused.type == ACCEPTED
                else "route.backend-not-usable"
            )
            found.append(_problem(route, code, refused.message, field))
        elif winner is not None:
            message = f"{winner} is for the same connections and comes first"
            found.append(_problem(route, "route.shadowed", message, field))
    if len(route.rules) > 1:
        message = "only the first rule counts: nothing tells connections apart"
        found.append(_problem(route, "route.shadowed", message, "spec.rules[1]"))
    return {problem_key(problem): problem for problem in found}


def _winner(
    fetch: Fetch, places: _Places, route: Route, parent: ParentReference
) -> ObjectReference | None:
    """Return the route that has one of the ports that ``route`` is for at ``parent``."""
    owner = parent_owner(parent, route.metadata.namespace)
    for service in () if owner is None else fetch.where(places.parents.served, owner):
        for number in _ports(fetch, places.parents, route, [parent], service):
            key = EndpointsKey(service.waypoint, service.hostname, number)
            applied = fetch.one(places.by_port, key)
            if applied is not None and applied.owner != route.reference:
                return applied.owner
    return None


def _problem(route: Route, code: str, message: str, field: str) -> Problem:
    return Problem(
        severity=Severity.WARNING, code=code, message=message, object=route.reference, field=field
    )
