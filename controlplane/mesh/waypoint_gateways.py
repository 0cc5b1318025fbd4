"""From one Gateway and its class to a waypoint, or to the finding that it is none.

A Gateway and its GatewayClass come in, a ``Waypoint`` without service accounts, a ``NotWaypoint``
or None (not ready) goes out; ``waypoints`` calls it as a graph rule. Source:
docs/protocol/waypoints.md WP-1 to WP-9.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from controlplane.manifests.gateway import Gateway, GatewayClass, Listener
from controlplane.model.names import Name
from controlplane.model.network import NetworkAddress, address_from_text
from controlplane.model.problem import Problem, Severity
from controlplane.model.waypoint import AllowedNamespaces, Waypoint
from controlplane.model.workload import (
    ApplicationTunnel,
    ApplicationTunnelProtocol,
    GatewayAddress,
    NamespacedHostname,
)

WAYPOINT_CLASS: Final = "istio-waypoint"
MESH_CONTROLLER: Final = "istio.io/mesh-controller"
WAYPOINT_FOR: Final = "istio.io/waypoint-for"
INBOUND_BINDING: Final = "ambient.istio.io/waypoint-inbound-binding"
HBONE_PORT: Final = 15008
HBONE: Final = "HBONE"

_PROXY_LISTENER: Final = "istio.io/PROXY"
_SERVICES: Final = frozenset({"service", "all"})
_WORKLOADS: Final = frozenset({"workload", "all"})
_TRAFFIC_TYPES: Final = _SERVICES | _WORKLOADS | {"none"}
_BINDINGS: Final = {
    "NONE": ApplicationTunnelProtocol.NONE,
    "PROXY": ApplicationTunnelProtocol.PROXY,
}


class NotWaypoint(NamedTuple):
    """A Gateway that is no waypoint, whatever points at it."""

    class_name: str


def is_waypoint_class(name: str, gateway_class: GatewayClass | None) -> bool:
    """Return whether Gateways of the class are waypoints; a class object beats the known name."""
    if gateway_class is None:
        return name == WAYPOINT_CLASS
    return gateway_class.controller_name == MESH_CONTROLLER


def is_waypoint(gateway: Gateway, gateway_class: GatewayClass | None) -> bool:
    """Return whether the Gateway is meant as a waypoint, ready or not (WP-1)."""
    return (
        is_waypoint_class(gateway.class_name, gateway_class)
        or _declared(WAYPOINT_FOR, gateway, gateway_class) is not None
        or any(listener.protocol == HBONE for listener in gateway.listeners)
        or inbound_binding(gateway, gateway_class) is not None
    )


def inbound_binding(
    gateway: Gateway, gateway_class: GatewayClass | None
) -> ApplicationTunnel | None:
    """Return how the waypoint's own pods want connections; None when nothing usable is said."""
    text = _declared(INBOUND_BINDING, gateway, gateway_class)
    if text is None:
        return None
    name, _, port = text.partition("/")
    protocol = _BINDINGS.get(name)
    return None if protocol is None else ApplicationTunnel(protocol, _port(port))


def reached_at(gateway: Gateway, network: str) -> GatewayAddress | None:
    """Return where the waypoint is reached; None when it has no usable status address (WP-2).

    A hostname wins over any address. An address without a type is an IP address, as the Gateway
    API defaults it.
    """
    for address in gateway.status_addresses:
        if address.type == "Hostname" and address.value:
            destination = NamespacedHostname(gateway.metadata.namespace, address.value)
            return GatewayAddress(destination, HBONE_PORT)
    for address in gateway.status_addresses:
        packed = address_from_text(address.value) if address.type in {"IPAddress", ""} else None
        if packed is not None:
            return GatewayAddress(NetworkAddress(network, packed), HBONE_PORT)
    return None


def waypoint_from_gateway(
    gateway: Gateway, gateway_class: GatewayClass | None, network: str
) -> Waypoint | None:
    """Return the waypoint a Gateway stands for; None while it is not ready.

    Service accounts are left out: they come from pods.
    """
    address = reached_at(gateway, network)
    return None if address is None else _waypoint(gateway, gateway_class, address)


def expected_waypoint(
    gateway: Gateway, gateway_class: GatewayClass | None, network: str
) -> Waypoint:
    """Return the waypoint a Gateway stands for or will, once it is ready (WC-2).

    Until then its address leads nowhere and is for nobody to use.
    """
    nowhere = NamespacedHostname(gateway.metadata.namespace, gateway.metadata.name)
    address = reached_at(gateway, network) or GatewayAddress(nowhere, HBONE_PORT)
    return _waypoint(gateway, gateway_class, address)


def _waypoint(
    gateway: Gateway, gateway_class: GatewayClass | None, address: GatewayAddress
) -> Waypoint:
    traffic = _declared(WAYPOINT_FOR, gateway, gateway_class)
    if traffic is None:
        traffic = "service"
    binding = inbound_binding(gateway, gateway_class)
    listener = _attachment_listener(gateway.listeners, binding)
    allowed = listener.allowed if listener is not None else None
    origin = allowed.origin if allowed is not None else ""
    return Waypoint(
        key=gateway.key,
        address=address,
        serves_services=traffic in _SERVICES,
        serves_workloads=traffic in _WORKLOADS,
        allowed=_ORIGINS.get(origin, AllowedNamespaces.SAME),
        selector=allowed.selector if allowed is not None and origin == "Selector" else None,
        application_tunnel=binding,
    )


def problems_of(gateway: Gateway, gateway_class: GatewayClass | None) -> Iterable[Problem]:
    """Yield what a waypoint Gateway says that cannot be used."""
    traffic = _declared(WAYPOINT_FOR, gateway, gateway_class)
    if traffic is not None and traffic not in _TRAFFIC_TYPES:
        yield Problem(
            severity=Severity.ERROR,
            code="waypoint.unknown-traffic-type",
            message=f'traffic type "{traffic}" is not service, workload, all or none',
            object=gateway.reference,
            field=f"metadata.labels[{WAYPOINT_FOR}]",
        )
    binding = _declared(INBOUND_BINDING, gateway, gateway_class)
    if binding is not None and not _is_readable_binding(binding):
        yield Problem(
            severity=Severity.ERROR,
            code="waypoint.invalid-binding",
            message=f'inbound binding "{binding}" is not NONE or PROXY with an optional port',
            object=gateway.reference,
            field=f"metadata.annotations[{INBOUND_BINDING}]",
        )
    if gateway.status_addresses and reached_at(gateway, "") is None:
        yield Problem(
            severity=Severity.ERROR,
            code="waypoint.unusable-address",
            message="no status address is a hostname or an IP address",
            object=gateway.reference,
            field="status.addresses",
        )


_ORIGINS: Final = {
    "All": AllowedNamespaces.ALL,
    "Same": AllowedNamespaces.SAME,
    "Selector": AllowedNamespaces.SELECTOR,
}


def _declared(key: str, gateway: Gateway, gateway_class: GatewayClass | None) -> str | None:
    """Return what the Gateway, else its class, declares: a label, or an annotation for bindings."""
    for manifest in (gateway, gateway_class):
        if manifest is not None:
            metadata = manifest.metadata
            held = metadata.annotations if key == INBOUND_BINDING else metadata.labels
            if key in held:
                return held[key]
    return None


def _attachment_listener(
    listeners: tuple[Listener, ...], binding: ApplicationTunnel | None
) -> Listener | None:
    """Return the listener whose allowedRoutes decide who may attach (WP-6)."""
    if binding is not None and binding.port:
        for listener in listeners:
            if listener.port == binding.port:
                return listener
    elif binding is not None and binding.protocol is ApplicationTunnelProtocol.PROXY:
        for listener in listeners:
            if listener.protocol == _PROXY_LISTENER:
                return listener
    for listener in listeners:
        if listener.protocol == HBONE and listener.port == HBONE_PORT:
            return listener
    return None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 5:
        return 0
    port = int(text)
    return port if port <= 65535 else 0


def _is_readable_binding(text: str) -> bool:
    name, slash, port = text.partition("/")
    return name in _BINDINGS and (not slash or _port(port) != 0)


def gateway_name(labels: Mapping[str, str], namespace: str) -> Name | None:
    """Return the Gateway that something labelled like this is an instance of, if it says so."""
    name = labels.get("gateway.networking.k8s.io/gateway-name")
    return None if name is None else Name(namespace, name)
