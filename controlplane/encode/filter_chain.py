"""Filter chains of waypoints: a service comes in, the chains of its ports go out.

They are bytes, encoded once per service, which ``listener`` puts together.
docs/protocol/waypoint-config.md WC-11, WC-12, WC-30, WC-32, WC-53.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf.message import Message

from controlplane.encode.access_log import (
    Destination,
    connection_logs,
    destination,
    request_logs,
)
from controlplane.encode.connection_route import onward
from controlplane.encode.envelope import digest_of
from controlplane.encode.errors import EncodeError
from controlplane.encode.filter_state import filter_state
from controlplane.encode.http_filters import http_filters
from controlplane.encode.rbac import encode_network_policies
from controlplane.encode.traffic_metrics import connection_metrics, request_metrics
from controlplane.encode.typed import ADS, encoded, packed, seconds
from controlplane.encode.waypoint_names import (
    BLACKHOLE,
    ENCAPSULATE,
    LOCAL_ADDRESS,
    direct_name,
    service_name,
)
from controlplane.model.access_log import AccessLog
from controlplane.model.chain_content import ChainContent
from controlplane.model.connection_route import ConnectionRoute
from controlplane.model.http_policy import HttpAction, HttpPolicy
from controlplane.model.names import Name
from controlplane.model.path_normalization import PathNormalization
from controlplane.model.waypoint_traffic import Layer, ServedPort, ServedService

_DENY_ALL: Final = (HttpPolicy(key=Name("", "unknown"), action=HttpAction.ALLOW),)
"""What applies where nothing is known of policies."""
HTTP_MANAGER = http_connection_manager_pb2.HttpConnectionManager


class Chain(NamedTuple):
    """A serialized FilterChain, its name, and a digest of it.

    ``is_sniffed`` says that only what a client says leads there: it belongs to ``main_sniffed``.
    """

    name: str
    message: bytes
    digest: bytes
    is_sniffed: bool = False


def encode_service_chains(service: ServedService, content: ChainContent) -> tuple[Chain, ...]:
    """Return the chains of ``service``, by port and layer.

    Raises EncodeError for values an Envoy would reject.
    """
    try:
        return tuple(_service_chains(service, content))
    except (ValueError, TypeError) as error:
        raise EncodeError(service.hostname, str(error)) from error


def encode_direct_chains(content: ChainContent) -> tuple[Chain, ...]:
    """Return the chains of workloads that are reached by address.

    Raises EncodeError for values an Envoy would reject.
    """
    address = filter_state(LOCAL_ADDRESS, f"%FILTER_STATE({LOCAL_ADDRESS}:PLAIN)%")
    again = network_filter(
        "connect_authority", set_filter_state_pb2.Config(on_new_connection=[address])
    )
    http, tcp = direct_name(Layer.HTTP), direct_name(Layer.TCP)
    anywhere = Destination()
    try:
        return (
            _chain(http, again, _http_filter(http, content, anywhere), is_sniffed=True),
            _chain(
                tcp,
                again,
                *_tcp_filters(tcp, {"cluster": ENCAPSULATE}, content, anywhere),
                is_sniffed=True,
            ),
        )
    except (ValueError, TypeError) as error:
        raise EncodeError(http, str(error)) from error


def blackhole_chain(log: AccessLog) -> Chain:
    """Return a chain that leads nowhere and ends connections at once, told as ``log`` says."""
    told = connection_logs(log, Destination())
    return _chain(BLACKHOLE, _tcp_filter(BLACKHOLE, {"cluster": BLACKHOLE}, [*told]))


def network_filter(name: str, message: Message) -> Any:
    """Return a network filter."""
    return listener_components_pb2.Filter(name=name, typed_config=packed(message))


def _service_chains(service: ServedService, content: ChainContent) -> Iterator[Chain]:
    for port in service.ports:
        to = destination(service, port)
        for layer in port.layers:
            name = service_name(port.number, layer, service.hostname)
            if layer is Layer.HTTP:
                yield _chain(name, _http_filter(name, content, to), is_sniffed=port.is_sniffed)
            else:
                route = _route_of(port.number, content)
                onwards = {"cluster": name} if route is None else onward(route)
                here = replace(content, connection_policies=connection_policies(content, port))
                filters = _tcp_filters(name, onwards, here, to)
                yield _chain(name, *filters, is_sniffed=port.is_sniffed)


def _chain(name: str, *filters: Any, is_sniffed: bool = False) -> Chain:
    message = listener_components_pb2.FilterChain(name=name, filters=filters)
    content = encoded(message)
    return Chain(name, content, digest_of(content), is_sniffed)


def _http_filter(name: str, content: ChainContent, to: Destination) -> Any:
    manager = HTTP_MANAGER(
        stat_prefix=name,
        stream_idle_timeout=seconds(0),
        **_path_normalization(content.path_normalization),
        use_remote_address={"value": False},
        server_header_transformation=HTTP_MANAGER.PASS_THROUGH,
        upgrade_configs=[{"upgrade_type": "websocket"}],
        http_filters=list(http_filters(content)),
        rds={"route_config_name": name, "config_source": ADS},
        access_log=[*request_logs(content.access_log, to), *request_metrics(to)],
    )
    return network_filter("envoy.filters.network.http_connection_manager", manager)


def _path_normalization(how: PathNormalization) -> dict[str, Any]:
    """Return what of an HTTP manager says how paths are rewritten before anything sees them."""
    found: dict[str, Any] = {"normalize_path": {"value": how is not PathNormalization.NONE}}
    if how in (PathNormalization.MERGE_SLASHES, PathNormalization.DECODE_AND_MERGE_SLASHES):
        found["merge_slashes"] = True
    if how is PathNormalization.DECODE_AND_MERGE_SLASHES:
        found["path_with_escaped_slashes_action"] = HTTP_MANAGER.UNESCAPE_AND_FORWARD
    return found


def connection_policies(content: ChainContent, port: ServedPort) -> tuple[HttpPolicy, ...] | None:
    """Return what is enforced on connections to ``port``; None where that is not known."""
    policies = content.connection_policies
    return None if policies is None else tuple(policy.at_port(port.number) for policy in policies)


def _tcp_filters(
    name: str, onwards: dict[str, Any], content: ChainContent, to: Destination
) -> Iterator[Any]:
    """Yield the filters of a chain of bytes: policies, then what passes the bytes on."""
    policies = content.connection_policies
    for filter_name, policy in encode_network_policies(_DENY_ALL if policies is None else policies):
        yield network_filter(filter_name, policy)
    told = [*connection_logs(content.access_log, to), *connection_metrics(to)]
    yield _tcp_filter(name, onwards, told)


def _route_of(port: int, content: ChainContent) -> ConnectionRoute | None:
    return next((route for route in content.connection_routes if route.port == port), None)


def _tcp_filter(name: str, onwards: dict[str, Any], told: Sequence[Any] = ()) -> Any:
    proxy = tcp_proxy_pb2.TcpProxy(
        stat_prefix=name,
        **onwards,
        access_log=told,
        access_log_options={"flush_access_log_on_connected": True} if told else None,
    )
    return network_filter("envoy.filters.network.tcp_proxy", proxy)
