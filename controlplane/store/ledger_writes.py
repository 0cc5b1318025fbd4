"""One write to the ledger: entries in, tied rows in their tables out, in one transaction.

The chain goes on from the later of what the database says and what is kept outside it: rows that
were removed at the end leave a gap that never closes (docs/protocol/ledger.md LG-10).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.model.certificate import IssuedCertificate
from controlplane.store.anchors import Anchor, SegmentHead
from controlplane.store.chain import Head, LedgerKey, tied
from controlplane.store.ledger_rows import TABLES, Entry
from controlplane.store.tables import authority, ledger_head, ledger_segment

_HIGH_WATER_STEP: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLimits:
    """When a segment is closed: at so many rows, or when it has been open for so long."""

    rows: int = 10_000
    age: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where one replica's chain stands.

    ``closed_segments`` were closed so far, the last of them ending with row ``closed_rows``; the
    open one began at ``opened_at``.
    """

    anchor: Anchor
    closed_segments: int
    closed_rows: int
    opened_at: datetime


async def first_position(connection: AsyncConnection, *, anchor: Anchor, now: datetime) -> Position:
    """Return where the chain goes on after a start or a failure; ``anchor`` as kept outside."""
    stored = (
        await connection.execute(
            select(ledger_segment)
            .where(ledger_segment.c.replica_id == anchor.replica_id)
            .order_by(ledger_segment.c.number)
        )
    ).all()
    segments = {row.number: segment_head(row) for row in stored}
    segments.update((each.number, each) for each in anchor.segments)
    newest = max(segments.values(), key=lambda each: each.number, default=None)
    dropped = {row.number for row in stored if row.dropped_at is not None}
    anchor = Anchor(
        replica_id=anchor.replica_id,
        head=anchor.head,
        segments=tuple(segments[number] for number in sorted(set(segments) - dropped)),
    )
    position = Position(
        anchor=anchor,
        closed_segments=newest.number if newest else 0,
        closed_rows=newest.last if newest else 0,
        opened_at=now,
    )
    return await next_position(connection, position)


async def next_position(connection: AsyncConnection, position: Position) -> Position:
    """Return where the chain goes on, its row of heads locked until the transaction ends.

    That is where ``position`` says, unless the database holds rows beyond it: a crash came
    between writing them and keeping their head.
    """
    anchor = position.anchor
    found = (
        await connection.execute(
            select(ledger_head)
            .where(ledger_head.c.replica_id == anchor.replica_id)
            .with_for_update()
        )
    ).first()
    if found is None or found.sequence <= anchor.head.sequence:
        return position
    head = Head(sequence=found.sequence, mac=found.mac)
    return replace(position, anchor=replace(anchor, head=head))


async def present(connection: AsyncConnection, entries: Iterable[Entry]) -> frozenset[str]:
    """Return the ids of those entries that are in the ledger already."""
    ids = [entry.entry_id for entry in entries]
    found: set[str] = set()
    for table in TABLES.values():
        found.update(
            await connection.scalars(select(table.c.entry_id).where(table.c.entry_id.in_(ids)))
        )
    return frozenset(found)


async def append(
    connection: AsyncConnection, entries: Sequence[Entry], *, key: LedgerKey, position: Position
) -> Position:
    """Write entries behind ``position``; return where the chain stands then.

    Nothing counts before the transaction is committed.
    """
    replica_id, head = position.anchor.replica_id, position.anchor.head
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in TABLES}
    for entry in entries:
        row = tied(
            key,
            entry.kind,
            {
                **entry.columns(),
                "replica_id": replica_id,
                "sequence": head.sequence + 1,
                "entry_id": entry.entry_id,
                "previous_mac": head.mac,
            },
        )
        rows[entry.kind].append(row)
        head = Head(sequence=row["sequence"], mac=row["mac"])
    for kind, table in TABLES.items():
        if rows[kind]:
            await connection.execute(table.insert(), rows[kind])
    moved = await connection.execute(
        update(ledger_head)
        .where(ledger_head.c.replica_id == replica_id)
        .values(sequence=head.sequence, mac=head.mac)
    )
    if moved.rowcount == 0:
        await connection.execute(
            ledger_head.insert().values(replica_id=replica_id, sequence=head.sequence, mac=head.mac)
        )
    return replace(position, anchor=replace(position.anchor, head=head))


async def close_segment_if_due(
    connection: AsyncConnection,
    *,
    key: LedgerKey,
    position: Position,
    limits: SegmentLimits,
    now: datetime,
) -> Position:
    """Close the open segment where it is long or old enough; return where the chain stands."""
    anchor = position.anchor
    rows = anchor.head.sequence - position.closed_rows
    if rows <= 0 or (rows < limits.rows and now - position.opened_at < limits.age):
        return position
    segment = SegmentHead(
        number=position.closed_segments + 1,
        first=position.closed_rows + 1,
        last=anchor.head.sequence,
        mac=anchor.head.mac,
    )
    await connection.execute(
        ledger_segment.insert().values(
            segment_row(key, anchor.replica_id, segment, closed_at=now, dropped_at=None)
        )
    )
    return Position(
        anchor=replace(anchor, segments=(*anchor.segments, segment)),
        closed_segments=segment.number,
        closed_rows=segment.last,
        opened_at=now,
    )


def segment_head(row: Any) -> SegmentHead:
    """Return the end of the segment that a row of ``ledger_segment`` describes."""
    return SegmentHead(
        number=row.number, first=row.first_sequence, last=row.last_sequence, mac=row.mac
    )


def segment_row(
    key: LedgerKey,
    replica_id: str,
    segment: SegmentHead,
    *,
    closed_at: datetime,
    dropped_at: datetime | None,
) -> dict[str, Any]:
    """Return the signed row of a closed segment."""
    row = {
        "replica_id": replica_id,
        "number": segment.number,
        "first_sequence": segment.first,
        "last_sequence": segment.last,
        "mac": segment.mac,
        "closed_at": closed_at,
        "dropped_at": dropped_at,
    }
    return {**row, "signature": key.code("segment", row)}


def is_genuine_segment(key: LedgerKey, row: Mapping[str, Any]) -> bool:
    """Tell whether a segment's row was signed with ``key`` as it stands."""
    return key.made(
        row["signature"],
        "segment",
        {name: value for name, value in row.items() if name != "signature"},
    )


async def raise_high_water(connection: AsyncConnection, entries: Iterable[Entry]) -> None:
    """Move up, in the journal, until when the authorities' certificates may live.

    The mark is rounded up to ten minutes, so that it moves rarely.
    """
    latest: dict[str, datetime] = {}
    for entry in entries:
        if isinstance(entry.value, IssuedCertificate):
            value = entry.value
            known = latest.get(value.authority_id, value.not_after)
            latest[value.authority_id] = max(known, value.not_after)
    for authority_id, not_after in sorted(latest.items()):
        await connection.execute(
            update(authority)
            .where(
                authority.c.authority_id == authority_id,
                or_(
                    authority.c.max_leaf_not_after.is_(None),
                    authority.c.max_leaf_not_after < not_after,
                ),
            )
            .values(max_leaf_not_after=_rounded_up(not_after))
        )


def _rounded_up(moment: datetime) -> datetime:
    step = _HIGH_WATER_STEP.total_seconds()
    return datetime.fromtimestamp(-(-moment.timestamp() // step) * step, tz=moment.tzinfo)
