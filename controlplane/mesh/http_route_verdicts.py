"""What the authors of HTTPRoutes and GRPCRoutes are told: a route comes in, a ``Verdict`` goes out.

About each parent its conditions, and what is wrong as Problems. ``http_routes`` makes of the same
routes what waypoints apply. docs/protocol/http-routes.md HR-23, HR-26, HR-27, HR-50 to HR-53.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from controlplane.dataflow import Fetch
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.route_backends import (
    NOT_PERMITTED,
    Attachment,
    RefusedBackend,
    RouteBackends,
)
from controlplane.mesh.route_limits import MOST_OF_CONSUMERS, MOST_OF_NAMESPACE
from controlplane.mesh.route_parents import (
    ACCEPTED,
    RESOLVED_REFERENCES,
    JudgedParent,
    RouteParents,
    parent_owner,
)
from controlplane.mesh.route_rules import JudgedRoute, JudgedRule, RouteFault
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity
from controlplane.model.route_parent import ParentCondition, RouteParent
from controlplane.model.waypoint_traffic import Layer

_MOST_TOLD: Final = 8
_TOO_MANY: Final = "TooManyMatches"


class FullPort(NamedTuple):
    """A port of a service that has no place for a route."""

    owner: ObjectReference
    number: int


class Verdict(NamedTuple):
    """What the author of a route is told, and what others are shown."""

    parents: tuple[RouteParent, ...]
    problems: tuple[Problem, ...]


def verdict_on(
    fetch: Fetch, parents: RouteParents, route: JudgedRoute, full: frozenset[FullPort]
) -> Verdict:
    """Return what is said of ``route``; ``full`` are the ports that have no place for it.

    A route none of whose parents are our business has an empty one.
    """
    namespace = route.reference.namespace
    told: list[RouteParent] = []
    problems: dict[ProblemKey, Problem] = {}
    faults = list(route.faults)
    for index, parent in enumerate(route.parents):
        judged = parents.judge(fetch, parent, namespace)
        if judged is None:
            continue
        owner = parent_owner(parent, namespace) or route.reference
        refusing = sorted(port.number for port in full if port.owner == owner)
        if refusing:
            judged = judged._replace(accepted=_too_many(owner, refusing), waypoints=())
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
            for wanted in rule.sent_to:
                resolved = backends.resolve_for(fetch, attachment, wanted.target, Layer.HTTP)
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
                fault = RouteFault(refused.reason, code, wanted.field, refused.message)
                found.setdefault(wanted.field, fault)
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
