from dataclasses import replace
from typing import Any

import pytest

from controlplane.model.names import ObjectReference
from controlplane.model.waypoint_traffic import AddressRange, DirectWorkloads, ServedPort
from controlplane.model.workload import AppProtocol
from tests.support.waypoint_traffic import HTTP, SNIFFED, TCP, WAYPOINT, a_served_service
from tests.unit.encode.test_listener import main_internal, main_sniffed

WEB = "web.shop.svc.cluster.local"


def _by_authority(listener: dict[str, Any]) -> dict[str, Any]:
    tree = listener["filter_chain_matcher"]["matcher_tree"]
    assert tree["input"]["typed_config"]["key"] == "io.istio.connect_authority"
    found: dict[str, Any] = tree["exact_match_map"]["map"]
    return found


def _by_address(listener: dict[str, Any]) -> list[dict[str, Any]]:
    matcher = listener["filter_chain_matcher"]
    if "on_no_match" in matcher:
        matcher = matcher["on_no_match"]["matcher"]
    found: list[dict[str, Any]] = matcher["matcher_tree"]["custom_match"]["typed_config"].get(
        "range_matchers", []
    )
    return found


def _ranges(entry: dict[str, Any]) -> list[str]:
    return [f"{each['address_prefix']}/{each['prefix_len']}" for each in entry["ranges"]]


def _ports(entry: dict[str, Any]) -> dict[str, Any]:
    tree = entry["on_match"]["matcher"]["matcher_tree"]
    assert tree["input"]["name"] == "port"
    found: dict[str, Any] = tree["exact_match_map"]["map"]
    return found


def _chain(target: dict[str, Any]) -> str:
    name: str = target["action"]["typed_config"]["value"]
    return name


@pytest.mark.proves("WC-26")
def test_a_hostname_and_an_address_lead_to_the_same_chain() -> None:
    listener = main_internal(a_served_service("web", HTTP, TCP))
    targets = _by_authority(listener)
    (entry,) = _by_address(listener)
    assert sorted(targets) == [f"{WEB}:80", f"{WEB}:9000"]
    assert _ranges(entry) == ["10.96.0.1/32"]
    assert sorted(_ports(entry)) == ["80", "9000"]
    assert (
        _chain(targets[f"{WEB}:80"]) == _chain(_ports(entry)["80"]) == f"inbound-vip|80|http|{WEB}"
    )
    assert _chain(_ports(entry)["9000"]) == f"inbound-vip|9000|tcp|{WEB}"


@pytest.mark.refutes("WC-26")
def test_a_wildcard_is_no_authority_and_what_is_unknown_leads_nowhere() -> None:
    service = a_served_service()
    wild = replace(service, service=service.service._replace(hostname="*.example.com"))
    listener = main_internal(wild)
    matcher = listener["filter_chain_matcher"]
    assert "custom_match" in matcher["matcher_tree"]
    assert "on_no_match" not in matcher
    plain = main_internal(service)["filter_chain_matcher"]["on_no_match"]["matcher"]
    assert "on_no_match" not in plain


@pytest.mark.proves("WC-27")
def test_a_service_without_addresses_is_found_by_name_alone() -> None:
    listener = main_internal(a_served_service(address=None))
    assert list(_by_authority(listener)) == [f"{WEB}:80"]
    assert _by_address(listener) == []


@pytest.mark.refutes("WC-27")
def test_all_addresses_of_a_service_are_one_entry() -> None:
    ranges = (AddressRange(b"\x0a\x60\0\x01", 32), AddressRange(b"\xfd" + b"\0" * 15, 64))
    (entry,) = _by_address(main_internal(a_served_service(ranges=ranges)))
    assert _ranges(entry) == ["10.96.0.1/32", "fd00::/64"]


def test_a_service_without_ports_has_no_entry_at_all() -> None:
    listener = main_internal(replace(a_served_service(), ports=()))
    assert _by_address(listener) == []
    assert "on_no_match" not in listener["filter_chain_matcher"]


@pytest.mark.proves("WC-5")
def test_a_shared_address_and_port_has_the_first_service() -> None:
    first = a_served_service("a", HTTP)
    second = a_served_service("b", HTTP, TCP)
    (entry,) = _by_address(main_internal(first, second))
    found = {port: _chain(target) for port, target in _ports(entry).items()}
    assert found == {
        "80": "inbound-vip|80|http|a.shop.svc.cluster.local",
        "9000": "inbound-vip|9000|tcp|b.shop.svc.cluster.local",
    }


@pytest.mark.proves("WC-5")
def test_an_entry_does_not_take_the_address_of_a_service() -> None:
    entry = a_served_service("a", HTTP, owner=ObjectReference("ServiceEntry", "shop", "a"))
    (found,) = _by_address(main_internal(entry, a_served_service("b", HTTP)))
    assert _chain(_ports(found)["80"]) == "inbound-vip|80|http|b.shop.svc.cluster.local"


@pytest.mark.refutes("WC-5")
def test_services_at_their_own_addresses_have_all_their_ports() -> None:
    first = a_served_service("a", HTTP)
    second = a_served_service("b", HTTP, address=b"\x0a\x60\0\x02")
    entries = _by_address(main_internal(first, second))
    assert [(_ranges(entry), _chain(_ports(entry)["80"])) for entry in entries] == [
        (["10.96.0.1/32"], "inbound-vip|80|http|a.shop.svc.cluster.local"),
        (["10.96.0.2/32"], "inbound-vip|80|http|b.shop.svc.cluster.local"),
    ]


@pytest.mark.proves("WC-28", "WC-53")
def test_a_port_that_says_nothing_is_decided_by_what_is_spoken() -> None:
    service = a_served_service("web", HTTP, SNIFFED)
    assert "7000" not in str(main_internal(service)["filter_chain_matcher"])
    sniffed = main_sniffed(service)
    assert list(_by_authority(sniffed)) == [f"{WEB}:7000"]
    (entry,) = _by_address(sniffed)
    assert list(_ports(entry)) == ["7000"]
    matcher = _ports(entry)["7000"]["matcher"]
    spoken = matcher["matcher_tree"]["exact_match_map"]["map"]
    assert {name: _chain(target) for name, target in spoken.items()} == {
        "'h2c'": f"inbound-vip|7000|http|{WEB}",
        "'http/1.1'": f"inbound-vip|7000|http|{WEB}",
    }
    assert _chain(matcher["on_no_match"]) == f"inbound-vip|7000|tcp|{WEB}"


@pytest.mark.refutes("WC-53")
def test_a_port_that_says_what_is_spoken_is_not_known_where_clients_are_listened_to() -> None:
    service = a_served_service("web", HTTP, TCP)
    assert list(_ports(_by_address(main_internal(service))[0])) == ["80", "9000"]
    assert _by_address(main_sniffed(service)) == []


NARROW, WIDE = (AddressRange(b"\x0a\x60\0\x01", 32), AddressRange(b"\x0a\x60\0\0", 16))
UNKNOWN = ServedPort(80, AppProtocol.UNKNOWN)
ENTRY = ObjectReference("ServiceEntry", "shop", "b")


@pytest.mark.proves("WC-55")
@pytest.mark.parametrize(("narrow", "wide"), [(HTTP, UNKNOWN), (UNKNOWN, HTTP)])
@pytest.mark.parametrize("other", [NARROW, WIDE])
def test_what_one_listener_leaves_out_is_not_found_there_under_another_range(
    narrow: ServedPort, wide: ServedPort, other: AddressRange
) -> None:
    first = a_served_service("a", narrow, ranges=(NARROW,))
    second = a_served_service("b", wide, ranges=(other,), owner=ENTRY)
    # Where the port of ``b`` is, that of ``a`` leads to nobody.
    listener = (main_sniffed if wide.is_sniffed else main_internal)(first, second)
    found = next(each for each in _by_address(listener) if "10.96.0.1/32" in _ranges(each))
    assert _chain(_ports(found)["80"]) == "blackhole"
    assert "blackhole" in {each["name"] for each in listener["filter_chains"]}


@pytest.mark.refutes("WC-55")
def test_services_at_their_own_addresses_have_nothing_at_the_other_listener() -> None:
    services = (
        a_served_service("a", HTTP, ranges=(NARROW,)),
        a_served_service("b", UNKNOWN, address=b"\x0a\x60\0\x02"),
    )
    for listener in (main_internal(*services), main_sniffed(*services)):
        assert len(_by_address(listener)) == 1
        assert "blackhole" not in str(listener)


@pytest.mark.proves("WC-55")
def test_a_range_that_is_listened_to_makes_other_ranges_come_along() -> None:
    elsewhere = AddressRange(b"\x0a\x61\0\0", 16)
    known = a_served_service("a", HTTP, TCP, ranges=(elsewhere,))
    listener = main_sniffed(known, a_served_service("b", UNKNOWN, ranges=(WIDE,)))
    entry = next(each for each in _by_address(listener) if _ranges(each) == ["10.97.0.0/16"])
    assert {port: _chain(to) for port, to in _ports(entry).items()} == {
        "80": "inbound-vip|80|http|a.shop.svc.cluster.local"
    }
    names = [each["name"] for each in listener["filter_chains"]]
    assert "inbound-vip|80|http|a.shop.svc.cluster.local" in names


@pytest.mark.proves("WC-55")
def test_a_workload_within_a_range_is_not_taken_for_its_service() -> None:
    direct = DirectWorkloads(waypoint=WAYPOINT, addresses=(b"\x0a\x60\x01\x01",))
    services = (a_served_service("b", HTTP, TCP, ranges=(WIDE,)),)
    listener = main_internal(*services, direct=direct)
    entry = next(each for each in _by_address(listener) if _ranges(each) == ["10.96.1.1/32"])
    assert {port: _chain(to) for port, to in _ports(entry).items()} == {"9000": "direct-tcp"}
    assert _chain(entry["on_match"]["matcher"]["on_no_match"]) == "blackhole"


def test_workloads_are_found_by_address_unless_a_service_has_it() -> None:
    direct = DirectWorkloads(waypoint=WAYPOINT, addresses=(b"\x0a\0\0\x01", b"\x0a\x60\0\x01"))
    (service,) = _by_address(main_internal(a_served_service(), direct=direct))
    assert _ranges(service) == ["10.96.0.1/32"]
    # The service has no port that is sniffed, and its address all the same.
    (entry,) = _by_address(main_sniffed(a_served_service(), direct=direct))
    assert _ranges(entry) == ["10.0.0.1/32"]
    assert _chain(entry["on_match"]["matcher"]["on_no_match"]) == "direct-tcp"


def test_bytes_that_are_known_are_told_from_others_at_workloads_too() -> None:
    direct = DirectWorkloads(waypoint=WAYPOINT, addresses=(b"\x0a\0\0\x01",))
    entries = _by_address(main_internal(a_served_service("web", HTTP, TCP), direct=direct))
    matcher = entries[1]["on_match"]["matcher"]
    by_port = matcher["matcher_tree"]["exact_match_map"]["map"]
    assert {port: _chain(target) for port, target in by_port.items()} == {"9000": "direct-tcp"}
    assert "on_no_match" not in matcher


def test_the_matcher_of_many_services_is_that_of_each() -> None:
    ports = (HTTP, SNIFFED, ServedPort(1, AppProtocol.TLS))
    services = [
        a_served_service(f"s{number}", *ports, address=bytes((10, 96, 1, number)))
        for number in range(20)
    ]
    for listener, count in ((main_internal(*services), 2), (main_sniffed(*services), 1)):
        assert len(_by_authority(listener)) == 20 * count
        assert [len(_ports(entry)) for entry in _by_address(listener)] == [count] * 20
