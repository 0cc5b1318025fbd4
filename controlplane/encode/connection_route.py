"""Where the chain of a port passes bytes on to: a route comes in, fields of Envoy's filter go out.

docs/protocol/connection-routes.md CR-6 to CR-8.
"""

from typing import Any, Final

from controlplane.encode.waypoint_names import outbound_name, service_name
from controlplane.model.connection_route import ConnectionRoute
from controlplane.model.http_route import Destination
from controlplane.model.waypoint_traffic import Layer

NOWHERE: Final = "invalid-backend"
"""The name of no cluster: a connection that is sent there is closed."""


def onward(route: ConnectionRoute) -> dict[str, Any]:
    """Return the fields of TcpProxy that say where the connections of ``route`` go."""
    shares = [backend for backend in route.backends if backend.weight > 0]
    if not shares:
        return {"cluster": NOWHERE}
    if len(shares) == 1:
        return {"cluster": _cluster(shares[0].destination)}
    clusters = [
        {"name": _cluster(backend.destination), "weight": backend.weight} for backend in shares
    ]
    return {"weighted_clusters": {"clusters": clusters}}


def _cluster(destination: Destination) -> str:
    if not destination.is_valid:
        return NOWHERE
    name = service_name if destination.is_served else outbound_name
    return name(destination.port, Layer.TCP, destination.hostname)
