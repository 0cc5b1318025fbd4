"""Which resources are rejected, with which reason, and what is tolerated."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message

from controlplane.lab.ztunnel.authorization import Authorization, Comparison, Match, TextMatch
from controlplane.lab.ztunnel.decode import response_from_bytes
from controlplane.lab.ztunnel.errors import RejectReason
from controlplane.lab.ztunnel.service import Service, Visibility
from controlplane.lab.ztunnel.workload import Workload
from controlplane.pb import authorization_pb2, workload_pb2
from tests.support.wire import (
    AUTHORIZATION,
    a_gateway,
    a_policy,
    a_resource,
    a_response,
    a_service,
    a_workload,
    policies,
)


def reasons(*resources: Message, type_url: str = "") -> list[RejectReason]:
    data = a_response(*resources, type_url=type_url) if type_url else a_response(*resources)
    return [rejection.error.reason for rejection in response_from_bytes(data).rejections]


def one(data: bytes) -> Any:
    response = response_from_bytes(data)
    assert response.rejections == ()
    (update,) = response.updates
    return update.value


def with_content(content: bytes) -> discovery_pb2.Resource:
    resource = discovery_pb2.Resource(name="x", version="1")
    resource.resource.value = content
    return resource


@pytest.mark.proves("ZT-10")
def test_resources_without_usable_content_are_rejected() -> None:
    not_utf8 = b"\x0a\x04\x0a\x02\xff\xfe"
    assert reasons(discovery_pb2.Resource(name="x")) == [RejectReason.MISSING_RESOURCE]
    assert reasons(with_content(b"\x0a\xff")) == [RejectReason.UNDECODABLE]
    assert reasons(with_content(not_utf8)) == [RejectReason.UNDECODABLE]
    assert reasons(with_content(b"")) == [RejectReason.MISSING_KIND]
    assert reasons(with_content(b"\x0a\xff"), type_url=AUTHORIZATION) == [RejectReason.UNDECODABLE]


@pytest.mark.refutes("ZT-10")
def test_an_empty_policy_is_a_policy() -> None:
    assert isinstance(one(a_response(with_content(b""), type_url=AUTHORIZATION)), Authorization)


@pytest.mark.proves("ZT-11")
def test_content_is_read_as_the_type_of_the_stream() -> None:
    resource = a_resource(a_workload("a"))
    resource.resource.type_url = "type.example/whatever"
    assert one(a_response(resource)).name == "a"


@pytest.mark.refutes("ZT-11")
def test_the_wrapper_does_not_save_content_of_another_type() -> None:
    policy = a_resource(a_policy("p", "ns"))
    assert policy.resource.type_url == AUTHORIZATION
    assert reasons(policy) != []


@pytest.mark.proves("ZT-12")
@pytest.mark.parametrize("packed", [b"", b"123", b"12345", b"1" * 17])
def test_addresses_of_other_lengths_are_rejected(packed: bytes) -> None:
    address = workload_pb2.NetworkAddress(address=packed)
    gateway = workload_pb2.GatewayAddress(address=address)
    broken: list[Message] = [
        a_workload(addresses=[packed]),
        a_workload(waypoint=gateway),
        a_service(addresses=[address]),
        a_service(waypoint=gateway),
    ]
    assert reasons(*broken) == [RejectReason.ADDRESS_LENGTH] * len(broken)


@pytest.mark.refutes("ZT-12")
def test_addresses_of_both_families_are_read() -> None:
    workload = one(a_response(a_workload(ips=["10.0.0.1", "2001:db8::1"])))
    assert [str(address) for address in workload.addresses] == ["10.0.0.1", "2001:db8::1"]


@pytest.mark.proves("ZT-13")
def test_gateways_without_destination_are_rejected() -> None:
    nowhere = workload_pb2.GatewayAddress(hbone_mtls_port=15008)
    broken: list[Message] = [
        a_workload(waypoint=nowhere),
        a_workload(network_gateway=nowhere),
        a_service(waypoint=nowhere),
        a_service(weighted_waypoints=[workload_pb2.WeightedWaypoint(weight=1)]),
        a_service(
            weighted_waypoints=[workload_pb2.WeightedWaypoint(destination=nowhere, weight=1)]
        ),
    ]
    assert reasons(*broken) == [RejectReason.MISSING_DESTINATION] * len(broken)


@pytest.mark.refutes("ZT-13")
def test_absent_gateways_are_none() -> None:
    workload = one(a_response(a_workload(network_gateway=a_gateway(ip="9.9.9.9"))))
    assert workload.waypoint is None
    assert str(workload.network_gateway.destination) == "/9.9.9.9"


@pytest.mark.proves("ZT-14")
def test_a_service_key_without_slash_is_rejected() -> None:
    assert reasons(a_workload(services={"web": {80: 8080}})) == [RejectReason.SERVICE_KEY]


@pytest.mark.refutes("ZT-14")
def test_service_keys_are_split_at_the_first_slash() -> None:
    workload = one(a_response(a_workload(services={"ns/web": {80: 8080, 81: 0}})))
    assert workload.services == ((("ns", "web"), ((80, 8080), (81, 0))),)


UNKNOWN: list[Callable[[int], Message]] = [
    lambda number: a_workload(tunnel_protocol=number),
    lambda number: a_workload(network_mode=number),
    lambda number: a_workload(status=number),
    lambda number: a_workload(application_tunnel={"protocol": number}),
    lambda number: a_service(load_balancing={"mode": number}),
    lambda number: a_service(load_balancing={"health_policy": number}),
    lambda number: a_service(load_balancing={"routing_preference": [number]}),
    lambda number: a_service(ip_families=number),
]


@pytest.mark.proves("ZT-15")
@pytest.mark.parametrize("message", UNKNOWN)
def test_unknown_values_are_rejected(message: Callable[[int], Message]) -> None:
    assert reasons(message(99)) == [RejectReason.UNKNOWN_VALUE]


@pytest.mark.proves("ZT-15")
@pytest.mark.parametrize("field", ["scope", "action"])
def test_unknown_values_of_policies_are_rejected(field: str) -> None:
    found = response_from_bytes(policies(a_policy(**{field: 9}))).rejections
    assert [rejection.error.reason for rejection in found] == [RejectReason.UNKNOWN_VALUE]


@pytest.mark.proves("ZT-15")
def test_values_that_are_known_but_refused() -> None:
    assert (
        reasons(
            a_workload(tunnel_protocol=workload_pb2.LEGACY_ISTIO_MTLS),
            a_service(load_balancing={"routing_preference": [1, 0]}),
        )
        == [RejectReason.UNKNOWN_VALUE] * 2
    )


@pytest.mark.refutes("ZT-15")
@pytest.mark.parametrize("message", UNKNOWN)
def test_known_values_are_accepted(message: Callable[[int], Message]) -> None:
    assert reasons(message(1)) == []


@pytest.mark.proves("ZT-16")
@pytest.mark.parametrize("vip", ["10.0.0.0/33", "2001:db8::/129"])
def test_prefixes_that_are_too_long_are_rejected(vip: str) -> None:
    assert reasons(a_service(vips=[vip])) == [RejectReason.PREFIX_LENGTH]


@pytest.mark.refutes("ZT-16")
def test_prefixes_of_full_length_and_unmasked_bases_are_read() -> None:
    service = one(a_response(a_service(vips=["10.0.0.1", "10.0.0.5/24", "2001:db8::1/128"])))
    assert [str(address[1]) for address in service.addresses] == [
        "10.0.0.1",
        "10.0.0.0/24",
        "2001:db8::1/128",
    ]


@pytest.mark.proves("ZT-17")
def test_unknown_visibility_and_kind_are_tolerated() -> None:
    assert one(a_response(a_service(visibility=7))).visibility is Visibility.PUBLIC
    assert one(a_response(a_workload(workload_type=9))).workload_type == "deployment"


@pytest.mark.refutes("ZT-17")
def test_known_visibility_and_kind_are_read() -> None:
    assert one(a_response(a_service(visibility=1))).visibility is Visibility.NAMESPACE
    assert one(a_response(a_workload(workload_type=2))).workload_type == "pod"


def matches_of(**fields: Any) -> Match:
    rule = authorization_pb2.Rules(matches=[authorization_pb2.Match(**fields)])
    policy = one(policies(a_policy(groups=[authorization_pb2.Group(rules=[rule])])))
    match: Match = policy.groups[0].rules[0].matches[0]
    return match


@pytest.mark.proves("ZT-18")
def test_unusable_conditions_of_a_policy_are_dropped() -> None:
    match = matches_of(
        source_ips=[{"address": b"123", "length": 8}, {"address": b"1234", "length": 33}],
        principals=[authorization_pb2.StringMatch()],
    )
    assert match.is_empty


@pytest.mark.refutes("ZT-18")
def test_usable_conditions_of_a_policy_are_kept() -> None:
    match = matches_of(
        not_source_ips=[{"address": bytes([10, 1, 2, 3]), "length": 8}, {"address": b"1"}],
        principals=[{"exact": ""}, {"prefix": "a"}, {"suffix": "b"}, {"presence": {}}],
    )
    assert match.not_source_ips == (ip_network("10.0.0.0/8"),)
    assert match.principals == (
        TextMatch(Comparison.EXACT, ""),
        TextMatch(Comparison.PREFIX, "a"),
        TextMatch(Comparison.SUFFIX, "b"),
        TextMatch(Comparison.PRESENCE, ""),
    )


@pytest.mark.proves("ZT-29")
def test_defaults_of_a_workload() -> None:
    workload = one(a_response(a_workload()))
    assert isinstance(workload, Workload)
    assert workload.identity == "spiffe://cluster.local/ns/default/sa/default"
    assert (workload.cluster_id, workload.capacity) == ("Kubernetes", 1)


@pytest.mark.refutes("ZT-29")
def test_what_is_said_is_not_replaced_by_a_default() -> None:
    workload = one(
        a_response(
            a_workload(
                trust_domain="td", service_account="sa", cluster_id="c", capacity={"value": 0}
            )
        )
    )
    assert workload.identity == "spiffe://td/ns/default/sa/sa"
    assert (workload.cluster_id, workload.capacity) == ("c", 0)


def test_a_service_is_read_whole() -> None:
    service = one(
        a_response(
            a_service(
                "web.ns.svc",
                "ns",
                vips=["10.0.0.1"],
                network="east",
                ports={80: 8080},
                canonical=True,
                subject_alt_names=["spiffe://x"],
                weighted_waypoints=[{"destination": a_gateway("wp"), "weight": 3}],
            )
        )
    )
    assert isinstance(service, Service)
    assert str(service.key) == "ns/web.ns.svc"
    assert [str(address) for address in service.addresses] == ["east/10.0.0.1"]
    assert service.ports == ((80, 8080),)
    assert service.canonical
    assert service.weighted_waypoints[0].weight == 3
