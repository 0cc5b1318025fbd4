"""Clusters of waypoints: a service port comes in, a cluster goes out; and the fixed ones.

docs/protocol/waypoint-config.md WC-10, WC-15, WC-19, WC-22, WC-24, WC-37.
"""

from typing import Any, Final

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.transport_sockets.internal_upstream.v3 import internal_upstream_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf.message import Message

from controlplane.encode.backend_tls import backend_socket
from controlplane.encode.endpoint import ORIGINAL_DESTINATION, load_assignment
from controlplane.encode.envelope import CLUSTER_TYPE, resource
from controlplane.encode.errors import EncodeError
from controlplane.encode.mutual_tls import client_socket
from controlplane.encode.resource import Resource
from controlplane.encode.typed import ADS, encoded, packed, seconds, transport_socket
from controlplane.encode.waypoint_names import (
    CONNECT_ORIGINATE,
    ENCAPSULATE,
    MAIN_INTERNAL,
    MAIN_SNIFFED,
    outbound_name,
    service_name,
)
from controlplane.model.backend_tls import BackendTls
from controlplane.model.waypoint_traffic import (
    Layer,
    Resolution,
    ServedPort,
    ServedService,
    ServiceEndpoints,
    WaypointFrame,
)
from controlplane.model.workload import AppProtocol

HBONE_PORT: Final = 15008
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_UNLIMITED: Final = 2**32 - 1
_CONNECT_SECONDS: Final = 10
_KEPT_SECONDS: Final = 60
_IDLE_SECONDS: Final = 3600


def encode_service_cluster(
    service: ServedService,
    port: ServedPort,
    layer: Layer,
    looked_up: ServiceEndpoints | None = None,
    *,
    tls: BackendTls | None = None,
    is_outbound: bool = False,
) -> Resource:
    """Return the cluster of one port of ``service`` as one layer sees it.

    ``looked_up`` are its endpoints when the waypoint has to look up names to find them: they are
    part of the cluster then. ``tls`` is what endpoints have to show. ``is_outbound`` says that the
    waypoint only sends there. Raises EncodeError for values an Envoy would reject.
    """
    named = outbound_name if is_outbound else service_name
    name = named(port.number, layer, service.hostname)
    try:
        message = _service_cluster(name, service, looked_up, tls)
        if layer is Layer.HTTP:
            _set_http_options(message, _spoken(port.protocol))
        return resource(name, encoded(message), CLUSTER_TYPE)
    except (ValueError, TypeError) as error:
        raise EncodeError(name, str(error)) from error


def encode_main_internal_cluster() -> Resource:
    """Return the cluster that leads what came over HBONE to ``main_internal``."""
    return _fixed(_internal(MAIN_INTERNAL, MAIN_INTERNAL, _internal_upstream(_plain_socket())))


def encode_main_sniffed_cluster() -> Resource:
    """Return the cluster that leads to ``main_sniffed`` those who have to be listened to."""
    return _fixed(_internal(MAIN_SNIFFED, MAIN_SNIFFED, _internal_upstream(_plain_socket())))


def encode_encapsulate_cluster() -> Resource:
    """Return the cluster that leads to ``connect_originate`` whatever address was asked for."""
    message = _internal(ENCAPSULATE, CONNECT_ORIGINATE, _internal_upstream(_plain_socket()))
    # Nobody says what is spoken at an address: it is what the client speaks.
    _set_http_options(message, _spoken(AppProtocol.UNKNOWN))
    return _fixed(message)


def encode_connect_originate_cluster(frame: WaypointFrame) -> Resource:
    """Return the cluster that opens HBONE to the node proxy of any endpoint.

    Raises EncodeError for values an Envoy would reject.
    """
    try:
        message = _cluster(CONNECT_ORIGINATE)
        _use_original_destination(message)
        message.original_dst_lb_config.upstream_port_override.value = HBONE_PORT
        options = http_protocol_options_pb2.HttpProtocolOptions(
            common_http_protocol_options={"idle_timeout": seconds(_IDLE_SECONDS)},
            explicit_http_config={"http2_protocol_options": {"allow_connect": True}},
        )
        _set_http_options(message, options)
        message.transport_socket.CopyFrom(client_socket(frame))
        return _fixed(message)
    except (ValueError, TypeError) as error:
        raise EncodeError(CONNECT_ORIGINATE, str(error)) from error


def _service_cluster(
    name: str, service: ServedService, looked_up: ServiceEndpoints | None, tls: BackendTls | None
) -> Any:
    message = _cluster(name)
    if tls is not None and not tls.is_usable:
        # Without endpoints nothing is ever sent: neither in the clear nor unchecked.
        message.type = cluster_pb2.Cluster.STATIC
        message.load_assignment.CopyFrom(load_assignment(name, ()))
        return message
    inside = _plain_socket() if tls is None else backend_socket(tls)
    if service.resolution is Resolution.ORIGINAL_DESTINATION:
        _use_original_destination(message)
        if tls is not None:
            message.transport_socket.CopyFrom(inside)
        return message
    message.lb_policy = cluster_pb2.Cluster.LEAST_REQUEST
    # Endpoints that are known to be unready are worse than none, whatever their share.
    message.common_lb_config.healthy_panic_threshold.value = 0
    passed = {"kind": {"host": {}}, "name": ORIGINAL_DESTINATION}
    socket = _internal_upstream(inside, passed)
    message.transport_socket.CopyFrom(socket)
    if looked_up is None:
        message.type = cluster_pb2.Cluster.EDS
        message.eds_cluster_config.eds_config.CopyFrom(ADS)
    else:
        message.type = cluster_pb2.Cluster.STRICT_DNS
        message.dns_lookup_family = cluster_pb2.Cluster.V4_PREFERRED
        message.respect_dns_ttl = True
        message.load_assignment.CopyFrom(load_assignment(name, _untunnelled(looked_up)))
    return message


def _untunnelled(looked_up: ServiceEndpoints) -> Any:
    """Yield the endpoints; a cluster that looks up names has no internal addresses."""
    return (endpoint._replace(is_tunnelled=False) for endpoint in looked_up.endpoints)


def _spoken(protocol: AppProtocol) -> Any:
    """Return what the application is spoken to: what it says, else what the client speaks."""
    options = http_protocol_options_pb2.HttpProtocolOptions()
    match protocol:
        case AppProtocol.HTTP2 | AppProtocol.GRPC:
            options.explicit_http_config.http2_protocol_options.SetInParent()
        case AppProtocol.HTTP11:
            options.explicit_http_config.http_protocol_options.SetInParent()
        case _:
            options.use_downstream_protocol_config.http_protocol_options.SetInParent()
            options.use_downstream_protocol_config.http2_protocol_options.SetInParent()
    return options


def _cluster(name: str) -> Any:
    limits = circuit_breaker_pb2.CircuitBreakers.Thresholds(
        # The defaults of 1024 would throttle all clients together.
        max_connections={"value": _UNLIMITED},
        max_pending_requests={"value": _UNLIMITED},
        max_requests={"value": _UNLIMITED},
        max_retries={"value": _UNLIMITED},
    )
    return cluster_pb2.Cluster(
        name=name,
        connect_timeout=seconds(_CONNECT_SECONDS),
        circuit_breakers={"thresholds": [limits]},
    )


def _internal(name: str, listener: str, socket: Any) -> Any:
    message = _cluster(name)
    message.type = cluster_pb2.Cluster.STATIC
    message.transport_socket.CopyFrom(socket)
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    endpoint = assignment.endpoints.add().lb_endpoints.add().endpoint
    endpoint.address.envoy_internal_address.server_listener_name = listener
    message.load_assignment.CopyFrom(assignment)
    return message


def _internal_upstream(inside: Any, *passed: Any) -> Any:
    """Return the socket of an internal connection; ``passed`` is metadata that goes along."""
    message = internal_upstream_pb2.InternalUpstreamTransport(
        passthrough_metadata=list(passed),
        transport_socket=inside,
    )
    return transport_socket("internal_upstream", message)


def _plain_socket() -> Any:
    return transport_socket("raw_buffer", raw_buffer_pb2.RawBuffer())


def _use_original_destination(message: Any) -> None:
    message.type = cluster_pb2.Cluster.ORIGINAL_DST
    message.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
    message.cleanup_interval.CopyFrom(seconds(_KEPT_SECONDS))


def _set_http_options(message: Any, options: Message) -> None:
    message.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(packed(options))


def _fixed(message: Any) -> Resource:
    return resource(message.name, encoded(message), CLUSTER_TYPE)
