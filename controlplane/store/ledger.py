"""The ledger of certificates: what was issued and refused in, tied rows in the database out.

Batched, a record is a step onto a queue: issuance never waits and never fails for it; a database
that is away makes the queue go to a file, which is written in order once it is back. Strict, a
certificate is in the database before its caller has it. Reading is ``ledger_queries``, proving
that nobody touched it ``verification``, forgetting ``retention``.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

import structlog

from controlplane.clock import Clock
from controlplane.model.certificate import IssuedCertificate, RefusedRequest
from controlplane.store.anchors import Anchor, Anchors
from controlplane.store.chain import LedgerKey, beginning
from controlplane.store.database import Database
from controlplane.store.errors import (
    AnchorError,
    DatabaseError,
    LedgerUnavailableError,
    RowRefusedError,
)
from controlplane.store.ledger_rows import Entry
from controlplane.store.ledger_writes import (
    Position,
    SegmentLimits,
    append,
    close_segment_if_due,
    first_position,
    next_position,
    present,
    raise_high_water,
)
from controlplane.store.retention import DroppedSegment, drop_segments
from controlplane.store.spool import Spool

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    """How rows are written. Times are seconds.

    ``refusals_per_second`` bounds what a flood of refusals may write; the rest is counted.
    """

    mode: Literal["batched", "strict"] = "batched"
    flush_after: float = 0.1
    batch_rows: int = 100
    queue_rows: int = 20_000
    write_timeout: float = 2.0
    retry_after: float = 1.0
    refusals_per_second: float = 200.0
    segments: SegmentLimits = field(default_factory=SegmentLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStatus:
    """How the ledger is: rows and bytes that wait, rows written, lost and left out.

    ``failure`` says why the last write failed and is empty when it went well.
    """

    queued: int
    spooled_bytes: int
    written: int
    lost: int
    refusals_left_out: int
    failure: str


@dataclass(slots=True, eq=False)
class _Pending:
    entry: Entry
    written: asyncio.Future[None] | None = None


class Ledger:
    """One replica's writer. ``run`` it beside everything else; ``stop`` writes what waits."""

    def __init__(  # noqa: PLR0913 - what it writes to, each a part of its own
        self,
        *,
        database: Database,
        key: LedgerKey,
        anchors: Anchors,
        spool: Spool,
        replica_id: str,
        clock: Clock,
        settings: LedgerSettings | None = None,
    ) -> None:
        self._database = database
        self._key = key
        self._anchors = anchors
        self._spool = spool
        self._clock = clock
        self._settings: Final = settings or LedgerSettings()
        self._anchor = Anchor(replica_id=replica_id, head=beginning(key, replica_id))
        self._anchor_was_read = False
        self._keeps_anchors = True
        self._position: Position | None = None
        self._queue: deque[_Pending] = deque()
        self._work = asyncio.Event()
        self._writing = asyncio.Lock()
        self._stopping = False
        self._retry_at = clock.monotonic()
        self._failure = ""
        self._written = self._lost = self._left_out = 0
        self._refusals_allowed = self._settings.refusals_per_second
        self._refusals_counted_at = clock.monotonic()

    def record(self, certificate: IssuedCertificate) -> None:
        """Take a certificate down, later; never waits, never raises."""
        self._enqueue(_Pending(Entry(value=certificate)))

    def refuse(self, request: RefusedRequest) -> None:
        """Take a refusal down, later; never waits, never raises; left out in a flood of them."""
        now = self._clock.monotonic()
        rate = self._settings.refusals_per_second
        earned = (now - self._refusals_counted_at) * rate
        self._refusals_allowed = min(10 * rate, self._refusals_allowed + earned)
        self._refusals_counted_at = now
        if self._refusals_allowed < 1:
            self._left_out += 1
            return
        self._refusals_allowed -= 1
        self._enqueue(_Pending(Entry(value=request)))

    async def record_strict(self, certificate: IssuedCertificate) -> None:
        """Take a certificate down before returning.

        Raises:
            LedgerUnavailableError: it is not in the ledger; the caller must not have it.
        """
        if self._stopping:
            raise LedgerUnavailableError("the ledger is closed")
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._enqueue(_Pending(Entry(value=certificate), written)):
            raise LedgerUnavailableError("too much waits to be written to the ledger")
        await written

    @property
    def status(self) -> LedgerStatus:
        """Return how the ledger is now."""
        return LedgerStatus(
            queued=len(self._queue),
            spooled_bytes=self._spool.waiting_bytes,
            written=self._written,
            lost=self._lost,
            refusals_left_out=self._left_out,
            failure=self._failure,
        )

    async def run(self) -> None:
        """Write until stopped or cancelled; then write what waits, or leave it in the file."""
        try:
            while not self._stopping:
                if self._spool.is_empty:
                    await self._work.wait()
                self._work.clear()
                waits_for = self._settings.flush_after
                if self._queue and (self._settings.mode == "strict" or self._batch_is_full()):
                    waits_for = 0.0
                if waits_for and not self._stopping:
                    await self._clock.sleep(waits_for)
                await self.flush()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Write everything that waits, once; what cannot be written now stays in the file."""
        self._stopping = True
        self._work.set()
        self._retry_at = self._clock.monotonic()
        await self.flush()
        while self._queue and not self._failure:
            await self.flush()

    async def flush(self) -> None:
        """Write what waits now, oldest first; never raises for a database that is away."""
        async with self._writing:
            if self._clock.monotonic() >= self._retry_at:
                try:
                    await self._drain_spool()
                    await self._drain_queue()
                except DatabaseError as error:
                    self._failed(str(error))
            if self._failure:
                self._set_aside()

    async def drop_segments(self, *, closed_before: datetime) -> tuple[DroppedSegment, ...]:
        """Drop every segment that was closed before then, of all replicas, and log each.

        Raises:
            DatabaseError: the database is away; what was dropped so far stays dropped.
        """
        dropped = await drop_segments(
            self._database, key=self._key, closed_before=closed_before, now=self._clock.now()
        )
        for each in dropped:
            _log.info(
                "ledger.segment_dropped",
                replica=each.replica_id,
                segment=each.segment.number,
                rows=each.segment.last - each.segment.first + 1,
                closed_at=each.closed_at.isoformat(),
            )
        if dropped:
            async with self._writing:
                self._position = None
        return dropped

    def _enqueue(self, pending: _Pending) -> bool:
        if len(self._queue) >= self._settings.queue_rows:
            self._lose(1)
            return False
        self._queue.append(pending)
        self._work.set()
        return True

    def _batch_is_full(self) -> bool:
        return len(self._queue) >= self._settings.batch_rows

    async def _drain_spool(self) -> None:
        while not self._spool.is_empty:
            entries, size = self._spool.peek(self._settings.batch_rows)
            try:
                await self._write(entries, may_be_present=True)
            except RowRefusedError:
                await self._write_singly(entries)
            self._spool.take(size)

    async def _drain_queue(self) -> None:
        # Only what waits now: what comes in meanwhile is written with what comes after it. Chasing
        # it would write a transaction for every few rows, and a row would cost twice as much.
        left = len(self._queue)
        while left:
            count = min(left, self._settings.batch_rows)
            left -= count
            batch = [self._queue[index] for index in range(count)]
            entries = [pending.entry for pending in batch]
            refused = frozenset[str]()
            try:
                await self._write(entries)
            except RowRefusedError:
                refused = await self._write_singly(entries)
            for pending in batch:
                self._queue.popleft()
                if pending.written is None or pending.written.done():
                    continue
                if pending.entry.entry_id in refused:
                    pending.written.set_exception(LedgerUnavailableError("the row is refused"))
                else:
                    pending.written.set_result(None)

    async def _write_singly(self, entries: Sequence[Entry]) -> frozenset[str]:
        """Write entries one by one; return the ids of those that the database can never take."""
        refused = set()
        for entry in entries:
            try:
                await self._write([entry], may_be_present=True)
            except RowRefusedError as error:
                self._lose(1)
                _log.error("ledger.row_refused", entry=entry.entry_id, reason=str(error))
                refused.add(entry.entry_id)
        return frozenset(refused)

    async def _write(self, entries: Sequence[Entry], *, may_be_present: bool = False) -> None:
        """Write one batch in one transaction and anchor its end.

        Raises:
            DatabaseError: nothing of it may be relied on.
        """
        await self._read_anchor()
        try:
            async with asyncio.timeout(self._settings.write_timeout):
                position, written = await self._transaction(entries, may_be_present=may_be_present)
        except TimeoutError:
            self._position = None
            raise DatabaseError("the database did not answer in time") from None
        except (DatabaseError, asyncio.CancelledError):
            self._position = None
            raise
        if self._failure:
            _log.info("ledger.recovered", spooled_bytes=self._spool.waiting_bytes)
        self._failure = ""
        self._position = position
        self._written += written
        await self._keep_anchor(position.anchor)

    async def _transaction(
        self, entries: Sequence[Entry], *, may_be_present: bool
    ) -> tuple[Position, int]:
        now = self._clock.now()
        async with self._database.writing() as connection:
            if self._position is None:
                position = await first_position(connection, anchor=self._anchor, now=now)
            else:
                position = await next_position(connection, self._position)
            known = await present(connection, entries) if may_be_present else frozenset[str]()
            new = [entry for entry in entries if entry.entry_id not in known]
            if new:
                position = await append(connection, new, key=self._key, position=position)
                position = await close_segment_if_due(
                    connection,
                    key=self._key,
                    position=position,
                    limits=self._settings.segments,
                    now=now,
                )
            await raise_high_water(connection, new)
        return position, len(new)

    async def _read_anchor(self) -> None:
        if self._anchor_was_read:
            return
        try:
            anchors = await asyncio.to_thread(self._anchors.read)
        except AnchorError as error:
            _log.error("ledger.anchor_unreadable", reason=str(error))
            self._keeps_anchors = False  # what is there is evidence: somebody has to look first
        else:
            self._anchor = anchors.get(self._anchor.replica_id, self._anchor)
        self._anchor_was_read = True

    async def _keep_anchor(self, anchor: Anchor) -> None:
        if anchor == self._anchor:
            return
        self._anchor = anchor
        if not self._keeps_anchors:
            return
        try:
            await asyncio.to_thread(self._anchors.write, anchor)
        except (OSError, AnchorError) as error:
            _log.error("ledger.anchor_not_kept", reason=type(error).__name__)

    def _failed(self, reason: str) -> None:
        if not self._failure:
            _log.error("ledger.unavailable", reason=reason, queued=len(self._queue))
        self._failure = reason
        self._retry_at = self._clock.monotonic() + self._settings.retry_after

    def _set_aside(self) -> None:
        """Move the queue to the file; callers who wait are told, their rows are not kept."""
        waiting = list(self._queue)
        self._queue.clear()
        kept = []
        for pending in waiting:
            if pending.written is None:
                kept.append(pending.entry)
            elif not pending.written.done():
                pending.written.set_exception(LedgerUnavailableError(self._failure))
        if not kept:
            return
        try:
            self._lose(self._spool.append(kept))
        except OSError as error:
            _log.error("ledger.spool_failed", reason=error.strerror)
            self._lose(len(kept))

    def _lose(self, rows: int) -> None:
        if rows:
            _log.error("ledger.rows_lost", rows=rows, lost=self._lost + rows)
        self._lost += rows
