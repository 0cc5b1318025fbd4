"""One request for a certificate, from its bytes to its answer: a chain or a refusal, always.

Steps go from cheap and safe to costly: sizes, credentials, rates, identity, CSR, signature
(docs/protocol/certificates.md CA-1). Whatever happens is recorded, counted and logged here, and no
byte of a credential or a CSR goes into any of the three.
"""

import asyncio
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from google.protobuf.message import DecodeError

from controlplane.authentication.addresses import address_of
from controlplane.authentication.caller import Authenticator, Caller, Metadata
from controlplane.ca import records
from controlplane.ca.csr import MAXIMUM_LENGTH
from controlplane.ca.decisions import Decisions, asks_for_signer, named_identity
from controlplane.ca.errors import (
    AuthorityError,
    MalformedRequestError,
    OversizedRequestError,
    RateLimitedError,
    Reply,
    SigningRequestError,
    UnavailableError,
    reply_for,
)
from controlplane.ca.issuance import Chain, Issuance, Ticket
from controlplane.ca.key_holders import KeyHolders
from controlplane.ca.keyed_identity import KeyedIdentity, new_key
from controlplane.ca.limits import Limits
from controlplane.ca.observer import Observer
from controlplane.ca.profile import Profile
from controlplane.ca.records import Attempt, Recorder
from controlplane.clock import Clock
from controlplane.pb.certificate_pb2 import IstioCertificateRequest, IstioCertificateResponse

_OVERSIZED = 4 * 1024 * 1024
_LARGEST = 64 * 1024

_log = structlog.get_logger("ca")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSettings:
    """How requests are served.

    ``timeout`` in seconds is when a caller is told to come back: some wait for ever by themselves.
    ``at_once`` is how many requests may be under way, ``unknown_at_once`` how many from one address
    while nobody knows yet whose they are. ``is_ledger_strict`` lets no certificate out before it is
    in the ledger.
    """

    timeout: float = 10.0
    at_once: int = 10_000
    unknown_at_once: int = 2_000
    is_ledger_strict: bool = False


class CertificateRequests:
    """Serves requests. ``name_request`` returns a fresh id for the ledger and the log."""

    def __init__(  # noqa: PLR0913 - the steps of a request, each replaceable
        self,
        *,
        authenticator: Authenticator,
        limits: Limits,
        decisions: Decisions,
        issuance: Issuance,
        recorder: Recorder,
        observer: Observer,
        clock: Clock,
        settings: RequestSettings,
        name_request: Callable[[], str],
    ) -> None:
        self._issuance = issuance
        self._authenticator = authenticator
        self._decisions = decisions
        self._limits = limits
        self._recorder = recorder
        self._observer = observer
        self._clock = clock
        self._settings = settings
        self._name_request = name_request
        self._key_holders = KeyHolders()
        self._under_way = 0
        self._unknown: Counter[str] = Counter()

    async def answer(self, message: bytes, metadata: Metadata, peer: str) -> bytes | Reply:
        """Return the response to ``message``, or how it is refused.

        Raises nothing, unless it is cancelled.

        Args:
            message: a serialised ``IstioCertificateRequest``, of any size.
            metadata: the request's headers.
            peer: the transport address of the caller.
        """
        self._observer.requested()
        attempt = Attempt(request_id=self._name_request(), peer=peer)
        self._under_way += 1
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await self._serve(attempt, message, metadata)
        except Exception as error:  # noqa: BLE001 - every end of a request is an answer
            return self._refuse(attempt, error)
        finally:
            self._under_way -= 1

    async def _serve(self, attempt: Attempt, message: bytes, metadata: Metadata) -> bytes:
        started = self._clock.monotonic()
        if self._under_way > self._settings.at_once:
            raise RateLimitedError("too many requests under way", reason_code="at-once")
        request = _read(message)
        caller = await self._authenticated(metadata, attempt.peer)
        attempt.caller = caller
        self._limits.admit(caller)
        attempt.named = named_identity(request.metadata)
        if asks_for_signer(request.metadata):
            self._observer.signer_ignored()
        decision = await self._decisions.decide(caller, attempt.named)
        ticket = self._issuance.prepare(
            Profile.for_workload(decision.identity),
            request.csr,
            requested=request.validity_duration,
            is_strict=decision.is_impersonated,
        )
        if ticket.request.asks_otherwise_than(decision.identity):
            if decision.is_for_node_proxy:
                raise SigningRequestError(
                    "it asks for somebody else than its caller", reason_code="csr-names"
                )
            self._observer.names_differed()
        signing_since = self._clock.monotonic()
        chain = await self._issuance.sign(ticket)
        self._observer.signed(self._clock.monotonic() - signing_since)
        await self._record(attempt, ticket, chain)
        self._observer.issued(self._clock.monotonic() - started, ticket.request.key_type)
        return IstioCertificateResponse(cert_chain=chain.certificates).SerializeToString()

    async def _authenticated(self, metadata: Metadata, peer: str) -> Caller:
        """Return who asks. One address does not take the places of all others meanwhile."""
        address = address_of(peer)
        if self._unknown[address] >= self._settings.unknown_at_once:
            raise RateLimitedError("too many requests of one address", reason_code="address-rate")
        self._unknown[address] += 1
        try:
            return await self._authenticator.authenticate(metadata, peer)
        finally:
            self._unknown[address] -= 1
            if not self._unknown[address]:
                del self._unknown[address]

    async def issue_identity(self, caller: Caller, peer: str) -> KeyedIdentity:
        """Return a new key and its certificate for the account that ``caller`` is.

        The same steps as for a request, but for the credentials: ``caller`` has been authenticated
        by whoever asks. The key is made here, for this one answer, and kept nowhere (KI-1 to KI-4).

        Raises:
            AuthorityError: it may not have one, or there is none to be had now.
        """
        self._observer.requested()
        attempt = Attempt(request_id=self._name_request(), peer=peer, caller=caller)
        started = self._clock.monotonic()
        try:
            self._limits.admit(caller)
            decision = await self._decisions.decide(caller, None)
            key, request = new_key()
            ticket = self._issuance.prepare(Profile.for_workload(decision.identity), request)
            signing_since = self._clock.monotonic()
            chain = await self._issuance.sign(ticket)
            self._observer.signed(self._clock.monotonic() - signing_since)
            await self._record(attempt, ticket, chain)
        except AuthorityError as error:
            self._refuse(attempt, error)
            raise
        self._observer.issued(self._clock.monotonic() - started, ticket.request.key_type)
        return KeyedIdentity(
            chain="".join(chain.certificates[:-1]).encode(),
            key=key,
            not_after=chain.validity.not_after,
            authority_id=chain.authority_id,
        )

    async def _record(self, attempt: Attempt, ticket: Ticket, chain: Chain) -> None:
        key_seen_on = self._key_holders.hold(ticket.request.key_digest, _holder(attempt.caller))
        if key_seen_on:
            self._observer.key_shared()
        row = records.issued(
            attempt, ticket, chain, issued_at=self._clock.now(), key_seen_on=key_seen_on
        )
        if self._settings.is_ledger_strict:
            try:
                await self._recorder.record_strict(row)
            except Exception as error:  # noqa: BLE001 - any store fails in its own ways
                raise UnavailableError(
                    f"the ledger did not take a certificate: {type(error).__name__}",
                    reason_code="ledger-unavailable",
                ) from None
        else:
            self._recorder.record(row)
        _log.info(
            "certificate.issued",
            request=row.request_id,
            identity=row.spiffe_id,
            serial=row.serial,
            not_after=row.not_after.isoformat(),
            caller=row.caller_id,
            node=row.node,
            key_seen_on=row.key_seen_on,
        )

    def _refuse(self, attempt: Attempt, error: Exception) -> Reply:
        reply = reply_for(error)
        row = records.refused(attempt, reply, refused_at=self._clock.now())
        self._recorder.refuse(row)
        self._observer.refused(reply)
        if reply.status == "INTERNAL":
            # What it says might quote the request; where it happened does not.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            _log.error(
                "certificate.failed",
                request=row.request_id,
                error=type(error).__name__,
                at=f"{frame.name}:{frame.lineno}",
            )
        else:
            _log.warning(
                "certificate.refused",
                request=row.request_id,
                reason=row.reason,
                status=row.status,
                caller=row.caller_id,
                node=row.node,
                identity=row.requested_id,
                peer=row.peer_address,
            )
        return reply


def _holder(caller: Caller | None) -> str:
    """Return the smallest place that is known to hold the caller's keys."""
    if caller is None:
        return ""
    return caller.node_name or caller.pod_uid or str(caller.account)


def _read(message: bytes) -> IstioCertificateRequest:
    """Return the request of a message whose sizes are in order.

    Raises:
        OversizedRequestError: it is larger than ordinary services take.
        MalformedRequestError: it is larger than a request can be, or is none.
        SigningRequestError: it has no CSR, or one that is too long.
    """
    if len(message) > _OVERSIZED:
        raise OversizedRequestError(f"{len(message)} bytes")
    if len(message) > _LARGEST:
        raise MalformedRequestError("longer than 65536 bytes", reason_code="request-size")
    try:
        request = IstioCertificateRequest.FromString(message)
    except DecodeError:
        raise MalformedRequestError("not readable", reason_code="request-unreadable") from None
    if not 0 < len(request.csr) <= MAXIMUM_LENGTH or not request.csr.isascii():
        raise SigningRequestError(
            f"the CSR is not 1 to {MAXIMUM_LENGTH} ASCII characters", reason_code="csr-size"
        )
    return request
