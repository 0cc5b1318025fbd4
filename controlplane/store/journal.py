"""The authorities' journal: what there is and was, and the only way to change it.

In: reads by anybody, reports of what a replica loaded and what was written where, and transitions
by the leader. Out: values of ``model.certificate``. A transition is one transaction that checks
the fencing token and moves the generation; nothing of it stays when it raises
(docs/protocol/ledger.md LG-20 to LG-25).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from sqlalchemy import Select, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.clock import Clock
from controlplane.model.certificate import (
    AuthorityEvent,
    AuthorityRecord,
    AuthorityState,
    BundleEntry,
    BundleTarget,
    Replica,
)
from controlplane.store.database import Database
from controlplane.store.errors import JournalError, RowRefusedError, StaleLeaderError
from controlplane.store.journal_rows import (
    authority_from_row,
    bundle_from_row,
    event_from_row,
    replica_from_row,
    state_from_row,
    target_from_row,
    target_row,
)
from controlplane.store.tables import (
    authority,
    authority_event,
    authority_state,
    bundle_entry,
    bundle_target,
    leadership,
    replica,
)
from controlplane.store.transition import Transition


class Journal:
    """The journal in one database. Every method raises ``DatabaseError`` when that is away."""

    def __init__(self, database: Database, *, clock: Clock, election: str = "ca") -> None:
        self._database = database
        self._clock = clock
        self._election = election

    async def state(self, trust_domain: str) -> AuthorityState | None:
        """Return where the authorities stand; None before the first transition."""
        rows = await self._rows(
            select(authority_state).where(authority_state.c.trust_domain == trust_domain)
        )
        return state_from_row(rows[0]) if rows else None

    async def authorities(self, trust_domain: str) -> tuple[AuthorityRecord, ...]:
        """Return every authority there is or was, oldest first."""
        rows = await self._rows(
            select(authority)
            .where(authority.c.trust_domain == trust_domain)
            .order_by(authority.c.not_before, authority.c.authority_id)
        )
        return tuple(map(authority_from_row, rows))

    async def events(self, trust_domain: str, *, limit: int = 100) -> tuple[AuthorityEvent, ...]:
        """Return the latest steps authorities took, newest first."""
        rows = await self._rows(
            select(authority_event)
            .where(authority_event.c.trust_domain == trust_domain)
            .order_by(authority_event.c.id.desc())
            .limit(limit)
        )
        return tuple(map(event_from_row, rows))

    async def bundle(self, trust_domain: str) -> tuple[BundleEntry, ...]:
        """Return every root that is or was trusted, in the order they came."""
        rows = await self._rows(
            select(bundle_entry)
            .where(bundle_entry.c.trust_domain == trust_domain)
            .order_by(bundle_entry.c.added_version, bundle_entry.c.sha256)
        )
        return tuple(map(bundle_from_row, rows))

    async def replicas(self) -> tuple[Replica, ...]:
        """Return what each replica last reported."""
        rows = await self._rows(select(replica).order_by(replica.c.replica_id))
        return tuple(map(replica_from_row, rows))

    async def highest_token(self, trust_domain: str) -> int:
        """Return the highest token that anybody has led with here; 0 before anybody did."""
        state = await self.state(trust_domain)
        async with self._database.reading() as connection:
            elected = await self._elected(connection)
        return max(elected, 0 if state is None else state.fencing_token)

    async def report_replica(self, report: Replica) -> None:
        """Replace what is known of one replica."""
        await self._upsert(replica, asdict(report))

    async def forget_replica(self, replica_id: str) -> None:
        """Forget a replica that is gone for good: nobody waits for it any longer."""
        async with self._database.writing() as connection:
            await connection.execute(delete(replica).where(replica.c.replica_id == replica_id))

    async def targets(self) -> tuple[BundleTarget, ...]:
        """Return what is known of each place the bundle is written to."""
        rows = await self._rows(
            select(bundle_target).order_by(
                bundle_target.c.cluster, bundle_target.c.kind, bundle_target.c.name
            )
        )
        return tuple(map(target_from_row, rows))

    async def report_target(self, report: BundleTarget) -> None:
        """Replace what is known of one place the bundle is written to."""
        await self._upsert(bundle_target, target_row(report))

    async def forget_target(self, *, cluster: str, kind: str, name: str) -> None:
        """Forget a place that is no longer written to: nobody waits for it any longer."""
        columns = bundle_target.c
        async with self._database.writing() as connection:
            await connection.execute(
                delete(bundle_target).where(
                    columns.cluster == cluster, columns.kind == kind, columns.name == name
                )
            )

    @asynccontextmanager
    async def transition(
        self, trust_domain: str, *, fencing_token: int, leader_id: str
    ) -> AsyncIterator[Transition]:
        """Run one transition: all of it is written at the end, or nothing of it.

        Raises:
            StaleLeaderError: somebody with a larger token has led since.
            JournalError: the transition does something the journal does not allow.
        """
        try:
            async with self._database.writing() as connection:
                state = await self._locked_state(connection, trust_domain, leader_id)
                seen = max(state.fencing_token, await self._elected(connection))
                if seen > fencing_token:
                    raise StaleLeaderError(token=fencing_token, seen=seen)
                transition = Transition(
                    connection,
                    state=state,
                    fencing_token=fencing_token,
                    actor=leader_id,
                    now=self._clock.now(),
                )
                yield transition
                await transition.finish()
        except RowRefusedError as error:
            raise JournalError(
                "the journal refuses: two active authorities of one tier, or a key that is taken"
            ) from error

    async def _locked_state(
        self, connection: AsyncConnection, trust_domain: str, leader_id: str
    ) -> AuthorityState:
        """Return the state, its row locked until the transaction ends; made where it is not."""
        first = {
            "trust_domain": trust_domain,
            "generation": 0,
            "bundle_version": 0,
            "active_root": "",
            "active_intermediate": "",
            "max_ttl_in_force": 0.0,
            "leader_id": leader_id,
            "fencing_token": 0,
            "updated_at": self._clock.now(),
        }
        insert = _insert_for(connection)(authority_state).values(first)
        await connection.execute(insert.on_conflict_do_nothing())
        found = await connection.execute(
            select(authority_state)
            .where(authority_state.c.trust_domain == trust_domain)
            .with_for_update()
        )
        return state_from_row(found.one())

    async def _elected(self, connection: AsyncConnection) -> int:
        """Return the token of whoever the store's own election made leader; 0 without one."""
        found = await connection.scalar(
            select(leadership.c.fencing_token).where(leadership.c.election == self._election)
        )
        return 0 if found is None else int(found)

    async def _rows(self, query: Select[Any]) -> list[Any]:
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).all())

    async def _upsert(self, table: Any, row: dict[str, Any]) -> None:
        async with self._database.writing() as connection:
            insert = _insert_for(connection)(table).values(row)
            keys = [column.name for column in table.primary_key]
            others = {name: value for name, value in row.items() if name not in keys}
            await connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=others))


def _insert_for(connection: AsyncConnection) -> Any:
    """Return the insert of the connection's database, which knows about conflicts."""
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert
