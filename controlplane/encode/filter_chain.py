"""Filter chains of waypoints: a service comes in, the chains of ``main_internal`` for it go out.

They are bytes, encoded once per service, which ``listener`` puts together.
docs/protocol/waypoint-config.md WC-11, WC-12, WC-30, WC-32.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf.message import Message

from controlplane.encode.errors import EncodeError
from controlplane.encode.filter_state import filter_state
from controlplane.encode.typed import ADS, encoded, packed, seconds
from controlplane.encode.waypoint_names import (
    BLACKHOLE,
    ENCAPSULATE,
    LOCAL_ADDRESS,
    RBAC_ALLOW,
    RBAC_AUDIT,
    RBAC_CUSTOM,
    RBAC_DENY,
    direct_name,
    service_name,
)
from controlplane.model.waypoint_traffic import Layer, ServedService

HTTP_MANAGER = http_connection_manager_pb2.HttpConnectionManager


class Chain(NamedTuple):
    """A serialized FilterChain and its name."""

    name: str
    message: bytes


def encode_service_chains(service: ServedService) -> tuple[Chain, ...]:
    """Return the chains of ``service``, by port and layer.

    Raises EncodeError for values an Envoy would reject.
    """
    try:
        return tuple(_service_chains(service))
    except (ValueError, TypeError) as error:
        raise EncodeError(service.hostname, str(error)) from error


def direct_chains() -> tuple[Chain, ...]:
    """Return the chains of workloads that are reached by address."""
    again = set_filter_state_pb2.Config(
        on_new_connection=[filter_state(LOCAL_ADDRESS, f"%FILTER_STATE({LOCAL_ADDRESS}:PLAIN)%")]
    )
    onward = network_filter("connect_authority", again)
    http, tcp = direct_name(Layer.HTTP), direct_name(Layer.TCP)
    return (
        _chain(http, onward, _http_filter(http)),
        _chain(tcp, onward, _tcp_filter(tcp, ENCAPSULATE)),
    )


def blackhole_chain() -> Chain:
    """Return a chain that nothing is matched to: a listener without any is rejected."""
    return _chain(BLACKHOLE, _tcp_filter(BLACKHOLE, BLACKHOLE))


def network_filter(name: str, message: Message) -> Any:
    """Return a network filter."""
    return listener_components_pb2.Filter(name=name, typed_config=packed(message))


def http_filter(name: str, message: Message) -> Any:
    """Return an HTTP filter."""
    return http_connection_manager_pb2.HttpFilter(name=name, typed_config=packed(message))


def router_filter() -> Any:
    """Return the HTTP filter that ends every list of them."""
    return http_filter("envoy.filters.http.router", router_pb2.Router())


def _service_chains(service: ServedService) -> Iterator[Chain]:
    for port in service.ports:
        for layer in port.layers:
            name = service_name(port.number, layer, service.hostname)
            is_http = layer is Layer.HTTP
            yield _chain(name, _http_filter(name) if is_http else _tcp_filter(name, name))


def _chain(name: str, *filters: Any) -> Chain:
    message = listener_components_pb2.FilterChain(name=name, filters=filters)
    return Chain(name, encoded(message))


def _http_filter(name: str) -> Any:
    manager = HTTP_MANAGER(
        stat_prefix=name,
        stream_idle_timeout=seconds(0),
        normalize_path={"value": True},
        use_remote_address={"value": False},
        server_header_transformation=HTTP_MANAGER.PASS_THROUGH,
        upgrade_configs=[{"upgrade_type": "websocket"}],
        http_filters=[
            *_policy_filters(),
            http_filter("envoy.filters.http.cors", cors_pb2.Cors()),
            router_filter(),
        ],
        rds={"route_config_name": name, "config_source": ADS},
    )
    return network_filter("envoy.filters.network.http_connection_manager", manager)


def _policy_filters() -> Iterator[Any]:
    """Yield the places of the policies, in the order in which they are asked.

    Their bodies come with the routes. Without one the last of them denies: routes that lost their
    policies let nothing through.
    """
    for name in (RBAC_CUSTOM, RBAC_AUDIT, RBAC_DENY):
        yield http_filter(name, rbac_pb2.RBAC())
    yield http_filter(RBAC_ALLOW, rbac_pb2.RBAC(rules={"action": "ALLOW"}))


def _tcp_filter(name: str, cluster: str) -> Any:
    proxy = tcp_proxy_pb2.TcpProxy(stat_prefix=name, cluster=cluster)
    return network_filter("envoy.filters.network.tcp_proxy", proxy)
