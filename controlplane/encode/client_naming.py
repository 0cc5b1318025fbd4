"""Telling applications who their client is: the header ``x-forwarded-client-cert``.

The filter replaces whatever a client wrote there itself. docs/protocol/waypoint-config.md WC-52.
"""

from typing import Final

from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2

from controlplane.encode.waypoint_names import OWN_PRINCIPAL, PEER_PRINCIPAL

_HEADER: Final = "x-forwarded-client-cert"
_VALUE: Final = (
    f"By=%FILTER_STATE({OWN_PRINCIPAL}:PLAIN)%;URI=%FILTER_STATE({PEER_PRINCIPAL}:PLAIN)%"
)


def encode_client_naming() -> header_mutation_pb2.HeaderMutation:
    """Return the filter that writes the header."""
    change = {
        "append": {
            "header": {"key": _HEADER, "value": _VALUE},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
    }
    return header_mutation_pb2.HeaderMutation(mutations={"request_mutations": [change]})
