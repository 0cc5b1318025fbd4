"""Services: the value in, the resource of the address stream out (docs/protocol/messages.md)."""

from typing import TYPE_CHECKING, cast

from controlplane.encode.addresses import (
    fill_network_address,
    gateway_bytes,
    port,
    resource_name,
    workload_alias,
)
from controlplane.encode.envelope import ADDRESS_TYPE, content_version, envelope
from controlplane.encode.errors import EncodeError
from controlplane.encode.resource import Resource
from controlplane.model.service import (
    HealthPolicy,
    IPFamilies,
    LoadBalancing,
    LoadBalancingMode,
    LoadBalancingScope,
    Service,
    Visibility,
)
from controlplane.model.workload import AppProtocol
from controlplane.pb import workload_pb2

if TYPE_CHECKING:
    from controlplane.model.network import NetworkAddress


def encode_service(service: Service) -> Resource:
    """Return the resource named ``<namespace>/<hostname>``.

    ``aliases`` hold every address as ``<network>/<ip>``, with ``/<length>`` when it is a block.
    Raises EncodeError for values a node proxy would reject.
    """
    try:
        name = resource_name(service.key)
        address = workload_pb2.Address()
        _fill(address.service, service)
        content = address.SerializeToString(deterministic=True)
        version = content_version(content)
        body = envelope(name, version, ADDRESS_TYPE, content)
        aliases = tuple(_alias(address) for address in service.addresses)
        return Resource(name, version, body, aliases)
    except (ValueError, TypeError) as error:
        raise EncodeError(str(service.key), str(error)) from error


def _fill(message: workload_pb2.Service, service: Service) -> None:
    message.name = service.name
    message.namespace = service.namespace
    message.hostname = service.hostname
    for address in service.addresses:
        fill_network_address(message.addresses.add(), address)
    for each in service.ports:
        message.ports.add(
            service_port=port(each.service_port),
            target_port=port(each.target_port),
            app_protocol=cast("workload_pb2.AppProtocol", AppProtocol(each.app_protocol)),
        )
    message.subject_alt_names.extend(service.subject_alt_names)
    if service.waypoint is not None:
        message.waypoint.MergeFromString(gateway_bytes(service.waypoint))
    if service.load_balancing is not None:
        _fill_load_balancing(message.load_balancing, service.load_balancing)
    message.ip_families = cast("workload_pb2.IPFamilies", IPFamilies(service.ip_families))
    message.canonical = service.canonical
    message.ingress_use_waypoint = service.ingress_use_waypoint
    for weighted in service.weighted_waypoints:
        added = message.weighted_waypoints.add(weight=weighted.weight)
        added.destination.MergeFromString(gateway_bytes(weighted.destination))
    visibility = Visibility(service.visibility)
    message.visibility = cast("workload_pb2.Service.Visibility", visibility)


def _fill_load_balancing(message: workload_pb2.LoadBalancing, wanted: LoadBalancing) -> None:
    # The scopes of the model have no 0, which a node proxy rejects: it raises here.
    for scope in wanted.routing_preference:
        known = LoadBalancingScope(scope)
        message.routing_preference.append(cast("workload_pb2.LoadBalancing.Scope", known))
    # Assigned even when it is zero, so that preferences that are there are there on the wire.
    mode = LoadBalancingMode(wanted.mode)
    message.mode = cast("workload_pb2.LoadBalancing.Mode", mode)
    health = HealthPolicy(wanted.health_policy)
    message.health_policy = cast("workload_pb2.LoadBalancing.HealthPolicy", health)


def _alias(address: "NetworkAddress") -> str:
    alias = workload_alias(address.network, address.address)
    return alias if address.length is None else f"{alias}/{address.length}"
