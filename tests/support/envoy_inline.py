"""What a waypoint is sent by xDS, and the bootstrap that says the same without a control plane."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

Resource = Mapping[str, Any]

EXTENSIONS = "type.googleapis.com/envoy.extensions."
HBONE_PORT = 15008


@dataclass(frozen=True, slots=True, kw_only=True)
class WaypointResources:
    """Everything of one waypoint; addresses and ports as in a cluster.

    Resources are what JSON has of them, with the fields' own names: ``lb_endpoints``, not
    ``lbEndpoints``.
    """

    listeners: Sequence[Resource]
    clusters: Sequence[Resource]
    routes: Sequence[Resource] = ()
    endpoints: Sequence[Resource] = ()
    secrets: Sequence[Resource] = field(default=(), repr=False)


def inlined(
    resources: WaypointResources, *, host: str = "127.0.0.1", hbone_port: int = HBONE_PORT
) -> dict[str, Any]:
    """Return a bootstrap that holds all of it as static resources.

    Listeners on ports go to a free port of ``host``; pods are expected to end HBONE at
    ``hbone_port``. Nothing else is changed: what a name refers to is put where the name was.
    """
    routes = {each["name"]: each for each in resources.routes}
    endpoints = {each["cluster_name"]: each for each in resources.endpoints}
    listeners = [_on_loopback(deepcopy(dict(each)), host) for each in resources.listeners]
    clusters = [
        _with_endpoints(deepcopy(dict(each)), endpoints, hbone_port) for each in resources.clusters
    ]
    for each in listeners:
        _put_routes(each, routes)
    for each in (listeners, clusters):
        _use_static_secrets(each)
    return {
        "bootstrap_extensions": [
            {
                "name": "envoy.bootstrap.internal_listener",
                "typed_config": {
                    "@type": f"{EXTENSIONS}bootstrap.internal_listener.v3.InternalListener"
                },
            }
        ],
        "static_resources": {
            "listeners": listeners,
            "clusters": clusters,
            "secrets": [deepcopy(dict(each)) for each in resources.secrets],
        },
    }


def _on_loopback(listener: dict[str, Any], host: str) -> dict[str, Any]:
    if "address" in listener:
        listener["address"] = {"socket_address": {"address": host, "port_value": 0}}
        listener.pop("additional_addresses", None)
    return listener


def _with_endpoints(
    cluster: dict[str, Any], endpoints: Mapping[str, Resource], hbone_port: int
) -> dict[str, Any]:
    if cluster.get("type") == "EDS":
        service = cluster.pop("eds_cluster_config", {}).get("service_name")
        cluster["type"] = "STATIC"
        cluster["load_assignment"] = deepcopy(dict(endpoints[service or cluster["name"]]))
    original = cluster.get("original_dst_lb_config")
    if original is not None and original.get("upstream_port_override") == HBONE_PORT:
        original["upstream_port_override"] = hbone_port
    return cluster


def _put_routes(part: Any, routes: Mapping[str, Resource]) -> None:
    if isinstance(part, list):
        for each in part:
            _put_routes(each, routes)
    elif isinstance(part, dict):
        asked = part.pop("rds", None)
        if asked is not None:
            # A route fetched by name may name clusters that do not exist; one in place may not.
            part["route_config"] = {
                "validate_clusters": False,
                **routes[asked["route_config_name"]],
            }
        for each in part.values():
            _put_routes(each, routes)


def _use_static_secrets(part: Any) -> None:
    if isinstance(part, list):
        for each in part:
            _use_static_secrets(each)
    elif isinstance(part, dict):
        part.pop("sds_config", None)
        for each in part.values():
            _use_static_secrets(each)
