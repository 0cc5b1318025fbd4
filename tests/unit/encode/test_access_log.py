"""Loggers of waypoints, as messages."""

import json
from typing import Any

import pytest
from google.protobuf import json_format

from controlplane.encode.access_log import (
    Destination,
    connection_logs,
    destination,
    lost_tunnel_logs,
    refused_tunnel_logs,
    request_logs,
)
from controlplane.encode.traffic_metrics import connection_metrics, request_metrics
from controlplane.model.access_log import AccessLog, LogOutput
from controlplane.model.names import Name, ObjectReference, ServiceName
from controlplane.model.waypoint_traffic import ServedPort, ServedService
from controlplane.model.workload import AppProtocol

EVERYTHING = AccessLog(only_failures=False)
WEB = Destination("web.shop.example", "web", "shop", "80")
LOGS = [request_logs, connection_logs]
ALL = [*LOGS, lambda log, _: refused_tunnel_logs(log), lambda log, _: lost_tunnel_logs(log)]


def document(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found


def one(loggers: list[Any]) -> dict[str, Any]:
    (logger,) = loggers
    return document(logger)


def a_destination(hostname: str, protocol: AppProtocol) -> Destination:
    port = ServedPort(8080, protocol)
    service = ServedService(
        waypoint=Name("shop", "waypoint"),
        service=ServiceName("shop", hostname),
        owner=ObjectReference("ServiceEntry", "shop", "entry"),
        ports=(port,),
    )
    return destination(service, port)


@pytest.mark.parametrize("logs", ALL)
def test_without_an_output_there_is_no_logger(logs: Any) -> None:
    assert logs(AccessLog(output=LogOutput.NOWHERE), WEB) == []


@pytest.mark.parametrize("logs", ALL)
def test_lines_go_to_the_output_that_is_named(logs: Any) -> None:
    for output, name in ((LogOutput.STDOUT, "stdout"), (LogOutput.STDERR, "stderr")):
        logger = one(logs(AccessLog(output=output), WEB))
        assert logger["name"] == f"envoy.access_loggers.{name}"
        kind = logger["typed_config"]["@type"].rpartition(".")[2]
        assert kind == f"{name.capitalize()}AccessLog"


@pytest.mark.parametrize("logs", LOGS)
def test_a_line_says_both_identities_and_the_service(logs: Any) -> None:
    text = one(logs(EVERYTHING, WEB))["typed_config"]["log_format"]["text_format_source"]
    line = text["inline_string"]
    assert line.startswith('[%START_TIME%] "%REQ(:METHOD)% ')
    assert line.endswith(' "%UPSTREAM_METADATA(istio:principal)%" web.shop.example:80\n')
    assert "%FILTER_STATE(io.istio.peer_principal:PLAIN)%" in line
    members = one(logs(AccessLog(is_json=True), WEB))["typed_config"]["log_format"]["json_format"]
    assert members["destination_service"] == "web.shop.example"
    assert members["destination_port"] == "80"
    assert {"source_principal", "destination_principal", "response_code_details"} <= members.keys()


@pytest.mark.parametrize("logs", LOGS)
def test_a_user_s_format_is_taken_as_it_is(logs: Any) -> None:
    found = one(logs(AccessLog(text="%PROTOCOL%\n"), WEB))["typed_config"]["log_format"]
    assert found == {"text_format_source": {"inline_string": "%PROTOCOL%\n"}}
    members = {"a": {"b": "%PROTOCOL%"}, "n": 1.0}
    log = AccessLog(is_json=True, json=json.dumps(members))
    assert one(logs(log, WEB))["typed_config"]["log_format"] == {"json_format": members}


@pytest.mark.parametrize("logs", [ALL[2], ALL[3]])
def test_a_user_s_format_is_not_that_of_tunnels(logs: Any) -> None:
    assert logs(AccessLog(text="%PROTOCOL%\n"), WEB) == logs(AccessLog(), WEB)


def test_requests_are_filtered_only_when_failures_are_asked_for() -> None:
    assert "filter" not in one(request_logs(EVERYTHING, WEB))
    filters = one(request_logs(AccessLog(), WEB))["filter"]["or_filter"]["filters"]
    status, flags, calls = filters
    assert status["status_code_filter"]["comparison"]["value"]["default_value"] == 400
    assert "response_flag_filter" in flags
    told = calls["grpc_status_filter"]["statuses"]
    assert "PERMISSION_DENIED" in told
    assert not {"OK", "UNKNOWN"} & set(told)


def test_connections_are_told_at_their_end_only() -> None:
    ended = {"log_type_filter": {"types": ["TcpConnectionEnd"]}}
    assert one(connection_logs(EVERYTHING, WEB))["filter"] == ended
    first, second = one(connection_logs(AccessLog(), WEB))["filter"]["and_filter"]["filters"]
    assert first == ended
    assert len(second["or_filter"]["filters"]) == 2


def test_a_hostname_is_no_format() -> None:
    assert a_destination("a%REQ(x)%.example", AppProtocol.TCP).service == "a%%REQ(x)%%.example"


@pytest.mark.parametrize(
    ("protocol", "word"),
    [(AppProtocol.GRPC, "grpc"), (AppProtocol.HTTP2, "http"), (AppProtocol.UNKNOWN, "http")],
)
def test_calls_are_counted_with_their_own_status(protocol: AppProtocol, word: str) -> None:
    to = a_destination("web.example", protocol)
    assert to == Destination("web.example", "entry", "shop", "8080", word)
    config = one(request_metrics(to))["typed_config"]
    stats = [each["stat"] for each in (*config["counters"], *config["histograms"])]
    assert [stat["name"] for stat in stats] == [
        "requests_total",
        "request_duration_milliseconds",
        "request_bytes",
        "response_bytes",
    ]
    for stat in stats:
        labels = {tag["name"]: tag["value_format"] for tag in stat["tags"]}
        assert labels["request_protocol"] == word
        assert ("grpc_response_status" in labels) == (word == "grpc")
        assert labels["reporter"] == "waypoint"


def test_connections_are_counted_when_they_open_and_when_they_end() -> None:
    opened, ended = map(document, connection_metrics(WEB))
    assert opened["filter"]["log_type_filter"]["types"] == ["TcpUpstreamConnected"]
    assert ended["filter"]["log_type_filter"]["types"] == ["TcpConnectionEnd"]
    names = [
        [counter["stat"]["name"] for counter in each["typed_config"]["counters"]]
        for each in (opened, ended)
    ]
    assert names == [
        ["tcp_connections_opened_total"],
        ["tcp_connections_closed_total", "tcp_received_bytes_total", "tcp_sent_bytes_total"],
    ]
