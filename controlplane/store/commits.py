"""Commits in the database: records of the commit log go in, those of all replicas come out.

What each commit changed, why, and how long it took to reach everyone, for longer than memory keeps
it. Rules: docs/protocol/fleet.md CT-14 to CT-16.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from sqlalchemy import bindparam, delete, literal, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from controlplane.clock import Clock
from controlplane.model.commit import CommitRecord
from controlplane.store.database import Database
from controlplane.store.errors import DatabaseError
from controlplane.store.tables import commit_record

_log = structlog.get_logger()
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(CommitRecord).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSettings:
    """Seconds: how often is written and how long a record is kept; ``most``: commits per round."""

    write_every: float = 5.0
    keep: float = 7 * 86400.0
    drop_every: float = 3600.0
    most: int = 64


class CommitPlace(NamedTuple):
    """Where a commit stands among all that are kept, by time; the rest tells equal times apart."""

    committed_at: datetime
    replica_id: str = ""
    instance: str = ""
    number: int = 0


class KeptCommit(NamedTuple):
    """One commit that is kept; ``record`` is None when another version wrote it."""

    place: CommitPlace
    record: CommitRecord | None


class CommitTable:
    """Records of commits. ``replica`` starts its numbers anew with each process.

    ``run`` and ``write`` do not raise for a database that is away: what was not written is written
    later, as long as the commit log remembers it.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        replica: str,
        settings: CommitSettings | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._replica = replica
        self._instance = secrets.token_hex(8)
        self._settings = settings or CommitSettings()
        self._written: dict[int, CommitRecord] = {}
        self._dropped_at: float | None = None
        self._is_troubled = False

    async def run(self, recent: Callable[[int], Awaitable[Sequence[CommitRecord]]]) -> None:
        """Write what ``recent`` tells of the newest commits, every few seconds, until cancelled."""
        while True:
            await self.write(await recent(self._settings.most))
            await self._clock.sleep(self._settings.write_every)

    async def write(self, records: Sequence[CommitRecord]) -> int:
        """Write records that are new or have got on; return how many."""
        changed = [each for each in records if self._written.get(each.number) != each]
        try:
            await self._store(changed)
        except DatabaseError as error:
            if not self._is_troubled:
                _log.warning("commits.unwritten", reason=str(error))
            self._is_troubled = True
            return 0
        if self._is_troubled:
            _log.info("commits.written", commits=len(changed))
        self._is_troubled = False
        self._written = {each.number: each for each in records}
        return len(changed)

    async def kept(
        self, limit: int, before: CommitPlace | None = None, *, replica: str = ""
    ) -> tuple[KeptCommit, ...]:
        """Return the ``limit`` newest commits older than ``before``, newest first.

        They are of all replicas, or of ``replica`` alone, and of processes that have ended.

        Raises:
            DatabaseError: the database is away.
        """
        columns = [commit_record.c[name] for name in CommitPlace._fields]
        query = select(*columns, commit_record.c.detail)
        query = query.order_by(*(column.desc() for column in columns)).limit(limit)
        if replica:
            query = query.where(commit_record.c.replica_id == replica)
        if before is not None:
            there = tuple_(
                *(literal(at, column.type) for at, column in zip(before, columns, strict=True))
            )
            # The first condition is one that the index knows.
            query = query.where(commit_record.c.committed_at <= before.committed_at)
            query = query.where(tuple_(*columns) < there)
        async with self._database.reading() as transaction:
            rows = (await transaction.execute(query)).all()
        return tuple(KeptCommit(CommitPlace(*place), _read(detail)) for *place, detail in rows)

    async def _store(self, changed: list[CommitRecord]) -> None:
        now = self._clock.monotonic()
        drops = self._dropped_at is None or now - self._dropped_at >= self._settings.drop_every
        if not changed and not drops:
            return
        insert: Any = sqlite.insert if self._database.is_sqlite else postgresql.insert
        upsert = insert(commit_record).values(
            replica_id=self._replica,
            instance=self._instance,
            number=bindparam("number"),
            committed_at=bindparam("committed_at"),
            detail=bindparam("detail"),
        )
        async with self._database.writing() as transaction:
            if changed:
                await transaction.execute(
                    upsert.on_conflict_do_update(
                        index_elements=["replica_id", "instance", "number"],
                        set_={"detail": upsert.excluded.detail},
                    ),
                    [
                        {
                            "number": each.number,
                            "committed_at": each.committed_at,
                            "detail": _encode(each).decode(),
                        }
                        for each in changed
                    ],
                )
            if drops:
                oldest = self._clock.now() - timedelta(seconds=self._settings.keep)
                await transaction.execute(
                    delete(commit_record).where(commit_record.c.committed_at < oldest)
                )
        if drops:
            self._dropped_at = now


def _read(detail: str) -> CommitRecord | None:
    try:
        return _decode(detail)
    except msgspec.DecodeError:
        return None
