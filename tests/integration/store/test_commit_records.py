"""Records of commits in the database, on both kinds."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from controlplane.model.commit import (
    Cause,
    CommitLatency,
    CommitProgress,
    CommitRecord,
    TypeChange,
)
from controlplane.model.names import ObjectReference
from controlplane.store.commits import CommitTable
from controlplane.store.database import Database
from controlplane.store.errors import DatabaseError
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
    assert await table.recent(10) == (a_record(2, acknowledged=3), a_record(1))
    assert await table.recent(1) == (a_record(2, acknowledged=3),)
    assert await table.recent(9, before=START + timedelta(seconds=2)) == (a_record(1),)


@pytest.mark.refutes("CT-14")
async def test_after_a_week_they_are_dropped(database: Database, clock: SteppedClock) -> None:
    table = CommitTable(database, clock, replica="r-1")
    await table.write([a_record(1)])
    clock.seconds += 7 * 86400 + 2
    await table.write([a_record(1), replace(a_record(2), committed_at=clock.now())])
    assert [each.number for each in await table.recent(10)] == [2]


@pytest.mark.proves("CT-15")
async def test_records_of_two_processes_stand_beside_each_other(
    database: Database, clock: SteppedClock
) -> None:
    await CommitTable(database, clock, replica="r-1").write([a_record(1, acknowledged=1)])
    await CommitTable(database, clock, replica="r-1").write([a_record(1, acknowledged=2)])
    await CommitTable(database, clock, replica="r-2").write([a_record(1, replica="r-2")])
    found = await CommitTable(database, clock, replica="r-3").recent(10)
    assert sorted(each.progress.acknowledged for each in found) == [0, 1, 2]


@pytest.mark.refutes("CT-15")
async def test_one_process_has_one_record_of_a_commit(
    database: Database, clock: SteppedClock
) -> None:
    table = CommitTable(database, clock, replica="r-1")
    for acknowledged in range(3):
        await table.write([a_record(1, acknowledged=acknowledged)])
    assert [each.progress.acknowledged for each in await table.recent(10)] == [2]


@pytest.mark.proves("CT-16")
async def test_an_outage_delays_records(database: Database, clock: SteppedClock) -> None:
    table = CommitTable(database, clock, replica="r-1")
    table._database = Away()  # type: ignore[assignment]
    with capture_logs() as logs:
        assert await table.write([a_record(1)]) == 0
        assert await table.write([a_record(2), a_record(1)]) == 0
    assert [each["event"] for each in logs] == ["commits.unwritten"]
    with pytest.raises(DatabaseError):
        await table.recent(1)
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
    assert [each.number for each in await table.recent(10)] == [3, 2, 1]
    assert logs == []
