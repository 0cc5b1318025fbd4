"""Routes that lead nowhere, in place of routes that are asked for and do not exist."""

from envoy.config.route.v3 import route_pb2

from controlplane.encode.envelope import ROUTE_TYPE, resource
from controlplane.encode.resource import Resource
from controlplane.encode.typed import encoded


def encode_no_routes(name: str) -> Resource:
    """Return routes called ``name`` by which no request gets anywhere.

    A proxy ignores that routes do not exist and waits for them, and with it everything else in its
    listener. docs/protocol/waypoint-sessions.md WS-6.
    """
    return resource(name, encoded(route_pb2.RouteConfiguration(name=name)), ROUTE_TYPE)
