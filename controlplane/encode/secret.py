"""Secrets of waypoints: a certificate with its key, or the roots, come in, a secret goes out.

A secret is made for one stream and for the identity that stream authenticated as: it is not kept,
not logged and not shared. docs/protocol/waypoint-config.md WC-38.
"""

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from controlplane.encode.envelope import SECRET_TYPE, content_version, envelope
from controlplane.encode.resource import Resource
from controlplane.encode.typed import encoded
from controlplane.encode.waypoint_names import IDENTITY_SECRET, ROOTS_SECRET


def encode_identity(chain: bytes, key: bytes) -> Resource:
    """Return the secret ``default`` of a PEM certificate chain, leaf first, and its PEM key.

    The version is that of the chain: nothing that is shown or logged comes from the key.
    """
    message = secret_pb2.Secret(
        name=IDENTITY_SECRET,
        tls_certificate={
            "certificate_chain": {"inline_bytes": chain},
            "private_key": {"inline_bytes": key},
        },
    )
    version = content_version(chain)
    body = envelope(IDENTITY_SECRET, version, SECRET_TYPE, encoded(message))
    return Resource(IDENTITY_SECRET, version, body)


def encode_roots(bundle: bytes) -> Resource:
    """Return the secret ``ROOTCA`` of a PEM bundle."""
    message = secret_pb2.Secret(
        name=ROOTS_SECRET, validation_context={"trusted_ca": {"inline_bytes": bundle}}
    )
    content = encoded(message)
    version = content_version(content)
    return Resource(ROOTS_SECRET, version, envelope(ROOTS_SECRET, version, SECRET_TYPE, content))
