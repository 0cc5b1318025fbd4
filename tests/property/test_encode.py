"""Nothing is lost on the wire: every field can be read back, and decides the version."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import given
from hypothesis import strategies as st

from controlplane.encode.policy import encode_authorization
from controlplane.encode.resource import Resource
from controlplane.encode.service import encode_service
from controlplane.encode.workload import encode_workload, legacy_workload_body
from controlplane.model.names import Name, ServiceName
from controlplane.model.network import NetworkAddress
from controlplane.model.policy import (
    Action,
    AddressMatch,
    Authorization,
    Group,
    Match,
    MatchType,
    Rule,
    Scope,
    ServiceAccountMatch,
    StringMatch,
)
from controlplane.model.service import (
    HealthPolicy,
    IPFamilies,
    LoadBalancing,
    LoadBalancingMode,
    LoadBalancingScope,
    Service,
    Visibility,
    WeightedWaypoint,
)
from controlplane.model.workload import (
    ApplicationTunnel,
    ApplicationTunnelProtocol,
    AppProtocol,
    GatewayAddress,
    Locality,
    NamespacedHostname,
    NetworkMode,
    Port,
    TunnelProtocol,
    Workload,
    WorkloadStatus,
    WorkloadType,
)
from controlplane.pb import authorization_pb2, workload_pb2

# --- any valid value -----------------------------------------------------------------------------

text = st.text(max_size=12)
word = st.text(st.characters(exclude_characters="/", codec="utf-8"), min_size=1, max_size=9)
port = st.integers(0, 65535)
address = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
service_name = st.builds(ServiceName, word, word)
policy_name = st.builds(Name, word, word)


def _tuples(element: st.SearchStrategy[Any], **limits: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(element, max_size=limits.get("most", 3)).map(tuple)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[bytes, int]:
    packed = draw(address)
    return packed, draw(st.integers(0, len(packed) * 8))


network_address = st.one_of(
    st.tuples(text, address).map(lambda pair: NetworkAddress(*pair)),
    st.builds(lambda network, block: NetworkAddress(network, *block), text, blocks()),
)
gateway = st.builds(
    GatewayAddress, st.one_of(st.builds(NamespacedHostname, text, word), network_address), port
)
workload_ports = _tuples(st.tuples(port, port).map(lambda ports: Port(*ports)))
WORKLOAD: dict[str, st.SearchStrategy[Any]] = {
    "uid": word,
    "name": text,
    "namespace": text,
    "addresses": _tuples(address),
    "hostname": text,
    "network": text,
    "tunnel_protocol": st.sampled_from(TunnelProtocol),
    "native_tunnel": st.booleans(),
    "trust_domain": text,
    "service_account": text,
    "waypoint": st.none() | gateway,
    "network_gateway": st.none() | gateway,
    "node": text,
    "canonical_name": text,
    "canonical_revision": text,
    "workload_type": st.sampled_from(WorkloadType),
    "workload_name": text,
    "application_tunnel": st.none()
    | st.builds(ApplicationTunnel, st.sampled_from(ApplicationTunnelProtocol), port),
    "services": st.dictionaries(service_name, workload_ports, max_size=3).map(
        lambda services: tuple(sorted(services.items()))
    ),
    "unready_services": st.sets(service_name, max_size=2).map(lambda names: tuple(sorted(names))),
    "authorization_policies": _tuples(policy_name),
    "status": st.sampled_from(WorkloadStatus),
    "cluster_id": text,
    "locality": st.none() | st.builds(Locality, text, text, text),
    "network_mode": st.sampled_from(NetworkMode),
    "capacity": st.none() | st.integers(0, 2**32 - 1),
}
SERVICE: dict[str, st.SearchStrategy[Any]] = {
    "name": text,
    "namespace": word,
    "hostname": word,
    "addresses": _tuples(network_address),
    "ports": _tuples(st.builds(Port, port, port, st.sampled_from(AppProtocol))),
    "subject_alt_names": _tuples(text),
    "waypoint": st.none() | gateway,
    "load_balancing": st.none()
    | st.builds(
        LoadBalancing,
        _tuples(st.sampled_from(LoadBalancingScope)),
        st.sampled_from(LoadBalancingMode),
        st.sampled_from(HealthPolicy),
    ),
    "ip_families": st.sampled_from(IPFamilies),
    "canonical": st.booleans(),
    "ingress_use_waypoint": st.booleans(),
    "weighted_waypoints": _tuples(
        st.builds(WeightedWaypoint, gateway, st.integers(0, 2**32 - 1)), most=2
    ),
    "visibility": st.sampled_from(Visibility),
}
string_match = st.one_of(
    st.just(StringMatch(MatchType.PRESENCE)),
    st.builds(
        StringMatch, st.sampled_from([MatchType.EXACT, MatchType.PREFIX, MatchType.SUFFIX]), text
    ),
)
strings = _tuples(string_match, most=2)
accounts = _tuples(st.builds(ServiceAccountMatch, text, text), most=2)
address_blocks = _tuples(blocks().map(lambda block: AddressMatch(*block)), most=2)
match = st.builds(
    Match,
    namespaces=strings,
    not_namespaces=strings,
    service_accounts=accounts,
    not_service_accounts=accounts,
    principals=strings,
    not_principals=strings,
    source_ips=address_blocks,
    not_source_ips=address_blocks,
    destination_ips=address_blocks,
    not_destination_ips=address_blocks,
    destination_ports=_tuples(port, most=2),
    not_destination_ports=_tuples(port, most=2),
)
AUTHORIZATION: dict[str, st.SearchStrategy[Any]] = {
    "name": word,
    "namespace": word,
    "scope": st.sampled_from(Scope),
    "action": st.sampled_from(Action),
    "groups": _tuples(
        st.builds(Group, _tuples(st.builds(Rule, _tuples(match, most=2)), most=2)), most=2
    ),
    "dry_run": st.booleans(),
}
workloads = st.builds(Workload, **WORKLOAD)
services = st.builds(Service, **SERVICE)
authorizations = st.builds(Authorization, **AUTHORIZATION)

# --- the values as a client reads them back ------------------------------------------------------


def _content(resource: Resource) -> bytes:
    return bytes(discovery_pb2.Resource.FromString(resource.body).resource.value)


def _name(resource_name: str) -> list[str]:
    return resource_name.split("/", 1)


def _address_read(message: workload_pb2.NetworkAddress) -> NetworkAddress:
    length = message.length if message.HasField("length") else None
    return NetworkAddress(message.network, message.address, length)


def _gateway_read(message: workload_pb2.GatewayAddress) -> GatewayAddress:
    destination: NamespacedHostname | NetworkAddress = _address_read(message.address)
    if message.WhichOneof("destination") == "hostname":
        destination = NamespacedHostname(message.hostname.namespace, message.hostname.hostname)
    return GatewayAddress(destination, message.hbone_mtls_port)


def _ports_read(ports: Any) -> tuple[Port, ...]:
    return tuple(
        Port(each.service_port, each.target_port, AppProtocol(each.app_protocol)) for each in ports
    )


def _optional(message: Any, field: str, read: Callable[[Any], Any]) -> Any:
    return read(getattr(message, field)) if message.HasField(field) else None


def _workload_read(resource: Resource) -> Workload:
    message = workload_pb2.Address.FromString(_content(resource)).workload
    plain = (
        "uid name namespace hostname network native_tunnel trust_domain service_account node"
        " canonical_name canonical_revision workload_name cluster_id"
    )
    return Workload(
        **{field: getattr(message, field) for field in plain.split()},
        addresses=tuple(message.addresses),
        tunnel_protocol=TunnelProtocol(message.tunnel_protocol),
        waypoint=_optional(message, "waypoint", _gateway_read),
        network_gateway=_optional(message, "network_gateway", _gateway_read),
        workload_type=WorkloadType(message.workload_type),
        application_tunnel=_optional(
            message,
            "application_tunnel",
            lambda each: ApplicationTunnel(ApplicationTunnelProtocol(each.protocol), each.port),
        ),
        services=tuple(
            sorted(
                (ServiceName(*_name(name)), _ports_read(entry.ports))
                for name, entry in message.services.items()
            )
        ),
        authorization_policies=tuple(Name(*_name(name)) for name in message.authorization_policies),
        status=WorkloadStatus(message.status),
        locality=_optional(
            message, "locality", lambda each: Locality(each.region, each.zone, each.subzone)
        ),
        network_mode=NetworkMode(message.network_mode),
        capacity=_optional(message, "capacity", lambda each: each.value),
    )


def _service_read(resource: Resource) -> Service:
    message = workload_pb2.Address.FromString(_content(resource)).service
    plain = "name namespace hostname canonical ingress_use_waypoint"
    return Service(
        **{field: getattr(message, field) for field in plain.split()},
        addresses=tuple(_address_read(each) for each in message.addresses),
        ports=_ports_read(message.ports),
        subject_alt_names=tuple(message.subject_alt_names),
        waypoint=_optional(message, "waypoint", _gateway_read),
        load_balancing=_optional(
            message,
            "load_balancing",
            lambda each: LoadBalancing(
                tuple(LoadBalancingScope(scope) for scope in each.routing_preference),
                LoadBalancingMode(each.mode),
                HealthPolicy(each.health_policy),
            ),
        ),
        ip_families=IPFamilies(message.ip_families),
        weighted_waypoints=tuple(
            WeightedWaypoint(_gateway_read(each.destination), each.weight)
            for each in message.weighted_waypoints
        ),
        visibility=Visibility(message.visibility),
    )


def _strings_read(matches: Any) -> tuple[StringMatch, ...]:
    kinds = [(each, each.WhichOneof("match_type")) for each in matches]
    return tuple(
        StringMatch(MatchType(kind), "" if kind == "presence" else getattr(each, kind))
        for each, kind in kinds
    )


def _match_read(message: authorization_pb2.Match) -> Match:
    values: dict[str, Any] = {}
    for field in fields(Match):
        read = getattr(message, field.name)
        if field.name.endswith("_ips"):
            values[field.name] = tuple(AddressMatch(each.address, each.length) for each in read)
        elif field.name.endswith("_ports"):
            values[field.name] = tuple(read)
        elif field.name.endswith("service_accounts"):
            values[field.name] = tuple(
                ServiceAccountMatch(each.namespace, each.serviceAccount) for each in read
            )
        else:
            values[field.name] = _strings_read(read)
    return Match(**values)


def _authorization_read(resource: Resource) -> Authorization:
    message = authorization_pb2.Authorization.FromString(_content(resource))
    return Authorization(
        name=message.name,
        namespace=message.namespace,
        scope=Scope(message.scope),
        action=Action(message.action),
        dry_run=message.dry_run,
        groups=tuple(
            Group(
                tuple(
                    Rule(tuple(_match_read(each) for each in rule.matches)) for rule in group.rules
                )
            )
            for group in message.groups
        ),
    )


# --- what holds ----------------------------------------------------------------------------------


@pytest.mark.proves("MSG-8", "MSG-16")
@given(workloads)
def test_a_workload_can_be_read_back(workload: Workload) -> None:
    resource = encode_workload(workload)
    assert _workload_read(resource) == replace(workload, unready_services=())
    legacy = discovery_pb2.Resource.FromString(legacy_workload_body(resource)).resource.value
    assert workload_pb2.Workload.FromString(legacy) == (
        workload_pb2.Address.FromString(_content(resource)).workload
    )


@given(services)
def test_a_service_can_be_read_back(service: Service) -> None:
    assert _service_read(encode_service(service)) == service


@given(authorizations)
def test_an_authorization_can_be_read_back(authorization: Authorization) -> None:
    assert _authorization_read(encode_authorization(authorization)) == authorization


NOT_SENT = {"served_by"}
"""What waypoints are configured by and node proxies are not told."""

KINDS = [
    pytest.param(workloads, WORKLOAD, encode_workload, id="workload"),
    pytest.param(services, SERVICE, encode_service, id="service"),
    pytest.param(authorizations, AUTHORIZATION, encode_authorization, id="authorization"),
]


@pytest.mark.proves("MSG-8", "MSG-9")
@pytest.mark.refutes("MSG-8")
@pytest.mark.parametrize(("values", "by_field", "encode"), KINDS)
@given(data=st.data())
def test_every_field_decides_bytes_and_version(
    data: st.DataObject,
    values: st.SearchStrategy[Any],
    by_field: dict[str, st.SearchStrategy[Any]],
    encode: Callable[[Any], Resource],
) -> None:
    before = data.draw(values)
    assert set(by_field) == {field.name for field in fields(before)} - NOT_SENT
    field = data.draw(st.sampled_from(sorted(by_field)))
    wanted = data.draw(by_field[field].filter(lambda value: value != getattr(before, field)))
    old, new = encode(before), encode(replace(before, **{field: wanted}))
    assert new.version != old.version
    assert (_content(new) == _content(old)) == (field == "unready_services")
    assert encode(replace(before)) == old
