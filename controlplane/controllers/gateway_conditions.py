"""What a waypoint Gateway and its class are told: Gateways and Services in, statuses out.

The status is a value; who applies it is another matter. ``status.addresses`` is what makes a
waypoint exist for everybody else. Source: docs/protocol/waypoint-deployment.md WO-60 to WO-71.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.controllers.waypoint_objects import (
    INVALID_NAME,
    INVALID_PARAMETERS,
    UNSUPPORTED_ADDRESS,
)
from controlplane.manifests.gateway import Gateway, GatewayAddress, GatewayClass, Listener
from controlplane.mesh.expansion_waypoints import is_managed
from controlplane.mesh.waypoint_gateways import HBONE, HBONE_PORT, MESH_CONTROLLER, WAYPOINT_CLASS
from controlplane.model.network import address_from_text
from controlplane.model.problem import Condition, Problem

REMOTE_CLASS: Final = "istio-remote"
UNMANAGED_CONTROLLER: Final = "istio.io/unmanaged-gateway"

STATUS_MANAGER: Final = "istiod-lite-gateway-status"
"""Not the one that applies objects: what one manager applies less the next time is removed."""

_CLASSES: Final = (
    (WAYPOINT_CLASS, MESH_CONTROLLER, "The default Istio waypoint GatewayClass"),
    (REMOTE_CLASS, UNMANAGED_CONTROLLER, "Gateways that somebody else has deployed"),
)
_ACCEPTED: Final = ("Accepted", True, "Accepted", "Resource accepted")
_RESOLVED: Final = ("ResolvedRefs", True, "ResolvedRefs", "All references resolved")
_REASON_OF: Final = {
    INVALID_PARAMETERS: "InvalidParameters",
    UNSUPPORTED_ADDRESS: "UnsupportedAddress",
}
_NOT_HBONE: Final = f'Expected a single listener on port {HBONE_PORT} with protocol "{HBONE}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayHost:
    """A Service that a Gateway is reached at: its addresses and whether 15008 is served."""

    addresses: tuple[str, ...] = ()
    is_served: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerStatus:
    """Status of one listener. Routes attach to Services, never here: no kinds and no routes."""

    name: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedStatus:
    """What is written into the status of one Gateway."""

    conditions: tuple[Condition, ...]
    listeners: tuple[ListenerStatus, ...]
    addresses: tuple[GatewayAddress, ...]


def default_gateway_classes() -> tuple[dict[str, Any], ...]:
    """Return the GatewayClasses that are made where they are missing, and never changed."""
    return tuple(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": name},
            "spec": {"controllerName": controller, "description": description},
        }
        for name, controller, description in _CLASSES
    )


def class_condition(gateway_class: GatewayClass) -> Condition | None:
    """Return what a GatewayClass is told; None when it belongs to another controller."""
    if gateway_class.controller_name not in {controller for _, controller, _ in _CLASSES}:
        return None
    return _condition(gateway_class, ("Accepted", True, "Accepted", "Handled by Istio controller"))


def is_remote_class(name: str, gateway_class: GatewayClass | None) -> bool:
    """Return whether Gateways of the class are deployed by somebody else, whatever they say."""
    if gateway_class is None:
        return name == REMOTE_CLASS
    return gateway_class.controller_name == UNMANAGED_CONTROLLER


def remote_status(gateway: Gateway) -> WantedStatus:
    """Return the status of a Gateway of a remote class: whether it can be understood, no more."""
    accepted = _condition(gateway, _accepted(gateway, ()))
    return WantedStatus(conditions=(accepted,), listeners=(), addresses=())


def requested_hosts(gateway: Gateway, workload: str, domain_suffix: str) -> tuple[str, ...]:
    """Return the hostnames of the Services that the Gateway is to be reached at.

    ``workload`` names the Service of a Gateway that is deployed. A hostname without a dot is a
    Service of the Gateway's namespace.
    """
    ending = f".{gateway.metadata.namespace}.svc.{domain_suffix}"
    if is_managed(gateway):
        return (workload + ending,)
    wanted = [address.value for address in gateway.addresses if address.type == "Hostname"]
    hosts = (value if "." in value else value + ending for value in wanted if value)
    return tuple(dict.fromkeys(hosts))


def gateway_status(
    gateway: Gateway,
    hosts: Mapping[str, GatewayHost | None],
    problems: Iterable[Problem] = (),
) -> WantedStatus:
    """Return the status of a waypoint Gateway.

    ``hosts`` has what is known of each of ``requested_hosts``, in their order, None where there is
    no such Service; ``problems`` are those of ``waypoint_objects``.
    """
    problems = tuple(problems)
    found = _addresses(gateway, hosts)
    return WantedStatus(
        conditions=(
            _condition(gateway, _accepted(gateway, problems)),
            _condition(gateway, _programmed(gateway, hosts, problems)),
            _condition(gateway, _RESOLVED),
        ),
        listeners=tuple(_listener_status(gateway, listener) for listener in gateway.listeners),
        # Whoever was told of the waypoint keeps it: failing is better than going around it.
        addresses=found or gateway.status_addresses,
    )


_Said = tuple[str, bool, str, str]


def _accepted(gateway: Gateway, problems: Iterable[Problem]) -> _Said:
    for problem in problems:
        if problem.code in _REASON_OF:
            return ("Accepted", False, _REASON_OF[problem.code], problem.message)
    for address in gateway.addresses:
        if address.type not in {"", "Hostname", "IPAddress"}:
            message = f'Only IPAddress and Hostname are supported, not "{address.type}"'
            return ("Accepted", False, "UnsupportedAddress", message)
    return _ACCEPTED


def _programmed(
    gateway: Gateway, hosts: Mapping[str, GatewayHost | None], problems: Iterable[Problem]
) -> _Said:
    for problem in problems:
        # A name that cannot be had where a name was only wished for is not followed, that is all.
        if problem.code == INVALID_NAME and problem.field == "metadata.name":
            return ("Programmed", False, "Invalid", problem.message)
    missing = [f'hostname "{host}" not found' for host, state in hosts.items() if state is None]
    if missing:
        message = f"Failed to assign to any requested addresses: {', '.join(missing)}"
        if len(missing) < len(hosts):
            message = f"Failed to assign to all requested addresses: {', '.join(missing)}"
        return ("Programmed", False, "AddressNotUsable", message)
    waiting = [
        f'no instances found for hostname "{host}"'
        for host, state in hosts.items()
        if state is not None and not state.is_served
    ]
    if waiting:
        return ("Programmed", False, "AddressNotAssigned", ", ".join(waiting))
    places = [f"{host}:{HBONE_PORT}" for host in hosts] or [
        f"{value}:{HBONE_PORT}" for value in _stated_addresses(gateway)
    ]
    if not places:
        return ("Programmed", False, "AddressNotUsable", "No address is requested that is usable")
    message = f"Resource programmed, assigned to service(s) {', '.join(places)}"
    return ("Programmed", True, "Programmed", message)


def _addresses(
    gateway: Gateway, hosts: Mapping[str, GatewayHost | None]
) -> tuple[GatewayAddress, ...]:
    """Return every IP address, then every hostname, of what is served."""
    served = {host: state for host, state in hosts.items() if state is not None and state.is_served}
    values = [
        address
        for state in served.values()
        for address in state.addresses
        if address_from_text(address) is not None
    ]
    if not is_managed(gateway):
        values = [*_stated_addresses(gateway), *values]
    return (
        *(GatewayAddress("IPAddress", value) for value in dict.fromkeys(values)),
        *(GatewayAddress("Hostname", host) for host in served),
    )


def _stated_addresses(gateway: Gateway) -> list[str]:
    return [
        address.value
        for address in gateway.addresses
        if address.type in {"", "IPAddress"} and address_from_text(address.value) is not None
    ]


def _listener_status(gateway: Gateway, listener: Listener) -> ListenerStatus:
    accepted: _Said = ("Accepted", True, "Accepted", "No errors found")
    if (listener.port, listener.protocol) != (HBONE_PORT, HBONE):
        accepted = ("Accepted", False, "UnsupportedProtocol", _NOT_HBONE)
    said: tuple[_Said, ...] = (
        accepted,
        ("Programmed", True, "Programmed", "No errors found"),
        ("Conflicted", False, "NoConflicts", "No errors found"),
        ("ResolvedRefs", True, "ResolvedRefs", "No errors found"),
    )
    conditions = tuple(_condition(gateway, each) for each in said)
    return ListenerStatus(name=listener.name, conditions=conditions)


def _condition(manifest: Gateway | GatewayClass, said: _Said) -> Condition:
    kind, status, reason, message = said
    return Condition(
        object=manifest.reference,
        type=kind,
        status=status,
        reason=reason,
        message=message,
        manager=STATUS_MANAGER,
        observed_generation=manifest.metadata.generation,
    )
