from typing import Any

import pytest

from controlplane.encode.document import envoy_json
from controlplane.encode.tunnel_routes import encode_tunnel_routes
from controlplane.model.names import ObjectReference
from controlplane.model.waypoint_traffic import (
    AddressRange,
    DirectWorkloads,
    ServedPort,
    ServedService,
)
from controlplane.model.workload import AppProtocol
from tests.support.waypoint_traffic import HTTP, SNIFFED, TCP, WAYPOINT, a_served_service

WEB = "web.shop.svc.cluster.local"
IPV6 = AddressRange(b"\xfd" + b"\0" * 14 + b"\x10", 128)
IPV4 = AddressRange(b"\x0a\x60\0\x01", 32)
WIDE = AddressRange(b"\x0a\x60\0\0", 16)
DIRECT = DirectWorkloads(
    waypoint=WAYPOINT, addresses=(b"\x0a\0\0\x01", b"\xfd" + b"\0" * 14 + b"\x05")
)
UNKNOWN = ServedPort(80, AppProtocol.UNKNOWN)
ENTRY = ObjectReference("ServiceEntry", "shop", "b")


def tunnels(*services: ServedService, direct: DirectWorkloads | None = None) -> dict[str, Any]:
    """Domains by the cluster that they lead to."""
    document = envoy_json(encode_tunnel_routes(services, direct))
    assert document["name"] == "connect_terminate"
    return {
        host["routes"][0]["route"]["cluster"]: host["domains"] for host in document["virtual_hosts"]
    }


@pytest.mark.proves("WC-53")
def test_ports_that_say_nothing_are_named_in_every_way_they_are_asked_for() -> None:
    service = a_served_service("web", HTTP, SNIFFED, TCP, ranges=(IPV4, IPV6))
    assert tunnels(service) == {
        "main_sniffed": ["10.96.0.1:7000", "[fd00::10]:7000", f"{WEB}:7000"],
        "main_internal": ["*"],
    }


@pytest.mark.refutes("WC-53")
def test_where_nothing_is_sniffed_everything_goes_one_way() -> None:
    known = a_served_service("web", HTTP, TCP, ranges=(IPV4, WIDE))
    for services in ((), (known,), (known, a_served_service("other", HTTP, ranges=(IPV4,)))):
        assert tunnels(*services) == {"main_internal": ["*"]}


@pytest.mark.proves("WC-29", "WC-53")
def test_workloads_are_listened_to_at_every_port_that_is_not_known_to_carry_bytes() -> None:
    assert tunnels(a_served_service("web", HTTP, TCP), direct=DIRECT) == {
        "main_sniffed": ["10.0.0.1:*", "[fd00::5]:*"],
        "main_internal": ["*", "*:9000"],
    }


@pytest.mark.refutes("WC-29")
def test_a_port_that_somebody_leaves_open_is_listened_to_at_workloads() -> None:
    odd = a_served_service("odd", TCP._replace(protocol=AppProtocol.UNKNOWN), address=None)
    found = tunnels(a_served_service("web", TCP), odd, direct=DIRECT)
    assert found["main_internal"] == ["*"]


def test_the_address_of_a_service_is_no_workload() -> None:
    direct = DirectWorkloads(waypoint=WAYPOINT, addresses=(IPV4.address,))
    assert tunnels(a_served_service(), direct=direct) == {"main_internal": ["*"]}


@pytest.mark.proves("WC-55")
def test_a_range_is_known_by_the_number_of_the_port_and_others_by_name() -> None:
    wide = a_served_service("wide", UNKNOWN, ranges=(WIDE,))
    other = a_served_service("web", HTTP, TCP, ranges=(IPV6,))
    assert tunnels(wide, other) == {
        "main_sniffed": ["*:80", "wide.shop.svc.cluster.local:80"],
        "main_internal": ["*", "[fd00::10]:80", f"{WEB}:80"],
    }


@pytest.mark.refutes("WC-55")
def test_a_range_whose_ports_say_what_is_spoken_is_not_listened_to() -> None:
    wide = a_served_service("wide", HTTP, ranges=(WIDE,))
    assert tunnels(wide, a_served_service("web", UNKNOWN, ranges=(IPV6,))) == {
        "main_sniffed": ["[fd00::10]:80", f"{WEB}:80"],
        "main_internal": ["*"],
    }


@pytest.mark.parametrize(("service", "entry"), [(HTTP, UNKNOWN), (UNKNOWN, HTTP)])
def test_who_has_an_address_says_how_it_is_asked_for(
    service: ServedPort, entry: ServedPort
) -> None:
    first = a_served_service("a", entry, owner=ENTRY)
    found = tunnels(first, a_served_service("b", service))
    listened = [each for each in found["main_sniffed"] if each.startswith("10.")]
    assert listened == (["10.96.0.1:80"] if service.is_sniffed else [])
    everything = [domain for domains in found.values() for domain in domains]
    assert len(everything) == len(set(everything))


def test_names_that_an_envoy_takes_for_one_are_one() -> None:
    found = tunnels(
        a_served_service("web", SNIFFED, address=None),
        a_served_service("WEB", HTTP._replace(number=7000), address=None),
    )
    assert found["main_sniffed"] == [f"{WEB}:7000"]


def test_the_order_of_services_does_not_matter() -> None:
    services = [
        a_served_service(f"s{number}", SNIFFED, TCP, address=bytes((10, 96, 0, number)))
        for number in range(5)
    ]
    assert encode_tunnel_routes(services, DIRECT) == encode_tunnel_routes(services[::-1], DIRECT)
