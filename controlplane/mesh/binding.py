"""Which waypoint a service or a workload is bound to, or why not.

Labels and the ``Waypoints`` collections come in, a binding goes out that the rules for services
and workloads put on the wire and ``service_conditions`` turns into status. Source:
docs/protocol/waypoints.md WP-10 to WP-24, WP-40.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from controlplane.dataflow import Fetch
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.canary import canary_weight, canary_wish_for
from controlplane.mesh.waypoint_gateways import NotWaypoint, gateway_name
from controlplane.mesh.waypoints import Waypoints
from controlplane.mesh.wishes import Wish, ingress_wish, waypoint_wish
from controlplane.model.names import Name
from controlplane.model.service import Visibility, WeightedWaypoint
from controlplane.model.waypoint import AllowedNamespaces, Waypoint
from controlplane.model.workload import ApplicationTunnel, GatewayAddress

MANAGED: Final = "gateway.istio.io/managed"
_UNBOUND_MANAGERS: Final = frozenset({"istio.io-mesh-controller", "istio.io-eastwest-controller"})


class Traffic(StrEnum):
    """What is bound, in the words of ``istio.io/waypoint-for``."""

    SERVICE = "service"
    WORKLOAD = "workload"


class Refusal(NamedTuple):
    """Why a wanted waypoint is not used: a condition's reason and message."""

    reason: str
    message: str


class Canary(NamedTuple):
    """The second waypoint of a service and the shares of both; empty without one."""

    key: Name | None = None
    weighted: tuple[WeightedWaypoint, ...] = ()


class WorkloadBinding(NamedTuple):
    """What a workload is bound to; all None when it wants nothing."""

    waypoint: GatewayAddress | None = None
    key: Name | None = None
    application_tunnel: ApplicationTunnel | None = None
    refusal: Refusal | None = None


class ServiceSubject(NamedTuple):
    """What of a Service or ServiceEntry decides its binding."""

    kind: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    visibility: Visibility = Visibility.PUBLIC

    @classmethod
    def of(cls, manifest: Manifest, visibility: Visibility = Visibility.PUBLIC) -> "ServiceSubject":
        """Return what decides of ``manifest``, a Service or a ServiceEntry; Services are public."""
        metadata = manifest.metadata
        return cls(
            kind=manifest.kind,
            namespace=metadata.namespace,
            name=metadata.name,
            labels=metadata.labels,
            annotations=metadata.annotations,
            visibility=visibility,
        )


class ServiceBinding(NamedTuple):
    """What a service is bound to; all None and empty when it wants nothing.

    ``canary`` is the second waypoint of ``weighted``.
    """

    waypoint: GatewayAddress | None = None
    key: Name | None = None
    canary: Name | None = None
    weighted: tuple[WeightedWaypoint, ...] = ()
    ingress: bool = False
    ingress_label_present: bool = False
    refusal: Refusal | None = None
    canary_refusal: Refusal | None = None


def bind_workload(
    fetch: Fetch, waypoints: Waypoints, namespace: str, labels: Mapping[str, str]
) -> WorkloadBinding:
    """Return the binding of a pod, WorkloadEntry or ServiceEntry endpoint with ``labels``."""
    instance_of = gateway_name(labels, namespace)
    if instance_of is not None:
        waypoint = fetch.one(waypoints.candidates, instance_of)
        if isinstance(waypoint, Waypoint):
            return WorkloadBinding(application_tunnel=waypoint.application_tunnel)
    own = waypoint_wish(labels, namespace)
    wish = own or waypoints.wishes(fetch, namespace).waypoint
    if wish is None or wish.key is None:
        return WorkloadBinding()
    outcome = _attach(fetch, waypoints, wish.key, namespace)
    if isinstance(outcome, Refusal):
        return WorkloadBinding(refusal=outcome)
    if not outcome.serves_workloads:
        # A namespace's waypoint may be meant for its services alone: nothing was asked of it.
        refusal = _wrong_traffic(wish.key, Traffic.WORKLOAD) if own is not None else None
        return WorkloadBinding(refusal=refusal)
    return WorkloadBinding(waypoint=outcome.address, key=outcome.key)


def bind_service(fetch: Fetch, waypoints: Waypoints, subject: ServiceSubject) -> ServiceBinding:
    """Return the binding of a Service or ServiceEntry, with its canary and ingress choice."""
    if subject.labels.get(MANAGED) in _UNBOUND_MANAGERS:
        return ServiceBinding()
    own = waypoint_wish(subject.labels, subject.namespace)
    wishes = waypoints.wishes(fetch, subject.namespace)
    wish = own or wishes.waypoint
    if wish is None or wish.key is None:
        return ServiceBinding()
    primary = _attach_service(fetch, waypoints, wish.key, subject)
    if isinstance(primary, Refusal):
        return ServiceBinding(refusal=primary)
    ingress = ingress_wish(subject.labels) or wishes.ingress
    canary = _canary(fetch, waypoints, subject, primary)
    return ServiceBinding(
        waypoint=primary.address,
        key=primary.key,
        canary=canary.key if not isinstance(canary, Refusal) else None,
        weighted=canary.weighted if not isinstance(canary, Refusal) else (),
        ingress=ingress is not None and ingress.wanted,
        ingress_label_present=ingress is not None,
        canary_refusal=canary if isinstance(canary, Refusal) else None,
    )


def may_serve(fetch: Fetch, waypoints: Waypoints, key: Name, subject: ServiceSubject) -> bool:
    """Return whether the waypoint ``key`` would take the service if that asked for it."""
    return not isinstance(_attach_service(fetch, waypoints, key, subject), Refusal)


def _canary(
    fetch: Fetch, waypoints: Waypoints, subject: ServiceSubject, primary: Waypoint
) -> Canary | Refusal:
    """Return the canary, empty when none is wanted, or why it is not used."""
    wishes = waypoints.wishes(fetch, subject.namespace)
    wish: Wish | None = canary_wish_for(subject.labels, subject.namespace, wishes)
    if wish is None or wish.key is None:
        return Canary()
    weight = canary_weight(subject.labels, subject.annotations, wishes)
    if weight is None:
        message = (
            f'canary waypoint "{wish.key}" has an invalid weight; must be an integer in [0,100]'
        )
        return Refusal("CanaryInvalidWeight", message)
    if wish.key == primary.key:
        message = f'canary waypoint "{wish.key}" must differ from the primary waypoint'
        return Refusal("CanarySameAsPrimary", message)
    canary = _attach_service(fetch, waypoints, wish.key, subject)
    if isinstance(canary, Refusal):
        return canary
    shares = (
        WeightedWaypoint(primary.address, 100 - weight),
        WeightedWaypoint(canary.address, weight),
    )
    return Canary(canary.key, shares)


def _attach_service(
    fetch: Fetch, waypoints: Waypoints, key: Name, subject: ServiceSubject
) -> Waypoint | Refusal:
    waypoint = _attach(fetch, waypoints, key, subject.namespace)
    if isinstance(waypoint, Refusal):
        return waypoint
    if not waypoint.serves_services:
        return _wrong_traffic(key, Traffic.SERVICE)
    if subject.visibility is Visibility.NAMESPACE and key.namespace != subject.namespace:
        return Refusal(
            "CrossNamespaceWaypointForbidden",
            f'cannot bind to waypoint "{key}" in another namespace: cross-namespace waypoint '
            "binding is not permitted for a ServiceEntry with NAMESPACE visibility",
        )
    return waypoint


def _attach(fetch: Fetch, waypoints: Waypoints, key: Name, namespace: str) -> Waypoint | Refusal:
    """Return the waypoint if it is ready and admits ``namespace``, else why not."""
    candidate = fetch.one(waypoints.candidates, key)
    if candidate is None:
        return Refusal("WaypointIsNotReady", f'waypoint "{key}" is not ready')
    if isinstance(candidate, NotWaypoint):
        return Refusal(
            "NotAWaypoint", f'gateway "{key}" of class "{candidate.class_name}" is not a waypoint'
        )
    if not _admits(fetch, waypoints, candidate, namespace):
        return Refusal(
            "AttachmentDenied",
            f'we are not permitted to attach to waypoint "{key}" (missing allowedRoutes?)',
        )
    return candidate


def _admits(fetch: Fetch, waypoints: Waypoints, waypoint: Waypoint, namespace: str) -> bool:
    match waypoint.allowed:
        case AllowedNamespaces.ALL:
            return True
        case AllowedNamespaces.SAME:
            return waypoint.key.namespace == namespace
        case AllowedNamespaces.SELECTOR:
            admitted = fetch.one(waypoints.admissions, (waypoint.key, namespace))
            if admitted is not None:
                return admitted
            # No Namespace object: only the label every namespace carries is known.
            known = {"kubernetes.io/metadata.name": namespace}
            return waypoint.selector is not None and waypoint.selector.selects(known)


def _wrong_traffic(key: Name, traffic: Traffic) -> Refusal:
    return Refusal(
        "UnsupportedTrafficType",
        f'attempting to bind to traffic type "{traffic}" which the waypoint "{key}" does not '
        "support",
    )
