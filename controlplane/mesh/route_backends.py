"""What a route may send to: a reference to a backend comes in, a destination or a refusal goes out.

Routes of every kind ask here, each for the layer it works on. Published services and what
waypoints serve are what is known. docs/protocol/http-routes.md HR-20 to HR-26.
"""

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph, Index
from controlplane.manifests.route_references import BackendTarget
from controlplane.mesh.hostnames import Services
from controlplane.mesh.waypoint_services import Claim, WaypointHost, served_service
from controlplane.model.http_route import Destination
from controlplane.model.names import Name, ObjectReference, ServiceName
from controlplane.model.waypoint_traffic import Layer, Resolution, ServedPort, ServedService

BACKEND_NOT_FOUND: Final = "BackendNotFound"
INVALID_KIND: Final = "InvalidKind"
INVALID_DESTINATION: Final = "InvalidDestination"
NOT_PERMITTED: Final = "RefNotPermitted"

ISTIO_GROUP: Final = "networking.istio.io"

_NOWHERE: Final = Name("", "")


class Attachment(NamedTuple):
    """Whose routes are judged, and where: those of ``namespace`` for ``parent`` at ``waypoint``."""

    waypoint: Name
    namespace: str
    parent: ObjectReference

    @property
    def is_producer(self) -> bool:
        """Return whether the routes belong to who runs the service or its waypoint."""
        return self.namespace in (self.parent.namespace, self.waypoint.namespace)


class ResolvedBackend(NamedTuple):
    """Where a reference leads, what is spoken there, and the object that is behind it."""

    destination: Destination
    port: ServedPort
    owner: ObjectReference


class RefusedBackend(NamedTuple):
    """Why a reference leads nowhere: a condition's reason and message."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteBackends:
    """Everything that routes may send to; ``served`` is what waypoints have clusters for."""

    by_owner: Index[ObjectReference, ServiceName, Claim]
    by_hostname: Index[str, ServiceName, Claim]
    served: Collection[WaypointHost, ServedService]

    def resolve_for(
        self, fetch: Fetch, attachment: Attachment, reference: BackendTarget, layer: Layer
    ) -> ResolvedBackend | RefusedBackend:
        """Return where ``reference`` of a route leads, if who wrote the route may send there.

        The waypoint sends as itself, and has asked the policies of the parent alone. So a consumer
        gets no further than the parent and the Services of its own namespace (HR-26).
        """
        found = self.resolve(fetch, attachment.waypoint, attachment.namespace, reference, layer)
        if isinstance(found, RefusedBackend) or attachment.is_producer:
            return found
        owner = found.owner
        is_own = owner.kind == "Service" and owner.namespace == attachment.namespace
        if is_own or owner == attachment.parent:
            return found
        message = (
            f"{owner} is not of the namespace {attachment.namespace}: a route for requests of its "
            f"own namespace leads to {attachment.parent} and to Services beside the route"
        )
        return RefusedBackend(NOT_PERMITTED, message)

    def resolve(
        self,
        fetch: Fetch,
        waypoint: Name,
        namespace: str,
        reference: BackendTarget,
        layer: Layer,
    ) -> ResolvedBackend | RefusedBackend:
        """Return where ``reference`` of a route in ``namespace`` leads at ``waypoint``.

        Where no waypoint is involved, one that nobody has will do.
        """
        match reference.group, reference.kind:
            case ("" | "core", "Service"):
                found = self._service(fetch, waypoint, namespace, reference)
            case (group, "Hostname") if group == ISTIO_GROUP:
                found = self._hostname(fetch, waypoint, reference)
            case group, kind:
                known = f"Service, or Hostname of group {ISTIO_GROUP}"
                named = f"{kind}.{group}" if group else kind
                return RefusedBackend(INVALID_KIND, f"{named} is no backend: use {known}")
        if isinstance(found, RefusedBackend):
            return found
        if not reference.port:
            return RefusedBackend(INVALID_DESTINATION, f"{reference.name}: a port is required")
        port = next((port for port in found.ports if port.number == reference.port), None)
        if port is None:
            message = f"{found.owner} has no TCP port {reference.port}"
            return RefusedBackend(BACKEND_NOT_FOUND, message)
        host = WaypointHost(waypoint, found.hostname)
        is_served = fetch.one(self.served, host) is not None and layer in port.layers
        if not is_served and found.resolution is Resolution.ORIGINAL_DESTINATION:
            message = f"{found.owner} is wherever a client sends to: nothing can be sent on to it"
            return RefusedBackend(INVALID_DESTINATION, message)
        return ResolvedBackend(
            Destination(hostname=found.hostname, port=port.number, is_served=is_served),
            port,
            found.owner,
        )

    def service_at(self, fetch: Fetch, waypoint: Name, hostname: str) -> ServedService | None:
        """Return what ``waypoint`` takes ``hostname`` for.

        That is what it serves by the name, else the canonical service, else that of its namespace.
        """
        served = fetch.one(self.served, WaypointHost(waypoint, hostname))
        if served is not None:
            return served
        claims = sorted(
            fetch.where(self.by_hostname, hostname),
            key=lambda claim: (not claim.is_canonical, claim.served.service),
        )
        for claim in claims:
            if claim.is_canonical or claim.served.service.namespace == waypoint.namespace:
                return replace(claim.served, waypoint=waypoint)
        return None

    def _service(
        self, fetch: Fetch, waypoint: Name, namespace: str, reference: BackendTarget
    ) -> ServedService | RefusedBackend:
        owner = ObjectReference("Service", reference.namespace or namespace, reference.name)
        claim = next(iter(fetch.where(self.by_owner, owner)), None)
        if claim is None:
            return RefusedBackend(BACKEND_NOT_FOUND, f"{owner} was not found")
        found = self.service_at(fetch, waypoint, claim.served.hostname)
        if found is None or found.owner != owner:
            message = f"the waypoint knows {claim.served.hostname} as another object's"
            return RefusedBackend(INVALID_DESTINATION, f"{owner}: {message}")
        return found

    def _hostname(
        self, fetch: Fetch, waypoint: Name, reference: BackendTarget
    ) -> ServedService | RefusedBackend:
        if reference.namespace:
            message = f"{reference.name}: a Hostname has no namespace"
            return RefusedBackend(INVALID_DESTINATION, message)
        found = self.service_at(fetch, waypoint, reference.name.lower())
        if found is None:
            message = f"no Service or ServiceEntry has the hostname {reference.name}"
            return RefusedBackend(BACKEND_NOT_FOUND, message)
        return found


def build_route_backends(
    graph: Graph, services: Services, served: Collection[WaypointHost, ServedService]
) -> RouteBackends:
    """Declare what routes may send to on ``graph``."""
    # Without labels and endpoints: those change more often than where a route may lead.
    known = graph.derive(
        "services that routes may send to",
        services.winners,
        lambda _, winner: Claim(served_service(_NOWHERE, winner), winner.is_canonical),
    )
    return RouteBackends(
        by_owner=known.index("backends by owner", lambda claim: (claim.served.owner,)),
        by_hostname=known.index("backends by hostname", lambda claim: (claim.served.hostname,)),
        served=served,
    )
