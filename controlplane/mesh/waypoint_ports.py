"""Which ports of a service a waypoint accepts, and what it takes the traffic for.

Ports of Services and ServiceEntries come in, ``ServedPort`` goes out to the candidates. Narrower
than what ztunnels are told: a waypoint reads what flows. docs/protocol/waypoint-config.md WC-6,
WC-7.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from controlplane.manifests.core import ServicePort
from controlplane.manifests.istio import ServiceEntryPort
from controlplane.mesh.app_protocols import entry_port_protocol, service_port_protocol
from controlplane.model.waypoint_traffic import ServedPort
from controlplane.model.workload import AppProtocol

_MAXIMUM_PORT: Final = 65535
_OTHERS: Final = {
    "grpc-web": AppProtocol.HTTP11,
    "http_proxy": AppProtocol.HTTP11,
    "mongo": AppProtocol.TCP,
    "mysql": AppProtocol.TCP,
    "redis": AppProtocol.TCP,
}
"""Protocols that ztunnels have no word for but that a waypoint need not guess."""


def served_service_ports(ports: Iterable[ServicePort]) -> tuple[ServedPort, ...]:
    """Return the ports of a Service that a waypoint accepts, by number."""
    return _distinct(
        ServedPort(
            port.port,
            service_port_protocol(port) or _other(port.app_protocol or port.name),
        )
        for port in ports
        if port.protocol == "TCP"
    )


def served_entry_ports(ports: Iterable[ServiceEntryPort]) -> tuple[ServedPort, ...]:
    """Return the ports of a ServiceEntry that a waypoint accepts, by number."""
    return _distinct(
        ServedPort(port.number, entry_port_protocol(port.protocol) or _other(port.protocol))
        for port in ports
        if port.protocol.upper() != "UDP"
    )


def _other(text: str) -> AppProtocol:
    asked = text.lower()
    name = "grpc-web" if asked.startswith("grpc-web") else asked.partition("-")[0]
    return _OTHERS.get(name, AppProtocol.UNKNOWN)


def _distinct(ports: Iterable[ServedPort]) -> tuple[ServedPort, ...]:
    """Return ``ports`` by number; of two with one number the first is taken."""
    kept: dict[int, ServedPort] = {}
    for port in _usable(ports):
        kept.setdefault(port.number, port)
    return tuple(sorted(kept.values()))


def _usable(ports: Iterable[ServedPort]) -> Iterator[ServedPort]:
    return (port for port in ports if 0 < port.number <= _MAXIMUM_PORT)
