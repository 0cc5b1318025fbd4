"""One transition of the authorities, inside the transaction that ``Journal.transition`` opened.

In: what the leader wants changed. Out: rows, and one event for every step an authority took. A
status only changes along the life of an authority.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.model.certificate import (
    AuthorityRecord,
    AuthorityState,
    AuthorityStatus,
    BundleEntry,
)
from controlplane.store.columns import NAME, fitting
from controlplane.store.errors import JournalError
from controlplane.store.journal_rows import (
    authority_from_row,
    authority_row,
    bundle_from_row,
    bundle_row,
)
from controlplane.store.tables import authority, authority_event, authority_state, bundle_entry

_S: Final = AuthorityStatus
NEXT_STATUSES: Final[Mapping[AuthorityStatus, frozenset[AuthorityStatus]]] = {
    _S.PREPARED: frozenset({_S.PUBLISHED, _S.ACTIVE, _S.FAILED, _S.TAINTED}),
    _S.PUBLISHED: frozenset({_S.ACTIVE, _S.FAILED, _S.TAINTED}),
    _S.ACTIVE: frozenset({_S.RETIRING, _S.TAINTED}),
    _S.RETIRING: frozenset({_S.REMOVED, _S.TAINTED}),
    _S.TAINTED: frozenset({_S.REMOVED}),
    _S.FAILED: frozenset({_S.REMOVED}),
    _S.REMOVED: frozenset(),
}
_STAMPS: Final = {
    _S.PREPARED: "prepared_at",
    _S.PUBLISHED: "published_at",
    _S.ACTIVE: "activated_at",
    _S.RETIRING: "retired_at",
    _S.TAINTED: "tainted_at",
    _S.REMOVED: "removed_at",
}


class Transition:
    """What the leader may change. ``state`` is as it was before, the generation already moved."""

    def __init__(
        self,
        connection: AsyncConnection,
        *,
        state: AuthorityState,
        fencing_token: int,
        actor: str,
        now: datetime,
    ) -> None:
        self._connection = connection
        self._now = now
        self.state = replace(
            state,
            generation=state.generation + 1,
            fencing_token=fencing_token,
            leader_id=actor,
            updated_at=now,
        )

    async def authorities(self) -> tuple[AuthorityRecord, ...]:
        """Return every authority of the trust domain as this transition sees it."""
        found = await self._connection.execute(
            select(authority)
            .where(authority.c.trust_domain == self.state.trust_domain)
            .order_by(authority.c.not_before, authority.c.authority_id)
        )
        return tuple(map(authority_from_row, found))

    async def bundle(self) -> tuple[BundleEntry, ...]:
        """Return every root that is or was trusted as this transition sees it."""
        found = await self._connection.execute(
            select(bundle_entry)
            .where(bundle_entry.c.trust_domain == self.state.trust_domain)
            .order_by(bundle_entry.c.added_version, bundle_entry.c.sha256)
        )
        return tuple(map(bundle_from_row, found))

    async def add(self, record: AuthorityRecord, *, reason: str) -> None:
        """Add an authority: a new one, or one that the key store has and the journal lost."""
        if record.trust_domain != self.state.trust_domain:
            raise JournalError("an authority of another trust domain")
        row = authority_row(replace(record, fencing_token=self.state.fencing_token))
        await self._connection.execute(authority.insert().values(row))
        await self._happened(record.authority_id, None, record.status, reason)

    async def move(self, authority_id: str, status: AuthorityStatus, *, reason: str) -> None:
        """Move an authority to its next status and stamp the time.

        Raises:
            JournalError: there is no such authority, or that is not a next status of its own.
        """
        previous = await self._status(authority_id)
        if status not in NEXT_STATUSES[previous]:
            raise JournalError(f"an authority does not go from {previous} to {status}")
        values: dict[str, Any] = {
            "status": status.value,
            "fencing_token": self.state.fencing_token,
        }
        if status in _STAMPS:
            values[_STAMPS[status]] = self._now
        await self._connection.execute(
            update(authority).where(authority.c.authority_id == authority_id).values(values)
        )
        await self._happened(authority_id, previous, status, reason)

    async def forget(self, authority_id: str, *, reason: str) -> None:
        """Drop an authority whose key is gone: the journal never promises what cannot sign."""
        previous = await self._status(authority_id)
        await self._connection.execute(
            delete(authority).where(authority.c.authority_id == authority_id)
        )
        await self._happened(authority_id, previous, None, reason)

    async def raise_max_leaf_not_after(self, authority_id: str, not_after: datetime) -> None:
        """Record that something this authority signed lives until then."""
        record = {each.authority_id: each for each in await self.authorities()}.get(authority_id)
        if record is None:
            raise JournalError(f"no authority {authority_id}")
        if record.max_leaf_not_after is None or record.max_leaf_not_after < not_after:
            await self._connection.execute(
                update(authority)
                .where(authority.c.authority_id == authority_id)
                .values(max_leaf_not_after=not_after)
            )

    async def add_root(self, entry: BundleEntry) -> None:
        """Add a root to the bundle."""
        if entry.trust_domain != self.state.trust_domain:
            raise JournalError("a root of another trust domain")
        await self._connection.execute(bundle_entry.insert().values(bundle_row(entry)))

    async def change_root(
        self, sha256: str, *, tainted: bool | None = None, removed_version: int | None = None
    ) -> None:
        """Mark a root of the bundle as tainted, or as no longer part of it from a version on."""
        values: dict[str, Any] = {}
        if tainted is not None:
            values["tainted"] = tainted
        if removed_version is not None:
            values["removed_version"] = removed_version
        changed = await self._connection.execute(
            update(bundle_entry)
            .where(
                bundle_entry.c.trust_domain == self.state.trust_domain,
                bundle_entry.c.sha256 == sha256,
            )
            .values(values)
        )
        if changed.rowcount == 0:
            raise JournalError(f"no root {sha256}")

    def set_state(
        self,
        *,
        generation: int | None = None,
        bundle_version: int | None = None,
        active_root: str | None = None,
        active_intermediate: str | None = None,
        max_ttl_in_force: float | None = None,
    ) -> None:
        """Change where the authorities stand together; None leaves a part as it is.

        ``generation`` is for a journal that is rebuilt: it goes on where the key store stands.

        Raises:
            JournalError: the generation or the bundle version would go back.
        """
        changes: dict[str, Any] = {
            "generation": generation,
            "bundle_version": bundle_version,
            "active_root": active_root,
            "active_intermediate": active_intermediate,
            "max_ttl_in_force": max_ttl_in_force,
        }
        if generation is not None and generation < self.state.generation:
            raise JournalError("the generation never goes back")
        if bundle_version is not None and bundle_version < self.state.bundle_version:
            raise JournalError("the bundle version never goes back")
        self.state = replace(
            self.state, **{name: value for name, value in changes.items() if value is not None}
        )

    async def finish(self) -> None:
        """Write where the authorities stand now."""
        await self._connection.execute(
            update(authority_state)
            .where(authority_state.c.trust_domain == self.state.trust_domain)
            .values(
                generation=self.state.generation,
                bundle_version=self.state.bundle_version,
                active_root=self.state.active_root,
                active_intermediate=self.state.active_intermediate,
                max_ttl_in_force=self.state.max_ttl_in_force,
                leader_id=self.state.leader_id,
                fencing_token=self.state.fencing_token,
                updated_at=self.state.updated_at,
            )
        )

    async def _status(self, authority_id: str) -> AuthorityStatus:
        found = await self._connection.scalar(
            select(authority.c.status).where(
                authority.c.authority_id == authority_id,
                authority.c.trust_domain == self.state.trust_domain,
            )
        )
        if found is None:
            raise JournalError(f"no authority {authority_id}")
        return AuthorityStatus(found)

    async def _happened(
        self,
        authority_id: str,
        previous: AuthorityStatus | None,
        status: AuthorityStatus | None,
        reason: str,
    ) -> None:
        await self._connection.execute(
            authority_event.insert().values(
                trust_domain=self.state.trust_domain,
                generation=self.state.generation,
                authority_id=authority_id,
                previous=previous.value if previous else None,
                status=status.value if status else None,
                actor=self.state.leader_id,
                reason=fitting(reason, NAME),
                fencing_token=self.state.fencing_token,
                happened_at=self._now,
            )
        )
