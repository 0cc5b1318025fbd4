"""Metrics of waypoints: what a chain is for comes in, the loggers that count its traffic go out.

Names and labels are those users know from istiod's proxies, as far as a stock Envoy has them; an
Envoy puts ``envoy_`` in front of the names. docs/waypoint-telemetry.md, docs/protocol/
waypoint-config.md WC-64.
"""

from collections.abc import Mapping
from typing import Any, Final

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.extensions.access_loggers.stats.v3 import stats_pb2

from controlplane.encode.access_log import CONNECTED, ENDED, Destination, ended_connection
from controlplane.encode.log_lines import DESTINATION, SOURCE
from controlplane.encode.typed import packed

# Deprecated since 1.40 for a message that 1.38 does not know.
PREFIX: Final = "istio"

_MILLISECONDS: Final = stats_pb2.Config.Histogram.Milliseconds
_BYTES: Final = stats_pb2.Config.Histogram.Bytes


def request_metrics(to: Destination) -> list[Any]:
    """Return the loggers of an HTTP chain: requests, how long they took and how big they were."""
    labels = {
        **_labels(to),
        "request_protocol": to.protocol,
        "response_code": "%RESPONSE_CODE%",
        "grpc_response_status": "%GRPC_STATUS_NUMBER%" if to.protocol == "grpc" else "",
        "response_flags": "%RESPONSE_FLAGS%",
    }
    return [
        _logger(
            counters=[_counter("requests_total", labels)],
            histograms=[
                _histogram("request_duration_milliseconds", labels, _MILLISECONDS, "%DURATION%"),
                _histogram("request_bytes", labels, _BYTES, "%BYTES_RECEIVED%"),
                _histogram("response_bytes", labels, _BYTES, "%BYTES_SENT%"),
            ],
        )
    ]


def connection_metrics(to: Destination) -> list[Any]:
    """Return the loggers of a chain of bytes: connections, and what went through them."""
    labels = {
        **_labels(to),
        "request_protocol": "tcp",
        "response_flags": "%RESPONSE_FLAGS%",
    }
    return [
        _logger(
            counters=[_counter("tcp_connections_opened_total", labels)],
            condition=ended_connection(CONNECTED),
        ),
        _logger(
            counters=[
                _counter("tcp_connections_closed_total", labels),
                _counter("tcp_received_bytes_total", labels, "%BYTES_RECEIVED%"),
                _counter("tcp_sent_bytes_total", labels, "%BYTES_SENT%"),
            ],
            condition=ended_connection(ENDED),
        ),
    ]


def _labels(to: Destination) -> dict[str, str]:
    return {
        "reporter": "waypoint",
        "source_principal": SOURCE,
        "destination_principal": DESTINATION,
        "destination_workload": "%UPSTREAM_METADATA(istio:workload)%",
        "destination_workload_namespace": "%UPSTREAM_METADATA(istio:namespace)%",
        "destination_service": to.service,
        "destination_service_name": to.name,
        "destination_service_namespace": to.namespace,
        "connection_security_policy": "mutual_tls",
    }


def _counter(name: str, labels: Mapping[str, str], value: str = "") -> Any:
    counter = stats_pb2.Config.Counter(stat=_stat(name, labels), value_format=value)
    if not value:
        counter.value_fixed.value = 1
    return counter


def _histogram(name: str, labels: Mapping[str, str], unit: Any, value: str) -> Any:
    return stats_pb2.Config.Histogram(stat=_stat(name, labels), unit=unit, value_format=value)


def _stat(name: str, labels: Mapping[str, str]) -> Any:
    tags = [{"name": label, "value_format": value} for label, value in labels.items() if value]
    return stats_pb2.Config.Stat(name=name, tags=tags)


def _logger(
    *, counters: list[Any], histograms: list[Any] | None = None, condition: Any = None
) -> Any:
    config = stats_pb2.Config(stat_prefix=PREFIX, counters=counters, histograms=histograms or [])
    return accesslog_pb2.AccessLog(
        name="envoy.access_loggers.stats", filter=condition, typed_config=packed(config)
    )
