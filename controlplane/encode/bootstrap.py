"""What a waypoint's Envoy is started with: who it is and where discovery is in, JSON files out.

``controllers.waypoint_objects`` puts the files into a ConfigMap. They are plain JSON: the protobuf
package lags Envoy. Everything else the proxy does comes over discovery. Source:
docs/protocol/waypoint-deployment.md WO-40 to WO-49.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.model.names import Name

BOOTSTRAP_FILE: Final = "bootstrap.json"
TOKEN_FILE: Final = "token-secret.json"  # noqa: S105 - the name of a file, not a secret
ROOT_FILE: Final = "root-secret.json"
ADMIN_PORT: Final = 15000
METRICS_PORT: Final = 15020
STATUS_PORT: Final = 15021
READY_PATH: Final = "/healthz/ready"
METRICS_PATH: Final = "/stats/prometheus"

_TYPE: Final = "type.googleapis.com/"
_EXTENSIONS: Final = f"{_TYPE}envoy.extensions."
_MOST_CONNECTIONS: Final = 50_000
# Above what any waypoint uses: the defaults of 1024 would hold discovery back in a crowd.
_MOST_REQUESTS: Final = 100_000
LAYERED_RUNTIME: Final = {
    "layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": 32768}}]
}
"""Routes and policies may have long regular expressions; the default refuses them."""

_KEPT_STATS: Final = (
    {"prefix": "istio"},
    {"prefix": "cluster.xds-grpc"},
    {"prefix": "cluster_manager"},
    {"prefix": "control_plane"},
    {"prefix": "listener_manager"},
    {"prefix": "server"},
    {"contains": "jwt"},
    {"contains": "rbac"},
    {"contains": "ssl"},
    {"suffix": "upstream_rq_5xx"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """What the files say; the id of the node is given on the command line, pod by pod.

    ``workload`` is the name of the Deployment. ``discovery_host`` is the name the serving
    certificate must have, ``discovery_address`` where it is connected to, "" for that name.
    ``listen_address`` is where health and metrics are served, ``admin_address`` where the admin
    side is, which is for nobody but who may do anything with it. The directories are where the
    files themselves, the root ``root-cert.pem`` and the token ``istio-token`` are mounted.
    """

    gateway: Name
    workload: str
    service_account: str
    discovery_host: str
    discovery_port: int = 15012
    discovery_address: str = ""
    cluster_id: str = ""
    network: str = ""
    listen_address: str = "0.0.0.0"  # noqa: S104 - kubelet and Prometheus come to the pod's address
    admin_address: str = "127.0.0.1"
    directory: str = "/etc/waypoint"
    root_directory: str = "/var/run/secrets/istio"
    token_directory: str = "/var/run/secrets/tokens"  # noqa: S105 - a directory


def bootstrap_files(bootstrap: Bootstrap) -> dict[str, str]:
    """Return the text of each file by its name; equal values give equal text."""
    root = f"{bootstrap.root_directory}/root-cert.pem"
    token = f"{bootstrap.token_directory}/istio-token"
    return {
        BOOTSTRAP_FILE: _text(_bootstrap(bootstrap)),
        ROOT_FILE: _secret("xds-root", {"validation_context": {"trusted_ca": {"filename": root}}}),
        TOKEN_FILE: _secret("xds-token", {"generic_secret": {"secret": {"filename": token}}}),
    }


def _bootstrap(bootstrap: Bootstrap) -> dict[str, Any]:
    return {
        "node": {"metadata": _node_metadata(bootstrap)},
        "admin": {"address": _socket(bootstrap.admin_address, ADMIN_PORT)},
        "bootstrap_extensions": [
            _extension(
                "envoy.bootstrap.internal_listener",
                "bootstrap.internal_listener.v3.InternalListener",
                buffer_size_kb=64,
            )
        ],
        "layered_runtime": LAYERED_RUNTIME,
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": list(_KEPT_STATS)}}},
        "dynamic_resources": _dynamic_resources(bootstrap),
        "static_resources": {
            "clusters": [_admin_cluster(bootstrap), _discovery_cluster(bootstrap)],
            "listeners": [
                _listener(
                    "status",
                    bootstrap.listen_address,
                    STATUS_PORT,
                    {"path": READY_PATH},
                    {"cluster": "admin", "prefix_rewrite": "/ready"},
                ),
                _listener(
                    "metrics",
                    bootstrap.listen_address,
                    METRICS_PORT,
                    {"path": METRICS_PATH},
                    {"cluster": "admin"},
                ),
            ],
        },
        "overload_manager": {
            "resource_monitors": [
                _extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=_MOST_CONNECTIONS,
                )
            ]
        },
    }


def _node_metadata(bootstrap: Bootstrap) -> dict[str, Any]:
    """Return what the node says of itself: hints, the token is what counts."""
    metadata: dict[str, Any] = {
        "LABELS": {"gateway.networking.k8s.io/gateway-name": bootstrap.gateway.name},
        "NAMESPACE": bootstrap.gateway.namespace,
        "SERVICE_ACCOUNT": bootstrap.service_account,
        "WORKLOAD_NAME": bootstrap.workload,
    }
    if bootstrap.cluster_id:
        metadata["CLUSTER_ID"] = bootstrap.cluster_id
    if bootstrap.network:
        metadata["NETWORK"] = bootstrap.network
    return metadata


def _dynamic_resources(bootstrap: Bootstrap) -> dict[str, Any]:
    # Without a time limit the proxy is not ready before it has its whole configuration.
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    service: dict[str, Any] = {
        "envoy_grpc": {
            "cluster_name": "xds-grpc",
            "authority": bootstrap.discovery_host,
            # Thirty seconds at most by default: long for who waits for a policy.
            "retry_policy": {"retry_back_off": {"base_interval": "0.5s", "max_interval": "5s"}},
        }
    }
    if bootstrap.cluster_id:
        service["initial_metadata"] = [{"key": "clusterid", "value": bootstrap.cluster_id}]
    return {
        "lds_config": source,
        "cds_config": source,
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [service],
        },
    }


def _admin_cluster(bootstrap: Bootstrap) -> dict[str, Any]:
    return {
        "name": "admin",
        "type": "STATIC",
        "load_assignment": _endpoint("admin", bootstrap.admin_address, ADMIN_PORT),
    }


def _discovery_cluster(bootstrap: Bootstrap) -> dict[str, Any]:
    host = bootstrap.discovery_host
    address = bootstrap.discovery_address or host
    return {
        "name": "xds-grpc",
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "dns_lookup_family": "V4_PREFERRED",
        "load_assignment": _endpoint("xds-grpc", address, bootstrap.discovery_port),
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 300}},
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": _MOST_REQUESTS,
                    "max_pending_requests": _MOST_REQUESTS,
                    "max_requests": _MOST_REQUESTS,
                }
            ]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_EXTENSIONS}upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "connection_keepalive": {"interval": "30s", "timeout": "10s"}
                    }
                },
                "http_filters": [
                    _token_filter(bootstrap),
                    _extension(
                        "envoy.filters.http.upstream_codec",
                        "filters.http.upstream_codec.v3.UpstreamCodec",
                    ),
                ],
            }
        },
        "transport_socket": _extension(
            "envoy.transport_sockets.tls",
            "transport_sockets.tls.v3.UpstreamTlsContext",
            sni=host,
            common_tls_context={
                "combined_validation_context": {
                    "default_validation_context": {
                        "match_typed_subject_alt_names": [
                            {"san_type": "DNS", "matcher": {"exact": host}}
                        ]
                    },
                    "validation_context_sds_secret_config": _watched_secret(
                        "xds-root", f"{bootstrap.directory}/{ROOT_FILE}", bootstrap.root_directory
                    ),
                }
            },
        ),
    }


def _token_filter(bootstrap: Bootstrap) -> dict[str, Any]:
    """Put the token into every request: a new stream carries what the file says by then."""
    return _extension(
        "envoy.filters.http.credential_injector",
        "filters.http.credential_injector.v3.CredentialInjector",
        overwrite=True,
        credential=_extension(
            "envoy.http.injected_credentials.generic",
            "http.injected_credentials.generic.v3.Generic",
            credential=_watched_secret(
                "xds-token", f"{bootstrap.directory}/{TOKEN_FILE}", bootstrap.token_directory
            ),
            header="authorization",
            header_value_prefix="Bearer ",
        ),
    )


def _watched_secret(name: str, path: str, directory: str) -> dict[str, Any]:
    """Return a secret that is read again when what is mounted at ``directory`` is replaced."""
    source = {"path": path, "watched_directory": {"path": directory}}
    return {"name": name, "sds_config": {"path_config_source": source}}


def _listener(
    name: str, address: str, port: int, match: Mapping[str, Any], route: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a listener that answers GET on one path and nothing else of the admin port."""
    is_get = {"name": ":method", "string_match": {"exact": "GET"}}
    manager = _extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        http_filters=[_extension("envoy.filters.http.router", "filters.http.router.v3.Router")],
        route_config={
            "virtual_hosts": [
                {
                    "name": name,
                    "domains": ["*"],
                    "routes": [{"match": {**match, "headers": [is_get]}, "route": dict(route)}],
                }
            ]
        },
    )
    return {
        "name": name,
        "address": _socket(address, port),
        # A waypoint that is full of connections is still alive.
        "ignore_global_conn_limit": True,
        "bypass_overload_manager": True,
        "filter_chains": [{"filters": [manager]}],
    }


def _endpoint(name: str, address: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _socket(address, port)}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}


def _socket(address: str, port: int) -> dict[str, Any]:
    socket: dict[str, Any] = {"address": address, "port_value": port}
    if address == "::":
        socket["ipv4_compat"] = True
    return {"socket_address": socket}


def _extension(name: str, type_name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{_EXTENSIONS}{type_name}", **fields}}


def _secret(name: str, content: Mapping[str, Any]) -> str:
    secret_type = f"{_EXTENSIONS}transport_sockets.tls.v3.Secret"
    return _text({"resources": [{"@type": secret_type, "name": name, **content}]})


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
