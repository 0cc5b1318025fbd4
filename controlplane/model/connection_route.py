"""A route as a waypoint applies it to connections that it only passes on as bytes.

``mesh.connection_routes`` makes these of TLSRoutes and TCPRoutes, ``encode.filter_chain`` puts them
into the chain of their port. docs/protocol/connection-routes.md.
"""

from dataclasses import dataclass
from typing import NamedTuple

from controlplane.model.http_route import Destination
from controlplane.model.names import Name, ObjectReference


class ConnectionBackend(NamedTuple):
    """A destination with its share; to one that is not valid no connection can be opened."""

    destination: Destination
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRoute:
    """Where connections to one port of one service at ``waypoint`` go.

    ``owner`` is the route that says so. Without backends, or while every weight is 0, none can be
    opened.
    """

    waypoint: Name
    owner: ObjectReference
    port: int
    backends: tuple[ConnectionBackend, ...] = ()
