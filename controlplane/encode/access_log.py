"""Access logs of waypoints: how the mesh logs and what a chain is for come in, loggers go out.

docs/protocol/waypoint-config.md WC-60 to WC-63.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import substitution_format_string_pb2
from envoy.data.accesslog.v3 import accesslog_pb2 as log_entry_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2
from google.protobuf import struct_pb2
from google.protobuf.message import Message

from controlplane.encode.log_lines import (
    ONWARD,
    ONWARD_TEXT,
    TUNNEL,
    TUNNEL_TEXT,
    request_members,
    request_text,
)
from controlplane.encode.typed import packed
from controlplane.model.access_log import AccessLog, LogOutput
from controlplane.model.waypoint_traffic import ServedPort, ServedService
from controlplane.model.workload import AppProtocol

_FAILED: Final = 400
_RUNTIME_KEY: Final = "istiod_lite.access_log"
_UNREACHED: Final = ("UF",)
_STREAMS: Final[Mapping[LogOutput, tuple[str, Any]]] = {
    LogOutput.STDOUT: ("stdout", stream_pb2.StdoutAccessLog),
    LogOutput.STDERR: ("stderr", stream_pb2.StderrAccessLog),
}
_CALL_FAILURES: Final = tuple(
    status
    for status in accesslog_pb2.GrpcStatusFilter.Status.keys()  # noqa: SIM118 - no mapping
    # An answer that is no gRPC counts as UNKNOWN.
    if status not in {"OK", "UNKNOWN"}
)
ENDED: Final = log_entry_pb2.TcpConnectionEnd
CONNECTED: Final = log_entry_pb2.TcpUpstreamConnected


class Destination(NamedTuple):
    """What the traffic of a chain is for; words in lines and labels, so they are formats."""

    service: str = "-"
    name: str = "-"
    namespace: str = "-"
    port: str = "%DOWNSTREAM_LOCAL_PORT%"
    protocol: str = "http"


def destination(service: ServedService, port: ServedPort) -> Destination:
    """Return what the chains of one port of a service are for."""
    is_call = port.protocol is AppProtocol.GRPC
    return Destination(
        service=_escaped(service.hostname),
        name=_escaped(service.owner.name),
        namespace=_escaped(service.service.namespace),
        port=str(port.number),
        protocol="grpc" if is_call else "http",
    )


def request_logs(log: AccessLog, to: Destination) -> list[Any]:
    """Return the loggers of an HTTP chain: a line for each request, or for each that failed."""
    return _loggers(log, _written(log, to), _failed_request() if log.only_failures else None)


def connection_logs(log: AccessLog, to: Destination) -> list[Any]:
    """Return the loggers of a chain of bytes: a line for each connection, when it has ended."""
    found = ended_connection()
    if log.only_failures:
        failed = accesslog_pb2.AccessLogFilter(or_filter={"filters": [_flagged(), _denied()]})
        found = accesslog_pb2.AccessLogFilter(and_filter={"filters": [found, failed]})
    return _loggers(log, _written(log, to), found)


def refused_tunnel_logs(log: AccessLog) -> list[Any]:
    """Return the loggers where HBONE ends: a line for each CONNECT that was refused."""
    form = _form(TUNNEL_TEXT, TUNNEL, is_json=log.is_json)
    return _loggers(log, form, _refused_status())


def lost_tunnel_logs(log: AccessLog) -> list[Any]:
    """Return the loggers where HBONE starts: a line for each endpoint that was not reached."""
    form = _form(ONWARD_TEXT, ONWARD, is_json=log.is_json)
    return _loggers(log, form, _flagged(_UNREACHED))


def ended_connection(kind: int = ENDED) -> Any:
    """Return the filter for one moment of a connection: its end, or ``CONNECTED``."""
    return accesslog_pb2.AccessLogFilter(log_type_filter={"types": [kind]})


def _written(log: AccessLog, to: Destination) -> Any:
    if log.json:
        return _form("", json.loads(log.json), is_json=True)
    if log.text:
        return _form(log.text, {}, is_json=False)
    return _form(
        request_text(to.service, to.port),
        request_members(to.service, to.port),
        is_json=log.is_json,
    )


def _form(text: str, members: Mapping[str, Any], *, is_json: bool) -> Any:
    if not is_json:
        return substitution_format_string_pb2.SubstitutionFormatString(
            text_format_source={"inline_string": text}
        )
    fields = struct_pb2.Struct()
    fields.update(members)
    return substitution_format_string_pb2.SubstitutionFormatString(json_format=fields)


def _loggers(log: AccessLog, form: Message, condition: Message | None) -> list[Any]:
    if log.output is LogOutput.NOWHERE:
        return []
    name, stream = _STREAMS[log.output]
    return [
        accesslog_pb2.AccessLog(
            name=f"envoy.access_loggers.{name}",
            filter=condition,
            typed_config=packed(stream(log_format=form)),
        )
    ]


def _failed_request() -> Any:
    """Return the filter for requests that were refused, failed, or were given up."""
    calls = accesslog_pb2.AccessLogFilter(grpc_status_filter={"statuses": _CALL_FAILURES})
    return accesslog_pb2.AccessLogFilter(
        or_filter={"filters": [_refused_status(), _flagged(), calls]}
    )


def _refused_status() -> Any:
    comparison = {
        "op": "GE",
        "value": {"default_value": _FAILED, "runtime_key": _RUNTIME_KEY},
    }
    return accesslog_pb2.AccessLogFilter(status_code_filter={"comparison": comparison})


def _flagged(flags: tuple[str, ...] = ()) -> Any:
    """Return the filter for what has one of the response flags, or any."""
    return accesslog_pb2.AccessLogFilter(response_flag_filter={"flags": flags})


def _denied() -> Any:
    """Return the filter for connections that a policy ended: they have no response flag."""
    expression = cel_pb2.ExpressionFilter(expression="has(connection.termination_details)")
    return accesslog_pb2.AccessLogFilter(
        extension_filter={
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": packed(expression),
        }
    )


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
