"""Bytes of an istio.workload.Address in, a ``Workload`` or ``Service`` out, or a rejection."""

from collections.abc import Iterable
from enum import IntEnum
from ipaddress import ip_address, ip_network
from typing import TypeVar

from google.protobuf.message import DecodeError

from controlplane.lab.ztunnel.errors import RejectedResourceError, RejectReason
from controlplane.lab.ztunnel.network import (
    GatewayAddress,
    IpAddress,
    NamespacedHostname,
    NetworkAddress,
    NetworkPrefix,
    PortMap,
)
from controlplane.lab.ztunnel.service import (
    BalancingMode,
    HealthPolicy,
    IpFamilies,
    LoadBalancing,
    RoutingScope,
    Service,
    Visibility,
    WeightedWaypoint,
)
from controlplane.lab.ztunnel.workload import (
    ApplicationProtocol,
    ApplicationTunnel,
    Locality,
    NetworkMode,
    Tunnel,
    Workload,
    WorkloadStatus,
)
from controlplane.pb import workload_pb2

DEFAULT_TRUST_DOMAIN = "cluster.local"
DEFAULT_SERVICE_ACCOUNT = "default"
DEFAULT_CLUSTER = "Kubernetes"
DEFAULT_CAPACITY = 1
_WORKLOAD_TYPES = {0: "deployment", 1: "cronjob", 2: "pod", 3: "job"}
_ADDRESS_LENGTHS = (4, 16)

_Value = TypeVar("_Value", bound=IntEnum)


def address_from_bytes(data: bytes) -> Workload | Service:
    """Return the workload or service of a serialized Address; raises ``RejectedResourceError``."""
    try:
        message = workload_pb2.Address.FromString(data)
    except DecodeError as error:
        raise RejectedResourceError(RejectReason.UNDECODABLE) from error
    match message.WhichOneof("type"):
        case "workload":
            return workload_from_message(message.workload)
        case "service":
            return service_from_message(message.service)
        case _:
            raise RejectedResourceError(RejectReason.MISSING_KIND)


def workload_from_message(message: workload_pb2.Workload) -> Workload:
    """Return the workload with defaults applied; raises ``RejectedResourceError``."""
    return Workload(
        uid=message.uid,
        name=message.name,
        namespace=message.namespace,
        addresses=tuple(_address(packed, "addresses") for packed in message.addresses),
        hostname=message.hostname,
        network=message.network,
        tunnel=_known(Tunnel, message.tunnel_protocol, "tunnel_protocol"),
        trust_domain=message.trust_domain or DEFAULT_TRUST_DOMAIN,
        service_account=message.service_account or DEFAULT_SERVICE_ACCOUNT,
        waypoint=_gateway(message.waypoint, "waypoint") if message.HasField("waypoint") else None,
        network_gateway=_gateway(message.network_gateway, "network_gateway")
        if message.HasField("network_gateway")
        else None,
        node=message.node,
        canonical_name=message.canonical_name,
        canonical_revision=message.canonical_revision,
        workload_type=_WORKLOAD_TYPES.get(message.workload_type, _WORKLOAD_TYPES[0]),
        workload_name=message.workload_name,
        native_tunnel=message.native_tunnel,
        application_tunnel=_application_tunnel(message),
        services=tuple(
            sorted(
                (_service_key(key), _ports(ports.ports)) for key, ports in message.services.items()
            )
        ),
        authorization_policies=tuple(message.authorization_policies),
        status=_known(WorkloadStatus, message.status, "status"),
        cluster_id=message.cluster_id or DEFAULT_CLUSTER,
        locality=Locality(
            region=message.locality.region,
            zone=message.locality.zone,
            subzone=message.locality.subzone,
        ),
        network_mode=_known(NetworkMode, message.network_mode, "network_mode"),
        capacity=message.capacity.value if message.HasField("capacity") else DEFAULT_CAPACITY,
    )


def service_from_message(message: workload_pb2.Service) -> Service:
    """Return the service; raises ``RejectedResourceError``."""
    balancing = message.load_balancing
    visibility = Visibility.PUBLIC
    if message.visibility == workload_pb2.Service.NAMESPACE:
        visibility = Visibility.NAMESPACE
    return Service(
        name=message.name,
        namespace=message.namespace,
        hostname=message.hostname,
        addresses=tuple(_service_address(address) for address in message.addresses),
        ports=_ports(message.ports),
        subject_alt_names=tuple(message.subject_alt_names),
        waypoint=_gateway(message.waypoint, "waypoint") if message.HasField("waypoint") else None,
        load_balancing=LoadBalancing(
            routing_preference=tuple(
                _known(RoutingScope, scope, "routing_preference")
                for scope in balancing.routing_preference
            ),
            mode=_known(BalancingMode, balancing.mode, "mode"),
            health_policy=_known(HealthPolicy, balancing.health_policy, "health_policy"),
        ),
        ip_families=_known(IpFamilies, message.ip_families, "ip_families"),
        canonical=message.canonical,
        weighted_waypoints=tuple(
            _weighted_waypoint(waypoint) for waypoint in message.weighted_waypoints
        ),
        visibility=visibility,
    )


def _known(values: type[_Value], number: int, field: str) -> _Value:
    try:
        return values(number)
    except ValueError as error:
        raise RejectedResourceError(RejectReason.UNKNOWN_VALUE, f"{field} {number}") from error


def _address(packed: bytes, field: str) -> IpAddress:
    if len(packed) not in _ADDRESS_LENGTHS:
        raise RejectedResourceError(RejectReason.ADDRESS_LENGTH, field)
    return ip_address(packed)


def _service_address(message: workload_pb2.NetworkAddress) -> NetworkAddress | NetworkPrefix:
    address = _address(message.address, "addresses")
    if not message.HasField("length"):
        return NetworkAddress(message.network, address)
    if message.length > address.max_prefixlen:
        raise RejectedResourceError(RejectReason.PREFIX_LENGTH, f"/{message.length}")
    return NetworkPrefix(message.network, ip_network((address, message.length), strict=False))


def _gateway(message: workload_pb2.GatewayAddress, field: str) -> GatewayAddress:
    destination: NamespacedHostname | NetworkAddress
    match message.WhichOneof("destination"):
        case "hostname":
            destination = NamespacedHostname(message.hostname.namespace, message.hostname.hostname)
        case "address":
            destination = NetworkAddress(
                message.address.network, _address(message.address.address, field)
            )
        case _:
            raise RejectedResourceError(RejectReason.MISSING_DESTINATION, field)
    return GatewayAddress(destination=destination, hbone_mtls_port=message.hbone_mtls_port)


def _weighted_waypoint(message: workload_pb2.WeightedWaypoint) -> WeightedWaypoint:
    if not message.HasField("destination"):
        raise RejectedResourceError(RejectReason.MISSING_DESTINATION, "weighted_waypoints")
    return WeightedWaypoint(
        destination=_gateway(message.destination, "weighted_waypoints"), weight=message.weight
    )


def _application_tunnel(message: workload_pb2.Workload) -> ApplicationTunnel | None:
    if not message.HasField("application_tunnel"):
        return None
    tunnel = message.application_tunnel
    return ApplicationTunnel(
        protocol=_known(ApplicationProtocol, tunnel.protocol, "application_tunnel"),
        port=tunnel.port,
    )


def _service_key(key: str) -> NamespacedHostname:
    namespace, slash, hostname = key.partition("/")
    if not slash:
        raise RejectedResourceError(RejectReason.SERVICE_KEY, key)
    return NamespacedHostname(namespace, hostname)


def _ports(ports: Iterable[workload_pb2.Port]) -> PortMap:
    return tuple(sorted({port.service_port: port.target_port for port in ports}.items()))
