from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from controlplane.encode.connection_gate import CLOSED, OPEN
from controlplane.encode.document import envoy_json
from controlplane.encode.errors import EncodeError
from controlplane.encode.filter_chain import encode_direct_chains, encode_service_chains
from controlplane.encode.listener import (
    encode_connect_originate,
    encode_connect_terminate,
    encode_main_internal,
    encode_main_sniffed,
)
from controlplane.encode.listening import Gates
from controlplane.encode.resource import Resource
from controlplane.encode.tunnel_routes import encode_tunnel_routes
from controlplane.model.waypoint_traffic import DirectWorkloads, ServedService
from tests.support.waypoint_traffic import (
    HTTP,
    OPEN_CHAIN,
    SNIFFED,
    TCP,
    WAYPOINT,
    a_frame,
    a_served_service,
    open_gates,
)

IDENTITY_LIKE = {
    "io.istio.connect_authority",
    "io.istio.peer_principal",
    "io.istio.local_principal",
}
ALL = "0.0.0.0"  # noqa: S104 - not opened
ORIGINAL = "envoy.filters.listener.original_dst"
WEB = "web.shop.svc.cluster.local"
DIRECT = DirectWorkloads(waypoint=WAYPOINT, addresses=(b"\x0a\0\0\x01",))


def _terminate(**frame: Any) -> dict[str, Any]:
    return envoy_json(encode_connect_terminate(a_frame(**frame)))


def _manager() -> dict[str, Any]:
    manager: dict[str, Any] = _terminate()["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def _states() -> dict[str, dict[str, Any]]:
    first = _manager()["http_filters"][0]
    assert first["name"] == "connect_authority"
    return {each["object_key"]: each for each in first["typed_config"]["on_request_headers"]}


def main_internal(
    *services: ServedService, direct: DirectWorkloads | None = None
) -> dict[str, Any]:
    return envoy_json(_inner(encode_main_internal, services, direct))


def main_sniffed(*services: ServedService, direct: DirectWorkloads | None = None) -> dict[str, Any]:
    return envoy_json(_inner(encode_main_sniffed, services, direct))


def _inner(
    encode: Callable[..., Resource],
    services: Sequence[ServedService],
    direct: DirectWorkloads | None,
) -> Resource:
    chains = [chain for service in services for chain in encode_service_chains(service, OPEN_CHAIN)]
    chains += encode_direct_chains(OPEN_CHAIN) if direct else ()
    return encode(services, chains, direct, open_gates(*services))


def _names(listener: dict[str, Any]) -> list[str]:
    return [chain["name"] for chain in listener["filter_chains"]]


def _but_for_chains(listener: dict[str, Any]) -> dict[str, Any]:
    apart = {"filter_chains", "filter_chain_matcher"}
    return {key: value for key, value in listener.items() if key not in apart}


@pytest.mark.proves("WC-14")
@pytest.mark.parametrize("trust_domain", ["cluster.local", "example.org"])
def test_clients_show_a_certificate_of_the_trust_domain(trust_domain: str) -> None:
    socket = _terminate(trust_domain=trust_domain)["filter_chains"][0]["transport_socket"]
    context = socket["typed_config"]
    common = context["common_tls_context"]
    ads = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    assert context["require_client_certificate"] is True
    assert context["disable_stateless_session_resumption"] is True
    assert context["disable_stateful_session_resumption"] is True
    assert common["alpn_protocols"] == ["h2"]
    assert common["tls_params"] == {
        "tls_minimum_protocol_version": "TLSv1_3",
        "tls_maximum_protocol_version": "TLSv1_3",
    }
    assert common["tls_certificate_sds_secret_configs"] == [{"name": "default", "sds_config": ads}]
    combined = common["combined_validation_context"]
    assert combined["validation_context_sds_secret_config"] == {"name": "ROOTCA", "sds_config": ads}
    assert combined["default_validation_context"] == {
        "match_typed_subject_alt_names": [
            {"san_type": "URI", "matcher": {"prefix": f"spiffe://{trust_domain}/"}}
        ]
    }


@pytest.mark.refutes("WC-14")
def test_the_prefix_of_a_trust_domain_ends_with_it() -> None:
    text = str(_terminate(trust_domain="example"))
    assert "spiffe://example/" in text
    assert "spiffe://example'" not in text
    assert "spiffe://cluster.local" not in text


@pytest.mark.proves("WC-16")
def test_who_the_client_is_goes_along_as_objects_with_a_hash() -> None:
    states = _states()
    for key in IDENTITY_LIKE:
        assert states[key]["factory_key"] == "envoy.hashable_string"
    for key in (f"{ORIGINAL}.local_ip", f"{ORIGINAL}.remote_ip"):
        # The object's own factory: an address, which has a hash.
        assert "factory_key" not in states[key]
    formats = {
        key: state["format_string"]["text_format_source"]["inline_string"]
        for key, state in states.items()
    }
    assert formats == {
        f"{ORIGINAL}.local_ip": "%REQ(:AUTHORITY)%",
        f"{ORIGINAL}.remote_ip": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
        "io.istio.connect_authority": "%REQ(:AUTHORITY)%",
        "io.istio.peer_principal": "%DOWNSTREAM_PEER_URI_SAN%",
        "io.istio.local_principal": "%DOWNSTREAM_LOCAL_URI_SAN%",
        "io.istio.source_ip": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    }


@pytest.mark.refutes("WC-16")
def test_nothing_goes_along_as_plain_text_or_further_than_one_connection() -> None:
    states = _states()
    assert {state["shared_with_upstream"] for state in states.values()} == {"ONCE"}
    assert "envoy.string" not in str(states)


@pytest.mark.proves("WC-17")
def test_the_address_of_the_client_is_an_object_of_our_own() -> None:
    assert _states()["io.istio.source_ip"]["factory_key"] == "envoy.network.ip"


@pytest.mark.refutes("WC-17")
def test_no_header_decides_the_address_of_the_client() -> None:
    assert _manager()["use_remote_address"] is False
    assert "REQ(" not in str(_states()["io.istio.source_ip"])
    assert "X-FORWARDED-FOR" not in str(_states()).upper()


@pytest.mark.proves("WC-18")
def test_connect_leads_inside() -> None:
    manager = _manager()
    assert manager["http2_protocol_options"]["allow_connect"] is True
    assert manager["upgrade_configs"] == [{"upgrade_type": "CONNECT"}]
    assert manager["rds"]["route_config_name"] == "connect_terminate"
    (host,) = _tunnel_hosts()
    (route,) = host["routes"]
    assert route["match"] == {"connect_matcher": {}}
    assert route["route"]["cluster"] == "main_internal"
    assert route["route"]["upgrade_configs"] == [{"upgrade_type": "CONNECT", "connect_config": {}}]
    # An Envoy counts to 15 seconds from the client's last byte where nothing is said.
    assert route["route"]["timeout"] == "0s"


@pytest.mark.refutes("WC-18")
def test_nothing_else_than_connect_has_a_route() -> None:
    routes = [
        route
        for host in _tunnel_hosts(a_served_service("web", SNIFFED))
        for route in host["routes"]
        if "connect_matcher" not in route["match"]
    ]
    assert routes == []


def _tunnel_hosts(*services: ServedService) -> list[dict[str, Any]]:
    hosts: list[dict[str, Any]] = envoy_json(encode_tunnel_routes(services, None))["virtual_hosts"]
    return hosts


@pytest.mark.proves("WC-8")
@pytest.mark.parametrize(
    ("families", "addresses"),
    [
        ({}, [ALL]),
        ({"has_ipv6": True}, [ALL, "::"]),
        ({"has_ipv4": False, "has_ipv6": True}, ["::"]),
        ({"listen_addresses": (bytes([127, 64, 0, 9]),)}, ["127.64.0.9"]),
    ],
)
def test_it_listens_on_the_families_of_its_pods(
    families: dict[str, Any], addresses: list[str]
) -> None:
    listener = _terminate(**families)
    more = [each["address"] for each in listener.get("additional_addresses", [])]
    sockets = [each["socket_address"] for each in (listener["address"], *more)]
    assert [each["address"] for each in sockets] == addresses
    assert {each["port_value"] for each in sockets} == {15008}


@pytest.mark.proves("WC-12")
def test_a_waypoint_without_services_has_a_chain_that_nothing_leads_to() -> None:
    listener = main_internal()
    assert [chain["name"] for chain in listener["filter_chains"]] == ["blackhole"]
    assert "blackhole" not in str(listener["filter_chain_matcher"])


@pytest.mark.refutes("WC-12")
def test_a_waypoint_with_a_service_has_the_chains_of_that_alone() -> None:
    listener = main_internal(a_served_service())
    assert [chain["name"] for chain in listener["filter_chains"]] == [
        "inbound-vip|80|http|web.shop.svc.cluster.local"
    ]


def test_the_inner_listener_knows_where_a_connection_was_meant_to_go() -> None:
    listener = main_internal(a_served_service())
    assert listener["internal_listener"] == {}
    assert [each["name"] for each in listener["listener_filters"]] == [ORIGINAL]


@pytest.mark.proves("WC-28", "WC-29", "WC-53")
def test_only_ports_that_say_nothing_are_waited_for() -> None:
    service = a_served_service("web", HTTP, SNIFFED, TCP)
    sniffed = main_sniffed(service)
    assert [each["name"] for each in sniffed["listener_filters"]] == [
        ORIGINAL,
        "envoy.filters.listener.http_inspector",
    ]
    assert sniffed["listener_filters_timeout"] == "5s"
    assert sniffed["continue_on_listener_filters_timeout"] is True
    assert _names(sniffed) == [f"inbound-vip|7000|http|{WEB}", f"inbound-vip|7000|tcp|{WEB}"]
    known = main_internal(service)
    assert [each["name"] for each in known["listener_filters"]] == [ORIGINAL]
    assert _names(known) == [f"inbound-vip|80|http|{WEB}", f"inbound-vip|9000|tcp|{WEB}"]


@pytest.mark.refutes("WC-28")
def test_known_ports_alone_are_led_to_nobody_who_waits() -> None:
    listener = main_internal(a_served_service("web", TCP))
    assert len(listener["listener_filters"]) == 1
    assert main_sniffed(a_served_service("web", TCP))["filter_chains"][0]["name"] == "blackhole"


@pytest.mark.proves("WC-29")
def test_workloads_reached_by_address_are_not_waited_for_where_bytes_are_known() -> None:
    listener = main_internal(a_served_service("web", TCP), direct=DIRECT)
    assert _names(listener) == [f"inbound-vip|9000|tcp|{WEB}", "direct-tcp"]


@pytest.mark.refutes("WC-29")
def test_workloads_reached_by_address_are_waited_for_on_other_ports() -> None:
    for services in ((), (a_served_service("web", SNIFFED._replace(number=9000), TCP),)):
        names = _names(main_internal(*services, direct=DIRECT))
        assert "direct-tcp" not in names
    assert _names(main_sniffed(direct=DIRECT)) == ["direct-http", "direct-tcp"]


@pytest.mark.proves("WC-54")
def test_a_listener_is_the_same_but_for_its_chains_whatever_is_served() -> None:
    some: list[tuple[ServedService, ...]] = [
        (),
        (a_served_service("web", SNIFFED),),
        (a_served_service("web", HTTP, TCP), a_served_service("other", SNIFFED, address=None)),
    ]
    for build in (main_internal, main_sniffed):
        found = [
            _but_for_chains(build(*services, direct=direct))
            for services in some
            for direct in (None, DIRECT)
        ]
        assert all(each == found[0] for each in found)


@pytest.mark.refutes("WC-54")
def test_chains_and_what_leads_to_them_do_change() -> None:
    for build in (main_internal, main_sniffed):
        before, after = build(), build(a_served_service("web", HTTP, SNIFFED))
        assert before["filter_chains"] != after["filter_chains"]
        assert before["filter_chain_matcher"] != after["filter_chain_matcher"]


@pytest.mark.proves("HP-24")
def test_those_whom_a_gate_refuses_are_refused_where_their_chain_is_found() -> None:
    service = a_served_service("web", TCP, SNIFFED)
    chains = encode_service_chains(service, OPEN_CHAIN)
    for shut, of_bytes, of_either in (("9000", True, False), ("7000", False, True)):
        gates = Gates(
            {WEB: tuple(CLOSED if str(p.number) == shut else OPEN for p in (TCP, SNIFFED))}
        )
        known = envoy_json(encode_main_internal([service], chains, None, gates))
        sniffed = envoy_json(encode_main_sniffed([service], chains, None, gates))
        assert ("blackhole" in _names(known)) is of_bytes
        assert ("blackhole" in str(known["filter_chain_matcher"])) is of_bytes
        assert ("blackhole" in _names(sniffed)) is of_either
        assert ("blackhole" in str(sniffed["filter_chain_matcher"])) is of_either


@pytest.mark.proves("HP-24")
def test_workloads_reached_by_address_refuse_at_both_places() -> None:
    service = a_served_service("web", TCP)
    chains = (*encode_service_chains(service, OPEN_CHAIN), *encode_direct_chains(OPEN_CHAIN))
    gates = Gates(open_gates(service).by_hostname, CLOSED)
    for encode in (encode_main_internal, encode_main_sniffed):
        listener = envoy_json(encode([service], chains, DIRECT, gates))
        assert "blackhole" in _names(listener)
        assert "blackhole" in str(listener["filter_chain_matcher"])
        assert "'direct-tcp'" not in str(listener["filter_chain_matcher"])


def test_hbone_starts_with_the_address_as_authority() -> None:
    listener = envoy_json(encode_connect_originate())
    (proxy,) = listener["filter_chains"][0]["filters"]
    assert proxy["typed_config"]["tunneling_config"] == {"hostname": "%DOWNSTREAM_LOCAL_ADDRESS%"}
    assert proxy["typed_config"]["cluster"] == "connect_originate"


def test_a_hostname_that_is_no_unicode_is_refused() -> None:
    service = a_served_service()
    odd = replace(service, service=service.service._replace(hostname="\ud800"))
    with pytest.raises(EncodeError):
        encode_service_chains(odd, OPEN_CHAIN)
    with pytest.raises(EncodeError):
        encode_main_internal([odd], (), None, open_gates(odd))
