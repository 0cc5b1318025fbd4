"""An authority somebody gives us: its files in, what signs with it out, looked over.

Every fault names the file it is in (docs/protocol/plugged.md PL-9 to PL-17). Where the files come
from is up to ``plugged`` and ``istio_secret``; ``given_authority`` takes up new ones.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from controlplane.ca.authority import identifier_of, pem_of
from controlplane.ca.errors import AuthoritySourceError, GivenAuthorityError
from controlplane.ca.given_files import GivenFiles, certificates_in, key_in
from controlplane.ca.signer import SignerSnapshot
from controlplane.ca.signing import try_out

_STRONG = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_WEAKEST_RSA = 2048
_ANY_USE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
_MESH_USES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What signs, the root it hangs on, and all roots that are trusted with it."""

    snapshot: SignerSnapshot
    root: x509.Certificate
    roots: frozenset[x509.Certificate]


def given_in(files: GivenFiles, *, trust_domain: str, generation: int, now: datetime) -> Given:
    """Return the authority of ``files``.

    Raises:
        GivenAuthorityError: something does not fit; the text names the file.
    """
    own = certificates_in(files, files.certificate)
    certificate, where = own[0], files.named(files.certificate)
    key = key_in(files)
    if key.public_key() != certificate.public_key():
        raise GivenAuthorityError(
            f"the key in {files.named(files.key)} does not belong to the certificate in {where}"
        )
    roots = certificates_in(files, files.roots)
    for root in roots:
        _raise_fault(root, files.named(files.roots), _authority_fault(root, is_root=True))
    found = _Found()
    found.add(own, where)
    if files.chain:
        between = certificates_in(files, files.chain, may_be_blank=True)
        found.add(between, files.named(files.chain))
    found.add(roots, files.named(files.roots))
    path = _path(certificate, found.places, frozenset(roots), now)
    if path is None:
        raise GivenAuthorityError(
            f"{_subject(certificate)} in {where} does not lead to a self-signed root in "
            f"{files.named(files.roots)}"
        )
    for below, link in enumerate(path):
        _raise_fault(link, found.places[link], _link_fault(link, below, path, now))
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
        try_out(snapshot, key, above=path[1:], now=now)
    except AuthoritySourceError as error:
        raise GivenAuthorityError(f"{where}: {error}") from None
    return Given(snapshot=snapshot, root=path[-1], roots=frozenset(roots))


class _Found:
    """Certificates and the file each is in; the first file that has it counts."""

    def __init__(self) -> None:
        self.places: dict[x509.Certificate, str] = {}

    def add(self, certificates: Iterable[x509.Certificate], where: str) -> None:
        for certificate in certificates:
            self.places.setdefault(certificate, where)


def _path(
    certificate: x509.Certificate,
    candidates: Iterable[x509.Certificate],
    roots: frozenset[x509.Certificate],
    now: datetime,
) -> tuple[x509.Certificate, ...] | None:
    """Return the certificates from the signing one up to a root, both included, the fewest.

    A path that nothing is wrong with comes before one whose fault is then named.
    """
    # Of two certificates of one key the one that ends later.
    known = tuple(sorted(candidates, key=lambda each: each.not_valid_after_utc, reverse=True))

    def is_flawless(path: tuple[x509.Certificate, ...]) -> bool:
        return not any(_link_fault(link, below, path, now) for below, link in enumerate(path))

    return _search(certificate, known, roots, is_flawless) or _search(
        certificate, known, roots, lambda _: True
    )


def _search(
    certificate: x509.Certificate,
    candidates: tuple[x509.Certificate, ...],
    roots: frozenset[x509.Certificate],
    accepts: Callable[[tuple[x509.Certificate, ...]], bool],
) -> tuple[x509.Certificate, ...] | None:
    # Breadth first, each certificate once: a folder full of cross-signed ones costs no more.
    waiting: deque[tuple[x509.Certificate, ...]] = deque([(certificate,)])
    seen = {certificate}
    while waiting:
        path = waiting.popleft()
        if not accepts(path):
            continue
        if path[-1] in roots and _issued(path[-1], path[-1]):
            return path
        for above in candidates:
            if above not in seen and _issued(path[-1], above):
                seen.add(above)
                waiting.append((*path, above))
    return None


def _issued(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    try:
        lower.verify_directly_issued_by(upper)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _link_fault(
    link: x509.Certificate, below: int, path: tuple[x509.Certificate, ...], now: datetime
) -> str:
    """Return what is wrong with the certificate that has ``below`` authorities under it; or ""."""
    begins, ends = link.not_valid_before_utc, link.not_valid_after_utc
    if not begins <= now < ends:
        return f"is valid from {begins:%Y-%m-%dT%H:%M:%SZ} to {ends:%Y-%m-%dT%H:%M:%SZ} only"
    is_root = below > 0 and link is path[-1] and link.issuer == link.subject
    if fault := _authority_fault(link, is_root=is_root):
        return fault
    length = link.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    if length is not None and length < below:
        return f"allows {length} authorities below it, there are {below}"
    public_key = link.public_key()
    if isinstance(public_key, rsa.RSAPublicKey) and public_key.key_size < _WEAKEST_RSA:
        return f"has a key of {public_key.key_size} bits, which nobody accepts"
    # Of a root clients take name and key only.
    return "" if link.issuer == link.subject else _fault_for_clients(link)


def _authority_fault(certificate: x509.Certificate, *, is_root: bool = False) -> str:
    """Return why ``certificate`` may not sign others; "" if it may.

    Old roots do not always say what their key is for, and need not.
    """
    by_class = {type(each.value): each.value for each in certificate.extensions}
    constraints = by_class.get(x509.BasicConstraints)
    usage = by_class.get(x509.KeyUsage)
    is_authority = isinstance(constraints, x509.BasicConstraints) and constraints.ca
    may_sign = usage.key_cert_sign if isinstance(usage, x509.KeyUsage) else is_root
    if is_authority and may_sign:
        return ""
    return "is no authority: it may not sign certificates"


def _fault_for_clients(link: x509.Certificate) -> str:
    """Return why clients refuse ``link`` between a leaf and a root; "" if they do not."""
    algorithm = link.signature_hash_algorithm
    if algorithm is not None and not isinstance(algorithm, _STRONG):
        return f"is signed with {algorithm.name}, which nobody accepts"
    for extension in link.extensions:
        value = extension.value
        if isinstance(value, x509.UnrecognizedExtension) and extension.critical:
            return f"has a critical extension that nobody knows ({extension.oid.dotted_string})"
        if isinstance(value, x509.ExtendedKeyUsage) and not (
            set(value) >= _MESH_USES or _ANY_USE in value
        ):
            return "may not be used for both servers and clients"
        if isinstance(value, x509.NameConstraints) and any(
            isinstance(name, x509.UniformResourceIdentifier)
            for name in (*(value.permitted_subtrees or ()), *(value.excluded_subtrees or ()))
        ):
            return "constrains URIs, which proxies cannot judge"
    return ""


def _raise_fault(certificate: x509.Certificate, where: str, fault: str) -> None:
    if fault:
        raise GivenAuthorityError(f"{_subject(certificate)} in {where} {fault}")


def _subject(certificate: x509.Certificate) -> str:
    """Return a name for a fault: printable and short, whatever somebody wrote into it."""
    text = certificate.subject.rfc4514_string() or f"certificate {certificate.serial_number:x}"
    return ascii(text)[1:-1][:200]
