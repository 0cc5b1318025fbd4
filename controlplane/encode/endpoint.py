"""Endpoints of waypoints: where a service port ends comes in, a cluster load assignment goes out.

docs/protocol/waypoint-config.md WC-20 to WC-25, WC-74.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

from envoy.config.core.v3 import base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from controlplane.encode.addresses import port as checked_port
from controlplane.encode.envelope import ENDPOINT_TYPE, resource
from controlplane.encode.errors import EncodeError
from controlplane.encode.resource import Resource
from controlplane.encode.typed import encoded
from controlplane.encode.waypoint_names import CONNECT_ORIGINATE, outbound_name, service_name
from controlplane.model.network import text_from_address
from controlplane.model.waypoint_traffic import Endpoint, Layer, ServiceEndpoints
from controlplane.model.workload import Locality

ORIGINAL_DESTINATION: Final = "envoy.filters.listener.original_dst"
TOLD_BY: Final = "istio"
"""The metadata that logs and metrics read."""
_MOST_WEIGHT: Final = 2**32 - 1
_IPV6_BYTES: Final = 16
# Percent: a priority is as healthy as its share of healthy endpoints times this, at most 100. One
# of a million is enough then, and the next priority has nothing while there is one.
_WHOLE: Final = 100 * 1_000_000


def encode_endpoints(
    endpoints: ServiceEndpoints,
    layer: Layer,
    *,
    is_outbound: bool = False,
    tiers: Sequence[Iterable[Endpoint]] | None = None,
) -> Resource:
    """Return the resource that the cluster of one port and layer asks for by its own name.

    ``is_outbound`` says that the waypoint only sends there. ``tiers`` are the endpoints to use, if
    not all alike: those of one are used while none of the tiers before it has a healthy one. Raises
    EncodeError for values an Envoy would reject.
    """
    named = outbound_name if is_outbound else service_name
    name = named(endpoints.port.number, layer, endpoints.hostname)
    try:
        message = _in_tiers(name, (endpoints.endpoints,) if tiers is None else tiers)
        return resource(name, encoded(message), ENDPOINT_TYPE)
    except (ValueError, TypeError) as error:
        raise EncodeError(name, str(error)) from error


def load_assignment(name: str, endpoints: Iterable[Endpoint]) -> Any:
    """Return the endpoints of cluster ``name`` by locality; raise ValueError for unusable ones."""
    return _in_tiers(name, (endpoints,))


def _in_tiers(name: str, tiers: Sequence[Iterable[Endpoint]]) -> Any:
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    for priority, endpoints in enumerate(tiers):
        for locality, members in groupby(endpoints, key=lambda endpoint: endpoint.locality):
            listed = list(members)
            group = message.endpoints.add(locality=_locality(locality), priority=priority)
            # The sum of a locality has to fit 32 bits.
            most = _MOST_WEIGHT // len(listed)
            group.lb_endpoints.extend(_endpoint(member, most) for member in listed)
    if len(tiers) > 1:
        message.policy.overprovisioning_factor.value = _WHOLE
    return message


def authority(address: bytes, port: int) -> str:
    """Return ``address:port`` as an authority; IPv6 is in brackets."""
    text = text_from_address(address)
    return f"[{text}]:{port}" if len(address) == _IPV6_BYTES else f"{text}:{port}"


def _endpoint(endpoint: Endpoint, most: int) -> Any:
    message = endpoint_components_pb2.LbEndpoint()
    checked_port(endpoint.port)
    address = endpoint.address
    if isinstance(address, bytes) and endpoint.is_tunnelled:
        place = authority(address, endpoint.port)
        internal = message.endpoint.address.envoy_internal_address
        internal.server_listener_name = CONNECT_ORIGINATE
        internal.endpoint_id = place
        message.metadata.filter_metadata[ORIGINAL_DESTINATION].update({"local": place})
    else:
        socket = message.endpoint.address.socket_address
        socket.address = address if isinstance(address, str) else text_from_address(address)
        socket.port_value = endpoint.port
    who = endpoint.workload
    if who is not None:
        told = {"workload": who.name, "namespace": who.namespace, "principal": who.principal}
        message.metadata.filter_metadata[TOLD_BY].update(
            {key: value for key, value in told.items() if value and value.isprintable()}
        )
    if not endpoint.is_healthy:
        message.health_status = health_check_pb2.UNHEALTHY
    if endpoint.weight != 1:
        message.load_balancing_weight.value = min(endpoint.weight, most)
    return message


def _locality(locality: Locality) -> Any:
    return base_pb2.Locality(region=locality.region, zone=locality.zone, sub_zone=locality.subzone)
