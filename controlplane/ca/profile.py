"""What a finished certificate contains: a profile and a key in, an unsigned certificate out.

Names are typed values from the start and are never joined or split (docs/protocol/certificates.md
CA-24 to CA-28).
"""

import re
from dataclasses import dataclass
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from controlplane.ca.csr import PublicKey
from controlplane.ca.ttl import Validity
from controlplane.model.identity import Identity

USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)

_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The names a certificate is for: an identity's, or those of a host that serves.

    Make one with ``for_workload`` or ``for_serving``.

    Raises:
        ValueError: both or neither are given, or something that is no host name.
    """

    identity: Identity | None = None
    host_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.identity is None) == (not self.host_names):
            raise ValueError("a certificate is for one identity or for host names")
        for name in self.host_names:
            if _HOST_NAME.fullmatch(name) is None:
                raise ValueError(f"not a host name: {name!r}")

    @classmethod
    def for_workload(cls, identity: Identity) -> Self:
        """Return the profile of workload certificates: one URI, nothing else."""
        return cls(identity=identity)

    @classmethod
    def for_serving(cls, host_names: tuple[str, ...]) -> Self:
        """Return the profile of our own serving certificate: DNS names, nothing else."""
        return cls(host_names=host_names)

    @property
    def names(self) -> tuple[x509.GeneralName, ...]:
        """The subject alternative names, all of them."""
        if self.identity is not None:
            return (x509.UniformResourceIdentifier(str(self.identity)),)
        return tuple(x509.DNSName(name) for name in self.host_names)


def key_usage_for(key: PublicKey) -> x509.KeyUsage:
    """Return what a leaf key may do: sign; RSA keys may also be encrypted to."""
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=isinstance(key, rsa.RSAPublicKey),
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def issuer_key_identifier(signer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return how certificates of ``signer`` point to its key."""
    try:
        found = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())  # type: ignore[arg-type] # authorities' keys are RSA or EC
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)


def unsigned_certificate(
    profile: Profile,
    public_key: PublicKey,
    validity: Validity,
    *,
    signer: x509.Certificate,
    serial: int,
) -> x509.CertificateBuilder:
    """Return the whole certificate but for its signature.

    Its subject is empty, so its names are critical: who reads it must read them.
    """
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(signer.subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(validity.not_before)
        .not_valid_after(validity.not_after)
        .add_extension(x509.SubjectAlternativeName(profile.names), critical=True)
        .add_extension(key_usage_for(public_key), critical=True)
        .add_extension(x509.ExtendedKeyUsage(USAGES), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(issuer_key_identifier(signer), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
