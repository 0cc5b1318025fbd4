"""What a waypoint's Envoy is started with."""

import json
from dataclasses import replace
from typing import Any

import pytest

from controlplane.encode.bootstrap import (
    BOOTSTRAP_FILE,
    ROOT_FILE,
    TOKEN_FILE,
    Bootstrap,
    bootstrap_files,
)
from controlplane.model.names import Name

BOOTSTRAP = Bootstrap(
    gateway=Name("shop", "waypoint"),
    workload="waypoint",
    service_account="waypoint",
    discovery_host="istiod.istio-system.svc",
    cluster_id="Kubernetes",
    network="east",
)
HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def files_of(bootstrap: Bootstrap = BOOTSTRAP) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in bootstrap_files(bootstrap).items()}


def document_of(bootstrap: Bootstrap = BOOTSTRAP) -> dict[str, Any]:
    found: dict[str, Any] = files_of(bootstrap)[BOOTSTRAP_FILE]
    return found


def discovery_cluster(document: dict[str, Any]) -> dict[str, Any]:
    clusters = {cluster["name"]: cluster for cluster in document["static_resources"]["clusters"]}
    found: dict[str, Any] = clusters["xds-grpc"]
    return found


def validation_of(document: dict[str, Any]) -> dict[str, Any]:
    context = discovery_cluster(document)["transport_socket"]["typed_config"]
    found: dict[str, Any] = context["common_tls_context"]["combined_validation_context"]
    return found


def injector_of(document: dict[str, Any]) -> dict[str, Any]:
    options = discovery_cluster(document)["typed_extension_protocol_options"][HTTP]
    found: dict[str, Any] = options["http_filters"][0]["typed_config"]
    return found


@pytest.mark.proves("WO-41")
def test_discovery_is_one_delta_stream_over_tls() -> None:
    document = document_of()
    source = document["dynamic_resources"]["ads_config"]
    assert source["api_type"] == "DELTA_GRPC"
    service = source["grpc_services"][0]["envoy_grpc"]
    assert service["cluster_name"] == "xds-grpc"
    waits = {"base_interval": "0.5s", "max_interval": "5s"}
    assert service["retry_policy"] == {"retry_back_off": waits}
    cluster = discovery_cluster(document)
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    assert address["socket_address"] == {"address": "istiod.istio-system.svc", "port_value": 15012}
    names = validation_of(document)["default_validation_context"]["match_typed_subject_alt_names"]
    assert names == [{"san_type": "DNS", "matcher": {"exact": "istiod.istio-system.svc"}}]
    root = files_of()[ROOT_FILE]["resources"][0]["validation_context"]["trusted_ca"]
    assert root == {"filename": "/var/run/secrets/istio/root-cert.pem"}


@pytest.mark.refutes("WO-41")
def test_another_control_plane_is_not_the_one_that_is_verified() -> None:
    document = document_of(replace(BOOTSTRAP, discovery_host="istiod-canary.mesh.svc"))
    assert "istiod.istio-system.svc" not in json.dumps(document)
    assert discovery_cluster(document)["transport_socket"]["typed_config"]["sni"] == (
        "istiod-canary.mesh.svc"
    )


@pytest.mark.proves("WO-42")
def test_the_token_and_the_cluster_go_with_every_request() -> None:
    document = document_of()
    injector = injector_of(document)
    generic = injector["credential"]["typed_config"]
    assert injector["overwrite"] is True
    assert (generic["header"], generic["header_value_prefix"]) == ("authorization", "Bearer ")
    secret = files_of()[TOKEN_FILE]["resources"][0]
    assert secret["name"] == generic["credential"]["name"]
    token = "/var/run/secrets/tokens/istio-token"
    assert secret["generic_secret"]["secret"] == {"filename": token}
    service = document["dynamic_resources"]["ads_config"]["grpc_services"][0]
    assert service["initial_metadata"] == [{"key": "clusterid", "value": "Kubernetes"}]


@pytest.mark.refutes("WO-42")
def test_without_a_cluster_id_none_is_sent() -> None:
    document = document_of(replace(BOOTSTRAP, cluster_id="", network=""))
    assert "initial_metadata" not in document["dynamic_resources"]["ads_config"]["grpc_services"][0]
    assert not document["node"]["metadata"].keys() & {"CLUSTER_ID", "NETWORK"}


@pytest.mark.proves("WO-43")
def test_secrets_are_watched_by_their_directory() -> None:
    document = document_of()
    token = injector_of(document)["credential"]["typed_config"]["credential"]["sds_config"]
    assert token["path_config_source"] == {
        "path": "/etc/waypoint/token-secret.json",
        "watched_directory": {"path": "/var/run/secrets/tokens"},
    }
    root = validation_of(document)["validation_context_sds_secret_config"]["sds_config"]
    assert root["path_config_source"] == {
        "path": "/etc/waypoint/root-secret.json",
        "watched_directory": {"path": "/var/run/secrets/istio"},
    }


@pytest.mark.refutes("WO-43")
def test_no_secret_is_read_once_only() -> None:
    """A file named in the bootstrap itself is read at start and never again."""
    text = bootstrap_files(BOOTSTRAP)[BOOTSTRAP_FILE]
    assert "root-cert.pem" not in text
    assert "istio-token" not in text
    assert "filename" not in text


@pytest.mark.proves("WO-44")
def test_the_first_fetch_has_no_time_limit() -> None:
    resources = document_of()["dynamic_resources"]
    for source in (resources["lds_config"], resources["cds_config"]):
        assert source["ads"] == {}
        assert source["initial_fetch_timeout"] == "0s"


@pytest.mark.refutes("WO-44")
def test_nothing_of_the_mesh_is_there_from_the_start() -> None:
    resources = document_of()["static_resources"]
    assert [listener["name"] for listener in resources["listeners"]] == ["status", "metrics"]
    assert [cluster["name"] for cluster in resources["clusters"]] == ["admin", "xds-grpc"]


def routes_by_port() -> dict[int, list[dict[str, Any]]]:
    listeners = document_of()["static_resources"]["listeners"]
    return {
        listener["address"]["socket_address"]["port_value"]: listener["filter_chains"][0][
            "filters"
        ][0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
        for listener in listeners
    }


@pytest.mark.proves("WO-45")
def test_health_and_metrics_are_served() -> None:
    routes = routes_by_port()
    assert routes[15021][0]["match"]["path"] == "/healthz/ready"
    assert routes[15021][0]["route"] == {"cluster": "admin", "prefix_rewrite": "/ready"}
    assert routes[15020][0]["match"]["path"] == "/stats/prometheus"


@pytest.mark.refutes("WO-45")
def test_nothing_else_of_the_administration_port_is() -> None:
    admin = document_of()["admin"]["address"]["socket_address"]
    assert admin == {"address": "127.0.0.1", "port_value": 15000}
    is_get = {"name": ":method", "string_match": {"exact": "GET"}}
    for routes in routes_by_port().values():
        assert [set(route["match"]) for route in routes] == [{"path", "headers"}]
        assert routes[0]["match"]["headers"] == [is_get]


@pytest.mark.proves("WO-46")
def test_health_and_metrics_answer_under_load() -> None:
    for listener in document_of()["static_resources"]["listeners"]:
        assert listener["ignore_global_conn_limit"] is True
        assert listener["bypass_overload_manager"] is True


@pytest.mark.refutes("WO-46")
def test_everybody_else_is_limited() -> None:
    monitor = document_of()["overload_manager"]["resource_monitors"][0]
    assert monitor["typed_config"]["max_active_downstream_connections"] == 50_000


@pytest.mark.proves("WO-47")
def test_equal_input_gives_equal_text() -> None:
    assert bootstrap_files(BOOTSTRAP) == bootstrap_files(replace(BOOTSTRAP))
    assert set(document_of()["node"]) == {"metadata"}


@pytest.mark.refutes("WO-47")
def test_other_input_gives_other_text() -> None:
    other = replace(BOOTSTRAP, gateway=Name("shop", "other"))
    assert bootstrap_files(other) != bootstrap_files(BOOTSTRAP)


def test_dual_stack_is_one_listener_for_both_families() -> None:
    listeners = document_of(replace(BOOTSTRAP, listen_address="::"))["static_resources"][
        "listeners"
    ]
    assert listeners[0]["address"]["socket_address"] == {
        "address": "::",
        "port_value": 15021,
        "ipv4_compat": True,
    }
