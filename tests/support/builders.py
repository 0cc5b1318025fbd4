"""Builders of manifests: what a test does not say is what an ordinary object would have."""

from collections.abc import Mapping, Sequence
from typing import Any

from controlplane.manifests.core import (
    ContainerPort,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    EndpointTarget,
    Namespace,
    Node,
    Pod,
    Service,
    ServicePort,
)
from controlplane.manifests.gateway import Gateway, GatewayAddress, GatewayClass, Listener
from controlplane.manifests.istio import (
    AuthorizationPolicy,
    AuthorizationRule,
    PeerAuthentication,
    ServiceEntry,
    ServiceEntryPort,
    WorkloadEntry,
    WorkloadSpec,
)
from controlplane.manifests.metadata import Metadata, Owner

Labels = Mapping[str, str] | None

HBONE = {"ambient.istio.io/redirection": "enabled"}


def some_metadata(
    name: str,
    namespace: str = "default",
    *,
    labels: Labels = None,
    annotations: Labels = None,
    created: float = 0.0,
    **rest: Any,
) -> Metadata:
    return Metadata(
        name=name,
        namespace=namespace,
        labels=dict(labels or {}),
        annotations=dict(annotations or {}),
        created=created,
        **rest,
    )


def a_namespace(name: str = "default", *, labels: Labels = None, **metadata: Any) -> Namespace:
    return Namespace(metadata=some_metadata(name, "", labels=labels, **metadata))


def a_node(name: str = "node-1", *, labels: Labels = None) -> Node:
    return Node(metadata=some_metadata(name, "", labels=labels))


def a_pod(
    name: str = "pod",
    namespace: str = "default",
    *,
    labels: Labels = None,
    annotations: Labels = None,
    ips: Sequence[str] = ("10.0.0.1",),
    ready: bool = True,
    phase: str = "Running",
    node: str = "node-1",
    service_account: str = "default",
    host_network: bool = False,
    ports: Mapping[str, int] | Sequence[ContainerPort] = (),
    uid: str = "",
    owner: Owner | None = None,
    generate_name: str = "",
    deleting: bool = False,
) -> Pod:
    """A ready, captured-by-nobody pod; ``ports`` maps names of TCP container ports to numbers."""
    container_ports = (
        tuple(ContainerPort(name=port, port=number) for port, number in ports.items())
        if isinstance(ports, Mapping)
        else tuple(ports)
    )
    return Pod(
        metadata=some_metadata(
            name,
            namespace,
            labels=labels,
            annotations=annotations,
            uid=uid or f"uid-of-{namespace}-{name}",
            owner=owner,
            generate_name=generate_name,
            deleting=deleting,
        ),
        phase=phase,
        ips=tuple(ips),
        node=node,
        service_account=service_account,
        host_network=host_network,
        ready=ready,
        container_ports=container_ports,
    )


def a_service_port(port: int = 80, **rest: Any) -> ServicePort:
    return ServicePort(port=port, **rest)


def a_service(
    name: str = "service",
    namespace: str = "default",
    *,
    selector: Labels = None,
    ips: Sequence[str] = ("10.96.0.1",),
    ports: Sequence[ServicePort] = (ServicePort(port=80, name="http", target_port=8080),),
    labels: Labels = None,
    annotations: Labels = None,
    created: float = 0.0,
    **rest: Any,
) -> Service:
    return Service(
        metadata=some_metadata(
            name, namespace, labels=labels, annotations=annotations, created=created
        ),
        selector=dict(selector or {}),
        cluster_ips=tuple(ips),
        ports=tuple(ports),
        **rest,
    )


def an_endpoint(
    *addresses: str, ready: bool | None = None, pod: Pod | None = None, **target: str
) -> Endpoint:
    """An endpoint; with ``pod`` its target is that pod, with ``target`` whatever it says."""
    if pod is not None:
        metadata = pod.metadata
        target = {
            "kind": "Pod",
            "namespace": metadata.namespace,
            "name": metadata.name,
            "uid": metadata.uid,
        }
    return Endpoint(
        addresses=addresses, ready=ready, target=EndpointTarget(**target) if target else None
    )


def an_endpoint_slice(
    name: str = "slice",
    namespace: str = "default",
    *,
    service: str | None = "service",
    endpoints: Sequence[Endpoint] = (),
    ports: Sequence[EndpointPort] = (EndpointPort(name="http", port=8080, protocol="TCP"),),
    address_type: str = "IPv4",
    labels: Labels = None,
) -> EndpointSlice:
    known = {} if service is None else {"kubernetes.io/service-name": service}
    return EndpointSlice(
        metadata=some_metadata(name, namespace, labels=known | dict(labels or {})),
        address_type=address_type,
        endpoints=tuple(endpoints),
        ports=tuple(ports),
    )


def a_gateway(
    name: str = "waypoint",
    namespace: str = "default",
    *,
    class_name: str = "istio-waypoint",
    listeners: Sequence[Listener] = (Listener(name="mesh", port=15008, protocol="HBONE"),),
    addresses: Mapping[str, str] | Sequence[GatewayAddress] = (),
    labels: Labels = None,
    annotations: Labels = None,
) -> Gateway:
    """A Gateway; ``addresses`` are its status addresses, value to type when a mapping."""
    status_addresses = (
        tuple(GatewayAddress(type=kind, value=value) for value, kind in addresses.items())
        if isinstance(addresses, Mapping)
        else tuple(addresses)
    )
    return Gateway(
        metadata=some_metadata(name, namespace, labels=labels, annotations=annotations),
        class_name=class_name,
        listeners=tuple(listeners),
        status_addresses=status_addresses,
    )


def a_waypoint(name: str = "waypoint", namespace: str = "default", **rest: Any) -> Gateway:
    """A waypoint Gateway that is ready: its address is its Service's hostname."""
    host = f"{name}.{namespace}.svc.cluster.local"
    return a_gateway(name, namespace, **({"addresses": {host: "Hostname"}} | rest))


def a_gateway_class(
    name: str = "istio-waypoint",
    controller: str = "istio.io/mesh-controller",
    *,
    labels: Labels = None,
    annotations: Labels = None,
) -> GatewayClass:
    return GatewayClass(
        metadata=some_metadata(name, "", labels=labels, annotations=annotations),
        controller_name=controller,
    )


def a_service_entry(
    name: str = "entry",
    namespace: str = "default",
    *,
    hosts: Sequence[str] = ("example.com",),
    ports: Sequence[ServiceEntryPort] = (
        ServiceEntryPort(number=80, name="http", protocol="HTTP"),
    ),
    resolution: str = "STATIC",
    labels: Labels = None,
    annotations: Labels = None,
    created: float = 0.0,
    **rest: Any,
) -> ServiceEntry:
    return ServiceEntry(
        metadata=some_metadata(
            name, namespace, labels=labels, annotations=annotations, created=created
        ),
        hosts=tuple(hosts),
        ports=tuple(ports),
        resolution=resolution,
        **rest,
    )


def a_workload_entry(
    name: str = "machine",
    namespace: str = "default",
    *,
    address: str = "10.1.0.1",
    labels: Labels = None,
    annotations: Labels = None,
    spec_labels: Labels = None,
    **spec: Any,
) -> WorkloadEntry:
    return WorkloadEntry(
        metadata=some_metadata(name, namespace, labels=labels, annotations=annotations),
        spec=WorkloadSpec(address=address, labels=dict(spec_labels or {}), **spec),
    )


def an_authorization_policy(
    name: str = "policy",
    namespace: str = "default",
    *,
    selector: Labels = None,
    action: str = "ALLOW",
    rules: Sequence[AuthorizationRule] = (),
    labels: Labels = None,
    annotations: Labels = None,
    **rest: Any,
) -> AuthorizationPolicy:
    return AuthorizationPolicy(
        metadata=some_metadata(name, namespace, labels=labels, annotations=annotations),
        selector=None if selector is None else dict(selector),
        action=action,
        rules=tuple(rules),
        **rest,
    )


def a_peer_authentication(
    name: str = "default",
    namespace: str = "default",
    *,
    mode: str = "UNSET",
    selector: Labels = None,
    port_modes: Mapping[int, str] | None = None,
    created: float = 0.0,
    labels: Labels = None,
) -> PeerAuthentication:
    return PeerAuthentication(
        metadata=some_metadata(name, namespace, created=created, labels=labels),
        selector=None if selector is None else dict(selector),
        mode=mode,
        port_modes=dict(port_modes or {}),
    )
