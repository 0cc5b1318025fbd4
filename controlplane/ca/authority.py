"""Making authorities: a kind of key and a lifetime in, a key and its certificate out.

Roots sign intermediates, intermediates sign leaves, and that is as deep as it goes
(docs/protocol/authorities.md AT-1 to AT-4). What becomes of them afterwards is decided in
``rotation``.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

CLOCK_SKEW = timedelta(minutes=2)

AuthorityKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class KeyType(StrEnum):
    """Kinds of keys an authority may have."""

    P256 = "P-256"
    P384 = "P-384"
    RSA_2048 = "RSA-2048"
    RSA_3072 = "RSA-3072"
    RSA_4096 = "RSA-4096"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate that may sign others, and its key."""

    certificate: x509.Certificate
    key: AuthorityKey = field(repr=False)

    @property
    def identifier(self) -> str:
        """The key identifier, lower-case hexadecimal."""
        return identifier_of(self.certificate)


def make_root(
    trust_domain: str, *, key_type: KeyType, now: datetime, lifetime: timedelta
) -> Authority:
    """Return a new root: it signed itself and may have one tier of authorities below it."""
    key = make_key(key_type)
    begins = now.replace(microsecond=0)
    return Authority(
        certificate=_certificate(
            trust_domain,
            key=key,
            issuer=None,
            not_before=begins - CLOCK_SKEW,
            not_after=begins + lifetime,
        ),
        key=key,
    )


def make_intermediate(
    root: Authority,
    trust_domain: str,
    *,
    key_type: KeyType,
    now: datetime,
    lifetime: timedelta,
) -> Authority:
    """Return a new authority below ``root`` that signs leaves only and ends no later than it."""
    key = make_key(key_type)
    begins = now.replace(microsecond=0)
    return Authority(
        certificate=_certificate(
            trust_domain,
            key=key,
            issuer=root,
            not_before=max(begins - CLOCK_SKEW, root.certificate.not_valid_before_utc),
            not_after=min(begins + lifetime, root.certificate.not_valid_after_utc),
        ),
        key=key,
    )


def make_key(key_type: KeyType) -> AuthorityKey:
    """Return a new key."""
    match key_type:
        case KeyType.P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyType.P384:
            return ec.generate_private_key(ec.SECP384R1())
    size = int(key_type.removeprefix("RSA-"))
    return rsa.generate_private_key(public_exponent=65537, key_size=size)


def key_type_of(key: object) -> KeyType | None:
    """Return the kind of a private or public key; None for one an authority may not have."""
    match key:
        case ec.EllipticCurvePrivateKey() | ec.EllipticCurvePublicKey():
            curves = {"secp256r1": KeyType.P256, "secp384r1": KeyType.P384}
            return curves.get(key.curve.name)
        case rsa.RSAPrivateKey() | rsa.RSAPublicKey():
            sizes = {2048: KeyType.RSA_2048, 3072: KeyType.RSA_3072, 4096: KeyType.RSA_4096}
            return sizes.get(key.key_size)
    return None


def signing_hash(key: object) -> hashes.SHA256 | hashes.SHA384:
    """Return the hash that signatures of ``key`` are made over."""
    return hashes.SHA384() if key_type_of(key) is KeyType.P384 else hashes.SHA256()


def identifier_of(certificate: x509.Certificate) -> str:
    """Return the key identifier that ``certificate`` states, or that its key has."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        found = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    return found.digest.hex()


def der_of(certificate: x509.Certificate) -> bytes:
    """Return the bytes of ``certificate``."""
    return certificate.public_bytes(Encoding.DER)


def pem_of(certificate: x509.Certificate) -> str:
    """Return ``certificate`` as PEM, ending with a line feed."""
    return certificate.public_bytes(Encoding.PEM).decode()


def _certificate(
    trust_domain: str,
    *,
    key: AuthorityKey,
    issuer: Authority | None,
    not_before: datetime,
    not_after: datetime,
) -> x509.Certificate:
    own_identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # A name of its own for every key: verifiers that look anchors up by name meet no namesakes.
    tier = "root" if issuer is None else "int"
    subject = x509.Name(
        [
            # Attributes of this kind hold at most 64 characters.
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(
                NameOID.COMMON_NAME, f"istiod-lite {tier} {own_identifier.digest.hex()[:8]}"
            ),
        ]
    )
    signer_key = key if issuer is None else issuer.key
    signer_identifier = x509.SubjectKeyIdentifier.from_public_key(signer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(
            x509.BasicConstraints(ca=True, path_length=1 if issuer is None else 0), critical=True
        )
        .add_extension(_USAGE, critical=True)
        .add_extension(own_identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer_identifier),
            critical=False,
        )
        .sign(signer_key, signing_hash(signer_key))
    )


_USAGE = x509.KeyUsage(
    digital_signature=False,
    key_encipherment=False,
    content_commitment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
