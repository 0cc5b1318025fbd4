"""The waypoint of these tests as a person writes it: what the control plane's own has to equal.

The mesh: service ``backend`` in ``app`` with VIP 10.96.0.10 and one pod 127.0.1.1. On port 80 it
takes GET from alice, anything under ``/near`` from 127.0.0.7, and nothing under ``/admin``; on
port 7070 gRPC from alice; on port 9000 bytes from alice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from controlplane.lab.hbone_tls import chain_pem, key_pem, roots_pem
from tests.support.envoy_inline import EXTENSIONS, HBONE_PORT, WaypointResources
from tests.support.hbone_certificates import an_identity, held

ALICE = an_identity("alice", "client")
WAYPOINT = an_identity("waypoint")
BACKEND = an_identity("backend")
VIP = "10.96.0.10"
POD = "127.0.1.1"
NEAR = "127.0.0.7"
HOST = "backend.app.svc.cluster.local"
TARGETS = {80: 8080, 7070: 7070, 9000: 9000}

PEER = "io.istio.peer_principal"
SOURCE = "io.istio.source_ip"
LOCAL_IP = "envoy.filters.listener.original_dst.local_ip"
REMOTE_IP = "envoy.filters.listener.original_dst.remote_ip"

Part = dict[str, Any]
State = tuple[str | None, str]

# What the CONNECT stream hands on to the inside, and by which factory it is made.
STATES: Mapping[str, State] = {
    LOCAL_IP: (None, "%REQ(:AUTHORITY)%"),
    REMOTE_IP: (None, "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"),
    "io.istio.connect_authority": ("envoy.hashable_string", "%REQ(:AUTHORITY)%"),
    PEER: ("envoy.hashable_string", "%DOWNSTREAM_PEER_URI_SAN%"),
    SOURCE: ("envoy.network.ip", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"),
}


def hand_written() -> WaypointResources:
    """Return the configuration that is safe."""
    return _resources(STATES)


def with_states(states: Mapping[str, State]) -> WaypointResources:
    """Return the same but for what the CONNECT stream hands on: by name, the factory and value."""
    return _resources(states)


def _resources(states: Mapping[str, State]) -> WaypointResources:
    certificate = held(WAYPOINT)
    return WaypointResources(
        listeners=[_connect_terminate(states), _main_internal(), _connect_originate()],
        clusters=[
            _main_cluster(),
            *(_service_cluster(port) for port in TARGETS),
            _originate_cluster(),
        ],
        routes=[_route(80, _http_policies()), _route(7070, {"rbac-allow": _allow(_from_alice())})],
        endpoints=[_endpoints(port) for port in TARGETS],
        secrets=[
            {
                "name": "default",
                "tls_certificate": {
                    "certificate_chain": {"inline_string": chain_pem(certificate)},
                    "private_key": {"inline_string": key_pem(certificate)},
                },
            },
            {
                "name": "ROOTCA",
                "validation_context": {"trusted_ca": {"inline_string": roots_pem(certificate)}},
            },
        ],
    )


def _extension(name: str, type_name: str, **fields: Any) -> Part:
    return {"name": name, "typed_config": {"@type": f"{EXTENSIONS}{type_name}", **fields}}


def _manager(prefix: str, filters: Sequence[Part], **fields: Any) -> Part:
    router = _extension("envoy.filters.http.router", "filters.http.router.v3.Router")
    return _extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=prefix,
        stream_idle_timeout="0s",
        use_remote_address=False,
        http_filters=[*filters, router],
        **fields,
    )


def _tls(peers: str) -> Part:
    source = {"ads": {}, "resource_api_version": "V3"}
    version = "TLSv1_3"
    return {
        "alpn_protocols": ["h2"],
        "tls_params": {
            "tls_minimum_protocol_version": version,
            "tls_maximum_protocol_version": version,
        },
        "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": source}],
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": peers}}]
            },
            "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": source},
        },
    }


def _connect_terminate(states: Mapping[str, State]) -> Part:
    upgrade = {"upgrade_type": "CONNECT"}
    handed_on = [
        {
            "object_key": name,
            **({} if factory is None else {"factory_key": factory}),
            "format_string": {"text_format_source": {"inline_string": value}},
            "shared_with_upstream": "ONCE",
        }
        for name, (factory, value) in states.items()
    ]
    route = {
        "match": {"connect_matcher": {}},
        "route": {
            "cluster": "main_internal",
            "upgrade_configs": [{**upgrade, "connect_config": {}}],
            "timeout": "0s",
        },
    }
    manager = _manager(
        "connect_terminate",
        [
            _extension(
                "connect_authority",
                "filters.http.set_filter_state.v3.Config",
                on_request_headers=handed_on,
            )
        ],
        upgrade_configs=[upgrade],
        http2_protocol_options={"allow_connect": True, "max_concurrent_streams": 100},
        route_config={
            "name": "default",
            "virtual_hosts": [{"name": "default", "domains": ["*"], "routes": [route]}],
        },
    )
    return {
        "name": "connect_terminate",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": HBONE_PORT}},  # noqa: S104
        "filter_chains": [
            {
                "name": "default",
                "transport_socket": _extension(
                    "tls",
                    "transport_sockets.tls.v3.DownstreamTlsContext",
                    require_client_certificate=True,
                    disable_stateless_session_resumption=True,
                    disable_stateful_session_resumption=True,
                    common_tls_context=_tls("spiffe://cluster.local/"),
                ),
                "filters": [manager],
            }
        ],
    }


def _name(port: int) -> str:
    return f"inbound-vip|{port}|{'tcp' if port == 9000 else 'http'}|{HOST}"


def _original_destination() -> Part:
    return _extension(
        "envoy.filters.listener.original_dst", "filters.listener.original_dst.v3.OriginalDst"
    )


def _chosen(port: int) -> Part:
    value = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": _name(port)}
    return {"action": {"name": _name(port), "typed_config": value}}


def _input(name: str, **fields: Any) -> Part:
    return _extension("input", f"matching.common_inputs.network.v3.{name}", **fields)


def _main_internal() -> Part:
    by_port = {
        "input": _input("DestinationPortInput"),
        "exact_match_map": {"map": {str(port): _chosen(port) for port in TARGETS}},
    }
    by_address = {
        "input": _input("DestinationIPInput"),
        "custom_match": {
            "name": "ip",
            "typed_config": {
                "@type": "type.googleapis.com/xds.type.matcher.v3.IPMatcher",
                "range_matchers": [
                    {
                        "ranges": [{"address_prefix": VIP, "prefix_len": 32}],
                        "on_match": {"matcher": {"matcher_tree": by_port}},
                    }
                ],
            },
        },
    }
    by_authority = {
        "input": _input("FilterStateInput", key="io.istio.connect_authority"),
        "exact_match_map": {"map": {f"{HOST}:{port}": _chosen(port) for port in TARGETS}},
    }
    return {
        "name": "main_internal",
        "internal_listener": {},
        "listener_filters": [_original_destination()],
        "filter_chain_matcher": {
            "matcher_tree": by_authority,
            "on_no_match": {"matcher": {"matcher_tree": by_address}},
        },
        "filter_chains": [_http_chain(80), _http_chain(7070), _tcp_chain(9000)],
    }


def _http_chain(port: int) -> Part:
    # What routes override: without an override everything is denied.
    denies_all = {"rules": {"action": "ALLOW", "policies": {}}}
    filters = [
        _extension("rbac-deny", "filters.http.rbac.v3.RBAC"),
        _extension("rbac-allow", "filters.http.rbac.v3.RBAC", **denies_all),
    ]
    source = {"ads": {}, "resource_api_version": "V3"}
    rds = {"route_config_name": _name(port), "config_source": source}
    manager = _manager(_name(port), filters, normalize_path=True, rds=rds)
    return {"name": _name(port), "filters": [manager]}


def _tcp_chain(port: int) -> Part:
    return {
        "name": _name(port),
        "filters": [
            _extension(
                "envoy.filters.network.rbac",
                "filters.network.rbac.v3.RBAC",
                stat_prefix="tcp.",
                rules={"action": "ALLOW", "policies": _from_alice()},
            ),
            _extension(
                "envoy.filters.network.tcp_proxy",
                "filters.network.tcp_proxy.v3.TcpProxy",
                stat_prefix=_name(port),
                cluster=_name(port),
            ),
        ],
    }


def _connect_originate() -> Part:
    proxy = _extension(
        "envoy.filters.network.tcp_proxy",
        "filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix="connect_originate",
        cluster="connect_originate",
        tunneling_config={"hostname": "%DOWNSTREAM_LOCAL_ADDRESS%"},
    )
    return {
        "name": "connect_originate",
        "internal_listener": {},
        "listener_filters": [_original_destination()],
        "filter_chains": [{"filters": [proxy]}],
    }


def _internal_upstream(**fields: Any) -> Part:
    return _extension(
        "envoy.transport_sockets.internal_upstream",
        "transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
        transport_socket=_extension(
            "envoy.transport_sockets.raw_buffer", "transport_sockets.raw_buffer.v3.RawBuffer"
        ),
        **fields,
    )


def _internal_endpoint(listener: str, **fields: Any) -> Part:
    return {"address": {"envoy_internal_address": {"server_listener_name": listener, **fields}}}


def _main_cluster() -> Part:
    endpoint = {"endpoint": _internal_endpoint("main_internal")}
    return {
        "name": "main_internal",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "main_internal",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
        "transport_socket": _internal_upstream(),
    }


def _http_options(**fields: Any) -> Part:
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    type_name = f"{EXTENSIONS}upstreams.http.v3.HttpProtocolOptions"
    return {name: {"@type": type_name, "explicit_http_config": fields}}


def _service_cluster(port: int) -> Part:
    metadata = [{"kind": {"host": {}}, "name": "envoy.filters.listener.original_dst"}]
    cluster = {
        "name": _name(port),
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "transport_socket": _internal_upstream(passthrough_metadata=metadata),
    }
    if port == 7070:
        cluster["typed_extension_protocol_options"] = _http_options(http2_protocol_options={})
    return cluster


def _endpoints(port: int) -> Part:
    address = f"{POD}:{TARGETS[port]}"
    destination = {"envoy.filters.listener.original_dst": {"local": address}}
    endpoint = {
        "endpoint": _internal_endpoint("connect_originate", endpoint_id=address),
        "metadata": {"filter_metadata": destination},
    }
    return {"cluster_name": _name(port), "endpoints": [{"lb_endpoints": [endpoint]}]}


def _originate_cluster() -> Part:
    return {
        "name": "connect_originate",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "original_dst_lb_config": {"upstream_port_override": HBONE_PORT},
        "typed_extension_protocol_options": _http_options(
            http2_protocol_options={"allow_connect": True}
        ),
        "transport_socket": _extension(
            "tls",
            "transport_sockets.tls.v3.UpstreamTlsContext",
            common_tls_context=_tls("spiffe://cluster.local/ns/app/sa/"),
        ),
    }


def _route(port: int, policies: Mapping[str, Part]) -> Part:
    goes_on = {"match": {"prefix": "/"}, "route": {"cluster": _name(port), "timeout": "0s"}}
    return {
        "name": _name(port),
        "virtual_hosts": [{"name": "default", "domains": ["*"], "routes": [goes_on]}],
        "typed_per_filter_config": dict(policies),
    }


def _http_policies() -> dict[str, Part]:
    near = {
        "permissions": [{"url_path": {"path": {"prefix": "/near"}}}],
        "principals": [
            {
                "filter_state": {
                    "key": SOURCE,
                    "address_match": {"ranges": [{"address_prefix": NEAR, "prefix_len": 32}]},
                }
            }
        ],
    }
    admin = {
        "permissions": [{"url_path": {"path": {"prefix": "/admin"}}}],
        "principals": [{"any": True}],
    }
    is_get = {"header": {"name": ":method", "string_match": {"exact": "GET"}}}
    return {
        "rbac-allow": _allow({**_from_alice(is_get), "ns[app]-policy[near]-rule[0]": near}),
        "rbac-deny": _per_route("DENY", {"ns[app]-policy[no-admin]-rule[0]": admin}),
    }


def _from_alice(*permissions: Part) -> Part:
    principal = {"filter_state": {"key": PEER, "string_match": {"exact": ALICE}}}
    return {
        "ns[app]-policy[alice]-rule[0]": {
            "permissions": list(permissions) or [{"any": True}],
            "principals": [principal],
        }
    }


def _allow(policies: Part) -> Part:
    return _per_route("ALLOW", policies)


def _per_route(action: str, policies: Part) -> Part:
    rules = {"action": action, "policies": policies}
    return {
        "@type": f"{EXTENSIONS}filters.http.rbac.v3.RBACPerRoute",
        "rbac": {"rules": rules},
    }
