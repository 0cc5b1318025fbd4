"""What workloads need to know of a service: whom it selects and where its ports land.

Narrower than the service itself, so that a new waypoint or address of a service does not touch
its workloads. Made by ``services`` and ``service_entries``, read by everything that makes
workloads. docs/protocol/workloads.md, WL-24 to WL-28.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from controlplane.manifests.core import ContainerPort
from controlplane.mesh.selectors import Pairs
from controlplane.model.names import Name, ServiceName
from controlplane.model.workload import Port


class Origin(IntEnum):
    """What declares a service. The order is that of precedence for one hostname."""

    SERVICE = 0
    SERVICE_ENTRY = 1


class BackendPort(NamedTuple):
    """A port of a service before it is resolved for a workload.

    ``target`` is 0 and ``target_name`` set when the workload names the port's number.
    """

    number: int
    name: str
    target: int
    target_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One service as its workloads see it; ``owner`` is the object that declares it.

    ``selector`` is None when the service selects nothing.
    """

    key: ServiceName
    origin: Origin
    owner: Name
    selector: Pairs | None = None
    ports: tuple[BackendPort, ...] = ()
    accepts_unready: bool = False


Joined = tuple[ServiceName, tuple[Port, ...]]
"""One entry of a workload's services: where the ports of a service land on it."""


def pod_ports(backend: Backend, declared: tuple[ContainerPort, ...]) -> tuple[Port, ...]:
    """Return where the ports of a service land on a pod; a name the pod lacks drops the port."""
    resolved: list[Port] = []
    for port in backend.ports:
        if port.target_name:
            target = _container_port(declared, port.target_name)
        elif backend.origin is Origin.SERVICE_ENTRY and port.name:
            target = _container_port(declared, port.name) or port.target or port.number
        else:
            target = port.target or port.number
        if target:
            resolved.append(Port(port.number, target))
    return tuple(resolved)


def mapped_ports(backend: Backend, numbers: Mapping[str, int]) -> tuple[Port, ...]:
    """Return where ports land on a workload that maps port names to ``numbers`` itself."""
    resolved: list[Port] = []
    for port in backend.ports:
        if port.target_name:
            target = numbers.get(port.target_name, 0)
        else:
            target = numbers.get(port.name, 0) or port.target or port.number
        if target:
            resolved.append(Port(port.number, target))
    return tuple(resolved)


def is_same_on_every_pod(backend: Backend) -> bool:
    """Return whether no port of ``backend`` depends on the ports that a pod declares."""
    if backend.origin is Origin.SERVICE_ENTRY:
        return not any(port.name for port in backend.ports)
    return not any(port.target_name for port in backend.ports)


def unready_services(backends: Iterable[Backend]) -> tuple[ServiceName, ...]:
    """Return those of ``backends`` that send traffic to unready workloads."""
    return tuple(backend.key for backend in backends if backend.accepts_unready)


def _container_port(declared: tuple[ContainerPort, ...], name: str) -> int:
    ports = (port.port for port in declared if port.name == name and port.protocol == "TCP")
    return next(ports, 0)
