"""What names and addresses mean to a client."""

from ipaddress import ip_address

import pytest
from google.protobuf.message import Message

from controlplane.lab.ztunnel.network import NetworkAddress
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.resolve import dns_answer, service_at, service_named
from controlplane.lab.ztunnel.session import Session
from controlplane.lab.ztunnel.state import MeshState
from controlplane.pb import workload_pb2
from tests.support.wire import a_response, a_service, a_workload, uid_of

HIDDEN = workload_pb2.Service.NAMESPACE
VIP = NetworkAddress("", ip_address("10.1.0.1"))


def known(*messages: Message) -> MeshState:
    session = Session(NodeIdentity())
    session.connect()
    session.receive(a_response(*messages))
    assert session.nacks == []
    return session.state


def found_at(state: MeshState, namespace: str, address: NetworkAddress = VIP) -> str | None:
    service = service_at(state, namespace, address)
    return None if service is None else str(service.key)


def named(state: MeshState, namespace: str, hostname: str) -> str | None:
    service = service_named(state, namespace, hostname)
    return None if service is None else str(service.key)


def answer(state: MeshState, hostname: str, client: str = "client") -> list[str] | None:
    found = dns_answer(state, state.workloads.by_uid[uid_of(client)], hostname)
    return None if found is None else [str(address) for address in found]


SHARED = (
    a_service("web", "a", vips=["10.1.0.1"]),
    a_service("web", "b", vips=["10.1.0.1"], canonical=True),
    a_service("web", "c", vips=["10.1.0.1"]),
)


@pytest.mark.proves("ZT-60")
def test_of_several_services_at_an_address() -> None:
    assert found_at(known(*SHARED), "c") == "c/web"
    assert found_at(known(*SHARED), "elsewhere") == "b/web"
    assert found_at(known(SHARED[2], SHARED[0]), "elsewhere") in {"a/web", "c/web"}


@pytest.mark.refutes("ZT-60")
def test_an_address_of_another_network_or_of_nobody() -> None:
    state = known(*SHARED)
    assert found_at(state, "a", NetworkAddress("east", VIP.address)) is None
    assert found_at(state, "a", NetworkAddress("", ip_address("10.1.0.2"))) is None


@pytest.mark.proves("ZT-61")
def test_blocks_are_considered_in_order() -> None:
    wide = a_service("wide", "a", vips=["10.0.0.0/8"], canonical=True)
    long = a_service("long", "b", vips=["10.1.0.0/16"])
    same = a_service("same", "c", vips=["10.1.0.0/16"], canonical=True)
    assert found_at(known(wide, long), "a") == "a/wide"
    assert found_at(known(wide, long), "x") == "b/long"
    assert found_at(known(wide, long, same), "x") == "c/same"


@pytest.mark.refutes("ZT-61")
def test_blocks_do_not_count_beside_an_exact_address_or_outside() -> None:
    block = a_service("block", "a", vips=["10.1.0.0/16", "2001:db8::/32"])
    exact = a_service("exact", "b", vips=["10.1.0.1"])
    assert found_at(known(block, exact), "a") == "b/exact"
    assert found_at(known(block), "a", NetworkAddress("", ip_address("10.2.0.1"))) is None
    assert found_at(known(block), "a", NetworkAddress("east", VIP.address)) is None
    assert found_at(known(block), "a", NetworkAddress("", ip_address("2001:db8::1"))) == "a/block"


SECRET = a_service("secret.example", "a", vips=["10.1.0.1", "10.2.0.0/16"], visibility=HIDDEN)


@pytest.mark.proves("ZT-62")
def test_a_hidden_service_is_not_found_from_elsewhere() -> None:
    state = known(SECRET, a_workload("client", "b"))
    assert found_at(state, "b") is None
    assert found_at(state, "b", NetworkAddress("", ip_address("10.2.0.1"))) is None
    assert named(state, "b", "secret.example") is None
    assert (
        dns_answer(state, state.workloads.by_uid[uid_of("client", "b")], "secret.example") is None
    )


@pytest.mark.refutes("ZT-62")
def test_a_hidden_service_is_found_from_its_namespace() -> None:
    state = known(SECRET)
    assert found_at(state, "a") == "a/secret.example"
    assert found_at(state, "a", NetworkAddress("", ip_address("10.2.0.1"))) == "a/secret.example"
    assert named(state, "a", "secret.example") == "a/secret.example"


WILDCARDS = (
    a_service("*.example", "ns"),
    a_service("*.sub.example", "ns"),
    a_service("host.sub.example", "ns"),
)


@pytest.mark.proves("ZT-63")
@pytest.mark.parametrize(
    ("hostname", "service"),
    [
        ("host.sub.example", "host.sub.example"),
        ("HOST.sub.example.", "host.sub.example"),
        ("other.sub.example", "*.sub.example"),
        ("a.b.sub.example", "*.sub.example"),
        ("sub.example", "*.example"),
    ],
)
def test_the_nearest_name_is_found(hostname: str, service: str) -> None:
    assert named(known(*WILDCARDS), "ns", hostname) == f"ns/{service}"


@pytest.mark.refutes("ZT-63")
def test_a_wildcard_does_not_cover_its_own_parent_or_others() -> None:
    assert named(known(*WILDCARDS), "ns", "example") is None
    assert named(known(*WILDCARDS), "ns", "sub.other") is None


CLIENT = a_workload("client", network="east")
HEADLESS = "db.default.svc.cluster.local"


@pytest.mark.proves("ZT-64")
def test_dns_answers() -> None:
    here = a_service("web.example", vips=["10.1.0.1", "2001:db8::1", "10.3.0.0/16"], network="east")
    there = a_service("far.example", vips=["10.1.0.2"], network="west")
    database = a_workload(
        "db", ips=["10.0.0.7", "2001:db8::7"], network="east", services={f"default/{HEADLESS}": {}}
    )
    headless = a_service(HEADLESS, ip_families=workload_pb2.IPV4_ONLY)
    state = known(CLIENT, here, there, headless, database)
    assert answer(state, "web.example") == ["10.1.0.1", "2001:db8::1"]
    assert answer(state, "far.example") == []
    assert answer(state, HEADLESS) == ["10.0.0.7"]


@pytest.mark.refutes("ZT-64")
def test_dns_names_that_are_not_answered() -> None:
    state = known(CLIENT, a_service("no-address.example"))
    assert answer(state, "no-address.example") is None
    assert answer(state, "unknown.example") is None
