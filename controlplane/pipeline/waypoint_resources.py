"""Resources of waypoints on their way: by whom and by what name they are known, or refused."""

from collections.abc import Mapping
from typing import NamedTuple

from controlplane.encode.connection_gate import Gate
from controlplane.encode.filter_chain import Chain
from controlplane.model.names import Name, ObjectReference
from controlplane.model.waypoint_traffic import ServedService
from controlplane.pipeline.refusals import Sent


class WaypointResource(NamedTuple):
    """A resource of one waypoint; its type is that of the collection."""

    waypoint: Name
    name: str


class PlacedResource(NamedTuple):
    """A resource for those pods of one waypoint that run on one node, "" where none is known."""

    waypoint: Name
    node: str
    name: str


class Chained(NamedTuple):
    """A service and its filter chains, ready to be part of a listener; a gate for each port."""

    service: ServedService
    chains: tuple[Chain, ...]
    gates: tuple[Gate, ...]

    @property
    def is_sniffed(self) -> bool:
        """Return whether clients have to be listened to on some port."""
        return any(port.is_sniffed for port in self.service.ports)


class DirectChained(NamedTuple):
    """The filter chains of workloads reached by address."""

    chains: tuple[Chain, ...]
    gate: Gate


Resources = Mapping[WaypointResource, Sent]


def gateway_of(waypoint: Name) -> ObjectReference:
    """Return the object that declares a waypoint."""
    return ObjectReference("Gateway", *waypoint)
