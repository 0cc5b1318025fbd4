"""What a waypoint's log lines say where the mesh configuration leaves it to us.

Lines of text start with what istiod's proxies write, in the same order; who talks to whom follows.
Members of JSON lines have the names they have there. docs/protocol/waypoint-config.md WC-60.
"""

from collections.abc import Mapping
from typing import Final

from controlplane.encode.waypoint_names import PEER_PRINCIPAL

SOURCE: Final = f"%FILTER_STATE({PEER_PRINCIPAL}:PLAIN)%"
DESTINATION: Final = "%UPSTREAM_METADATA(istio:principal)%"

_SERVICE: Final = "destination_service"
_PORT: Final = "destination_port"

REQUEST: Final[Mapping[str, str]] = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
    "source_principal": SOURCE,
    "destination_principal": DESTINATION,
}
"""A request or a connection; a service adds its name and its port."""

TUNNEL: Final[Mapping[str, str]] = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "duration": "%DURATION%",
    "authority": "%REQ(:AUTHORITY)%",
    "downstream_remote_address": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "source_principal": "%DOWNSTREAM_PEER_URI_SAN%",
}
"""A CONNECT of a client that was refused."""

ONWARD: Final[Mapping[str, str]] = {
    "start_time": "%START_TIME%",
    "response_flags": "%RESPONSE_FLAGS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "duration": "%DURATION%",
    "upstream_host": "%UPSTREAM_HOST%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
}
"""A tunnel to an endpoint that could not be made."""

_REQUEST_TEXT: Final = (
    '[{start_time}] "{method} {path} {protocol}" {response_code} {response_flags}'
    " {response_code_details} {connection_termination_details}"
    ' "{upstream_transport_failure_reason}" {bytes_received} {bytes_sent} {duration}'
    ' {upstream_service_time} "{x_forwarded_for}" "{user_agent}" "{request_id}" "{authority}"'
    ' "{upstream_host}" {upstream_cluster} {upstream_local_address} {downstream_local_address}'
    " {downstream_remote_address} {requested_server_name} {route_name}"
    ' "{source_principal}" "{destination_principal}"'
)
_TUNNEL_TEXT: Final = (
    '[{start_time}] "{method} {authority} {protocol}" {response_code} {response_flags}'
    ' {response_code_details} {duration} {downstream_remote_address} "{source_principal}"'
)
_ONWARD_TEXT: Final = (
    '[{start_time}] "HBONE {downstream_local_address}" {response_flags}'
    ' "{upstream_transport_failure_reason}" {duration} "{upstream_host}"'
)
REQUEST_TEXT: Final = _REQUEST_TEXT.format_map(REQUEST)
TUNNEL_TEXT: Final = _TUNNEL_TEXT.format_map(TUNNEL) + "\n"
ONWARD_TEXT: Final = _ONWARD_TEXT.format_map(ONWARD) + "\n"


def request_text(service: str, port: str) -> str:
    """Return the format of a line of text about ``service``; both are formats themselves."""
    return f"{REQUEST_TEXT} {service}:{port}\n"


def request_members(service: str, port: str) -> dict[str, str]:
    """Return the members of a JSON line about ``service``; both are formats themselves."""
    return {**REQUEST, _SERVICE: service, _PORT: port}
