"""The ledger on both databases: what is written, in which order, and what happens without one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.store.database import Database
from controlplane.store.errors import DatabaseError, LedgerUnavailableError
from controlplane.store.ledger import Ledger, LedgerSettings
from controlplane.store.ledger_queries import LedgerFilter, issued_rows, refused_rows
from controlplane.store.ledger_rows import LedgerRow
from controlplane.store.ledger_writes import SegmentLimits
from controlplane.store.spool import Spool
from controlplane.store.verification import Violation, verify_ledger
from tests.support.ledger import (
    KEY,
    START,
    KeptAnchors,
    SteppedClock,
    a_certificate,
    a_refusal,
)

pytestmark = pytest.mark.timeout(60)  # the first test starts a server


class Switch:
    """A database that can be away, and can lose its answer."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.is_away = False
        self.loses_answer = False
        self.hangs = False
        self.meanwhile: Callable[[], None] = lambda: None
        self.writes = 0
        self.reading = database.reading

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        if self.is_away:
            raise DatabaseError("away")
        if self.hangs:
            await asyncio.sleep(3600)
        self.writes += 1
        async with self.database.writing() as connection:
            self.meanwhile()
            yield connection
        if self.loses_answer:
            self.loses_answer = False
            raise DatabaseError("the answer was lost")


class Rig:
    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.switch = Switch(database)
        self.anchors = KeptAnchors()
        self.clock = SteppedClock()
        self.folder = folder

    def ledger(
        self,
        settings: LedgerSettings | None = None,
        *,
        replica: str = "replica-1",
        spool_bytes: int = 1 << 20,
    ) -> Ledger:
        return Ledger(
            database=self.switch,  # type: ignore[arg-type]
            key=KEY,
            anchors=self.anchors,
            spool=Spool(self.folder, max_bytes=spool_bytes),
            replica_id=replica,
            clock=self.clock,
            settings=settings,
        )

    async def issued(self) -> list[LedgerRow]:
        return list(reversed(await issued_rows(self.database, LedgerFilter(limit=1000))))

    async def serials(self) -> list[int]:
        rows = sorted(await self.issued(), key=lambda row: row.sequence)
        return [int(row.value.serial, 16) for row in rows]  # type: ignore[union-attr]

    async def is_intact(self) -> bool:
        found = await verify_ledger(self.database, key=KEY, anchors=self.anchors.read())
        return found.is_intact


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Rig:
    return Rig(database, tmp_path)


@pytest.mark.proves("LG-1", "LG-2", "LG-4")
async def test_what_was_taken_down_is_read_back_unchanged(rig: Rig) -> None:
    ledger = rig.ledger()
    ledger.record(a_certificate(1))
    ledger.refuse(a_refusal(2))
    ledger.record(a_certificate(3))
    await ledger.flush()
    assert [(row.sequence, row.value) for row in await rig.issued()] == [
        (1, a_certificate(1)),
        (3, a_certificate(3)),
    ]
    refused = await refused_rows(rig.database, LedgerFilter())
    assert [(row.sequence, row.value) for row in refused] == [(2, a_refusal(2))]
    assert ledger.status.written == 3
    assert rig.switch.writes == 1
    assert await rig.is_intact()


async def test_what_comes_in_during_a_write_waits_for_the_next_or_for_the_stop(rig: Rig) -> None:
    ledger = rig.ledger()
    ledger.record(a_certificate(1))
    rig.switch.meanwhile = lambda: (
        ledger.record(a_certificate(1 + rig.switch.writes)) if rig.switch.writes < 4 else None
    )
    await ledger.flush()
    assert rig.switch.writes == 1
    assert (ledger.status.written, ledger.status.queued) == (1, 1)
    await ledger.stop()
    assert ledger.status.queued == 0
    assert await rig.serials() == [1, 2, 3, 4]


@pytest.mark.refutes("LG-1", "LG-2")
async def test_an_issued_certificate_is_no_refusal_and_a_refusal_no_certificate(rig: Rig) -> None:
    ledger = rig.ledger()
    ledger.record(a_certificate(1))
    await ledger.flush()
    assert await refused_rows(rig.database, LedgerFilter()) == ()
    other = rig.ledger(replica="replica-2")
    other.refuse(a_refusal(1))
    await other.flush()
    assert len(await rig.issued()) == 1


@pytest.mark.proves("LG-3")
async def test_whatever_a_caller_wrote_can_be_stored(rig: Rig) -> None:
    ledger = rig.ledger()
    ledger.refuse(a_refusal(1, requested_id="spiffe://a\x00b\n\ud800\\é" + "x" * 5000))
    await ledger.flush()
    (row,) = await refused_rows(rig.database, LedgerFilter())
    stored = row.value.requested_id  # type: ignore[union-attr]
    assert stored.startswith("spiffe://a\\x00b\\n\\ud800\\\\\\xe9xxx")
    assert len(stored) == 2048
    assert await rig.is_intact()


@pytest.mark.refutes("LG-3")
async def test_ordinary_texts_are_stored_as_they_are(rig: Rig) -> None:
    ledger = rig.ledger()
    ledger.refuse(a_refusal(1, requested_id="spiffe://a/ns/b/sa/c %2f"))
    await ledger.flush()
    (row,) = await refused_rows(rig.database, LedgerFilter())
    assert row.value.requested_id == "spiffe://a/ns/b/sa/c %2f"  # type: ignore[union-attr]


@pytest.mark.proves("LG-5")
@pytest.mark.refutes("LG-4")
async def test_strict_rows_are_there_before_the_caller_goes_on(rig: Rig) -> None:
    ledger = rig.ledger(LedgerSettings(mode="strict"))
    async with asyncio.TaskGroup() as group:
        run = group.create_task(ledger.run())
        await asyncio.gather(*(ledger.record_strict(a_certificate(n)) for n in range(1, 9)))
        assert len(await rig.issued()) == 8
        run.cancel()
    assert await rig.is_intact()


@pytest.mark.proves("LG-5")
async def test_strict_rows_fail_with_the_database_and_are_not_kept(rig: Rig) -> None:
    ledger = rig.ledger(LedgerSettings(mode="strict"))
    rig.switch.is_away = True
    async with asyncio.TaskGroup() as group:
        run = group.create_task(ledger.run())
        with pytest.raises(LedgerUnavailableError):
            await ledger.record_strict(a_certificate(1))
        run.cancel()
    assert ledger.status.spooled_bytes == 0
    with pytest.raises(LedgerUnavailableError):
        await ledger.record_strict(a_certificate(2))


@pytest.mark.proves("LG-5")
async def test_strict_rows_fail_when_the_database_does_not_answer(rig: Rig) -> None:
    ledger = rig.ledger(LedgerSettings(mode="strict", write_timeout=0.05))
    rig.switch.hangs = True
    async with asyncio.TaskGroup() as group:
        run = group.create_task(ledger.run())
        with pytest.raises(LedgerUnavailableError, match="in time"):
            await ledger.record_strict(a_certificate(1))
        rig.switch.hangs = False
        run.cancel()


@pytest.mark.proves("LG-4", "LG-6")
@pytest.mark.refutes("LG-5")
async def test_an_outage_is_spooled_and_caught_up_in_order(rig: Rig) -> None:
    ledger = rig.ledger(LedgerSettings(batch_rows=3))
    ledger.record(a_certificate(1))
    await ledger.flush()
    rig.switch.is_away = True
    for number in range(2, 12):
        ledger.record(a_certificate(number))
        await ledger.flush()
    status = ledger.status
    assert (status.queued, status.lost, status.failure) == (0, 0, "away")
    assert status.spooled_bytes > 0
    assert (rig.folder / "ledger.spool").stat().st_mode & 0o777 == 0o600
    rig.switch.is_away = False
    rig.clock.seconds += 10
    ledger.record(a_certificate(12))
    await ledger.flush()
    assert await rig.serials() == list(range(1, 13))
    assert ledger.status.failure == ""
    assert not (rig.folder / "ledger.spool").exists()
    assert await rig.is_intact()


@pytest.mark.refutes("LG-6")
async def test_nothing_is_spooled_while_the_database_is_there(rig: Rig) -> None:
    ledger = rig.ledger()
    for number in range(1, 50):
        ledger.record(a_certificate(number))
    await ledger.flush()
    assert not (rig.folder / "ledger.spool").exists()


@pytest.mark.proves("LG-6")
async def test_what_was_spooled_survives_a_restart(rig: Rig) -> None:
    rig.switch.is_away = True
    before = rig.ledger()
    before.record(a_certificate(1))
    before.refuse(a_refusal(2, requested_id="a\\b\x00"))
    await before.stop()
    rig.switch.is_away = False
    after = rig.ledger()
    after.record(a_certificate(3))
    await after.flush()
    assert await rig.serials() == [1, 3]
    (row,) = await refused_rows(rig.database, LedgerFilter())
    assert row.sequence == 2
    assert row.value.requested_id == "a\\\\b\\x00"  # type: ignore[union-attr]
    assert await rig.is_intact()


@pytest.mark.proves("LG-6")
async def test_a_line_a_crash_left_unfinished_is_passed_over(rig: Rig) -> None:
    rig.switch.is_away = True
    before = rig.ledger()
    before.record(a_certificate(1))
    await before.stop()
    with (rig.folder / "ledger.spool").open("ab") as file:
        file.write(b'["issued","unfinis')
    again = rig.ledger()
    again.record(a_certificate(2))
    await again.stop()
    rig.switch.is_away = False
    after = rig.ledger()
    await after.flush()
    assert await rig.serials() == [1, 2]


@pytest.mark.proves("LG-7")
async def test_a_full_spool_and_a_full_queue_lose_and_count(rig: Rig) -> None:
    rig.switch.is_away = True
    ledger = rig.ledger(LedgerSettings(queue_rows=5), spool_bytes=2500)
    for number in range(1, 8):
        ledger.record(a_certificate(number))
    assert (ledger.status.queued, ledger.status.lost) == (5, 2)
    await ledger.flush()
    assert (rig.folder / "ledger.spool").stat().st_size <= 2500
    lost = ledger.status.lost
    assert lost > 2
    rig.switch.is_away = False
    rig.clock.seconds += 10
    await ledger.flush()
    assert len(await rig.serials()) == 7 - lost


@pytest.mark.refutes("LG-7")
async def test_nothing_is_lost_that_fits(rig: Rig) -> None:
    rig.switch.is_away = True
    ledger = rig.ledger(LedgerSettings(queue_rows=5))
    for number in range(1, 6):
        ledger.record(a_certificate(number))
    await ledger.flush()
    assert ledger.status.lost == 0


@pytest.mark.proves("LG-16")
async def test_a_lost_answer_does_not_write_a_row_twice(rig: Rig) -> None:
    ledger = rig.ledger()
    rig.switch.loses_answer = True
    ledger.record(a_certificate(1))
    ledger.record(a_certificate(2))
    await ledger.flush()
    assert ledger.status.spooled_bytes > 0
    rig.clock.seconds += 10
    ledger.record(a_certificate(3))
    await ledger.flush()
    assert await rig.serials() == [1, 2, 3]
    assert await rig.is_intact()


@pytest.mark.refutes("LG-16")
async def test_the_same_certificate_taken_down_twice_is_two_rows(rig: Rig) -> None:
    ledger = rig.ledger()
    ledger.record(a_certificate(1))
    ledger.record(a_certificate(1))
    await ledger.flush()
    assert await rig.serials() == [1, 1]


@pytest.mark.proves("LG-17")
@pytest.mark.refutes("LG-17")
async def test_a_flood_of_refusals_is_left_out_but_no_certificate(rig: Rig) -> None:
    ledger = rig.ledger(LedgerSettings(refusals_per_second=10))
    for number in range(1, 101):
        ledger.refuse(a_refusal(number))
        ledger.record(a_certificate(number))
    rig.clock.seconds += 1
    ledger.refuse(a_refusal(101))
    await ledger.flush()
    assert len(await rig.issued()) == 100
    assert len(await refused_rows(rig.database, LedgerFilter())) == 11
    assert ledger.status.refusals_left_out == 90


async def test_a_row_no_database_takes_holds_up_nothing(rig: Rig) -> None:
    ledger = rig.ledger()
    ledger.record(a_certificate(1))
    ledger.record(replace(a_certificate(2), issued_at=START.replace(tzinfo=None)))
    ledger.record(a_certificate(3))
    await ledger.flush()
    assert await rig.serials() == [1, 3]
    assert ledger.status.lost == 1
    assert await rig.is_intact()


@pytest.mark.proves("LG-18")
async def test_rows_are_found_newest_first_and_limited(rig: Rig) -> None:
    ledger = rig.ledger()
    other = "spiffe://cluster.local/ns/default/sa/other"
    ledger.record(a_certificate(1, node="node-2"))
    ledger.record(a_certificate(2, spiffe_id=other))
    ledger.record(a_certificate(3, authority_id="cd" * 20))
    ledger.refuse(a_refusal(4))
    ledger.refuse(a_refusal(5, node="node-2"))
    await ledger.flush()

    async def numbers(**wanted: object) -> list[int]:
        found = LedgerFilter(**wanted)  # type: ignore[arg-type]
        rows = [*await issued_rows(rig.database, found), *await refused_rows(rig.database, found)]
        return [row.sequence for row in rows]

    assert await numbers() == [3, 2, 1, 5, 4]
    assert await numbers(limit=1) == [3, 5]
    assert await numbers(identity=other) == [2, 5, 4]
    assert await numbers(node="node-2") == [1, 5]
    assert await numbers(authority="cd" * 20) == [3]
    assert await numbers(since=START + timedelta(seconds=2, microseconds=1)) == [3, 5, 4]


@pytest.mark.refutes("LG-18")
async def test_what_does_not_match_is_not_found(rig: Rig) -> None:
    ledger = rig.ledger()
    ledger.record(a_certificate(1))
    await ledger.flush()
    assert await issued_rows(rig.database, LedgerFilter(node="node-9")) == ()
    with pytest.raises(ValueError, match="limit"):
        LedgerFilter(limit=0)


@pytest.mark.proves("LG-11")
async def test_segments_are_closed_by_rows_and_by_age(rig: Rig) -> None:
    limits = SegmentLimits(rows=4, age=timedelta(hours=1))
    ledger = rig.ledger(LedgerSettings(segments=limits))
    for number in range(1, 6):
        ledger.record(a_certificate(number))
    await ledger.flush()
    ledger.record(a_certificate(6))
    await ledger.flush()
    assert [(s.first, s.last) for s in rig.anchors.kept["replica-1"].segments] == [(1, 5)]
    rig.clock.seconds += 3601
    ledger.record(a_certificate(7))
    await ledger.flush()
    assert [(s.first, s.last) for s in rig.anchors.kept["replica-1"].segments] == [(1, 5), (6, 7)]
    found = await verify_ledger(rig.database, key=KEY, anchors=rig.anchors.read())
    assert found.is_intact
    assert found.chains[0].kept_segments == 2


@pytest.mark.refutes("LG-11")
async def test_a_short_young_segment_stays_open(rig: Rig) -> None:
    ledger = rig.ledger()
    ledger.record(a_certificate(1))
    await ledger.flush()
    assert rig.anchors.kept["replica-1"].segments == ()


@pytest.mark.proves("LG-13")
async def test_retention_drops_whole_old_segments_and_says_so(rig: Rig) -> None:
    ledger = rig.ledger(LedgerSettings(segments=SegmentLimits(rows=2)))
    for number in range(1, 8):
        ledger.record(a_certificate(number))
        await ledger.flush()
        rig.clock.seconds += 60
    dropped = await ledger.drop_segments(closed_before=START + timedelta(seconds=200))
    assert [(each.segment.first, each.segment.last) for each in dropped] == [(1, 2), (3, 4)]
    assert await rig.serials() == [5, 6, 7]
    ledger.record(a_certificate(8))
    await ledger.flush()
    found = await verify_ledger(rig.database, key=KEY, anchors=rig.anchors.read())
    assert found.findings == ()
    assert (found.chains[0].dropped_segments, found.chains[0].dropped_through) == (2, 4)
    assert [s.number for s in rig.anchors.kept["replica-1"].segments] == [3, 4]
    after = rig.ledger()
    after.record(a_certificate(9))
    await after.flush()
    assert await rig.is_intact()


@pytest.mark.proves("LG-10")
@pytest.mark.refutes("LG-10")
async def test_each_replica_has_a_chain_of_its_own_that_survives_restarts(rig: Rig) -> None:
    for replica in ("replica-1", "replica-2", "replica-1"):
        ledger = rig.ledger(replica=replica)
        ledger.record(a_certificate(1))
        await ledger.stop()
    rows = await rig.issued()
    assert sorted((row.replica_id, row.sequence) for row in rows) == [
        ("replica-1", 1),
        ("replica-1", 2),
        ("replica-2", 1),
    ]
    assert await rig.is_intact()


@pytest.mark.proves("LG-10")
async def test_a_chain_goes_on_behind_rows_whose_head_was_not_kept(rig: Rig) -> None:
    ledger = rig.ledger()
    ledger.record(a_certificate(1))
    await ledger.stop()
    rig.anchors.kept.clear()
    after = rig.ledger()
    after.record(a_certificate(2))
    await after.stop()
    assert await rig.serials() == [1, 2]
    found = await verify_ledger(rig.database, key=KEY, anchors=rig.anchors.read())
    assert found.is_intact


@pytest.mark.proves("LG-10")
async def test_a_database_restored_from_a_backup_keeps_its_gap(rig: Rig) -> None:
    ledger = rig.ledger()
    for number in range(1, 4):
        ledger.record(a_certificate(number))
    await ledger.stop()
    kept = rig.anchors.kept["replica-1"]
    rig.anchors.write(replace(kept, head=replace(kept.head, sequence=10)))
    after = rig.ledger()
    after.record(a_certificate(4))
    await after.flush()
    found = await verify_ledger(rig.database, key=KEY, anchors=rig.anchors.read())
    assert [(each.violation, each.first, each.last) for each in found.findings] == [
        (Violation.MISSING, 4, 10)
    ]
