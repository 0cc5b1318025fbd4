"""What the ledger forgets: whole closed segments, oldest first, and it says so.

In: the moment before which segments go. Out: the segments dropped, in their rows and in the
answer; verification accepts exactly those gaps (docs/protocol/ledger.md LG-13).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update

from controlplane.store.anchors import SegmentHead
from controlplane.store.chain import LedgerKey
from controlplane.store.database import Database
from controlplane.store.ledger_rows import TABLES
from controlplane.store.ledger_writes import is_genuine_segment, segment_head, segment_row
from controlplane.store.tables import ledger_segment


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedSegment:
    """One segment whose rows are gone on purpose."""

    replica_id: str
    segment: SegmentHead
    closed_at: datetime
    dropped_at: datetime


async def drop_segments(
    database: Database, *, key: LedgerKey, closed_before: datetime, now: datetime
) -> tuple[DroppedSegment, ...]:
    """Drop the rows of every segment of every replica that was closed before then.

    A segment whose row is not genuine stays, and so do all behind it: they are evidence.

    Raises:
        DatabaseError: the database is away; segments dropped so far stay dropped.
    """
    async with database.reading() as connection:
        found = await connection.execute(
            select(ledger_segment)
            .where(ledger_segment.c.dropped_at.is_(None))
            .order_by(ledger_segment.c.replica_id, ledger_segment.c.number)
        )
        candidates = found.all()
    dropped: list[DroppedSegment] = []
    kept: set[str] = set()
    for row in candidates:
        stays = row.closed_at >= closed_before or not is_genuine_segment(key, row._asdict())
        if stays or row.replica_id in kept:
            kept.add(row.replica_id)
            continue
        if await _drop(database, key=key, row=row, now=now):
            dropped.append(
                DroppedSegment(
                    replica_id=row.replica_id,
                    segment=segment_head(row),
                    closed_at=row.closed_at,
                    dropped_at=now,
                )
            )
    return tuple(dropped)


async def _drop(database: Database, *, key: LedgerKey, row: Any, now: datetime) -> bool:
    """Drop one segment in one transaction; return False where another replica was faster."""
    segment = segment_head(row)
    async with database.writing() as connection:
        marked = await connection.execute(
            update(ledger_segment)
            .where(
                ledger_segment.c.replica_id == row.replica_id,
                ledger_segment.c.number == segment.number,
                ledger_segment.c.dropped_at.is_(None),
            )
            .values(
                segment_row(key, row.replica_id, segment, closed_at=row.closed_at, dropped_at=now)
            )
        )
        if marked.rowcount == 0:
            return False
        for table in TABLES.values():
            await connection.execute(
                delete(table).where(
                    table.c.replica_id == row.replica_id,
                    table.c.sequence.between(segment.first, segment.last),
                )
            )
    return True
