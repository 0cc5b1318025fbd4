"""Signing requests: PEM text of strangers in, a checked public key and what else was asked out.

Only the public key of a request ever reaches a certificate. Everything else is read to refuse it:
rules CA-13 to CA-17 of docs/protocol/certificates.md, cheap checks before costly ones.
"""

import binascii
import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from controlplane.ca.errors import SigningRequestError
from controlplane.model.identity import Identity

MAXIMUM_LENGTH = 16_384

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_FRAME = re.compile(
    r"\s*-----BEGIN (?P<label>(?:NEW )?CERTIFICATE REQUEST)-----"
    r"(?P<body>[A-Za-z0-9+/=\s]+)"
    r"-----END (?P=label)-----\s*",
    re.ASCII,
)
_EXTENSION_REQUEST = x509.ObjectIdentifier("1.2.840.113549.1.9.14")
# Everything the reader raises for what it cannot read; not all of it is a ValueError.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}
_RSA_BITS = range(2048, 4097)
# Verifiers in wide use read exponents of 31 bits; below 65537 signatures are malleable.
_RSA_EXPONENTS = range(65537, 2**31)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningRequest:
    """A request that proved possession of an acceptable key.

    Digests are lower-case hexadecimal SHA-256: of the key (as SubjectPublicKeyInfo) and of the DER
    request. ``names`` are the subject alternative names it carries, ``is_bare`` says that it has no
    other extension and no subject beyond an organisation.
    """

    public_key: PublicKey
    key_type: str
    key_digest: str
    digest: str
    names: tuple[x509.GeneralName, ...]
    is_bare: bool

    def asks_exactly_for(self, identity: Identity) -> bool:
        """Return whether the only thing asked for is one URI name, that of ``identity``."""
        return self.is_bare and self.names == (x509.UniformResourceIdentifier(str(identity)),)

    def asks_otherwise_than(self, identity: Identity) -> bool:
        """Return whether names are asked for, and they are not just that of ``identity``."""
        return bool(self.names) and (self.names != (x509.UniformResourceIdentifier(str(identity)),))


def read_signing_request(text: str, *, forbidden_keys: AbstractSet[str]) -> SigningRequest:
    """Return the request that ``text`` is, one PEM block of at most 16384 characters.

    ``forbidden_keys`` are digests of public keys nobody else may hold: those of authorities.

    Raises:
        SigningRequestError: it is not one, or asks for what is never signed.
    """
    try:
        csr = x509.load_der_x509_csr(_body(text))
        public_key, key_type, key_digest = _key(csr)
        if key_digest in forbidden_keys:
            raise SigningRequestError("the key is an authority's", reason_code="authority-key")
        if not csr.is_signature_valid:
            raise SigningRequestError("the signature is not valid", reason_code="csr-signature")
        names, is_bare = _wishes(csr)
        return SigningRequest(
            public_key=public_key,
            key_type=key_type,
            key_digest=key_digest,
            digest=sha256(csr.public_bytes(Encoding.DER)).hexdigest(),
            names=names,
            is_bare=is_bare,
        )
    except _UNREADABLE:
        # What the reader says may quote the request.
        raise SigningRequestError("the CSR cannot be read", reason_code="csr-unreadable") from None


def key_digest_of(key: CertificatePublicKeyTypes) -> str:
    """Return the lower-case hexadecimal SHA-256 of a public key as SubjectPublicKeyInfo."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _body(text: str) -> bytes:
    if not 0 < len(text) <= MAXIMUM_LENGTH:
        raise SigningRequestError(
            f"the CSR is not 1 to {MAXIMUM_LENGTH} characters long", reason_code="csr-size"
        )
    frame = _FRAME.fullmatch(text)
    if frame is None:
        raise SigningRequestError(
            "the CSR is not one PEM certificate request", reason_code="csr-framing"
        )
    try:
        return binascii.a2b_base64("".join(frame["body"].split()), strict_mode=True)
    except binascii.Error:
        raise SigningRequestError(
            "the CSR is not one PEM certificate request", reason_code="csr-framing"
        ) from None


def _key(
    csr: x509.CertificateSigningRequest,
) -> tuple[PublicKey, str, str]:
    if not isinstance(csr.signature_hash_algorithm, _HASHES):
        raise SigningRequestError(
            "the signature uses another hash than SHA-256, SHA-384 or SHA-512",
            reason_code="csr-hash",
        )
    key = csr.public_key()
    match key:
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return key, _CURVES[key.curve.name], key_digest_of(key)
        case rsa.RSAPublicKey() if (
            key.key_size in _RSA_BITS and key.public_numbers().e in _RSA_EXPONENTS
        ):
            return key, f"RSA-{key.key_size}", key_digest_of(key)
    raise SigningRequestError(
        "the key is neither P-256, P-384 nor RSA of 2048 to 4096 bits with an exponent of 65537 "
        "or a little more",
        reason_code="key-type",
    )


def _wishes(csr: x509.CertificateSigningRequest) -> tuple[tuple[x509.GeneralName, ...], bool]:
    """Return the alternative names asked for, and whether nothing else is.

    Raises:
        SigningRequestError: an authority's certificate is asked for.
    """
    requests = [item for item in csr.attributes if item.oid == _EXTENSION_REQUEST]
    if len(requests) > 1:
        raise SigningRequestError("extensions are listed twice", reason_code="csr-unreadable")
    names: tuple[x509.GeneralName, ...] = ()
    is_bare = all(item.oid == NameOID.ORGANIZATION_NAME for item in csr.subject)
    for extension in csr.extensions:
        match extension.value:
            case x509.SubjectAlternativeName() as wanted:
                names = tuple(wanted)
                continue
            case x509.BasicConstraints(ca=True):
                raise SigningRequestError("it asks for an authority", reason_code="csr-authority")
            case x509.KeyUsage() as usage if usage.key_cert_sign or usage.crl_sign:
                raise SigningRequestError("it asks for an authority", reason_code="csr-authority")
        is_bare = False
    return names, is_bare
