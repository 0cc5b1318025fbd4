"""Kubernetes' own kinds: raw JSON shape -> ``core`` manifests, kind by kind.

Raw structs name only what the mesh rules read; every other field passes unseen.
"""

from collections.abc import Iterator
from sys import intern
from typing import Final

import msgspec

from controlplane.manifests import core
from controlplane.manifests.metadata import Metadata
from controlplane.manifests.read_fields import (
    Moment,
    OptionalPort,
    PortNumber,
    RefusedFieldError,
    objects,
)
from controlplane.manifests.read_metadata import RawMetadata, RawObject, read_by_rules
from controlplane.manifests.sharing import shared_tuple

Labels = dict[str, str]


class RawContainerPort(msgspec.Struct, rename="camel"):
    """``ports[]`` of a container."""

    container_port: PortNumber | None = None
    name: str | None = None
    protocol: str | None = None


class RawContainer(msgspec.Struct, rename="camel"):
    """A container or init container."""

    ports: list[RawContainerPort | None] | None = None
    restart_policy: str | None = None


class RawPodSpec(msgspec.Struct, rename="camel"):
    """``spec`` of a pod or of a pod template."""

    node_name: str | None = None
    node_selector: Labels | None = None
    service_account_name: str | None = None
    host_network: bool | None = None
    containers: list[RawContainer | None] | None = None
    init_containers: list[RawContainer | None] | None = None


class RawCondition(msgspec.Struct, rename="camel"):
    """A status condition."""

    type: str | None = None
    status: str | None = None


class RawPodIP(msgspec.Struct, rename="camel"):
    """One entry of ``podIPs``."""

    ip: str | None = None


class RawTerminated(msgspec.Struct, rename="camel"):
    """``state.terminated`` of a container."""

    finished_at: Moment | None = None


class RawContainerState(msgspec.Struct, rename="camel"):
    """``state`` of a container."""

    terminated: RawTerminated | None = None


class RawContainerStatus(msgspec.Struct, rename="camel"):
    """``containerStatuses[]`` of a pod."""

    state: RawContainerState | None = None


class RawPodStatus(msgspec.Struct, rename="camel"):
    """``status`` of a pod."""

    phase: str | None = None
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    pod_ips: list[RawPodIP | None] | None = msgspec.field(default=None, name="podIPs")
    conditions: list[RawCondition | None] | None = None
    container_statuses: list[RawContainerStatus | None] | None = None


class RawPod(RawObject, rename="camel"):
    """A Pod."""

    spec: RawPodSpec | None = None
    status: RawPodStatus | None = None


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
    selector: Labels | None = None
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


class RawPodTemplate(msgspec.Struct, rename="camel"):
    """``spec.template`` of a workload template."""

    metadata: RawMetadata | None = None
    spec: RawPodSpec | None = None


class RawTemplateSpec(msgspec.Struct, rename="camel"):
    """``spec`` of a Deployment, StatefulSet or DaemonSet."""

    replicas: int | None = None
    template: RawPodTemplate | None = None


class RawWorkloadTemplate(RawObject, rename="camel"):
    """A Deployment, StatefulSet or DaemonSet."""

    spec: RawTemplateSpec | None = None


_CONTAINER: Final = RawContainer()
_CONTAINER_PORT: Final = RawContainerPort()
_CONDITION: Final = RawCondition()
_CONTAINER_STATUS: Final = RawContainerStatus()
_FINISHED: Final = frozenset({"Failed", "Succeeded"})
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


def read_pod(raw: RawPod, metadata: Metadata) -> core.Pod:
    """Return the pod."""
    spec = raw.spec or RawPodSpec()
    status = raw.status or RawPodStatus()
    ips = tuple(ip.ip or "" for ip in objects(status.pod_ips, RawPodIP()))
    if not ips and status.pod_ip:
        ips = (status.pod_ip,)
    return core.Pod(
        metadata=metadata,
        phase=intern(status.phase or ""),
        ended_at=_ended_at(status),
        ips=ips,
        node=intern(spec.node_name or ""),
        service_account=intern(spec.service_account_name or ""),
        host_network=spec.host_network or False,
        ready=any(
            condition.type == "Ready" and condition.status == "True"
            for condition in objects(status.conditions, _CONDITION)
        ),
        container_ports=shared_tuple(tuple(_container_ports(spec))),
    )


def _ended_at(status: RawPodStatus) -> float | None:
    """Return when the last container ended; while the pod runs its restarts are not told."""
    if status.phase not in _FINISHED:
        return None
    moments = [
        container.state.terminated.finished_at.timestamp()
        for container in objects(status.container_statuses, _CONTAINER_STATUS)
        if container.state and container.state.terminated and container.state.terminated.finished_at
    ]
    return max(moments, default=None)


def _container_ports(spec: RawPodSpec) -> Iterator[core.ContainerPort]:
    restartable = (
        container
        for container in objects(spec.init_containers, _CONTAINER)
        if container.restart_policy == "Always"
    )
    for container in (*objects(spec.containers, _CONTAINER), *restartable):
        for port in objects(container.ports, _CONTAINER_PORT):
            if port.container_port is not None:
                yield core.ContainerPort(
                    port.name or "", port.container_port, port.protocol or "TCP"
                )


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


def _template(raw: RawWorkloadTemplate, metadata: Metadata, kind: str) -> core.WorkloadTemplate:
    spec = raw.spec or RawTemplateSpec()
    template = spec.template or RawPodTemplate()
    pod = template.spec or RawPodSpec()
    described = template.metadata or RawMetadata()
    replicas = 1 if spec.replicas is None else spec.replicas
    if not 0 <= replicas <= MOST_REPLICAS:
        reason = f"{replicas} is not between 0 and {MOST_REPLICAS}"
        raise RefusedFieldError(("spec", "replicas"), reason)
    return core.WorkloadTemplate(
        metadata=metadata,
        template_kind=kind,
        replicas=replicas,
        template=core.PodTemplate(
            labels=described.labels or {},
            annotations=read_by_rules(described.annotations),
            service_account=pod.service_account_name or "",
            host_network=pod.host_network or False,
            node=pod.node_name or "",
            node_selector=pod.node_selector or {},
            container_ports=tuple(_container_ports(pod)),
        ),
    )


MOST_REPLICAS: Final = 10_000
"""Replicas of one template that are expanded to pods; more is taken for a slip of the keyboard."""


def read_deployment(raw: RawWorkloadTemplate, metadata: Metadata) -> core.WorkloadTemplate:
    """Return the Deployment as a template."""
    return _template(raw, metadata, "Deployment")


def read_stateful_set(raw: RawWorkloadTemplate, metadata: Metadata) -> core.WorkloadTemplate:
    """Return the StatefulSet as a template."""
    return _template(raw, metadata, "StatefulSet")


def read_daemon_set(raw: RawWorkloadTemplate, metadata: Metadata) -> core.WorkloadTemplate:
    """Return the DaemonSet as a template."""
    return _template(raw, metadata, "DaemonSet")
