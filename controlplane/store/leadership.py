"""Leadership as a row with an expiry: for processes that share a database and have no cluster.

In: an election's name and who this process is. Out: a fencing token while it leads. The token
grows whenever another process takes over; the journal refuses smaller ones, so that clocks that
disagree cost availability, never two leaders' writes.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from controlplane.clock import Clock
from controlplane.leadership import Candidate
from controlplane.store.database import Database
from controlplane.store.errors import DatabaseError
from controlplane.store.tables import leadership

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectionSettings:
    """Seconds: how long a lead lasts unrenewed, how early it is given up, how often renewed."""

    duration: float = 15.0
    margin: float = 2.0
    renew_after: float = 4.0


class StoreLeadership(Candidate):
    """One process's standing in one election; the same replica, started anew, leads at once."""

    def __init__(
        self,
        database: Database,
        *,
        replica_id: str,
        clock: Clock,
        election: str = "ca",
        settings: ElectionSettings | None = None,
    ) -> None:
        self._settings = settings or ElectionSettings()
        super().__init__(election=election, clock=clock, pause=self._settings.renew_after)
        self._database = database
        self._replica_id = replica_id
        self._instance = secrets.token_hex(16)

    async def campaign(self) -> None:
        """Take the lead, renew it, or learn that somebody else has it; never raises."""
        asked_at = self._clock.monotonic()
        try:
            token = await self._ask()
        except DatabaseError as error:
            _log.warning("leadership.unknown", election=self._election, reason=str(error))
        else:
            until = asked_at + self._settings.duration - self._settings.margin
            self._answered(token, until=until)
        self._note_change()

    async def _ask(self) -> int | None:
        """Return the token this process leads with, or None where somebody else leads."""
        now = self._clock.now()
        expires_at = now + timedelta(seconds=self._settings.duration)
        async with self._database.writing() as connection:
            insert: Any = sqlite if self._database.is_sqlite else postgresql
            await connection.execute(
                insert.insert(leadership)
                .values(
                    election=self._election,
                    holder="",
                    instance="",
                    fencing_token=0,
                    expires_at=now,
                )
                .on_conflict_do_nothing()
            )
            row = (
                await connection.execute(
                    select(leadership)
                    .where(leadership.c.election == self._election)
                    .with_for_update()
                )
            ).one()
            if not self._may_take(row, now):
                return None
            token: int = row.fencing_token
            renews = row.instance == self._instance and row.expires_at > now
            if not renews:
                token += 1
            await connection.execute(
                update(leadership)
                .where(leadership.c.election == self._election)
                .values(
                    holder=self._replica_id,
                    instance=self._instance,
                    fencing_token=token,
                    expires_at=expires_at,
                )
            )
        return token

    def _may_take(self, row: Any, now: datetime) -> bool:
        """Tell whether the lead is ours, was our own replica's, or has run out."""
        is_ours = row.instance == self._instance or row.holder == self._replica_id
        return bool(is_ours or row.expires_at <= now)

    async def _resign(self) -> None:
        """Let the next one lead at once; the token stays as it is."""
        token, self._token = self._token, None
        self._note_change()
        if token is None:
            return
        try:
            async with self._database.writing() as connection:
                await connection.execute(
                    update(leadership)
                    .where(
                        leadership.c.election == self._election,
                        leadership.c.instance == self._instance,
                        leadership.c.fencing_token == token,
                    )
                    .values(expires_at=self._clock.now())
                )
        except DatabaseError as error:
            _log.warning("leadership.unknown", election=self._election, reason=str(error))
