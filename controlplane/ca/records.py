"""What the ledger is told: an attempt and its end in, a row without secrets out."""

import re
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Protocol

from controlplane.authentication.caller import Caller
from controlplane.ca.errors import Reply
from controlplane.ca.issuance import Chain, Ticket
from controlplane.model.certificate import IssuedCertificate, RefusedRequest

_LONGEST_IDENTITY = 2048
_PLAIN = re.compile(r"[!-~]*")


class Recorder(Protocol):
    """Where every certificate and every refusal goes."""

    def record(self, certificate: IssuedCertificate) -> None:
        """Take a certificate down, later; never wait, never raise."""
        ...

    def refuse(self, request: RefusedRequest) -> None:
        """Take a refusal down, later; never wait, never raise."""
        ...

    async def record_strict(self, certificate: IssuedCertificate) -> None:
        """Take a certificate down before returning; raise if that fails."""
        ...


@dataclass(slots=True, kw_only=True)
class Attempt:
    """What is known of one request by the time it ends."""

    request_id: str
    peer: str
    caller: Caller | None = None
    named: str | None = None


def issued(
    attempt: Attempt, ticket: Ticket, chain: Chain, *, issued_at: datetime, key_seen_on: str
) -> IssuedCertificate:
    """Return the row of a certificate of ``attempt``."""
    caller = attempt.caller
    return IssuedCertificate(
        authority_id=chain.authority_id,
        serial=format(chain.serial, "x"),
        spiffe_id=str(ticket.profile.identity),
        not_before=chain.validity.not_before,
        not_after=chain.validity.not_after,
        issued_at=issued_at,
        spki_sha256=ticket.request.key_digest,
        csr_sha256=ticket.request.digest,
        certificate_sha256=chain.digest,
        key_type=ticket.request.key_type,
        impersonated=attempt.named is not None,
        caller_id="" if caller is None else str(caller.account),
        caller_pod="" if caller is None else caller.pod_name,
        caller_pod_uid="" if caller is None else caller.pod_uid,
        cluster_id="" if caller is None else caller.cluster,
        node="" if caller is None else caller.node_name,
        peer_address=attempt.peer,
        credential_id="" if caller is None else caller.credential_id,
        request_id=attempt.request_id,
        key_seen_on=key_seen_on,
    )


def refused(attempt: Attempt, reply: Reply, *, refused_at: datetime) -> RefusedRequest:
    """Return the row of a request that was refused with ``reply``."""
    caller = attempt.caller
    return RefusedRequest(
        refused_at=refused_at,
        status=reply.status,
        reason=reply.reason_code,
        caller_id="" if caller is None else str(caller.account),
        caller_pod="" if caller is None else caller.pod_name,
        caller_pod_uid="" if caller is None else caller.pod_uid,
        cluster_id="" if caller is None else caller.cluster,
        node="" if caller is None else caller.node_name,
        requested_id=wanted(attempt.named),
        peer_address=attempt.peer,
        credential_id="" if caller is None else caller.credential_id,
        request_id=attempt.request_id,
    )


def wanted(named: str | None) -> str:
    """Return what a caller named, fit to be kept: a stranger may put anything there.

    What begins like a SPIFFE id is kept, escaped and cut; anything else could be a secret in the
    wrong place and leaves its digest only.
    """
    if named is None or named == "":
        return ""
    if not named.startswith("spiffe://"):
        return f"sha256:{sha256(named.encode(errors='replace')).hexdigest()}"
    cut = named[:_LONGEST_IDENTITY]
    if _PLAIN.fullmatch(cut) is None:
        cut = cut.encode("ascii", "backslashreplace").decode()
        cut = "".join(c if "!" <= c <= "~" else f"\\x{ord(c):02x}" for c in cut)
    return cut[:_LONGEST_IDENTITY]
