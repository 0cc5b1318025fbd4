"""Listeners of waypoints: what one serves comes in, its listeners go out.

``connect_terminate`` ends HBONE, ``main_internal`` finds the chain and applies it, or
``main_sniffed`` where clients have to be listened to, ``connect_originate`` starts HBONE to the
endpoint. docs/protocol/waypoint-config.md WC-8, WC-10, WC-14 to WC-18, WC-26 to WC-29, WC-53.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from controlplane.encode.access_log import lost_tunnel_logs, refused_tunnel_logs
from controlplane.encode.cluster import HBONE_PORT
from controlplane.encode.dispatch import Dispatch, dispatch, sniffed_dispatch
from controlplane.encode.envelope import (
    LISTENER_TYPE,
    delimited,
    digest_of,
    prefix_of,
    resource,
    resource_of_parts,
)
from controlplane.encode.errors import EncodeError
from controlplane.encode.filter_chain import (
    HTTP_MANAGER,
    Chain,
    blackhole_chain,
    network_filter,
)
from controlplane.encode.filter_state import client_state
from controlplane.encode.http_filters import http_filter, router_filter
from controlplane.encode.listening import Gates
from controlplane.encode.mutual_tls import server_socket
from controlplane.encode.resource import Resource
from controlplane.encode.typed import ADS, encoded, packed, seconds
from controlplane.encode.waypoint_names import (
    CONNECT_ORIGINATE,
    CONNECT_TERMINATE,
    MAIN_INTERNAL,
    MAIN_SNIFFED,
)
from controlplane.model.access_log import AccessLog
from controlplane.model.network import text_from_address
from controlplane.model.waypoint_traffic import DirectWorkloads, ServedService, WaypointFrame

_FILTER_CHAINS: Final = b"\x1a"
_FILTER_CHAIN_MATCHER: Final = b"\x82\x02"
"""Tags of fields 3 and 32 of Listener: (number << 3) | 2, as varints."""
_ALL_IPV4: Final = "0.0.0.0"  # noqa: S104 - node proxies come to the pod's address
_ALL_IPV6: Final = "::"
_SNIFFING_SECONDS: Final = 5
_LOG: Final = AccessLog()
_STREAMS_PER_CONNECTION: Final = 100
_PING_SECONDS: Final = 10
_PONG_SECONDS: Final = 20


def encode_connect_terminate(frame: WaypointFrame, log: AccessLog = _LOG) -> Resource:
    """Return the listener that ends HBONE and carries on who the client is.

    What it refuses is told as ``log`` says.

    Raises EncodeError for values an Envoy would reject.
    """
    chain = {
        "name": "default",
        "transport_socket": server_socket(frame),
        "filters": [
            network_filter("envoy.filters.network.http_connection_manager", _tunnel_end(log))
        ],
    }
    first, *others = _listen_addresses(frame)
    message = listener_pb2.Listener(
        name=CONNECT_TERMINATE,
        address=_socket(first),
        additional_addresses=[{"address": _socket(other)} for other in others],
        connection_balance_config={"exact_balance": {}},
        filter_chains=[chain],
    )
    return resource(CONNECT_TERMINATE, encoded(message), LISTENER_TYPE)


def encode_main_internal(
    services: Iterable[ServedService],
    chains: Iterable[Chain],
    direct: DirectWorkloads | None,
    gates: Gates,
    log: AccessLog = _LOG,
) -> Resource:
    """Return the listener that leads each connection to its chain, or to none.

    ``chains`` are those of ``services``, which are in a stable order, and of ``direct`` workloads;
    to those of bytes ``gates`` lead. Those that only what a client says leads to are left to
    ``encode_main_sniffed``. Whom ``gates`` refuse is told as ``log`` says.
    Raises EncodeError for values an Envoy would reject.
    """
    message = _inner(MAIN_INTERNAL)
    try:
        found = dispatch(list(services), direct, gates)
        here = [chain for chain in chains if not chain.is_sniffed or chain.name in found.borrowed]
        return _dispatching(message, found, here, log)
    except (ValueError, TypeError) as error:
        raise EncodeError(MAIN_INTERNAL, str(error)) from error


def encode_main_sniffed(
    services: Iterable[ServedService],
    chains: Iterable[Chain],
    direct: DirectWorkloads | None,
    gates: Gates,
    log: AccessLog = _LOG,
) -> Resource:
    """Return the listener that hears what a client says and leads it to its chain by that.

    What comes in is that of ``encode_main_internal``; what can be told without listening is left
    out. Raises EncodeError for values an Envoy would reject.
    """
    message = _inner(MAIN_SNIFFED)
    # A client that says nothing for long waits for the server: that is not HTTP.
    message.listener_filters_timeout.CopyFrom(seconds(_SNIFFING_SECONDS))
    message.continue_on_listener_filters_timeout = True
    message.listener_filters.append(_inspector())
    try:
        found = sniffed_dispatch(list(services), direct, gates)
        here = [chain for chain in chains if chain.is_sniffed or chain.name in found.borrowed]
        return _dispatching(message, found, here, log)
    except (ValueError, TypeError) as error:
        raise EncodeError(MAIN_SNIFFED, str(error)) from error


def encode_connect_originate(log: AccessLog = _LOG) -> Resource:
    """Return the listener that starts HBONE to the address it was connected for.

    What cannot be reached is told as ``log`` says.
    """
    proxy = tcp_proxy_pb2.TcpProxy(
        stat_prefix=CONNECT_ORIGINATE,
        cluster=CONNECT_ORIGINATE,
        tunneling_config={"hostname": "%DOWNSTREAM_LOCAL_ADDRESS%"},
        access_log=lost_tunnel_logs(log),
    )
    message = listener_pb2.Listener(
        name=CONNECT_ORIGINATE,
        internal_listener={},
        listener_filters=[_original_destination()],
        filter_chains=[{"filters": [network_filter("envoy.filters.network.tcp_proxy", proxy)]}],
    )
    return resource(CONNECT_ORIGINATE, encoded(message), LISTENER_TYPE)


def _tunnel_end(log: AccessLog) -> Any:
    carry_on = set_filter_state_pb2.Config(on_request_headers=client_state())
    return HTTP_MANAGER(
        stat_prefix=CONNECT_TERMINATE,
        stream_idle_timeout=seconds(0),
        use_remote_address={"value": False},
        upgrade_configs=[{"upgrade_type": "CONNECT"}],
        http2_protocol_options={
            "allow_connect": True,
            "max_concurrent_streams": {"value": _STREAMS_PER_CONNECTION},
            "connection_keepalive": {
                "interval": seconds(_PING_SECONDS),
                "timeout": seconds(_PONG_SECONDS),
            },
        },
        http_filters=[http_filter("connect_authority", carry_on), router_filter()],
        access_log=refused_tunnel_logs(log),
        # Never in place: a listener that changes from one to the other ends all connections.
        rds={"route_config_name": CONNECT_TERMINATE, "config_source": ADS},
    )


def _inner(name: str) -> Any:
    """Return a listener inside the proxy.

    It is the same whatever is served, but for its chains and what leads to them: an Envoy that
    finds anything else changed ends all connections of the listener.
    """
    return listener_pb2.Listener(
        name=name,
        internal_listener={},
        traffic_direction="INBOUND",
        listener_filters=[_original_destination()],
    )


def _dispatching(
    message: Any, found: Dispatch, chains: Sequence[Chain], log: AccessLog
) -> Resource:
    """Return the resource of a listener with ``chains``, put together as bytes."""
    head = encoded(message) + delimited(_FILTER_CHAIN_MATCHER, found.matcher)
    parts, digests = [head], [digest_of(head)]
    # It is also for a listener that serves nothing: one without chains is rejected.
    last = () if chains and not found.refuses else (blackhole_chain(log),)
    for chain in (*chains, *last):
        parts += (prefix_of(_FILTER_CHAINS, len(chain.message)), chain.message)
        digests.append(chain.digest)
    return resource_of_parts(message.name, parts, LISTENER_TYPE, digests=digests)


def _inspector() -> Any:
    return listener_components_pb2.ListenerFilter(
        name="envoy.filters.listener.http_inspector",
        typed_config=packed(http_inspector_pb2.HttpInspector()),
    )


def _original_destination() -> Any:
    return listener_components_pb2.ListenerFilter(
        name="envoy.filters.listener.original_dst",
        typed_config=packed(original_dst_pb2.OriginalDst()),
    )


def _listen_addresses(frame: WaypointFrame) -> list[str]:
    if frame.listen_addresses:
        return [text_from_address(address) for address in frame.listen_addresses]
    families = ((frame.has_ipv4, _ALL_IPV4), (frame.has_ipv6, _ALL_IPV6))
    return [address for is_there, address in families if is_there]


def _socket(address: str) -> Any:
    return {"socket_address": {"address": address, "port_value": HBONE_PORT}}
