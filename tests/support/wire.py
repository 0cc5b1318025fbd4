"""What a server would put on the wire, written by hand: messages, resources, whole responses."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message

from controlplane.pb import authorization_pb2, workload_pb2

ADDRESS = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION = "type.googleapis.com/istio.security.Authorization"

Ports = Mapping[int, int]


def uid_of(name: str, namespace: str = "default") -> str:
    return f"Kubernetes//Pod/{namespace}/{name}"


def a_port_list(ports: Ports) -> workload_pb2.PortList:
    return workload_pb2.PortList(ports=_ports(ports))


def a_workload(
    name: str = "pod",
    namespace: str = "default",
    *,
    ips: Iterable[str] = (),
    services: Mapping[str, Ports] | None = None,
    policies: Iterable[str] = (),
    **fields: Any,
) -> workload_pb2.Workload:
    """Return a pod of this name; ``services`` are port maps by ``namespace/hostname``."""
    message = workload_pb2.Workload(
        **{
            "uid": uid_of(name, namespace),
            "name": name,
            "namespace": namespace,
            "addresses": [ip_address(ip).packed for ip in ips],
            "authorization_policies": list(policies),
            **fields,
        }
    )
    for key, ports in (services or {}).items():
        message.services[key].CopyFrom(a_port_list(ports))
    return message


def a_service(
    hostname: str = "web.default.svc.cluster.local",
    namespace: str = "default",
    *,
    vips: Iterable[str] = (),
    network: str = "",
    ports: Ports | None = None,
    **fields: Any,
) -> workload_pb2.Service:
    """Return a service; a vip with a slash is a block of addresses."""
    return workload_pb2.Service(
        **{
            "name": hostname.split(".", maxsplit=1)[0],
            "namespace": namespace,
            "hostname": hostname,
            "addresses": [_service_address(network, vip) for vip in vips],
            "ports": _ports(ports or {}),
            **fields,
        }
    )


def a_gateway(
    hostname: str = "", namespace: str = "default", *, ip: str = "", port: int = 15008
) -> workload_pb2.GatewayAddress:
    if ip:
        return workload_pb2.GatewayAddress(
            address=workload_pb2.NetworkAddress(address=ip_address(ip).packed),
            hbone_mtls_port=port,
        )
    return workload_pb2.GatewayAddress(
        hostname=workload_pb2.NamespacedHostname(namespace=namespace, hostname=hostname),
        hbone_mtls_port=port,
    )


def a_policy(
    name: str = "policy", namespace: str = "default", **fields: Any
) -> authorization_pb2.Authorization:
    """Return a policy that denies everything to those that list it, unless told otherwise."""
    return authorization_pb2.Authorization(
        **{
            "name": name,
            "namespace": namespace,
            "scope": authorization_pb2.WORKLOAD_SELECTOR,
            "action": authorization_pb2.DENY,
            "groups": [authorization_pb2.Group()],
            **fields,
        }
    )


def name_of(message: Message) -> str:
    """Return the resource name that belongs to a message."""
    if isinstance(message, workload_pb2.Workload):
        return message.uid
    if isinstance(message, workload_pb2.Service):
        return f"{message.namespace}/{message.hostname}"
    assert isinstance(message, authorization_pb2.Authorization)
    return f"{message.namespace}/{message.name}"


def a_resource(
    message: Message, *, name: str | None = None, version: str = "1"
) -> discovery_pb2.Resource:
    """Wrap a message; workloads and services become Addresses."""
    if isinstance(message, workload_pb2.Workload):
        message = workload_pb2.Address(workload=message)
    elif isinstance(message, workload_pb2.Service):
        message = workload_pb2.Address(service=message)
    if isinstance(message, workload_pb2.Address):
        inner = getattr(message, message.WhichOneof("type") or "workload")
        name = name_of(inner) if name is None else name
    resource = discovery_pb2.Resource(
        name=name_of(message) if name is None else name, version=version
    )
    resource.resource.Pack(message)
    return resource


def a_response(
    *resources: Message,
    removed: Iterable[str] = (),
    nonce: str = "1",
    type_url: str = ADDRESS,
) -> bytes:
    """Return a serialized response; bare messages are wrapped as version 1."""
    return discovery_pb2.DeltaDiscoveryResponse(
        type_url=type_url,
        nonce=nonce,
        resources=[
            message if isinstance(message, discovery_pb2.Resource) else a_resource(message)
            for message in resources
        ],
        removed_resources=list(removed),
    ).SerializeToString()


def policies(*resources: Message, removed: Iterable[str] = (), nonce: str = "p1") -> bytes:
    """Return a serialized response of Authorization resources."""
    return a_response(*resources, removed=removed, nonce=nonce, type_url=AUTHORIZATION)


def a_request(data: bytes) -> discovery_pb2.DeltaDiscoveryRequest:
    """Return what a client sent."""
    return discovery_pb2.DeltaDiscoveryRequest.FromString(data)


def _ports(ports: Ports) -> list[workload_pb2.Port]:
    return [
        workload_pb2.Port(service_port=port, target_port=target) for port, target in ports.items()
    ]


def _service_address(network: str, vip: str) -> workload_pb2.NetworkAddress:
    address, slash, length = vip.partition("/")
    message = workload_pb2.NetworkAddress(network=network, address=ip_address(address).packed)
    if slash:
        message.length = int(length)
    return message
