"""Certificates: the ledger a page at a time, and the authorities. Only what is public."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.admin.errors import BadCursorError, NotKnownHereError
from controlplane.admin.queries import CertificateQuery
from controlplane.admin.reading.cursor import read_cursor, write_cursor
from controlplane.admin.values.certificates import (
    AuthoritiesValue,
    AuthorityValue,
    CertificateValue,
    RootValue,
)
from controlplane.admin.values.common import Page
from controlplane.admin.viewer import Viewer
from controlplane.model.certificate import (
    AuthorityRecord,
    AuthorityState,
    BundleEntry,
    IssuedCertificate,
    RefusedRequest,
)
from controlplane.model.identity import Identity
from controlplane.store.database import Database
from controlplane.store.errors import DatabaseError
from controlplane.store.journal import Journal
from controlplane.store.ledger_queries import LedgerFilter, issued_rows, refused_rows
from controlplane.store.ledger_rows import LedgerRow

_ON_NODE: Final = 1000


class LedgerReader(Protocol):
    """Reads the ledger. Both raise ``DatabaseError`` when the database is away."""

    async def issued(self, wanted: LedgerFilter) -> Sequence[LedgerRow]:
        """Return certificates issued, newest first."""
        ...

    async def refused(self, wanted: LedgerFilter) -> Sequence[LedgerRow]:
        """Return requests refused, newest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorities:
    """What there is to tell of authorities; ``state`` None before there are any."""

    trust_domain: str
    state: AuthorityState | None
    authorities: tuple[AuthorityRecord, ...]
    roots: tuple[BundleEntry, ...]


class AuthorityReader(Protocol):
    """Reads what there is of authorities; raises ``DatabaseError`` when that is away."""

    async def read(self) -> Authorities:
        """Return every authority there is or was."""
        ...


class StoredLedger:
    """The ledger in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def issued(self, wanted: LedgerFilter) -> Sequence[LedgerRow]:
        """Return certificates issued, newest first."""
        return await issued_rows(self._database, wanted)

    async def refused(self, wanted: LedgerFilter) -> Sequence[LedgerRow]:
        """Return requests refused, newest first."""
        return await refused_rows(self._database, wanted)


class StoredAuthorities:
    """The authorities of one trust domain in the journal."""

    def __init__(self, journal: Journal, trust_domain: str) -> None:
        self._journal = journal
        self._trust_domain = trust_domain

    async def read(self) -> Authorities:
        """Return every authority there is or was."""
        domain = self._trust_domain
        return Authorities(
            trust_domain=domain,
            state=await self._journal.state(domain),
            authorities=await self._journal.authorities(domain),
            roots=await self._journal.bundle(domain),
        )


class Certificates:
    """The ledger and the authorities, where this process has them."""

    def __init__(
        self,
        *,
        ledger: Callable[[], LedgerReader | None],
        authorities: Callable[[], AuthorityReader | None],
    ) -> None:
        self._ledger = ledger
        self._authorities = authorities

    async def page(
        self, viewer: Viewer, query: CertificateQuery, *, commit: int
    ) -> Page[CertificateValue]:
        """Return rows of the ledger, newest first.

        Raises:
            BadCursorError: ``after`` is nothing this list gave out.
            NotKnownHereError: there is no ledger here.
            DatabaseError: the database is away.
        """
        ledger = self._ledger()
        if ledger is None:
            raise NotKnownHereError("this process keeps no ledger of certificates")
        wanted = LedgerFilter(
            identity=query.identity or None,
            node=query.node or None,
            authority=query.authority or None,
            since=None if query.since is None else _aware(query.since),
            namespace=viewer.namespace,
            before=_before(query.after) if query.after else None,
            limit=query.limit,
        )
        is_issued = query.outcome == "issued"
        rows = await (ledger.issued if is_issued else ledger.refused)(wanted)
        is_last = len(rows) < query.limit
        return Page(
            items=tuple(_row(viewer, row) for row in rows if _visible(viewer, row)),
            next=None if is_last else write_cursor(_place(rows[-1])),
            commit=commit,
        )

    async def on_node(self, viewer: Viewer, node: str, now: datetime) -> tuple[dict[str, Any], ...]:
        """Return the newest certificate of each identity that a node was issued and that is valid.

        In the shape of a ztunnel's dump, without the certificate itself, which nobody keeps.
        """
        ledger = self._ledger()
        if ledger is None:
            return ()
        wanted = LedgerFilter(node=node, namespace=viewer.namespace, limit=_ON_NODE)
        try:
            rows = await ledger.issued(wanted)
        except DatabaseError:
            return ()
        newest: dict[str, IssuedCertificate] = {}
        for row in rows:
            value = row.value
            if isinstance(value, IssuedCertificate) and _visible(viewer, row):
                newest.setdefault(value.spiffe_id, value)
        return tuple(
            {
                "identity": each.spiffe_id,
                "state": "Available",
                "certChain": [
                    {
                        "pem": "",
                        "serialNumber": each.serial,
                        "validFrom": _text(each.not_before),
                        "expirationTime": _text(each.not_after),
                    }
                ],
            }
            for _, each in sorted(newest.items())
            if _aware(each.not_after) > now
        )

    async def authorities(self) -> AuthoritiesValue:
        """Return the authorities.

        Raises:
            NotKnownHereError: they are not kept here.
            DatabaseError: the database is away.
        """
        reader = self._authorities()
        if reader is None:
            raise NotKnownHereError("this process keeps no journal of authorities")
        found = await reader.read()
        state = found.state
        return AuthoritiesValue(
            trust_domain=found.trust_domain,
            generation=0 if state is None else state.generation,
            bundle_version=0 if state is None else state.bundle_version,
            active_root="" if state is None else state.active_root,
            active_intermediate="" if state is None else state.active_intermediate,
            authorities=tuple(map(_authority, found.authorities)),
            roots=tuple(
                RootValue(
                    sha256=root.sha256,
                    source=root.source.value,
                    tainted=root.tainted,
                    added_version=root.added_version,
                    removed_version=root.removed_version,
                )
                for root in found.roots
            ),
        )


def _visible(viewer: Viewer, row: LedgerRow) -> bool:
    """Return whether a row is of the viewer's namespace; what was asked for may be no identity."""
    if viewer.sees_all:
        return True
    value = row.value
    text = value.spiffe_id if isinstance(value, IssuedCertificate) else value.requested_id
    identity = Identity.parse(text)
    return identity is not None and viewer.may_see(identity.namespace)


def _row(viewer: Viewer, row: LedgerRow) -> CertificateValue:
    value = row.value
    issued = value if isinstance(value, IssuedCertificate) else None
    refused = value if isinstance(value, RefusedRequest) else None
    # Who asked is a node proxy of another namespace more often than not.
    tells_caller = viewer.sees_all
    return CertificateValue(
        outcome="refused" if issued is None else "issued",
        at=_aware(_at(row)),
        replica=row.replica_id,
        sequence=row.sequence,
        identity=issued.spiffe_id if issued else refused.requested_id if refused else "",
        status="OK" if refused is None else refused.status,
        reason="" if refused is None else refused.reason,
        authority="" if issued is None else issued.authority_id,
        serial="" if issued is None else issued.serial,
        not_before=None if issued is None else _aware(issued.not_before),
        not_after=None if issued is None else _aware(issued.not_after),
        key_type="" if issued is None else issued.key_type,
        key_sha256="" if issued is None else issued.spki_sha256,
        certificate_sha256="" if issued is None else issued.certificate_sha256,
        impersonated=issued is not None and issued.impersonated,
        caller=value.caller_id if tells_caller else "",
        pod=value.caller_pod if tells_caller else "",
        node=value.node if tells_caller else "",
        peer=value.peer_address if tells_caller else "",
        cluster=value.cluster_id,
    )


def _authority(record: AuthorityRecord) -> AuthorityValue:
    certificate = x509.load_der_x509_certificate(record.certificate)
    return AuthorityValue(
        id=record.authority_id,
        tier=record.tier.value,
        slot=record.slot,
        status=record.status.value,
        key_type=record.key_type,
        parent=record.parent_authority_id,
        not_before=_aware(record.not_before),
        not_after=_aware(record.not_after),
        activated_at=record.activated_at,
        retired_at=record.retired_at,
        max_leaf_not_after=record.max_leaf_not_after,
        sha256=sha256(record.certificate).hexdigest(),
        pem=certificate.public_bytes(Encoding.PEM).decode(),
    )


def _at(row: LedgerRow) -> datetime:
    value = row.value
    return value.issued_at if isinstance(value, IssuedCertificate) else value.refused_at


def _place(row: LedgerRow) -> tuple[str, int, str]:
    return _aware(_at(row)).isoformat(), row.sequence, row.replica_id


def _before(text: str) -> tuple[datetime, int, str]:
    match read_cursor(text):
        case (str(at), int(sequence), str(replica)):
            try:
                moment = datetime.fromisoformat(at)
            except ValueError:
                moment = None
            if moment is not None and moment.tzinfo is not None:
                return moment, sequence, replica
    raise BadCursorError("the cursor is none that this list gave out")


def _text(moment: datetime) -> str:
    return _aware(moment).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
