"""What a waypoint is sent by xDS, and the bootstrap that says the same without a control plane."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from controlplane.encode.static_bootstrap import (
    Discovered,
    Secrets,
    static_bootstrap,
    static_resources,
)

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
    """Return a bootstrap that holds all of it as static resources, put there as a check does.

    Listeners on ports go to a free port of ``host``; pods are expected to end HBONE at
    ``hbone_port``.
    """
    static = static_resources(
        Discovered(
            listeners=[_on_loopback(dict(each), host) for each in resources.listeners],
            # A route fetched by name may name clusters that do not exist; one in place may not.
            routes=[{"validate_clusters": False, **each} for each in resources.routes],
            clusters=[_to_port(deepcopy(dict(each)), hbone_port) for each in resources.clusters],
            endpoints=resources.endpoints,
            secrets=_pem(resources.secrets),
        )
    )
    return static_bootstrap(static)


def _on_loopback(listener: dict[str, Any], host: str) -> dict[str, Any]:
    if "address" in listener:
        listener["address"] = {"socket_address": {"address": host, "port_value": 0}}
        listener.pop("additional_addresses", None)
    return listener


def _to_port(cluster: dict[str, Any], hbone_port: int) -> dict[str, Any]:
    original = cluster.get("original_dst_lb_config")
    if original is not None and original.get("upstream_port_override") == HBONE_PORT:
        original["upstream_port_override"] = hbone_port
    return cluster


def _pem(secrets: Sequence[Resource]) -> Secrets:
    by_name = {each["name"]: each for each in secrets}
    own = by_name["default"]["tls_certificate"]
    roots = by_name["ROOTCA"]["validation_context"]
    return Secrets(
        chain=own["certificate_chain"]["inline_string"],
        key=own["private_key"]["inline_string"],
        roots=roots["trusted_ca"]["inline_string"],
    )
