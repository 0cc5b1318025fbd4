"""A waypoint: a Gateway that services and workloads may send their traffic through."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from controlplane.model.labels import LabelSelector
from controlplane.model.names import Name
from controlplane.model.workload import ApplicationTunnel, GatewayAddress


class AllowedNamespaces(StrEnum):
    """Whose objects may attach."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


class WaypointPod(NamedTuple):
    """A pod of a Gateway, as we know it; ``node`` is "" where that is not known."""

    waypoint: Name
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waypoint:
    """A ready waypoint (docs/protocol/waypoints.md).

    ``application_tunnel`` is what its inbound binding asks for on its own pods.
    ``service_accounts`` are those of its pods, sorted. ``selector`` judges the labels of the
    consumer's namespace when ``allowed`` is SELECTOR; None then selects nothing.
    """

    key: Name
    address: GatewayAddress
    serves_services: bool
    serves_workloads: bool
    allowed: AllowedNamespaces = AllowedNamespaces.SAME
    selector: LabelSelector | None = None
    application_tunnel: ApplicationTunnel | None = None
    service_accounts: tuple[str, ...] = ()
