"""The last look: a finished certificate, read back from its bytes, against what it should be.

Nothing leaves that does not pass (docs/protocol/certificates.md CA-29). The look is written apart
from the builder on purpose: it repeats what the builder must have done.
"""

from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtensionOID

from controlplane.ca.csr import PublicKey, key_digest_of
from controlplane.ca.errors import FaultyCertificateError
from controlplane.ca.profile import USAGES, Profile, issuer_key_identifier, key_usage_for
from controlplane.ca.signer import SignerSnapshot

_CRITICAL = {
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME: True,
    ExtensionOID.KEY_USAGE: True,
    ExtensionOID.EXTENDED_KEY_USAGE: False,
    ExtensionOID.BASIC_CONSTRAINTS: True,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER: False,
}


def check(der: bytes, profile: Profile, public_key: PublicKey, snapshot: SignerSnapshot) -> None:
    """Return if ``der`` is exactly the certificate of ``profile`` for ``public_key``.

    Raises:
        FaultyCertificateError: it is not. The message names every fault.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        faults = sorted(_faults(certificate, profile, public_key, snapshot))
    except (ValueError, TypeError, x509.DuplicateExtension):
        faults = ["not readable"]
    if faults:
        raise FaultyCertificateError(
            f"a finished certificate is wrong: {', '.join(faults)}",
            reason_code="certificate-wrong",
        )


def _faults(
    certificate: x509.Certificate,
    profile: Profile,
    public_key: PublicKey,
    snapshot: SignerSnapshot,
) -> Iterator[str]:
    signer = snapshot.certificate
    if certificate.version is not x509.Version.v3:
        yield "version"
    if len(certificate.subject):
        yield "subject"
    if certificate.issuer != signer.subject:
        yield "issuer"
    if certificate.serial_number <= 0:
        yield "serial number"
    if key_digest_of(certificate.public_key()) != key_digest_of(public_key):
        yield "public key"
    if not (
        signer.not_valid_before_utc
        <= certificate.not_valid_before_utc
        < certificate.not_valid_after_utc
        <= min(snapshot.not_after, signer.not_valid_after_utc)
    ):
        yield "validity"
    try:
        certificate.verify_directly_issued_by(signer)
    except (InvalidSignature, ValueError, TypeError):
        yield "signature"
    yield from _extension_faults(certificate.extensions, profile, public_key, signer)


def _extension_faults(
    extensions: x509.Extensions,
    profile: Profile,
    public_key: PublicKey,
    signer: x509.Certificate,
) -> Iterator[str]:
    if {extension.oid: extension.critical for extension in extensions} != _CRITICAL:
        yield "set of extensions"
    expected = {
        "constraints": x509.BasicConstraints(ca=False, path_length=None),
        "key usage": key_usage_for(public_key),
        "extended key usage": x509.ExtendedKeyUsage(USAGES),
        "issuer key": issuer_key_identifier(signer),
        "own key": x509.SubjectKeyIdentifier.from_public_key(public_key),
    }
    found = [extension.value for extension in extensions]
    for what, value in expected.items():
        if value not in found:
            yield what
    names = [value for value in found if isinstance(value, x509.SubjectAlternativeName)]
    if len(names) != 1 or tuple(names[0]) != profile.names or not profile.names:
        yield "names"
