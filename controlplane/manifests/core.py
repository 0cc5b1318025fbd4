"""Kubernetes' own kinds, trimmed to what the mesh rules read."""

import msgspec

from controlplane.manifests.metadata import Manifest


class Namespace(Manifest, frozen=True, kw_only=True):
    """A namespace; its key has namespace ""."""


class Node(Manifest, frozen=True, kw_only=True):
    """A node; only its labels matter."""


class ServiceAccount(Manifest, frozen=True, kw_only=True):
    """A service account."""


class ConfigMap(Manifest, frozen=True, kw_only=True):
    """A config map; kept only where a rule reads it (the mesh configuration)."""

    data: dict[str, str] = {}


class ContainerPort(msgspec.Struct, frozen=True, gc=False):
    """A declared container port; ``name`` "" when it has none."""

    name: str
    port: int
    protocol: str = "TCP"


class Pod(Manifest, frozen=True, kw_only=True):
    """A pod.

    ``ips`` is ``status.podIPs``, or ``[status.podIP]`` when that list is empty, as written.
    ``ready`` is the Ready condition. ``container_ports`` come from the containers, then from init
    containers with ``restartPolicy: Always``, in order. ``ended_at`` is when the last container of
    a Succeeded or Failed pod ended (Unix seconds), None when that is not stated.
    """

    phase: str = ""
    ended_at: float | None = None
    ips: tuple[str, ...] = ()
    node: str = ""
    service_account: str = ""
    host_network: bool = False
    ready: bool = False
    container_ports: tuple[ContainerPort, ...] = ()


class ServicePort(msgspec.Struct, frozen=True, gc=False):
    """A service port.

    ``target_port`` is the number, 0 when absent or named; ``target_port_name`` "" unless named.
    """

    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: int = 0
    target_port_name: str = ""
    app_protocol: str = ""


class Service(Manifest, frozen=True, kw_only=True):
    """A service.

    ``cluster_ips`` is ``spec.clusterIPs``, or ``[spec.clusterIP]`` when that list is empty, as
    written ("" and "None" included).
    """

    type: str = "ClusterIP"
    cluster_ips: tuple[str, ...] = ()
    selector: dict[str, str] = {}
    ports: tuple[ServicePort, ...] = ()
    ip_families: tuple[str, ...] = ()
    internal_traffic_policy: str = ""
    traffic_distribution: str = ""
    publish_not_ready_addresses: bool = False


class EndpointTarget(msgspec.Struct, frozen=True, gc=False):
    """The object behind an endpoint (``targetRef``)."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint of a slice; ``ready`` None when the condition is absent."""

    addresses: tuple[str, ...] = ()
    ready: bool | None = None
    target: EndpointTarget | None = None


class EndpointPort(msgspec.Struct, frozen=True, gc=False):
    """A port of a slice; absent fields stay None."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class EndpointSlice(Manifest, frozen=True, kw_only=True):
    """A slice of a service's endpoints."""

    address_type: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class PodTemplate(msgspec.Struct, frozen=True):
    """The pods a workload template makes."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    service_account: str = ""
    host_network: bool = False
    node: str = ""
    node_selector: dict[str, str] = {}
    container_ports: tuple[ContainerPort, ...] = ()


class WorkloadTemplate(Manifest, frozen=True, kw_only=True):
    """A Deployment, StatefulSet or DaemonSet: read only where no cluster turns it into pods."""

    template_kind: str
    replicas: int = 1
    template: PodTemplate = PodTemplate()

    @property
    def kind(self) -> str:
        """Return Deployment, StatefulSet or DaemonSet."""
        return self.template_kind
