"""Kubernetes' own kinds but pods: raw JSON shape -> ``core`` manifests, kind by kind.

Raw structs name only what the mesh rules read; every other field passes unseen. ``read_pods`` does
the same for pods and what makes them.
"""

from typing import Final

import msgspec

from controlplane.manifests import core
from controlplane.manifests.metadata import Metadata
from controlplane.manifests.read_fields import OptionalPort, PortNumber, objects
from controlplane.manifests.read_metadata import RawObject


class RawServicePort(msgspec.Struct, rename="camel"):
    """``ports[]`` of a service."""

    port: PortNumber
    name: str | None = None
    protocol: str | None = None
    target_port: OptionalPort | str | None = None
    app_protocol: str | None = None


class RawServiceSpec(msgspec.Struct, rename="camel"):
    """``spec`` of a service."""

    type: str | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: list[str] | None = msgspec.field(default=None, name="clusterIPs")
    selector: dict[str, str] | None = None
    ports: list[RawServicePort] | None = None
    ip_families: list[str] | None = None
    internal_traffic_policy: str | None = None
    traffic_distribution: str | None = None
    publish_not_ready_addresses: bool | None = None


class RawService(RawObject, rename="camel"):
    """A Service."""

    spec: RawServiceSpec | None = None


class RawEndpointTarget(msgspec.Struct, rename="camel"):
    """``targetRef`` of an endpoint."""

    kind: str | None = None
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None


class RawEndpointConditions(msgspec.Struct, rename="camel"):
    """``conditions`` of an endpoint."""

    ready: bool | None = None


class RawEndpoint(msgspec.Struct, rename="camel"):
    """``endpoints[]`` of a slice."""

    addresses: list[str] | None = None
    conditions: RawEndpointConditions | None = None
    target_ref: RawEndpointTarget | None = None


class RawEndpointPort(msgspec.Struct, rename="camel"):
    """``ports[]`` of a slice."""

    name: str | None = None
    port: OptionalPort | None = None
    protocol: str | None = None


class RawEndpointSlice(RawObject, rename="camel"):
    """An EndpointSlice."""

    address_type: str | None = None
    endpoints: list[RawEndpoint | None] | None = None
    ports: list[RawEndpointPort | None] | None = None


_ENDPOINT: Final = RawEndpoint()
_ENDPOINT_PORT: Final = RawEndpointPort()


def read_namespace(_raw: RawObject, metadata: Metadata) -> core.Namespace:
    """Return the namespace."""
    return core.Namespace(metadata=metadata)


def read_node(_raw: RawObject, metadata: Metadata) -> core.Node:
    """Return the node."""
    return core.Node(metadata=metadata)


def read_service_account(_raw: RawObject, metadata: Metadata) -> core.ServiceAccount:
    """Return the service account."""
    return core.ServiceAccount(metadata=metadata)


def read_service(raw: RawService, metadata: Metadata) -> core.Service:
    """Return the service."""
    spec = raw.spec or RawServiceSpec()
    ips = tuple(spec.cluster_ips or ())
    if not ips and spec.cluster_ip is not None:
        ips = (spec.cluster_ip,)
    return core.Service(
        metadata=metadata,
        type=spec.type or "ClusterIP",
        cluster_ips=ips,
        selector=spec.selector or {},
        ports=tuple(_service_port(port) for port in spec.ports or ()),
        ip_families=tuple(spec.ip_families or ()),
        internal_traffic_policy=spec.internal_traffic_policy or "",
        traffic_distribution=spec.traffic_distribution or "",
        publish_not_ready_addresses=spec.publish_not_ready_addresses or False,
    )


def _service_port(raw: RawServicePort) -> core.ServicePort:
    target = raw.target_port
    return core.ServicePort(
        port=raw.port,
        name=raw.name or "",
        protocol=raw.protocol or "TCP",
        target_port=target if isinstance(target, int) else 0,
        target_port_name=target if isinstance(target, str) else "",
        app_protocol=raw.app_protocol or "",
    )


def read_endpoint_slice(raw: RawEndpointSlice, metadata: Metadata) -> core.EndpointSlice:
    """Return the slice."""
    return core.EndpointSlice(
        metadata=metadata,
        address_type=raw.address_type or "",
        endpoints=tuple(_endpoint(endpoint) for endpoint in objects(raw.endpoints, _ENDPOINT)),
        ports=tuple(
            core.EndpointPort(name=port.name, port=port.port, protocol=port.protocol)
            for port in objects(raw.ports, _ENDPOINT_PORT)
        ),
    )


def _endpoint(raw: RawEndpoint) -> core.Endpoint:
    target = raw.target_ref
    return core.Endpoint(
        addresses=tuple(raw.addresses or ()),
        ready=raw.conditions.ready if raw.conditions else None,
        target=None
        if target is None
        else core.EndpointTarget(
            kind=target.kind or "",
            namespace=target.namespace or "",
            name=target.name or "",
            uid=target.uid or "",
        ),
    )
