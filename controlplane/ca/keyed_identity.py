"""Keys we make ourselves, for those who cannot ask with a CSR: our own port and waypoints.

A key lives from here to the one answer it is made for (docs/decisions/0008-waypoint-keys.md).
"""

from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedIdentity:
    """A certificate with its key as PEM: leaf first, roots left out. The key is never shown."""

    chain: bytes
    key: bytes = field(repr=False)
    not_after: datetime
    authority_id: str


def new_key() -> tuple[bytes, str]:
    """Return a new P-256 key as PEM, and a CSR for it that names nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), request.decode()
