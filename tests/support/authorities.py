"""Throw-away authorities: roots, intermediates below them and the snapshots they sign with."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from controlplane.ca.signer import SignerSnapshot

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

KINDS = ("P-256", "P-384", "RSA-2048")


@cache
def a_key(kind: str = "P-256", number: int = 0) -> PrivateKey:
    """Return the same key for the same arguments: RSA keys are slow to make."""
    match kind:
        case "P-256":
            return ec.generate_private_key(ec.SECP256R1())
        case "P-384":
            return ec.generate_private_key(ec.SECP384R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("RSA-")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """One authority's certificate and key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()


def an_authority(
    name: str,
    *,
    key: PrivateKey,
    parent: Authority | None = None,
    path_length: int = 1,
    not_before: datetime,
    life: timedelta,
) -> Authority:
    """Return an authority below ``parent``, or a root."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    signer_key = key if parent is None else parent.key
    signer_identifier = x509.SubjectKeyIdentifier.from_public_key(signer_key.public_key())
    is_long = isinstance(signer_key, ec.EllipticCurvePrivateKey) and signer_key.key_size == 384
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if parent is None else parent.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_before + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                key_encipherment=False,
                content_commitment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer_identifier),
            critical=False,
        )
        .sign(signer_key, hashes.SHA384() if is_long else hashes.SHA256())
    )
    return Authority(certificate=certificate, key=key)


def a_root(
    kind: str = "P-256",
    *,
    number: int = 0,
    begins: datetime,
    life: timedelta = timedelta(days=3650),
) -> Authority:
    """Return a root; roots of different numbers have different keys and names."""
    return an_authority(
        f"root {number}", key=a_key(kind, 100 + number), not_before=begins, life=life
    )


def a_snapshot(
    kind: str = "P-256",
    *,
    now: datetime,
    roots: int = 1,
    has_intermediate: bool = True,
    life: timedelta = timedelta(days=14),
    trust_domain: str = "cluster.local",
    generation: int = 1,
) -> SignerSnapshot:
    """Return what signs under the first of ``roots`` roots, all keys of one kind."""
    begins = now.replace(microsecond=0) - timedelta(hours=1)
    trusted = [a_root(kind, number=number, begins=begins) for number in range(roots)]
    signer = trusted[0]
    if has_intermediate:
        signer = an_authority(
            f"intermediate {generation}",
            key=a_key(kind, 200 + generation),
            parent=trusted[0],
            path_length=0,
            not_before=begins,
            life=life,
        )
    identifier = x509.SubjectKeyIdentifier.from_public_key(signer.key.public_key())
    return SignerSnapshot(
        certificate=signer.certificate,
        key=signer.key,
        chain=(signer.pem,) if has_intermediate else (),
        bundle="".join(root.pem for root in trusted),
        generation=generation,
        trust_domain=trust_domain,
        not_after=signer.certificate.not_valid_after_utc,
        authority_id=identifier.digest.hex(),
    )


class FixedSigner:
    """A source of snapshots that says what it is told to."""

    def __init__(self, snapshot: SignerSnapshot | None, *, reason: str = "no authority") -> None:
        self.snapshot = snapshot
        self.reason = reason

    def current(self) -> SignerSnapshot | None:
        return self.snapshot

    def unfit_reason(self) -> str:
        return self.reason

    def narrow(self, seconds: float) -> None:
        assert self.snapshot is not None
        self.snapshot = replace(self.snapshot, leaf_ttl_cap=seconds)
