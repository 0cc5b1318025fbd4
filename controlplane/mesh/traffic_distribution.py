"""How ztunnel should choose among the workloads of a service.

The fields and annotations of a service and of its namespace come in, a ``LoadBalancing`` goes out
to the services. docs/protocol/services.md, SV-8 to SV-12.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Namespace, Service
from controlplane.mesh.namespaces import Membership
from controlplane.model.names import Name
from controlplane.model.service import (
    HealthPolicy,
    LoadBalancing,
    LoadBalancingMode,
    LoadBalancingScope,
)

DISTRIBUTION_ANNOTATION: Final = "networking.istio.io/traffic-distribution"
PASSTHROUGH: Final = LoadBalancing(
    mode=LoadBalancingMode.PASSTHROUGH, health_policy=HealthPolicy.ALLOW_ALL
)
_NODE_ONLY: Final = ((LoadBalancingScope.NODE,), LoadBalancingMode.STRICT)


class Distribution(Enum):
    """Which workloads are preferred."""

    ANY = "any"
    SAME_ZONE = "same zone"
    SAME_NODE = "same node"


_NAMES: Final = {
    "preferclose": Distribution.SAME_ZONE,
    "prefersamezone": Distribution.SAME_ZONE,
    "prefersamenode": Distribution.SAME_NODE,
}
_FIELD_VALUES: Final = {
    "PreferClose": Distribution.SAME_ZONE,
    "PreferSameZone": Distribution.SAME_ZONE,
    "PreferSameNode": Distribution.SAME_NODE,
}
_ZONE_SCOPES: Final = (
    LoadBalancingScope.NETWORK,
    LoadBalancingScope.REGION,
    LoadBalancingScope.ZONE,
)
_SCOPES: Final = {
    Distribution.SAME_ZONE: _ZONE_SCOPES,
    Distribution.SAME_NODE: (*_ZONE_SCOPES, LoadBalancingScope.SUBZONE, LoadBalancingScope.NODE),
}


def build_namespace_distributions(
    graph: Graph, membership: Membership
) -> Collection[Name, Distribution]:
    """Declare what namespaces ask for by annotation; one that asks nothing is absent."""

    def rule(_: Fetch, namespace: Namespace) -> Distribution | None:
        return annotated_distribution(namespace.metadata.annotations)

    return graph.derive("namespace traffic distributions", membership.namespaces, rule)


def annotated_distribution(annotations: Mapping[str, str]) -> Distribution | None:
    """Return what the annotation asks for, None when it is absent or empty.

    An unknown value asks for no preference: it still overrides what the namespace asks for.
    """
    asked = annotations.get(DISTRIBUTION_ANNOTATION, "")
    return _NAMES.get(asked.lower(), Distribution.ANY) if asked else None


def own_distribution(service: Service) -> Distribution | None:
    """Return what a Service itself asks for: its field, then its annotation."""
    from_field = _FIELD_VALUES.get(service.traffic_distribution)
    return from_field or annotated_distribution(service.metadata.annotations)


def service_load_balancing(service: Service, distribution: Distribution) -> LoadBalancing | None:
    """Return the load balancing of a Service, None when nothing unusual is asked."""
    health = (
        HealthPolicy.ALLOW_ALL if service.publish_not_ready_addresses else HealthPolicy.ONLY_HEALTHY
    )
    if service.internal_traffic_policy == "Local":
        return LoadBalancing(*_NODE_ONLY, health)
    preferred = distribution_load_balancing(distribution)
    if preferred is not None:
        return preferred._replace(health_policy=health)
    return LoadBalancing(health_policy=health) if health is HealthPolicy.ALLOW_ALL else None


def distribution_load_balancing(distribution: Distribution) -> LoadBalancing | None:
    """Return the load balancing of a preference alone."""
    scopes = _SCOPES.get(distribution)
    return None if scopes is None else LoadBalancing(scopes, LoadBalancingMode.FAILOVER)
