"""An authority somebody gives us: PEM texts in, a signer that was looked over out.

Every fault names the file it is in (docs/protocol/authorities.md AT-40 to AT-43). Where the texts
come from is up to ``plugged`` and ``istio_secret``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from controlplane.ca.authority import AuthorityKey, identifier_of, key_type_of, pem_of
from controlplane.ca.errors import AuthoritySourceError, GivenAuthorityError
from controlplane.ca.signer import SignerSnapshot
from controlplane.ca.signing import try_out


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFiles:
    """PEM texts by file name, and which name plays which part.

    ``chain`` and ``revocations`` are "" where there is no such file. ``place`` is the folder or
    file they come from.
    """

    place: str
    texts: Mapping[str, bytes] = field(repr=False)
    certificate: str
    key: str
    roots: str
    chain: str = ""
    revocations: str = ""

    def named(self, name: str) -> str:
        """Return how a fault names the file."""
        return f"{self.place}/{name}"


def signer_of(
    files: GivenFiles, *, trust_domain: str, generation: int, now: datetime
) -> SignerSnapshot:
    """Return what signs with the given authority.

    Raises:
        GivenAuthorityError: something does not fit; the text names the file.
    """
    own = _certificates(files, files.certificate)
    certificate = own[0]
    key = _key(files)
    if key.public_key() != certificate.public_key():
        raise GivenAuthorityError(
            f"the key in {files.named(files.key)} does not belong to the certificate in "
            f"{files.named(files.certificate)}"
        )
    _require_authority(certificate, files.named(files.certificate))
    roots = _certificates(files, files.roots)
    for root in roots:
        _require_authority(root, files.named(files.roots))
    between = [*own[1:], *(_certificates(files, files.chain) if files.chain else ())]
    path = _path(certificate, between, roots, files)
    for link in path:
        _require_authority(link, files.named(files.chain or files.certificate))
        if not link.not_valid_before_utc <= now < link.not_valid_after_utc:
            raise GivenAuthorityError(
                f"{_subject(link)} in {files.place} is valid from {link.not_valid_before_utc} to "
                f"{link.not_valid_after_utc} only"
            )
    if files.revocations:
        _require_revocations(files, path[:-1])
    snapshot = SignerSnapshot(
        certificate=certificate,
        key=key,
        chain=tuple(pem_of(link) for link in path[:-1]),
        bundle="".join(pem_of(root) for root in roots),
        generation=generation,
        trust_domain=trust_domain,
        not_after=min(link.not_valid_after_utc for link in path),
        authority_id=identifier_of(certificate),
    )
    try:
        try_out(snapshot, key, above=tuple(path[1:]), now=now)
    except AuthoritySourceError as error:
        raise GivenAuthorityError(f"{files.named(files.certificate)}: {error}") from None
    return snapshot


def _certificates(files: GivenFiles, name: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(files.texts[name])
    except (ValueError, UnsupportedAlgorithm):
        raise GivenAuthorityError(f"{files.named(name)} holds no PEM certificates") from None


def _key(files: GivenFiles) -> AuthorityKey:
    try:
        key = load_pem_private_key(files.texts[files.key], password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # From None: the cause may quote the file.
        raise GivenAuthorityError(
            f"{files.named(files.key)} holds no unencrypted PEM private key"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) or not key_type_of(key):
        raise GivenAuthorityError(
            f"the key in {files.named(files.key)} is neither P-256, P-384 nor RSA of 2048, 3072 or "
            "4096 bits"
        )
    return key


def _require_authority(certificate: x509.Certificate, where: str) -> None:
    """Raise unless ``certificate`` may sign others."""
    try:
        extensions = certificate.extensions
        is_authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        try:
            may_sign = extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        except x509.ExtensionNotFound:
            may_sign = True
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        is_authority = may_sign = False
    if not (is_authority and may_sign):
        raise GivenAuthorityError(
            f"{_subject(certificate)} in {where} is no authority: it may not sign certificates"
        )


def _path(
    certificate: x509.Certificate,
    between: list[x509.Certificate],
    roots: list[x509.Certificate],
    files: GivenFiles,
) -> list[x509.Certificate]:
    """Return the certificates from the signing one up to a root, both included."""
    path = [certificate]
    while path[-1] not in roots:
        above = next(
            (each for each in (*roots, *between) if each not in path and _issued(path[-1], each)),
            None,
        )
        if above is None:
            raise GivenAuthorityError(
                f"{_subject(path[-1])} does not lead to a root in {files.named(files.roots)}"
            )
        path.append(above)
    return path


def _issued(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    try:
        lower.verify_directly_issued_by(upper)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _require_revocations(files: GivenFiles, issuers: list[x509.Certificate]) -> None:
    """Raise unless every authority below the root has a revocation list of its own."""
    where = files.named(files.revocations)
    marker = b"-----BEGIN X509 CRL-----"
    blocks = [marker + part for part in files.texts[files.revocations].split(marker)[1:]]
    try:
        lists = [x509.load_pem_x509_crl(block) for block in blocks]
        for issuer in issuers:
            if not any(
                each.is_signature_valid(issuer.public_key())  # type: ignore[arg-type] # RSA or EC
                for each in lists
                if each.issuer == issuer.subject
            ):
                raise GivenAuthorityError(f"{where} has no revocation list of {_subject(issuer)}")
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise GivenAuthorityError(f"{where} holds no PEM revocation lists") from None


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"certificate {certificate.serial_number:x}"
