from dataclasses import replace

import pytest

from controlplane.encode.envelope import ADDRESS_TYPE, WORKLOAD_TYPE
from controlplane.encode.errors import EncodeError
from controlplane.encode.service import encode_service
from controlplane.encode.workload import encode_workload, legacy_workload_body
from controlplane.model.names import Name, ServiceName
from controlplane.model.network import NetworkAddress, address_from_text
from controlplane.model.service import Service
from controlplane.model.workload import (
    ApplicationTunnel,
    ApplicationTunnelProtocol,
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
from controlplane.pb import workload_pb2
from tests.unit.encode.decoding import unwrapped, workload_of

WAYPOINT = GatewayAddress(NamespacedHostname("apps", "waypoint.apps.svc.cluster.local"), 15008)
GATEWAY = GatewayAddress(NetworkAddress("west", b"\x09\x09\x09\x09"), 15008)
REVIEWS = ServiceName("apps", "reviews.apps.svc.cluster.local")
RATINGS = ServiceName("apps", "ratings.apps.svc.cluster.local")
SMALL = Workload(uid="Kubernetes//Pod/apps/small", name="small", namespace="apps")
WHOLE = Workload(
    uid="Kubernetes//Pod/apps/reviews-1",
    name="reviews-1",
    namespace="apps",
    addresses=(b"\x0a\x00\x00\x01", address_from_text("2001:db8::1") or b""),
    hostname="reviews.example.com",
    network="east",
    tunnel_protocol=TunnelProtocol.HBONE,
    native_tunnel=True,
    trust_domain="example.org",
    service_account="reviews",
    waypoint=WAYPOINT,
    network_gateway=GATEWAY,
    node="node-1",
    canonical_name="reviews",
    canonical_revision="v1",
    workload_type=WorkloadType.POD,
    workload_name="reviews-v1",
    application_tunnel=ApplicationTunnel(ApplicationTunnelProtocol.PROXY, 15088),
    services=((RATINGS, (Port(80, 8080),)), (REVIEWS, (Port(9080, 9080), Port(443, 8443)))),
    authorization_policies=(Name("apps", "allow-one"), Name("istio-system", "deny-all")),
    status=WorkloadStatus.UNHEALTHY,
    cluster_id="primary",
    locality=Locality("eu", "eu-1", "rack-7"),
    network_mode=NetworkMode.HOST_NETWORK,
    capacity=3,
)


def test_every_field_arrives() -> None:
    read = workload_of(encode_workload(WHOLE))
    expected = workload_pb2.Workload(
        uid="Kubernetes//Pod/apps/reviews-1",
        name="reviews-1",
        namespace="apps",
        addresses=[b"\x0a\x00\x00\x01", b"\x20\x01\x0d\xb8" + b"\0" * 11 + b"\x01"],
        hostname="reviews.example.com",
        network="east",
        tunnel_protocol="HBONE",
        native_tunnel=True,
        trust_domain="example.org",
        service_account="reviews",
        waypoint={
            "hostname": {"namespace": "apps", "hostname": "waypoint.apps.svc.cluster.local"},
            "hbone_mtls_port": 15008,
        },
        network_gateway={
            "address": {"network": "west", "address": b"\x09\x09\x09\x09"},
            "hbone_mtls_port": 15008,
        },
        node="node-1",
        canonical_name="reviews",
        canonical_revision="v1",
        workload_type="POD",
        workload_name="reviews-v1",
        application_tunnel={"protocol": "PROXY", "port": 15088},
        services={
            "apps/ratings.apps.svc.cluster.local": workload_pb2.PortList(
                ports=[{"service_port": 80, "target_port": 8080}]
            ),
            "apps/reviews.apps.svc.cluster.local": workload_pb2.PortList(
                ports=[
                    {"service_port": 9080, "target_port": 9080},
                    {"service_port": 443, "target_port": 8443},
                ]
            ),
        },
        authorization_policies=["apps/allow-one", "istio-system/deny-all"],
        status="UNHEALTHY",
        cluster_id="primary",
        locality={"region": "eu", "zone": "eu-1", "subzone": "rack-7"},
        network_mode="HOST_NETWORK",
        capacity={"value": 3},
    )
    assert read == expected
    address = workload_pb2.Address(workload=expected)
    content = unwrapped(encode_workload(WHOLE).body).resource.value
    assert content == address.SerializeToString(deterministic=True)


def test_no_field_of_the_model_is_left_out_of_the_whole_workload() -> None:
    at_default = {
        name for name in Workload.__slots__ if getattr(WHOLE, name) == getattr(SMALL, name)
    }
    assert at_default == {"namespace", "served_by", "unready_services"}


@pytest.mark.proves("MSG-2")
def test_a_workload_is_an_address_named_by_its_uid() -> None:
    resource = encode_workload(WHOLE)
    read = unwrapped(resource.body)
    assert resource.name == read.name == WHOLE.uid
    assert read.resource.type_url == ADDRESS_TYPE
    address = workload_pb2.Address.FromString(read.resource.value)
    assert address.WhichOneof("type") == "workload"


@pytest.mark.refutes("MSG-2", "MSG-4")
@pytest.mark.parametrize("uid", ["", "apps/reviews.apps.svc.cluster.local"])
def test_a_workload_without_a_uid_of_its_own_is_refused(uid: str) -> None:
    with pytest.raises(EncodeError, match="uid"):
        encode_workload(replace(WHOLE, uid=uid))


@pytest.mark.proves("MSG-6")
def test_aliases_are_canonical_addresses_on_the_network() -> None:
    assert encode_workload(WHOLE).aliases == ("east/10.0.0.1", "east/2001:db8::1")
    local = replace(SMALL, addresses=(b"\x7f\x00\x00\x01",))
    assert encode_workload(local).aliases == ("/127.0.0.1",)


@pytest.mark.refutes("MSG-6")
def test_a_workload_without_addresses_has_no_alias() -> None:
    resource = encode_workload(replace(SMALL, hostname="db.example.com"))
    assert resource.aliases == ()
    assert list(unwrapped(encode_workload(WHOLE).body).aliases) == []


def test_lookups_find_node_and_services_beside_the_body() -> None:
    resource = encode_workload(WHOLE)
    assert resource.node == "node-1"
    assert resource.services == (str(RATINGS), str(REVIEWS))
    again = encode_workload(replace(WHOLE, uid="other"))
    assert again.services is resource.services


@pytest.mark.proves("MSG-8")
def test_equal_workloads_have_equal_bodies() -> None:
    assert encode_workload(WHOLE) == encode_workload(replace(WHOLE))


@pytest.mark.proves("MSG-9")
def test_a_service_that_takes_unready_endpoints_changes_the_version_alone() -> None:
    before = encode_workload(WHOLE)
    after = encode_workload(replace(WHOLE, unready_services=(REVIEWS,)))
    assert workload_of(after) == workload_of(before)
    assert after.version != before.version
    both = encode_workload(replace(WHOLE, unready_services=(RATINGS, REVIEWS)))
    assert both.version not in {before.version, after.version}


@pytest.mark.refutes("MSG-9")
def test_the_order_of_unready_services_does_not_matter() -> None:
    one = encode_workload(replace(WHOLE, unready_services=(RATINGS, REVIEWS)))
    other = encode_workload(replace(WHOLE, unready_services=(REVIEWS, RATINGS)))
    assert one == other


@pytest.mark.proves("MSG-7")
@pytest.mark.parametrize("workload", [WHOLE, SMALL])
def test_the_legacy_type_holds_the_same_workload(workload: Workload) -> None:
    resource = encode_workload(workload)
    legacy = unwrapped(legacy_workload_body(resource))
    assert (legacy.name, legacy.version) == (resource.name, resource.version)
    assert legacy.resource.type_url == WORKLOAD_TYPE
    assert workload_pb2.Workload.FromString(legacy.resource.value) == workload_of(resource)


@pytest.mark.refutes("MSG-7")
def test_a_service_has_no_legacy_form() -> None:
    service = Service(name="reviews", namespace="apps", hostname="reviews.example.com")
    with pytest.raises(EncodeError, match="not a workload"):
        legacy_workload_body(encode_service(service))


@pytest.mark.proves("MSG-16")
def test_what_is_there_with_defaults_is_there_on_the_wire() -> None:
    nothing = replace(
        SMALL,
        capacity=0,
        application_tunnel=ApplicationTunnel(ApplicationTunnelProtocol.NONE, 0),
        services=((REVIEWS, ()),),
    )
    read = workload_of(encode_workload(nothing))
    assert read.HasField("capacity")
    assert read.HasField("application_tunnel")
    assert list(read.services) == [str(REVIEWS)]


@pytest.mark.refutes("MSG-16")
def test_what_is_absent_is_absent_on_the_wire() -> None:
    read = workload_of(encode_workload(SMALL))
    present = {field.name for field, _ in read.ListFields()}
    assert present == {"uid", "name", "namespace"}


@pytest.mark.proves("MSG-10", "MSG-12")
def test_gateways_lead_to_a_hostname_or_an_address() -> None:
    read = workload_of(encode_workload(WHOLE))
    assert read.waypoint.WhichOneof("destination") == "hostname"
    assert read.network_gateway.WhichOneof("destination") == "address"
    assert len(read.network_gateway.address.address) == 4


NOWHERE = GatewayAddress(None, 15008)  # type: ignore[arg-type]
REFUSED = [
    pytest.param({"addresses": (b"\x0a\x00\x01",)}, "3 bytes", marks=pytest.mark.refutes("MSG-10")),
    pytest.param({"addresses": (b"",)}, "0 bytes", marks=pytest.mark.refutes("MSG-10")),
    pytest.param(
        {"network_gateway": GatewayAddress(NetworkAddress("", b"12345"), 15008)},
        "5 bytes",
        marks=pytest.mark.refutes("MSG-10"),
    ),
    pytest.param({"waypoint": NOWHERE}, "destination", marks=pytest.mark.refutes("MSG-12")),
    pytest.param({"network_gateway": NOWHERE}, "destination", marks=pytest.mark.refutes("MSG-12")),
    pytest.param(
        {"waypoint": GatewayAddress(NamespacedHostname("apps", ""), 15008)},
        "hostname",
        marks=pytest.mark.refutes("MSG-12"),
    ),
    pytest.param({"tunnel_protocol": 2}, "2 is not", marks=pytest.mark.refutes("MSG-13")),
    pytest.param({"status": 2}, "2 is not", marks=pytest.mark.refutes("MSG-13")),
    pytest.param({"network_mode": 2}, "2 is not", marks=pytest.mark.refutes("MSG-13")),
    pytest.param({"workload_type": 4}, "4 is not", marks=pytest.mark.refutes("MSG-13")),
    pytest.param(
        {"application_tunnel": ApplicationTunnel(2, 80)},  # type: ignore[arg-type]
        "2 is not",
        marks=pytest.mark.refutes("MSG-13"),
    ),
    pytest.param({"name": "\ud800"}, "surrogate", marks=pytest.mark.refutes("MSG-14")),
    pytest.param({"uid": "\udfff"}, "surrogate", marks=pytest.mark.refutes("MSG-14")),
    pytest.param(
        {"services": ((ServiceName("apps", "\ud800"), ()),)},
        "surrogate",
        marks=pytest.mark.refutes("MSG-14"),
    ),
    pytest.param(
        {"waypoint": GatewayAddress(NamespacedHostname("apps", "w"), 65536)},
        "port 65536",
        marks=pytest.mark.refutes("MSG-15"),
    ),
    pytest.param(
        {"services": ((REVIEWS, (Port(80, 70000),)),)},
        "port 70000",
        marks=pytest.mark.refutes("MSG-15"),
    ),
    pytest.param(
        {"services": ((ServiceName("apps", "a/b"), ()),)},
        "slash",
        marks=pytest.mark.refutes("MSG-4"),
    ),
    pytest.param(
        {"authorization_policies": (Name("", "everywhere"),)},
        "empty",
        marks=pytest.mark.refutes("MSG-4"),
    ),
    pytest.param({"capacity": -1}, "range"),
    pytest.param({"node": None}, "type|None"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED)
def test_what_a_node_proxy_would_reject_is_refused(change: dict[str, object], reason: str) -> None:
    with pytest.raises(EncodeError, match=reason):
        encode_workload(replace(WHOLE, **change))  # type: ignore[arg-type]


def test_an_error_says_which_resource_and_can_be_printed() -> None:
    with pytest.raises(EncodeError) as caught:
        encode_workload(replace(WHOLE, uid="\ud800"))
    assert caught.value.name == "\ud800"
    assert str(caught.value).isascii()


@pytest.mark.proves("MSG-13", "MSG-14", "MSG-15", "MSG-4")
def test_a_good_workload_is_encoded_whatever_was_refused_before() -> None:
    read = workload_of(encode_workload(replace(WHOLE, name="fünf", service_account="日本")))
    assert (read.name, read.service_account) == ("fünf", "日本")
    assert read.tunnel_protocol == workload_pb2.TunnelProtocol.HBONE
    assert read.waypoint.hbone_mtls_port == 15008
    assert sorted(read.services) == [str(RATINGS), str(REVIEWS)]
