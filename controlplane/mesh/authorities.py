"""Certificates of authorities as users write them: text comes in, PEM that Envoy accepts goes out.

Used by ``backend_tls`` for the ConfigMaps that BackendTLSPolicies name.
docs/protocol/backend-tls.md BT-7.
"""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


def authorities_from_text(text: str) -> str:
    """Return the certificates in ``text``, each once and nothing else, or "" if it has none."""
    try:
        found = x509.load_pem_x509_certificates(text.encode())
        encoded = [each.public_bytes(Encoding.PEM).decode() for each in found]
    except (ValueError, UnicodeError, x509.InvalidVersion):
        return ""
    return "".join(dict.fromkeys(encoded))
