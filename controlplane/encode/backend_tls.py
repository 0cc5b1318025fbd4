"""TLS that a waypoint speaks to endpoints themselves, inside HBONE or without it.

``mesh.backend_tls`` says what endpoints have to show, ``cluster`` puts the socket around the
connection. docs/protocol/backend-tls.md BT-10 to BT-12.
"""

from typing import Any, Final

from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2

from controlplane.encode.typed import transport_socket
from controlplane.model.backend_tls import BackendTls, CertificateName, NameKind

SYSTEM_AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
"""Where the images that a waypoint runs keep the authorities of the system."""


def backend_socket(tls: BackendTls) -> Any:
    """Return the transport socket that speaks TLS to endpoints that show what ``tls`` asks for.

    Raises ValueError where that is nothing: anybody could answer then.
    """
    if not tls.is_usable or not tls.names:
        raise ValueError(f"{tls.policy} does not say whom to trust")
    authorities = (
        {"inline_string": tls.authorities} if tls.authorities else {"filename": SYSTEM_AUTHORITIES}
    )
    context = tls_pb2.UpstreamTlsContext(
        sni=tls.server_name,
        common_tls_context={
            "tls_params": {"tls_minimum_protocol_version": common_pb2.TlsParameters.TLSv1_2},
            "validation_context": {
                "trusted_ca": authorities,
                "match_typed_subject_alt_names": [_matcher(name) for name in tls.names],
            },
        },
    )
    return transport_socket("tls", context)


def _matcher(name: CertificateName) -> Any:
    kind = "DNS" if name.kind is NameKind.HOSTNAME else "URI"
    return {"san_type": kind, "matcher": {"exact": name.value}}
