"""Proof that nobody touched the ledger: rows, segments and anchors in, findings out.

In: the database, the key and the heads kept outside the database. Out: what is wrong, with the
numbers of the rows. Rows that were changed, added, removed or moved are found by their codes; a
tail that was cut off by the heads (docs/protocol/ledger.md LG-8 to LG-12).
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Select, Table, func, select, union
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.store.anchors import Anchor, SegmentHead
from controlplane.store.chain import Head, LedgerKey, beginning, is_genuine
from controlplane.store.database import Database
from controlplane.store.ledger_rows import TABLES
from controlplane.store.ledger_writes import is_genuine_segment, segment_head
from controlplane.store.tables import ledger_head, ledger_segment

_WINDOW: Final = 1000
# What SQLite does with a text that is not UTF-8, and its driver with a time that is none.
_UNREADABLE: Final = (ValueError, TypeError, OperationalError)


class Violation(StrEnum):
    """What can be wrong with a ledger."""

    FORGED = "forged"
    MISSING = "missing"
    REPEATED = "repeated"
    UNTIED = "untied"
    TAIL_MISSING = "tail-missing"
    HEAD = "head"
    SEGMENT = "segment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One violation, with the rows of the replica's chain it is about."""

    violation: Violation
    replica_id: str
    first: int
    last: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedChain:
    """What there is of one replica's chain; ``is_anchored`` tells whether a cut tail would show."""

    replica_id: str
    rows: int
    last: int
    is_anchored: bool
    kept_segments: int
    dropped_segments: int
    dropped_through: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The outcome for every chain there is."""

    chains: tuple[VerifiedChain, ...]
    findings: tuple[Finding, ...]

    @property
    def is_intact(self) -> bool:
        """Tell whether nothing was found."""
        return not self.findings


async def verify_ledger(
    database: Database, *, key: LedgerKey, anchors: Mapping[str, Anchor]
) -> Verification:
    """Compare the whole ledger with its codes and with ``anchors``, read before this call.

    Raises:
        DatabaseError: the database is away.
    """
    chains: list[VerifiedChain] = []
    findings: list[Finding] = []
    async with database.reading() as connection:
        tables = (*TABLES.values(), ledger_segment, ledger_head)
        stored = await connection.scalars(union(*(select(each.c.replica_id) for each in tables)))
        for replica_id in sorted({*stored, *anchors}):
            chain = _Chain(connection, key, replica_id, anchors.get(replica_id))
            chains.append(await chain.verify())
            findings.extend(chain.findings)
    return Verification(chains=tuple(chains), findings=tuple(findings))


class _Chain:
    """Walks one replica's chain from its first row to its last."""

    def __init__(
        self, connection: AsyncConnection, key: LedgerKey, replica_id: str, anchor: Anchor | None
    ) -> None:
        self._connection = connection
        self._key = key
        self._replica_id = replica_id
        self._anchor = anchor
        self._checkpoints: dict[int, set[str]] = {}
        self.findings: list[Finding] = []

    async def verify(self) -> VerifiedChain:
        start, dropped = await self._verify_segments()
        if self._anchor and self._anchor.head.sequence > start.sequence:
            self._checkpoints.setdefault(self._anchor.head.sequence, set()).add(
                self._anchor.head.mac
            )
        end, rows = await self._verify_rows(start)
        await self._verify_end(end)
        return VerifiedChain(
            replica_id=self._replica_id,
            rows=rows,
            last=end.sequence,
            is_anchored=self._anchor is not None,
            kept_segments=self._kept,
            dropped_segments=dropped,
            dropped_through=start.sequence,
        )

    async def _verify_segments(self) -> tuple[Head, int]:
        """Check the segments; return where the kept rows begin and how many were dropped."""
        stored = (
            await self._connection.execute(
                select(ledger_segment)
                .where(ledger_segment.c.replica_id == self._replica_id)
                .order_by(ledger_segment.c.number)
            )
        ).all()
        start = beginning(self._key, self._replica_id)
        known: dict[int, SegmentHead] = {}
        dropped: dict[int, SegmentHead] = {}
        for row in stored:
            segment = segment_head(row)
            if not is_genuine_segment(self._key, row._asdict()):
                self._find(
                    Violation.SEGMENT,
                    segment.first,
                    segment.last,
                    f"the record of segment {segment.number} was changed or added",
                )
                continue
            known[segment.number] = segment
            if row.dropped_at is not None:
                dropped[segment.number] = segment
        for segment in self._anchor.segments if self._anchor else ():
            if known.get(segment.number) != segment:
                self._find(
                    Violation.SEGMENT,
                    segment.first,
                    segment.last,
                    f"segment {segment.number} is not what was kept outside the database",
                )
        number = 0
        while (next_dropped := dropped.get(number + 1)) is not None:
            start = Head(sequence=next_dropped.last, mac=next_dropped.mac)
            number += 1
        kept = {**known, **{each.number: each for each in self._anchored_segments()}}
        self._check_numbers(set(kept))
        for segment in kept.values():
            if segment.last > start.sequence:
                self._checkpoints.setdefault(segment.last, set()).add(segment.mac)
        self._kept = len(kept) - number
        return start, number

    def _anchored_segments(self) -> tuple[SegmentHead, ...]:
        return self._anchor.segments if self._anchor else ()

    def _check_numbers(self, numbers: set[int]) -> None:
        for number in sorted(set(range(1, max(numbers, default=0))) - numbers):
            self._find(Violation.SEGMENT, 0, 0, f"the record of segment {number} was removed")

    async def _verify_rows(self, start: Head) -> tuple[Head, int]:
        """Check every row from ``start`` on; return the last of them and how many there are."""
        previous, rows = start, 0
        async for kind, row in self._rows():
            rows += 1
            sequence = row["sequence"]
            if not is_genuine(self._key, kind, row):
                self._find(Violation.FORGED, sequence, sequence, "was changed, added or moved")
            if sequence <= previous.sequence:
                self._find(Violation.REPEATED, sequence, sequence, "is there again")
                continue
            if sequence > previous.sequence + 1:
                self._find(Violation.MISSING, previous.sequence + 1, sequence - 1, "was removed")
            elif row["previous_mac"] != previous.mac:
                self._find(
                    Violation.UNTIED, sequence, sequence, "does not follow the row before it"
                )
            if any(mac != row["mac"] for mac in self._checkpoints.pop(sequence, ())):
                self._find(Violation.HEAD, sequence, sequence, "is not the row whose head was kept")
            previous = Head(sequence=sequence, mac=row["mac"])
        return previous, rows

    async def _verify_end(self, end: Head) -> None:
        """Check that the chain is as long as its heads say."""
        beyond = [sequence for sequence in self._checkpoints if sequence > end.sequence]
        if beyond:
            self._find(
                Violation.TAIL_MISSING, end.sequence + 1, max(beyond), "was cut off at the end"
            )
        head = (
            await self._connection.execute(
                select(ledger_head).where(ledger_head.c.replica_id == self._replica_id)
            )
        ).first()
        stored = (head.sequence, head.mac) if head else (0, "")
        if stored != (end.sequence, end.mac if end.sequence else ""):
            self._find(
                Violation.HEAD,
                end.sequence,
                stored[0],
                "the head in the database is not that of the last row",
            )

    async def _rows(self) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        """Yield every row with the kind of its table, by number."""
        first = await self._first_from(None)
        while first is not None:
            window: list[tuple[int, str, Mapping[str, Any]]] = []
            for kind, table in TABLES.items():
                window.extend(
                    (row["sequence"], kind, row) for row in await self._window(table, first)
                )
            for _, kind, row in sorted(window, key=lambda each: each[:2]):
                yield kind, row
            first = await self._first_from(first + _WINDOW)

    async def _window(self, table: Table, first: int) -> list[Mapping[str, Any]]:
        """Return the rows of one table numbered from ``first`` on, as far as a window goes."""
        numbers = table.c.sequence.between(first, first + _WINDOW - 1)
        rows = select(table).where(table.c.replica_id == self._replica_id)
        try:
            found = await self._connection.execute(rows.where(numbers))
            return [row._asdict() for row in found]
        except _UNREADABLE:
            pass
        sequences = await self._connection.scalars(
            select(table.c.sequence).where(table.c.replica_id == self._replica_id, numbers)
        )
        window: list[Mapping[str, Any]] = []
        for sequence in sequences.all():
            try:
                found = await self._connection.execute(rows.where(table.c.sequence == sequence))
                window.append(found.one()._asdict())
            except _UNREADABLE:  # whoever wrote it, it was not the ledger
                window.append({"sequence": sequence, "mac": "", "previous_mac": ""})
        return window

    async def _first_from(self, sequence: int | None) -> int | None:
        """Return the number of the first row from ``sequence`` on; None when there is none."""
        found = []
        for table in TABLES.values():
            query: Select[Any] = select(func.min(table.c.sequence)).where(
                table.c.replica_id == self._replica_id
            )
            if sequence is not None:
                query = query.where(table.c.sequence >= sequence)
            number = await self._connection.scalar(query)
            if isinstance(number, int):
                found.append(number)
            elif number is not None:  # SQLite keeps texts in columns of numbers, behind them all
                self._find(Violation.FORGED, 0, 0, "has no number")
        return min(found, default=None)

    def _find(self, violation: Violation, first: int, last: int, message: str) -> None:
        self.findings.append(
            Finding(
                violation=violation,
                replica_id=self._replica_id,
                first=first,
                last=last,
                message=message,
            )
        )
