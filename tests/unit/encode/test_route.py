from typing import Any

import pytest

from controlplane.encode.document import envoy_json
from controlplane.encode.errors import EncodeError
from controlplane.encode.filter_chain import encode_direct_chains, encode_service_chains
from controlplane.encode.override import encode_overrides
from controlplane.encode.route import encode_direct_routes, encode_service_routes
from controlplane.model.names import ServiceName
from tests.support.waypoint_traffic import HTTP, OPEN_CHAIN, SNIFFED, TCP, a_served_service
from tests.unit.encode.test_listener import main_internal

NAME = "inbound-vip|80|http|web.shop.svc.cluster.local"
OPEN = encode_overrides(())
POLICIES = ["rbac-custom", "rbac-audit", "rbac-deny", "rbac-allow"]


def _virtual_host() -> dict[str, Any]:
    configuration = envoy_json(encode_service_routes(a_served_service(), HTTP, OPEN))
    assert configuration["name"] == NAME
    (host,) = configuration["virtual_hosts"]
    found: dict[str, Any] = host
    return found


def _chains() -> dict[str, list[dict[str, Any]]]:
    listener = main_internal(a_served_service("web", HTTP, TCP))
    return {chain["name"]: chain["filters"] for chain in listener["filter_chains"]}


def _manager() -> dict[str, Any]:
    manager: dict[str, Any] = _chains()[NAME][0]["typed_config"]
    return manager


@pytest.mark.proves("WC-30")
def test_a_chain_has_the_places_of_all_policies_and_denies_by_itself() -> None:
    filters = _manager()["http_filters"]
    names = [each["name"] for each in filters]
    ends = ["cors", "stateful_session", "router"]
    assert names == [*POLICIES, *(f"envoy.filters.http.{name}" for name in ends)]
    last = filters[3]["typed_config"]
    assert last["rules"] == {}, "ALLOW without a policy: everything is denied"


@pytest.mark.refutes("WC-30")
def test_the_other_places_deny_nothing_by_themselves() -> None:
    for each in _manager()["http_filters"][:3]:
        assert list(each["typed_config"]) == ["@type"]
    assert [
        each["name"] for each in _chains()["inbound-vip|9000|tcp|web.shop.svc.cluster.local"]
    ] == ["envoy.filters.network.tcp_proxy"]


@pytest.mark.proves("WC-31")
def test_a_service_without_policies_says_so() -> None:
    overrides = _virtual_host()["typed_per_filter_config"]
    assert list(overrides) == ["rbac-allow"]
    assert list(overrides["rbac-allow"]) == ["@type"]
    assert _manager()["rds"]["route_config_name"] == NAME


@pytest.mark.refutes("WC-31")
def test_a_chain_carries_no_routes_and_opens_nothing() -> None:
    manager = _manager()
    assert "route_config" not in manager
    assert "typed_per_filter_config" not in str(manager)


@pytest.mark.proves("WC-32")
def test_paths_are_normalised_and_upgrades_pass() -> None:
    manager = _manager()
    assert manager["normalize_path"] is True
    assert manager["upgrade_configs"] == [{"upgrade_type": "websocket"}]
    assert manager["stream_idle_timeout"] == "0s"


@pytest.mark.refutes("WC-32")
def test_the_word_of_clients_is_not_taken() -> None:
    manager = _manager()
    assert manager["use_remote_address"] is False
    assert "xff_num_trusted_hops" not in manager
    assert "forward_client_cert_details" not in manager, "client certificates are not forwarded"


@pytest.mark.proves("WC-33")
def test_everything_goes_to_the_service() -> None:
    route = _virtual_host()["routes"][0]
    assert route["match"] == {"prefix": "/"}
    action = route["route"]
    assert action["cluster"] == NAME
    assert action["timeout"] == "0s"
    retries = action["retry_policy"]
    assert (retries["num_retries"], retries["host_selection_retry_max_attempts"]) == (2, "5")
    assert retries["retry_on"].split(",") == [
        "connect-failure",
        "refused-stream",
        "unavailable",
        "cancelled",
        "retriable-status-codes",
    ]


@pytest.mark.refutes("WC-33")
def test_answers_are_not_asked_for_again() -> None:
    retries = _virtual_host()["routes"][0]["route"]["retry_policy"]
    assert "5xx" not in retries["retry_on"]
    assert "retriable_status_codes" not in retries


@pytest.mark.proves("WC-34")
def test_a_virtual_host_ends_in_not_found() -> None:
    last = _virtual_host()["routes"][-1]
    assert last["match"] == {"prefix": ""}
    assert last["direct_response"] == {"status": 404}


@pytest.mark.refutes("WC-34")
def test_only_the_last_route_answers_by_itself() -> None:
    routes = _virtual_host()["routes"]
    assert ["direct_response" in route for route in routes] == [False, True]


@pytest.mark.proves("WC-11")
def test_chains_are_named_by_port_layer_and_hostname() -> None:
    names = [
        chain.name for chain in encode_service_chains(a_served_service("web", SNIFFED), OPEN_CHAIN)
    ]
    assert names == [
        "inbound-vip|7000|http|web.shop.svc.cluster.local",
        "inbound-vip|7000|tcp|web.shop.svc.cluster.local",
    ]
    assert [chain.name for chain in encode_direct_chains(OPEN_CHAIN)] == [
        "direct-http",
        "direct-tcp",
    ]


@pytest.mark.refutes("WC-11")
def test_a_layer_that_a_port_does_not_have_has_no_name() -> None:
    assert len(encode_service_chains(a_served_service("web", HTTP), OPEN_CHAIN)) == 1
    assert len(encode_service_chains(a_served_service("web", TCP), OPEN_CHAIN)) == 1


def test_workloads_reached_by_address_go_where_they_were_sent() -> None:
    configuration = envoy_json(encode_direct_routes(OPEN))
    assert configuration["name"] == "direct-http"
    (host,) = configuration["virtual_hosts"]
    assert host["routes"][0]["route"]["cluster"] == "encap"
    assert list(host["typed_per_filter_config"]) == ["rbac-allow"]


def test_a_name_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(EncodeError):
        encode_service_routes(a_served_service(service=ServiceName("shop", "\ud800")), HTTP, OPEN)
