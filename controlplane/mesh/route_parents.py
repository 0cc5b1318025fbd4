"""What routes are attached to: references to parents come in, what their authors are told goes out.

For routes of every kind. A parent that is another controller's business gets no answer from us.
docs/protocol/http-routes.md HR-6, HR-7, HR-50 to HR-53.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from controlplane.dataflow import Fetch, Index
from controlplane.manifests.gateway import GATEWAY_GROUP
from controlplane.mesh.hostnames import Services
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.route_backends import ISTIO_GROUP, RouteBackends
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.waypoints import Waypoints
from controlplane.model.names import Name, ObjectReference
from controlplane.model.route_parent import ParentCondition, ParentReference
from controlplane.model.waypoint import Waypoint
from controlplane.model.waypoint_traffic import ServedService

ACCEPTED: Final = "Accepted"
RESOLVED_REFERENCES: Final = "ResolvedRefs"
RESOLVED_WAYPOINTS: Final = "ResolvedWaypoints"
NO_MATCHING_PARENT: Final = "NoMatchingParent"
NOT_ALLOWED: Final = "NotAllowedByListeners"

_GROUPS: Final = {"Service": ("", "core"), "ServiceEntry": (ISTIO_GROUP,)}
_ELSEWHERE: Final = "NotAWaypoint"


class ParentKey(NamedTuple):
    """One parent of one route, as the route names it."""

    route: ObjectReference
    parent: ParentReference


class NamedPort(NamedTuple):
    """A port of a parent as sections name it."""

    name: str
    number: int


class JudgedParent(NamedTuple):
    """What is said about one parent. ``waypoints`` serve it, sorted; none do if it is refused."""

    accepted: ParentCondition
    resolved: ParentCondition | None = None
    waypoints: tuple[Name, ...] = ()


def parent_owner(parent: ParentReference, namespace: str) -> ObjectReference | None:
    """Return the service that ``parent`` of a route in ``namespace`` names, None for no service."""
    if parent.group not in _GROUPS.get(parent.kind, ()):
        return None
    return ObjectReference(parent.kind, parent.namespace or namespace, parent.name)


def parent_owners(
    parents: Iterable[ParentReference], namespace: str
) -> tuple[ObjectReference, ...]:
    """Return all services among ``parents``, each once: the keys of an index of routes."""
    owners = (parent_owner(parent, namespace) for parent in parents)
    return tuple(dict.fromkeys(owner for owner in owners if owner is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteParents:
    """Everything that routes may be attached to."""

    membership: Membership
    served: Index[ObjectReference, WaypointHost, ServedService]
    backends: RouteBackends
    services: Services
    waypoints: Waypoints

    def attached_ports(
        self,
        fetch: Fetch,
        parents: Iterable[ParentReference],
        namespace: str,
        owner: ObjectReference,
    ) -> frozenset[int]:
        """Return the ports of ``owner`` to which ``parents`` attach a route of ``namespace``."""
        known = self._ports(fetch, owner) or ()
        return frozenset(
            port.number
            for parent in parents
            if parent_owner(parent, namespace) == owner
            for port in _chosen(parent, known)
        )

    def judge(self, fetch: Fetch, parent: ParentReference, namespace: str) -> JudgedParent | None:
        """Return what is said of ``parent`` of a route in ``namespace``, None for nothing."""
        owner = parent_owner(parent, namespace)
        if owner is None:
            return self._gateway(fetch, parent, namespace)
        if self._is_elsewhere(fetch, owner):
            return None
        known = self._ports(fetch, owner)
        if known is None:
            return _refused(NO_MATCHING_PARENT, f"{owner} was not found")
        if not _chosen(parent, known):
            wanted = " ".join(str(each) for each in (parent.section, parent.port) if each)
            return _refused(NO_MATCHING_PARENT, f"{owner} has no port {wanted}".rstrip())
        found = {service.waypoint for service in fetch.where(self.served, owner)}
        waypoints = tuple(sorted(found))
        return JudgedParent(
            ParentCondition(ACCEPTED, status=True, reason=ACCEPTED, message="Route was valid"),
            _resolved(owner, waypoints),
            waypoints,
        )

    def _ports(self, fetch: Fetch, owner: ObjectReference) -> tuple[NamedPort, ...] | None:
        """Return the ports of ``owner``; None where there is no such object in the mesh."""
        # Read where they are written: a collection of ports would cost every service of a mesh
        # something, and routes are few.
        key = Name(owner.namespace, owner.name)
        if owner.kind == "Service":
            service = fetch.one(self.membership.services, key)
            if service is None:
                return None
            return tuple(NamedPort(port.name, port.port) for port in service.ports)
        entry = fetch.one(self.membership.service_entries, key)
        if entry is None:
            return None
        return tuple(NamedPort(port.name, port.number) for port in entry.ports)

    def _gateway(
        self, fetch: Fetch, parent: ParentReference, namespace: str
    ) -> JudgedParent | None:
        if (parent.group, parent.kind) != (GATEWAY_GROUP, "Gateway"):
            return None
        key = Name(parent.namespace or namespace, parent.name)
        if not isinstance(fetch.one(self.waypoints.expected, key), Waypoint):
            return None
        message = f"Gateway {key} is a waypoint: attach the route to the Service it is for"
        return _refused(NOT_ALLOWED, message)

    def _is_elsewhere(self, fetch: Fetch, owner: ObjectReference) -> bool:
        """Return whether ``owner`` uses a Gateway of another controller."""
        for claim in fetch.where(self.backends.by_owner, owner):
            binding = fetch.one(self.services.bindings, claim.served.service)
            refusal = None if binding is None else binding.refusal
            if refusal is not None and refusal.reason == _ELSEWHERE:
                return True
        return False


def build_route_parents(
    membership: Membership,
    services: Services,
    waypoints: Waypoints,
    backends: RouteBackends,
) -> RouteParents:
    """Return what routes may be attached to."""
    return RouteParents(
        membership=membership,
        served=backends.served.index("served services by owner", lambda value: (value.owner,)),
        backends=backends,
        services=services,
        waypoints=waypoints,
    )


def _chosen(parent: ParentReference, known: tuple[NamedPort, ...]) -> tuple[NamedPort, ...]:
    return tuple(
        port
        for port in known
        if parent.port in (0, port.number) and parent.section in ("", port.name)
    )


def _refused(reason: str, message: str) -> JudgedParent:
    return JudgedParent(ParentCondition(ACCEPTED, status=False, reason=reason, message=message))


def _resolved(owner: ObjectReference, waypoints: tuple[Name, ...]) -> ParentCondition:
    """Return which waypoints apply the route; without any it is true all the same (HR-53)."""
    names = ", ".join(str(name) for name in waypoints)
    message = f"Requests to {owner} are routed by {names}"
    if not waypoints:
        message = (
            f"{owner} uses no waypoint, so that the route has no effect: "
            "label it or its namespace istio.io/use-waypoint"
        )
    return ParentCondition(
        RESOLVED_WAYPOINTS, status=True, reason=RESOLVED_WAYPOINTS, message=message
    )
