"""Records of commits in the database, on both kinds."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from controlplane.model.commit import (
    Cause,
    CommitLatency,
    CommitProgress,
    CommitRecord,
    TypeChange,
)
from controlplane.model.names import ObjectReference
from controlplane.store.commits import CommitPlace, CommitTable
from controlplane.store.database import Database
from controlplane.store.errors import DatabaseError
from controlplane.store.tables import commit_record as rows
from tests.integration.store.test_connections import Away
from tests.support.ledger import START, SteppedClock

pytestmark = pytest.mark.timeout(60)  # the first test starts a server


def a_record(number: int, *, replica: str = "r-1", acknowledged: int = 0) -> CommitRecord:
    return CommitRecord(
        replica=replica,
        number=number,
        committed_at=START + timedelta(seconds=number),
        received_at=START,
        causes=(Cause(object=ObjectReference("Pod", "ns", "a"), happened_at=START),),
        cause_count=7,
        types=(TypeChange(type_url="t", updated=1, names=("c//Pod/ns/a",)),),
        progress=CommitProgress(
            concerned=3,
            acknowledged=acknowledged,
            last_sent_at=START,
            median_seconds=0.25,
            slowest=(CommitLatency(connection=1, name="a.b", node="n", seconds=0.5),),
        ),
    )


async def records(
    table: CommitTable, limit: int, before: CommitPlace | None = None
) -> list[CommitRecord]:
    found = await table.kept(limit, before)
    return [each.record for each in found if each.record is not None]


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.mark.proves("CT-14")
async def test_records_are_written_and_again_when_they_get_on(
    database: Database, clock: SteppedClock
) -> None:
    table = CommitTable(database, clock, replica="r-1")
    assert await table.write([a_record(2), a_record(1)]) == 2
    assert await table.write([a_record(2, acknowledged=3), a_record(1)]) == 1
    assert await records(table, 10) == [a_record(2, acknowledged=3), a_record(1)]
    assert await records(table, 1) == [a_record(2, acknowledged=3)]
    assert await records(table, 9, CommitPlace(START + timedelta(seconds=2))) == [a_record(1)]


@pytest.mark.refutes("CT-14")
async def test_after_a_week_they_are_dropped(database: Database, clock: SteppedClock) -> None:
    table = CommitTable(database, clock, replica="r-1")
    await table.write([a_record(1)])
    clock.seconds += 7 * 86400 + 2
    await table.write([a_record(1), replace(a_record(2), committed_at=clock.now())])
    assert [each.number for each in await records(table, 10)] == [2]


@pytest.mark.proves("CT-15")
async def test_records_of_two_processes_stand_beside_each_other(
    database: Database, clock: SteppedClock
) -> None:
    await CommitTable(database, clock, replica="r-1").write([a_record(1, acknowledged=1)])
    await CommitTable(database, clock, replica="r-1").write([a_record(1, acknowledged=2)])
    await CommitTable(database, clock, replica="r-2").write([a_record(1, replica="r-2")])
    found = await records(CommitTable(database, clock, replica="r-3"), 10)
    assert sorted(each.progress.acknowledged for each in found) == [0, 1, 2]


@pytest.mark.refutes("CT-15")
async def test_one_process_has_one_record_of_a_commit(
    database: Database, clock: SteppedClock
) -> None:
    table = CommitTable(database, clock, replica="r-1")
    for acknowledged in range(3):
        await table.write([a_record(1, acknowledged=acknowledged)])
    assert [each.progress.acknowledged for each in await records(table, 10)] == [2]


@pytest.mark.proves("CT-16")
async def test_an_outage_delays_records(database: Database, clock: SteppedClock) -> None:
    table = CommitTable(database, clock, replica="r-1")
    table._database = Away()  # type: ignore[assignment]
    with capture_logs() as logs:
        assert await table.write([a_record(1)]) == 0
        assert await table.write([a_record(2), a_record(1)]) == 0
    assert [each["event"] for each in logs] == ["commits.unwritten"]
    with pytest.raises(DatabaseError):
        await table.kept(1)
    table._database = database
    with capture_logs() as logs:
        assert await table.write([a_record(2), a_record(1)]) == 2
    assert [each["event"] for each in logs] == ["commits.written"]


@pytest.mark.refutes("CT-16")
async def test_it_writes_by_itself_until_it_is_cancelled(
    database: Database, clock: SteppedClock
) -> None:
    table = CommitTable(database, clock, replica="r-1")
    rounds = 0

    async def recent(most: int) -> Sequence[CommitRecord]:
        nonlocal rounds
        rounds += 1
        assert most == 64
        if rounds > 3:
            task.cancel()
        return [a_record(number) for number in range(rounds, 0, -1)]

    task = asyncio.ensure_future(table.run(recent))
    with capture_logs() as logs, suppress(asyncio.CancelledError):
        await task
    assert [each.number for each in await records(table, 10)] == [3, 2, 1]
    assert logs == []


async def test_pages_leave_nothing_out_where_times_are_equal(
    database: Database, clock: SteppedClock
) -> None:
    for replica in ("r-1", "r-2", "r-2"):
        written = [replace(a_record(n, replica=replica), committed_at=START) for n in (1, 2)]
        await CommitTable(database, clock, replica=replica).write(written)
    table = CommitTable(database, clock, replica="r-3")
    pages, place = [], None
    while found := await table.kept(1, place):
        ((place, record),) = found
        assert record is not None
        pages.append((record.replica, record.number))
    assert sorted(pages) == [("r-1", 1), ("r-1", 2), *[("r-2", 1)] * 2, *[("r-2", 2)] * 2]
    assert [each.place for each in await table.kept(9)] == sorted(
        (each.place for each in await table.kept(9)), reverse=True
    )
    assert {each.place.replica_id for each in await table.kept(9, replica="r-1")} == {"r-1"}


async def test_a_record_of_another_version_keeps_its_place(
    database: Database, clock: SteppedClock
) -> None:
    table = CommitTable(database, clock, replica="r-1")
    await table.write([a_record(1), a_record(2)])
    async with database.writing() as transaction:
        odd = {"detail": "{}"}
        await transaction.execute(update(rows).where(rows.c.number == 1).values(odd))
    found = await table.kept(9)
    assert [each.record and each.record.number for each in found] == [2, None]
    assert [each.place.number for each in found] == [2, 1]
