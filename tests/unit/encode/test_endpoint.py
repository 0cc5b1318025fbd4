from typing import Any

import pytest

from controlplane.encode.document import envoy_json
from controlplane.encode.endpoint import encode_endpoints
from controlplane.encode.errors import EncodeError
from controlplane.model.waypoint_traffic import Endpoint, Layer
from controlplane.model.workload import Locality
from tests.support.waypoint_traffic import TCP, an_endpoint_at, some_endpoints


def _groups(*endpoints: Endpoint) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = envoy_json(
        encode_endpoints(some_endpoints(*endpoints), Layer.HTTP)
    ).get("endpoints", [])
    return found


def _only(endpoint: Endpoint) -> dict[str, Any]:
    ((found,),) = (group["lb_endpoints"] for group in _groups(endpoint))
    only: dict[str, Any] = found
    return only


@pytest.mark.proves("WC-20")
@pytest.mark.parametrize(
    ("address", "place"),
    [(b"\x0a\0\0\x01", "10.0.0.1:8080"), (b"\xfd" + b"\0" * 14 + b"\x01", "[fd00::1]:8080")],
)
def test_an_endpoint_behind_hbone_is_an_internal_address(address: bytes, place: str) -> None:
    found = _only(an_endpoint_at(address))
    assert found["endpoint"]["address"] == {
        "envoy_internal_address": {
            "server_listener_name": "connect_originate",
            "endpoint_id": place,
        }
    }
    assert found["metadata"] == {
        "filter_metadata": {"envoy.filters.listener.original_dst": {"local": place}}
    }


@pytest.mark.refutes("WC-20")
def test_an_ordinary_endpoint_is_an_ordinary_address() -> None:
    found = _only(an_endpoint_at(is_tunnelled=False))
    assert found == {
        "endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 8080}}}
    }


@pytest.mark.refutes("WC-22")
def test_a_healthy_endpoint_is_not_told_as_unhealthy() -> None:
    assert "health_status" not in _only(an_endpoint_at())


def test_health_and_weight_are_told() -> None:
    found = _only(an_endpoint_at(is_healthy=False, weight=7))
    assert found["health_status"] == "UNHEALTHY"
    assert found["load_balancing_weight"] == 7


@pytest.mark.proves("WC-23")
def test_weights_of_a_locality_fit() -> None:
    heaviest = 2**32 - 1
    (group,) = _groups(
        *(an_endpoint_at(bytes((10, 0, 0, number)), weight=heaviest) for number in range(3))
    )
    weights = [each["load_balancing_weight"] for each in group["lb_endpoints"]]
    assert sum(weights) <= heaviest
    assert len(set(weights)) == 1


@pytest.mark.refutes("WC-23")
def test_a_weight_of_one_is_left_out() -> None:
    assert "load_balancing_weight" not in _only(an_endpoint_at())


def test_endpoints_are_grouped_by_locality() -> None:
    here, there = Locality("eu", "eu-1", "rack"), Locality("eu", "eu-2")
    groups = _groups(
        an_endpoint_at(b"\x0a\0\0\x01", locality=here),
        an_endpoint_at(b"\x0a\0\0\x02", locality=here),
        an_endpoint_at(b"\x0a\0\0\x03", locality=there),
    )
    assert [(group["locality"], len(group["lb_endpoints"])) for group in groups] == [
        ({"region": "eu", "zone": "eu-1", "sub_zone": "rack"}, 2),
        ({"region": "eu", "zone": "eu-2"}, 1),
    ]


def test_a_cluster_without_endpoints_is_told_so() -> None:
    name = "inbound-vip|9000|tcp|web.shop.svc.cluster.local"
    resource = encode_endpoints(some_endpoints(port=TCP), Layer.TCP)
    assert resource.name == name
    assert envoy_json(resource)["cluster_name"] == name
    assert _groups() == []


def test_an_impossible_port_is_refused() -> None:
    with pytest.raises(EncodeError, match="port 70000"):
        _only(an_endpoint_at(port=70000))
