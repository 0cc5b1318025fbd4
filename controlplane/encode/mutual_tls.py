"""Mutual TLS as a waypoint speaks it on both sides: HBONE, with the certificates of the mesh.

Used by ``listener`` for what comes in and by ``cluster`` for what goes out.
docs/protocol/waypoint-config.md WC-14, WC-15.
"""

from typing import Any

from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2

from controlplane.encode.typed import ADS, transport_socket
from controlplane.encode.waypoint_names import IDENTITY_SECRET, ROOTS_SECRET
from controlplane.model.waypoint_traffic import WaypointFrame


def server_socket(frame: WaypointFrame) -> Any:
    """Return the transport socket that accepts clients of the mesh and nobody else."""
    context = tls_pb2.DownstreamTlsContext(
        require_client_certificate={"value": True},
        common_tls_context=_common(frame),
        # Of a session that goes on nobody looks at the certificate again: it may have expired.
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return transport_socket("tls", context)


def client_socket(frame: WaypointFrame) -> Any:
    """Return the transport socket that talks to servers of the mesh and nobody else."""
    return transport_socket("tls", tls_pb2.UpstreamTlsContext(common_tls_context=_common(frame)))


def _common(frame: WaypointFrame) -> Any:
    version = common_pb2.TlsParameters.TLSv1_3
    peers = common_pb2.CertificateValidationContext(
        match_typed_subject_alt_names=[
            # The slash is part of it: other domains may start with the name of this one.
            {"san_type": "URI", "matcher": {"prefix": f"spiffe://{domain}/"}}
            for domain in (frame.trust_domain, *frame.trust_domain_aliases)
        ]
    )
    return tls_pb2.CommonTlsContext(
        alpn_protocols=["h2"],
        tls_params={
            "tls_minimum_protocol_version": version,
            "tls_maximum_protocol_version": version,
        },
        tls_certificate_sds_secret_configs=[_secret(IDENTITY_SECRET)],
        combined_validation_context={
            "default_validation_context": peers,
            "validation_context_sds_secret_config": _secret(ROOTS_SECRET),
        },
    )


def _secret(name: str) -> Any:
    return secret_pb2.SdsSecretConfig(name=name, sds_config=ADS)
