"""CSRs put together byte by byte: what no library would make."""

from base64 import b64encode

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")
RSA_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")
_RSA = bytes.fromhex("300d06092a864886f70d0101010500")


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return one DER element."""
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def integer(value: int) -> bytes:
    """Return a DER integer."""
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def rsa_key(bits: int, exponent: int = 65537) -> bytes:
    """Return the public key of an RSA modulus nobody can factor, which takes no time."""
    modulus = (1 << (bits - 1)) | 0xDEADBEEF
    return tlv(0x30, _RSA, tlv(3, b"\0", tlv(0x30, integer(modulus), integer(exponent))))


def a_body(public_key: bytes, *, attributes: bytes = b"") -> bytes:
    """Return what a CSR signs: version, empty subject, key, attributes."""
    return tlv(0x30, integer(0), tlv(0x30), public_key, tlv(0xA0, attributes))


def assemble(body: bytes, algorithm: bytes, signature: bytes) -> str:
    """Return the PEM of a CSR."""
    return pem(tlv(0x30, body, algorithm, tlv(3, b"\0", signature)))


def pem(der: bytes, label: str = "CERTIFICATE REQUEST") -> str:
    """Return one PEM block."""
    text = b64encode(der).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


def der_of(csr: str) -> bytes:
    """Return the bytes of a CSR."""
    return x509.load_pem_x509_csr(csr.encode()).public_bytes(Encoding.DER)


def signed_with_sha1(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a CSR with a valid SHA-1 signature."""
    body = a_body(spki(key))
    return assemble(body, ECDSA_SHA1, key.sign(body, ec.ECDSA(hashes.SHA1())))  # noqa: S303 - what is refused


def with_key(csr: str, key: ec.EllipticCurvePrivateKey, other: ec.EllipticCurvePrivateKey) -> str:
    """Return ``csr``, of ``key``, with the public key of ``other`` in its place."""
    return pem(der_of(csr).replace(spki(key), spki(other)))


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the DER public key of a private one."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
