"""Issuance in two steps: a profile and a CSR become a ticket, a ticket becomes a chain, once.

Signing takes nothing but a ticket, and only ``prepare`` makes one, so nothing unchecked is ever
signed. A ticket keeps the one signer snapshot its certificate is made with, whatever happens to the
authority meanwhile (docs/protocol/certificates.md CA-30).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from weakref import WeakSet

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.ca.checks import check
from controlplane.ca.csr import SigningRequest, key_digest_of, read_signing_request
from controlplane.ca.errors import (
    FaultyCertificateError,
    SigningRequestError,
    TicketError,
    UnavailableError,
)
from controlplane.ca.profile import Profile, unsigned_certificate
from controlplane.ca.signer import SignerSnapshot, SignerSource
from controlplane.ca.ttl import LifetimePolicy, Validity, lifetime, validity
from controlplane.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Ticket:
    """A certificate that may be signed, once, by the issuance that made the ticket."""

    profile: Profile
    request: SigningRequest
    validity: Validity
    serial: int
    snapshot: SignerSnapshot = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A signed certificate and what its holder needs with it.

    ``certificates`` are PEM texts, each ending with a line feed: the leaf, then every certificate
    between it and a root, one an element, then all trusted roots in the last. ``digest`` is the
    lower-case hexadecimal SHA-256 of the leaf.
    """

    certificates: tuple[str, ...]
    digest: str
    serial: int
    validity: Validity
    authority_id: str


class Issuance:
    """Makes tickets and signs them. ``draw`` returns a random number in [0, 1)."""

    def __init__(
        self,
        signers: SignerSource,
        clock: Clock,
        lifetimes: LifetimePolicy,
        *,
        draw: Callable[[], float],
        threads: int = 2,
    ) -> None:
        self._signers = signers
        self._clock = clock
        self._lifetimes = lifetimes
        self._draw = draw
        self._open: WeakSet[Ticket] = WeakSet()
        # Threads start when the first slow key signs: most installations never have one.
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="signing")
        self._inspected: tuple[SignerSnapshot, frozenset[str]] | None = None

    def close(self) -> None:
        """Wait for signatures under way; no more can be made by slow keys."""
        self._pool.shutdown()

    def prepare(
        self,
        profile: Profile,
        csr: str,
        *,
        requested: int = 0,
        lifetimes: LifetimePolicy | None = None,
        is_strict: bool = False,
    ) -> Ticket:
        """Return the ticket for one certificate of ``profile`` for the key of ``csr``.

        Args:
            profile: the names it is for; nobody may widen them afterwards.
            csr: PEM text from anywhere.
            requested: the lifetime asked for in seconds; 0 or less leaves it to us.
            lifetimes: other rules of lifetime than those of workloads.
            is_strict: the CSR must ask for exactly the identity of ``profile``.

        Raises:
            SigningRequestError: the CSR cannot be accepted.
            LifetimeError: a longer lifetime is asked for than anybody is given.
            UnavailableError: there is no authority fit to sign.
        """
        policy = lifetimes or self._lifetimes
        snapshot = self._signers.current()
        authority_keys = frozenset[str]() if snapshot is None else self._authority_keys(snapshot)
        request = read_signing_request(csr, forbidden_keys=authority_keys)
        if is_strict and not (profile.identity and request.asks_exactly_for(profile.identity)):
            raise SigningRequestError(
                "it asks for something else than the impersonated identity",
                reason_code="csr-names",
            )
        narrowed = None if snapshot is None else snapshot.leaf_ttl_cap
        seconds = lifetime(requested, policy, draw=self._draw(), narrowed=narrowed)
        if snapshot is None:
            raise UnavailableError(self._signers.unfit_reason(), reason_code="signer-unfit")
        identity = profile.identity
        if identity is not None and identity.trust_domain != snapshot.trust_domain:
            raise UnavailableError(
                "the authority is of another trust domain", reason_code="signer-trust-domain"
            )
        signer = snapshot.certificate
        ticket = Ticket(
            profile=profile,
            request=request,
            validity=validity(
                self._clock.now(),
                seconds,
                backdate=policy.backdate,
                signer_not_before=signer.not_valid_before_utc,
                signer_not_after=min(signer.not_valid_after_utc, snapshot.not_after),
            ),
            serial=x509.random_serial_number(),
            snapshot=snapshot,
        )
        self._open.add(ticket)
        return ticket

    async def sign(self, ticket: Ticket) -> Chain:
        """Return the chain of ``ticket``, checked; the ticket is used up, whatever happens.

        Raises:
            TicketError: the ticket is used, or of another issuance.
            FaultyCertificateError: the signature failed, or its result is not what it should be.
        """
        if ticket not in self._open:
            raise TicketError("this ticket cannot be signed", reason_code="ticket-spent")
        self._open.discard(ticket)
        if _signs_quickly(ticket.snapshot):
            return _signed(ticket)
        return await asyncio.get_running_loop().run_in_executor(self._pool, _signed, ticket)

    def _authority_keys(self, snapshot: SignerSnapshot) -> frozenset[str]:
        """Return digests of the keys of a snapshot, having looked it over once."""
        if self._inspected is None or self._inspected[0] is not snapshot:
            self._inspected = (snapshot, _inspect(snapshot))
        return self._inspected[1]


def _inspect(snapshot: SignerSnapshot) -> frozenset[str]:
    """Return digests of all keys of ``snapshot``: of its signer, its chain and its roots.

    Raises:
        UnavailableError: what would go out with every leaf is not as clients read it.
    """
    try:
        links = [x509.load_pem_x509_certificates(link.encode()) for link in snapshot.chain]
        roots = x509.load_pem_x509_certificates(snapshot.bundle.encode())
    except ValueError:
        links, roots = [], []
    is_whole = len(links) == len(snapshot.chain) and all(len(link) == 1 for link in links)
    if not roots or not is_whole:
        raise UnavailableError(
            "the chain is not one certificate an element, or there are no roots",
            reason_code="signer-chain",
        )
    certificates = [snapshot.certificate, *(link[0] for link in links), *roots]
    return frozenset(key_digest_of(certificate.public_key()) for certificate in certificates)


def _signs_quickly(snapshot: SignerSnapshot) -> bool:
    """Return whether a signature takes less than handing it to a thread."""
    key = snapshot.key
    return isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)


def _signed(ticket: Ticket) -> Chain:
    snapshot = ticket.snapshot
    key = snapshot.key
    is_long = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1)
    try:
        certificate = unsigned_certificate(
            ticket.profile,
            ticket.request.public_key,
            ticket.validity,
            signer=snapshot.certificate,
            serial=ticket.serial,
        ).sign(key, hashes.SHA384() if is_long else hashes.SHA256())
    except Exception as error:  # noqa: BLE001 - any key, anywhere, fails in its own ways
        raise FaultyCertificateError(
            f"signing failed: {type(error).__name__}", reason_code="signature-failed"
        ) from None
    der = certificate.public_bytes(Encoding.DER)
    check(der, ticket.profile, ticket.request.public_key, snapshot)
    leaf = certificate.public_bytes(Encoding.PEM).decode()
    return Chain(
        certificates=(leaf, *snapshot.chain, snapshot.bundle),
        digest=sha256(der).hexdigest(),
        serial=ticket.serial,
        validity=ticket.validity,
        authority_id=snapshot.authority_id,
    )
