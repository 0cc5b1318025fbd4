"""A waypoint's resources in one file: what discovery would deliver comes in, a bootstrap goes out.

``envoy --mode validate`` looks at nothing that a bootstrap only names, so everything is inlined:
routes into their listeners, endpoints into their clusters, secrets into their TLS contexts. The
documents are those of ``document.envoy_json``. docs/protocol/waypoint-config.md WC-39.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from controlplane.encode.bootstrap import LAYERED_RUNTIME
from controlplane.encode.http_route_action import NOWHERE

Document = Mapping[str, Any]

_ANY: Final = "@type"
_INTERNAL_LISTENER: Final = (
    "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """PEM text that stands where secrets are named."""

    chain: str
    key: str
    roots: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """Everything one waypoint would be sent, as documents."""

    listeners: Iterable[Document] = ()
    routes: Iterable[Document] = ()
    clusters: Iterable[Document] = ()
    endpoints: Iterable[Document] = ()
    secrets: Secrets = field(default_factory=lambda: Secrets(chain="", key="", roots=""))


def static_resources(discovered: Discovered) -> dict[str, Any]:
    """Return ``static_resources`` that mean the same as ``discovered``.

    What is named but was not discovered stays a name, which an Envoy refuses to look up statically.
    """
    inlining = _Inlining(discovered)
    return {
        "listeners": [inlining.of(listener) for listener in discovered.listeners],
        "clusters": [inlining.of(cluster) for cluster in discovered.clusters],
    }


def static_bootstrap(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bootstrap that has ``resources`` and asks nobody for anything."""
    internal = {"name": "internal_listener", "typed_config": {_ANY: _INTERNAL_LISTENER}}
    return {
        "node": {"id": "waypoint", "cluster": "waypoint"},
        "bootstrap_extensions": [internal],
        "layered_runtime": LAYERED_RUNTIME,
        "static_resources": dict(resources),
    }


class _Inlining:
    """Looks up what documents name."""

    def __init__(self, discovered: Discovered) -> None:
        self._routes = {route["name"]: _bare(route) for route in discovered.routes}
        self._endpoints = {each["cluster_name"]: _bare(each) for each in discovered.endpoints}
        self._secrets = discovered.secrets

    def of(self, document: Document) -> dict[str, Any]:
        """Return a listener or a cluster with everything in it."""
        inlined: dict[str, Any] = self._walked(_bare(document))
        if "eds_cluster_config" in inlined:
            found = self._endpoints.get(inlined["name"])
            if found is not None:
                del inlined["eds_cluster_config"]
                inlined |= {"type": "STATIC", "load_assignment": found}
        return inlined

    def _walked(self, value: Any) -> Any:
        match value:
            case list():
                return [self._walked(each) for each in value]
            case dict():
                walked = {key: self._walked(each) for key, each in value.items()}
                self._inline(walked)
                return walked
            case _:
                return value

    def _inline(self, document: dict[str, Any]) -> None:
        rds = document.get("rds")
        if rds is not None and rds["route_config_name"] in self._routes:
            del document["rds"]
            routes = self._routes[rds["route_config_name"]]
            # A cluster that is missing on purpose is no fault; any other is.
            checks = {"validate_clusters": False} if _leads_nowhere(routes) else {}
            document["route_config"] = {**routes, **checks}
        if "tls_certificate_sds_secret_configs" in document:
            del document["tls_certificate_sds_secret_configs"]
            certificate = {
                "certificate_chain": {"inline_string": self._secrets.chain},
                "private_key": {"inline_string": self._secrets.key},
            }
            document["tls_certificates"] = [certificate]
        combined = document.pop("combined_validation_context", None)
        if combined is not None:
            document["validation_context"] = {
                **combined["default_validation_context"],
                "trusted_ca": {"inline_string": self._secrets.roots},
            }


def _leads_nowhere(routes: Document) -> bool:
    """Return whether some share of the requests is for a backend that cannot be."""
    return any(
        entry["name"] == NOWHERE
        for host in routes.get("virtual_hosts", ())
        for route in host.get("routes", ())
        for entry in route.get("route", {}).get("weighted_clusters", {}).get("clusters", ())
    )


def _bare(document: Document) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != _ANY}
