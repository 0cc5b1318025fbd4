from typing import Any

import pytest

from controlplane.encode.cluster import (
    encode_connect_originate_cluster,
    encode_encapsulate_cluster,
    encode_main_internal_cluster,
    encode_main_sniffed_cluster,
    encode_service_cluster,
)
from controlplane.encode.document import envoy_json
from controlplane.encode.errors import EncodeError
from controlplane.model.names import ServiceName
from controlplane.model.waypoint_traffic import Layer, Resolution, ServedPort, ServiceEndpoints
from controlplane.model.workload import AppProtocol
from tests.support.waypoint_traffic import (
    HTTP,
    SNIFFED,
    TCP,
    a_frame,
    a_served_service,
    an_endpoint_at,
    some_endpoints,
)

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UNLIMITED = 2**32 - 1


def _cluster(
    port: ServedPort = HTTP,
    layer: Layer = Layer.HTTP,
    looked_up: ServiceEndpoints | None = None,
    **service: Any,
) -> dict[str, Any]:
    return envoy_json(
        encode_service_cluster(a_served_service("web", port, **service), port, layer, looked_up)
    )


def _all() -> list[dict[str, Any]]:
    names = some_endpoints(an_endpoint_at("a.example.com", is_tunnelled=False))
    return [
        envoy_json(encode_main_internal_cluster()),
        envoy_json(encode_main_sniffed_cluster()),
        envoy_json(encode_encapsulate_cluster()),
        envoy_json(encode_connect_originate_cluster(a_frame())),
        _cluster(),
        _cluster(TCP, Layer.TCP),
        _cluster(looked_up=names),
        _cluster(resolution=Resolution.ORIGINAL_DESTINATION),
    ]


@pytest.mark.proves("WC-19")
def test_no_cluster_limits_anything() -> None:
    for cluster in _all():
        (limits,) = cluster["circuit_breakers"]["thresholds"]
        assert limits == {
            "max_connections": UNLIMITED,
            "max_pending_requests": UNLIMITED,
            "max_requests": UNLIMITED,
            "max_retries": UNLIMITED,
        }


@pytest.mark.refutes("WC-19")
def test_a_connection_that_does_not_come_about_is_limited_in_time() -> None:
    assert {cluster["connect_timeout"] for cluster in _all()} == {"10s"}


def test_the_endpoints_of_a_service_are_discovered_by_the_name_of_the_cluster() -> None:
    cluster = _cluster()
    assert cluster["name"] == "inbound-vip|80|http|web.shop.svc.cluster.local"
    assert cluster["type"] == "EDS"
    assert cluster["eds_cluster_config"] == {
        "eds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    }
    socket = cluster["transport_socket"]["typed_config"]
    assert socket["passthrough_metadata"] == [
        {"kind": {"host": {}}, "name": "envoy.filters.listener.original_dst"}
    ]
    assert socket["transport_socket"]["name"] == "envoy.transport_sockets.raw_buffer"


@pytest.mark.proves("WC-22")
def test_unready_endpoints_get_nothing_even_if_none_is_ready() -> None:
    assert _cluster()["common_lb_config"] == {"healthy_panic_threshold": {}}


@pytest.mark.proves("WC-37")
@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        (AppProtocol.HTTP11, {"explicit_http_config": {"http_protocol_options": {}}}),
        (AppProtocol.HTTP2, {"explicit_http_config": {"http2_protocol_options": {}}}),
        (AppProtocol.GRPC, {"explicit_http_config": {"http2_protocol_options": {}}}),
        (
            AppProtocol.UNKNOWN,
            {
                "use_downstream_protocol_config": {
                    "http_protocol_options": {},
                    "http2_protocol_options": {},
                }
            },
        ),
    ],
)
def test_endpoints_are_spoken_to_as_the_port_says(
    protocol: AppProtocol, options: dict[str, Any]
) -> None:
    found = _cluster(ServedPort(80, protocol))["typed_extension_protocol_options"][OPTIONS]
    assert {key: value for key, value in found.items() if key != "@type"} == options


@pytest.mark.refutes("WC-37")
def test_bytes_are_not_spoken_to_at_all() -> None:
    assert "typed_extension_protocol_options" not in _cluster(TCP, Layer.TCP)
    assert "typed_extension_protocol_options" not in _cluster(SNIFFED, Layer.TCP)


@pytest.mark.proves("WC-24")
def test_names_are_looked_up_by_the_cluster_that_holds_them() -> None:
    names = some_endpoints(
        an_endpoint_at(b"\x0a\0\0\x01"), an_endpoint_at("a.example.com", is_tunnelled=False)
    )
    cluster = _cluster(looked_up=names)
    assert cluster["type"] == "STRICT_DNS"
    assert "eds_cluster_config" not in cluster
    (group,) = cluster["load_assignment"]["endpoints"]
    sockets = [each["endpoint"]["address"]["socket_address"] for each in group["lb_endpoints"]]
    assert [each["address"] for each in sockets] == ["10.0.0.1", "a.example.com"]


@pytest.mark.proves("WC-24")
def test_a_service_without_resolution_goes_where_the_client_sent_it() -> None:
    cluster = _cluster(resolution=Resolution.ORIGINAL_DESTINATION)
    assert (cluster["type"], cluster["lb_policy"]) == ("ORIGINAL_DST", "CLUSTER_PROVIDED")
    assert "transport_socket" not in cluster


@pytest.mark.refutes("WC-24")
def test_addresses_are_not_looked_up() -> None:
    assert "STRICT_DNS" not in str(_cluster())
    assert "load_assignment" not in _cluster()


@pytest.mark.proves("WC-15")
def test_the_waypoint_shows_its_certificate_to_the_port_of_node_proxies() -> None:
    cluster = envoy_json(encode_connect_originate_cluster(a_frame(trust_domain="example.org")))
    assert cluster["original_dst_lb_config"] == {"upstream_port_override": 15008}
    common = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    assert common["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_3"
    assert common["tls_certificate_sds_secret_configs"][0]["name"] == "default"
    names = common["combined_validation_context"]["default_validation_context"]
    assert names["match_typed_subject_alt_names"] == [
        {"san_type": "URI", "matcher": {"prefix": "spiffe://example.org/"}}
    ]
    options = cluster["typed_extension_protocol_options"][OPTIONS]["explicit_http_config"]
    assert options == {"http2_protocol_options": {"allow_connect": True}}


@pytest.mark.refutes("WC-15")
def test_no_other_cluster_shows_a_certificate() -> None:
    for cluster in _all():
        has_one = "tls_certificate_sds_secret_configs" in str(cluster)
        assert has_one is (cluster["name"] == "connect_originate")


def test_a_name_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(EncodeError):
        _cluster(service=ServiceName("shop", "\ud800"))
    with pytest.raises(EncodeError):
        encode_connect_originate_cluster(a_frame(trust_domain="\ud800"))
