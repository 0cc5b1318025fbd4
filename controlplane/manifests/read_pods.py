"""Pods and what makes them: raw JSON shape -> ``core`` manifests, kind by kind.

Raw structs name only what the mesh rules read; every other field passes unseen.
"""

from collections.abc import Iterator
from sys import intern
from typing import Final

import msgspec

from controlplane.manifests import core
from controlplane.manifests.metadata import Metadata
from controlplane.manifests.read_fields import Moment, PortNumber, RefusedFieldError, objects
from controlplane.manifests.read_metadata import RawMetadata, RawObject, read_by_rules
from controlplane.manifests.sharing import shared_tuple

MOST_REPLICAS: Final = 10_000
"""Replicas of one template that are expanded to pods; more is taken for a slip of the keyboard."""


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
    node_selector: dict[str, str] | None = None
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


def read_deployment(raw: RawWorkloadTemplate, metadata: Metadata) -> core.WorkloadTemplate:
    """Return the Deployment as a template."""
    return _template(raw, metadata, "Deployment")


def read_stateful_set(raw: RawWorkloadTemplate, metadata: Metadata) -> core.WorkloadTemplate:
    """Return the StatefulSet as a template."""
    return _template(raw, metadata, "StatefulSet")


def read_daemon_set(raw: RawWorkloadTemplate, metadata: Metadata) -> core.WorkloadTemplate:
    """Return the DaemonSet as a template."""
    return _template(raw, metadata, "DaemonSet")


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
