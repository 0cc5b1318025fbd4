from dataclasses import replace

import pytest

from controlplane.encode.envelope import ADDRESS_TYPE
from controlplane.encode.errors import EncodeError
from controlplane.encode.service import encode_service
from controlplane.model.network import NetworkAddress, address_from_text
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
from controlplane.model.workload import AppProtocol, GatewayAddress, NamespacedHostname, Port
from controlplane.pb import workload_pb2
from tests.unit.encode.decoding import service_of, unwrapped

WAYPOINT = GatewayAddress(NamespacedHostname("apps", "waypoint.apps.svc.cluster.local"), 15008)
CANARY = GatewayAddress(NetworkAddress("east", b"\x0a\x00\x00\x09"), 15008)
SMALL = Service(name="reviews", namespace="apps", hostname="reviews.apps.svc.cluster.local")
WHOLE = Service(
    name="reviews",
    namespace="apps",
    hostname="reviews.apps.svc.cluster.local",
    addresses=(
        NetworkAddress("east", b"\x0a\x60\x00\x01"),
        NetworkAddress("", address_from_text("fd00::") or b"", 64),
    ),
    ports=(Port(80, 8080, AppProtocol.HTTP11), Port(443, 0, AppProtocol.TLS)),
    subject_alt_names=("spiffe://example.org/ns/apps/sa/reviews",),
    waypoint=WAYPOINT,
    load_balancing=LoadBalancing(
        (LoadBalancingScope.NETWORK, LoadBalancingScope.REGION),
        LoadBalancingMode.FAILOVER,
        HealthPolicy.ALLOW_ALL,
    ),
    ip_families=IPFamilies.DUAL,
    canonical=True,
    ingress_use_waypoint=True,
    weighted_waypoints=(WeightedWaypoint(WAYPOINT, 95), WeightedWaypoint(CANARY, 5)),
    visibility=Visibility.NAMESPACE,
)


def test_every_field_arrives() -> None:
    waypoint = {
        "hostname": {"namespace": "apps", "hostname": "waypoint.apps.svc.cluster.local"},
        "hbone_mtls_port": 15008,
    }
    canary = {
        "address": {"network": "east", "address": b"\x0a\x00\x00\x09"},
        "hbone_mtls_port": 15008,
    }
    expected = workload_pb2.Service(
        name="reviews",
        namespace="apps",
        hostname="reviews.apps.svc.cluster.local",
        addresses=[
            {"network": "east", "address": b"\x0a\x60\x00\x01"},
            {"network": "", "address": b"\xfd" + b"\0" * 15, "length": 64},
        ],
        ports=[
            {"service_port": 80, "target_port": 8080, "app_protocol": "HTTP11"},
            {"service_port": 443, "target_port": 0, "app_protocol": "TLS"},
        ],
        subject_alt_names=["spiffe://example.org/ns/apps/sa/reviews"],
        waypoint=waypoint,
        load_balancing={
            "routing_preference": ["NETWORK", "REGION"],
            "mode": "FAILOVER",
            "health_policy": "ALLOW_ALL",
        },
        ip_families="DUAL",
        canonical=True,
        ingress_use_waypoint=True,
        weighted_waypoints=[
            {"destination": waypoint, "weight": 95},
            {"destination": canary, "weight": 5},
        ],
        visibility="NAMESPACE",
    )
    assert service_of(encode_service(WHOLE)) == expected


def test_no_field_of_the_model_is_left_out_of_the_whole_service() -> None:
    at_default = {
        name for name in Service.__slots__ if getattr(WHOLE, name) == getattr(SMALL, name)
    }
    assert at_default == {"name", "namespace", "hostname"}


@pytest.mark.proves("MSG-2", "MSG-4", "MSG-5")
def test_a_service_is_an_address_named_by_namespace_and_hostname() -> None:
    resource = encode_service(WHOLE)
    read = unwrapped(resource.body)
    assert resource.name == read.name == "apps/reviews.apps.svc.cluster.local"
    assert read.resource.type_url == ADDRESS_TYPE
    address = workload_pb2.Address.FromString(read.resource.value)
    assert address.WhichOneof("type") == "service"
    assert (resource.node, resource.services) == ("", ())


@pytest.mark.refutes("MSG-2", "MSG-4")
@pytest.mark.parametrize(
    "change", [{"hostname": ""}, {"namespace": ""}, {"hostname": "a/b"}, {"namespace": "a/b"}]
)
def test_a_name_that_reads_in_two_ways_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(EncodeError, match=r"empty|slash"):
        encode_service(replace(WHOLE, **change))  # type: ignore[arg-type]


@pytest.mark.proves("MSG-6")
def test_aliases_show_the_length_of_a_block() -> None:
    assert encode_service(WHOLE).aliases == ("east/10.96.0.1", "/fd00::/64")


@pytest.mark.refutes("MSG-6")
def test_a_headless_service_has_no_alias() -> None:
    assert encode_service(SMALL).aliases == ()


@pytest.mark.proves("MSG-11")
def test_only_a_block_has_a_length() -> None:
    host, block = service_of(encode_service(WHOLE)).addresses
    assert (host.HasField("length"), block.HasField("length")) == (False, True)
    everything = NetworkAddress("", b"\0\0\0\0", 0)
    (read,) = service_of(encode_service(replace(SMALL, addresses=(everything,)))).addresses
    assert read.HasField("length")
    assert read.length == 0


@pytest.mark.proves("MSG-16")
def test_load_balancing_without_wishes_is_present() -> None:
    read = service_of(encode_service(replace(SMALL, load_balancing=LoadBalancing())))
    assert read.HasField("load_balancing")


@pytest.mark.refutes("MSG-16")
def test_no_load_balancing_is_absent() -> None:
    assert not service_of(encode_service(SMALL)).HasField("load_balancing")


@pytest.mark.proves("MSG-10", "MSG-12", "MSG-13", "MSG-15")
def test_addresses_gateways_and_choices_arrive_whole() -> None:
    read = service_of(encode_service(WHOLE))
    assert [len(address.address) for address in read.addresses] == [4, 16]
    destinations = [each.destination.WhichOneof("destination") for each in read.weighted_waypoints]
    assert destinations == ["hostname", "address"]
    assert list(read.load_balancing.routing_preference) == [6, 1]
    top = replace(SMALL, ports=(Port(65535, 65535),))
    assert service_of(encode_service(top)).ports[0].service_port == 65535


def _balanced(scope: int = 1, mode: int = 0, health: int = 0) -> dict[str, object]:
    return {"load_balancing": LoadBalancing((scope,), mode, health)}  # type: ignore[arg-type]


REFUSED = [
    pytest.param(
        {"addresses": (NetworkAddress("", b"123"),)}, "3 bytes", marks=pytest.mark.refutes("MSG-10")
    ),
    pytest.param(
        {"addresses": (NetworkAddress("", b"1234", 33),)},
        "33 bits",
        marks=pytest.mark.refutes("MSG-11"),
    ),
    pytest.param(
        {"addresses": (NetworkAddress("", b"1" * 16, 129),)},
        "129 bits",
        marks=pytest.mark.refutes("MSG-11"),
    ),
    pytest.param(
        {"weighted_waypoints": (WeightedWaypoint(GatewayAddress(None, 15008), 1),)},  # type: ignore[arg-type]
        "destination",
        marks=pytest.mark.refutes("MSG-12"),
    ),
    pytest.param(_balanced(scope=0), "0 is not", marks=pytest.mark.refutes("MSG-13")),
    pytest.param(_balanced(scope=7), "7 is not", marks=pytest.mark.refutes("MSG-13")),
    pytest.param(_balanced(mode=4), "4 is not", marks=pytest.mark.refutes("MSG-13")),
    pytest.param(_balanced(health=2), "2 is not", marks=pytest.mark.refutes("MSG-13")),
    pytest.param({"ip_families": 4}, "4 is not", marks=pytest.mark.refutes("MSG-13")),
    pytest.param({"visibility": 2}, "2 is not", marks=pytest.mark.refutes("MSG-13")),
    pytest.param(
        {"subject_alt_names": ("\ud800",)}, "surrogate", marks=pytest.mark.refutes("MSG-14")
    ),
    pytest.param({"ports": (Port(65536, 80),)}, "65536", marks=pytest.mark.refutes("MSG-15")),
    pytest.param({"ports": (Port(-1, 80),)}, "port -1", marks=pytest.mark.refutes("MSG-15")),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED)
def test_what_a_node_proxy_would_reject_is_refused(change: dict[str, object], reason: str) -> None:
    with pytest.raises(EncodeError, match=reason) as caught:
        encode_service(replace(WHOLE, **change))  # type: ignore[arg-type]
    assert caught.value.name == "apps/reviews.apps.svc.cluster.local"
