"""Workloads: the value in, the resource of the address stream out (docs/protocol/messages.md).

A mesh has a hundred thousand of these, so what workloads have in common (gateways, services with
their ports) is encoded once and merged as bytes.
"""

from functools import lru_cache
from hashlib import blake2b
from sys import intern
from typing import TYPE_CHECKING, Final, cast

from envoy.service.discovery.v3 import discovery_pb2

from controlplane.encode.addresses import (
    SHARED,
    gateway_bytes,
    packed,
    port,
    resource_name,
    workload_alias,
)
from controlplane.encode.envelope import (
    ADDRESS_TYPE,
    WORKLOAD_TYPE,
    content_version,
    delimited,
    envelope,
)
from controlplane.encode.errors import EncodeError
from controlplane.encode.resource import Resource
from controlplane.model.workload import (
    ApplicationTunnel,
    ApplicationTunnelProtocol,
    Locality,
    NetworkMode,
    Port,
    TunnelProtocol,
    Workload,
    WorkloadStatus,
    WorkloadType,
)
from controlplane.pb import workload_pb2

if TYPE_CHECKING:
    from controlplane.model.names import ServiceName

# Field 1 of Address, of any length: a workload. It is the only field such an address has.
_ADDRESS_WORKLOAD: Final = b"\x0a"


def encode_workload(workload: Workload) -> Resource:
    """Return the resource named by the workload's uid.

    ``node`` and ``services`` are filled for on-demand look-ups; ``aliases`` hold every address as
    ``<network>/<ip>``. Raises EncodeError for values a node proxy would reject.
    """
    uid = workload.uid
    try:
        if not uid or uid.count("/") == 1:
            # One slash is how services are named.
            raise ValueError("no uid of a workload")  # noqa: TRY301 - one place wraps them all
        services, message = _message(workload)
        content = delimited(_ADDRESS_WORKLOAD, message.SerializeToString(deterministic=True))
        version = content_version(content, _unready(workload.unready_services))
        network = workload.network
        return Resource(
            uid,
            version,
            envelope(uid, version, ADDRESS_TYPE, content),
            tuple([workload_alias(network, address) for address in workload.addresses]),
            intern(workload.node),
            services,
        )
    except (ValueError, TypeError) as error:
        raise EncodeError(uid, str(error)) from error


def legacy_workload_body(resource: Resource) -> bytes:
    """Return the body of the same workload as type istio.workload.Workload, same name and version.

    Raises EncodeError when ``resource`` is not an address that holds a workload.
    """
    content = discovery_pb2.Resource.FromString(resource.body).resource.value
    address = workload_pb2.Address.FromString(content)
    if not address.HasField("workload"):
        raise EncodeError(resource.name, "not a workload")
    message = address.workload.SerializeToString(deterministic=True)
    return envelope(resource.name, resource.version, WORKLOAD_TYPE, message)


def _message(workload: Workload) -> tuple[tuple[str, ...], workload_pb2.Workload]:
    """Return the resource names of the workload's services, and its message."""
    services, shared = _services(workload.services)
    message = workload_pb2.Workload.FromString(shared)
    message.uid = workload.uid
    message.name = workload.name
    message.namespace = workload.namespace
    for address in workload.addresses:
        message.addresses.append(packed(address))
    if workload.hostname:
        message.hostname = workload.hostname
    message.network = workload.network
    message.trust_domain = workload.trust_domain
    message.service_account = workload.service_account
    if workload.waypoint is not None:
        message.waypoint.MergeFromString(gateway_bytes(workload.waypoint))
    if workload.network_gateway is not None:
        message.network_gateway.MergeFromString(gateway_bytes(workload.network_gateway))
    message.node = workload.node
    message.canonical_name = workload.canonical_name
    message.canonical_revision = workload.canonical_revision
    message.workload_name = workload.workload_name
    if workload.native_tunnel:
        message.native_tunnel = True
    if workload.application_tunnel is not None:
        _fill_tunnel(message.application_tunnel, workload.application_tunnel)
    for policy in workload.authorization_policies:
        message.authorization_policies.append(resource_name(policy))
    message.cluster_id = workload.cluster_id
    if workload.locality is not None:
        message.locality.MergeFromString(_locality(workload.locality))
    if workload.capacity is not None:
        message.capacity.value = workload.capacity
    _fill_choices(message, workload)
    return services, message


def _fill_choices(message: workload_pb2.Workload, workload: Workload) -> None:
    """Set the enumerations: each zero is the default and left out, each unknown value raises."""
    if workload.tunnel_protocol:
        tunnel = TunnelProtocol(workload.tunnel_protocol)
        message.tunnel_protocol = cast("workload_pb2.TunnelProtocol", tunnel)
    if workload.workload_type:
        kind = WorkloadType(workload.workload_type)
        message.workload_type = cast("workload_pb2.WorkloadType", kind)
    if workload.status:
        status = WorkloadStatus(workload.status)
        message.status = cast("workload_pb2.WorkloadStatus", status)
    if workload.network_mode:
        mode = NetworkMode(workload.network_mode)
        message.network_mode = cast("workload_pb2.NetworkMode", mode)


def _fill_tunnel(message: workload_pb2.ApplicationTunnel, tunnel: ApplicationTunnel) -> None:
    # Assigned even when it is zero: a tunnel that is there must be there on the wire as well.
    protocol = ApplicationTunnelProtocol(tunnel.protocol)
    message.protocol = cast("workload_pb2.ApplicationTunnel.Protocol", protocol)
    message.port = port(tunnel.port)


@lru_cache(maxsize=SHARED)
def _services(
    services: "tuple[tuple[ServiceName, tuple[Port, ...]], ...]",
) -> tuple[tuple[str, ...], bytes]:
    """Return the services' resource names and a serialized Workload that holds only them."""
    message = workload_pb2.Workload()
    names = []
    for service, ports in services:
        name = resource_name(service)
        names.append(intern(name))
        entry = message.services[name]
        for each in ports:
            entry.ports.add(
                service_port=port(each.service_port), target_port=port(each.target_port)
            )
    return tuple(names), message.SerializeToString(deterministic=True)


@lru_cache(maxsize=SHARED)
def _locality(locality: Locality) -> bytes:
    message = workload_pb2.Locality(
        region=locality.region, zone=locality.zone, subzone=locality.subzone
    )
    return message.SerializeToString(deterministic=True)


def _unready(services: "tuple[ServiceName, ...]") -> bytes:
    """Return what the version must tell apart: b"" when no service takes unready endpoints."""
    if not services:
        return b""
    names = sorted(resource_name(service) for service in services)
    return blake2b("\n".join(names).encode(), digest_size=32).digest()
