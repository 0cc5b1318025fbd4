"""Endpoints that are nowhere, in place of those that a proxy waits for and that are gone."""

from envoy.config.endpoint.v3 import endpoint_pb2

from controlplane.encode.envelope import ENDPOINT_TYPE, resource
from controlplane.encode.resource import Resource
from controlplane.encode.typed import encoded


def encode_no_endpoints(name: str) -> Resource:
    """Return the endpoints of a cluster called ``name`` that has none.

    A changed cluster waits for endpoints, and what it came with is not acknowledged before: not
    even its own removal could be sent. docs/protocol/waypoint-sessions.md WS-12.
    """
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    return resource(name, encoded(message), ENDPOINT_TYPE)
