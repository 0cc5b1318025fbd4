"""The fleet in the database, on both kinds: every replica answers for all, outages hurt nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from controlplane.model.connection import Connection, TypeProgress
from controlplane.store.connections import ConnectionTable
from controlplane.store.database import Database
from controlplane.store.errors import DatabaseError
from controlplane.store.tables import connection as rows
from controlplane.store.tables import fleet_replica
from tests.support.ledger import SteppedClock

pytestmark = pytest.mark.timeout(60)  # the first test starts a server
NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


class Away:
    """A database that cannot be reached."""

    is_sqlite = True

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        raise DatabaseError("away")
        yield

    reading = writing


def a_connection(replica: str, number: int, **changes: Any) -> Connection:
    made = Connection(
        replica=replica,
        number=number,
        node_id=f"ztunnel~10.0.0.{number}~ztunnel-{number}.istio-system~x",
        kind="ztunnel",
        pod=f"ztunnel-{number}",
        namespace="istio-system",
        node=f"node-{number}",
        version="1.30.0",
        cluster="c",
        peer="ipv4:10.0.0.1:1",
        identity="istio-system/ztunnel",
        connected_at=NOW,
        types=(
            TypeProgress(
                type_url="t",
                nonce_sent="5",
                commit_held=5,
                sent_at=NOW,
                last_error="odd \u0000 \u2603 words",
                rejected=("ns/p",),
            ),
        ),
    )
    return replace(made, **changes)


def a_table(database: Any, clock: SteppedClock, replica: str) -> ConnectionTable:
    return ConnectionTable(database, clock, replica=replica)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.mark.proves("FL-11")
async def test_every_replica_answers_for_all(database: Database, clock: SteppedClock) -> None:
    tables = {name: a_table(database, clock, name) for name in ("r-1", "r-2", "r-3")}
    own = {name: [a_connection(name, 1), a_connection(name, 2)] for name in tables}
    for name, table in tables.items():
        assert await table.write(own[name]) == 2
    for name, table in tables.items():
        view = await table.everywhere(own[name])
        assert view.connections[:2] == tuple(own[name])
        assert {each.replica for each in view.replicas} == set(tables) - {name}
        found = sorted(view.connections, key=lambda each: (each.replica, each.number))
        assert found == [each for name in tables for each in own[name]]
        assert view.trouble == ""


@pytest.mark.refutes("FL-11")
async def test_what_a_replica_wrote_of_itself_is_not_told_by_it(
    database: Database, clock: SteppedClock
) -> None:
    table = a_table(database, clock, "r-1")
    await table.write([a_connection("r-1", 1)])
    assert (await table.everywhere([])).connections == ()


@pytest.mark.proves("FL-10")
async def test_only_what_changed_is_written(database: Database, clock: SteppedClock) -> None:
    table = a_table(database, clock, "r-1")
    first, second = a_connection("r-1", 1), a_connection("r-1", 2)
    assert await table.write([first, second]) == 2
    moved = replace(second, version="1.31.0")
    third = a_connection("r-1", 3)
    clock.seconds += 3
    assert await table.write([moved, third]) == 3
    other = a_table(database, clock, "r-2")
    assert (await other.everywhere([])).connections == (moved, third)


@pytest.mark.refutes("FL-10")
async def test_nothing_but_the_sign_of_life_is_written_when_nothing_changed(
    database: Database, clock: SteppedClock
) -> None:
    table = a_table(database, clock, "r-1")
    await table.write([a_connection("r-1", 1)])
    statements: list[list[str]] = []

    def heard(*arguments: Any) -> None:
        statements.append(arguments[2].split()[0:3])

    event.listen(database._engine.sync_engine, "before_cursor_execute", heard)
    clock.seconds += 3
    assert await table.write([a_connection("r-1", 1)]) == 0
    event.remove(database._engine.sync_engine, "before_cursor_execute", heard)
    assert [each for each in statements if each[0] != "BEGIN"] == [
        ["INSERT", "INTO", "fleet_replica"]
    ]
    async with database.reading() as transaction:
        (seen_at,) = (await transaction.execute(select(fleet_replica.c.seen_at))).one()
    assert seen_at == clock.now()


@pytest.mark.proves("FL-12")
async def test_a_killed_replica_ages_out(database: Database, clock: SteppedClock) -> None:
    killed, alive = a_table(database, clock, "r-1"), a_table(database, clock, "r-2")
    await killed.write([a_connection("r-1", 1)])
    began = clock.seconds
    for seconds in (0, 3, 4, 5, 60, 61):
        clock.seconds = began + seconds
        view = await alive.everywhere([])
        assert len(view.connections) == len(view.replicas) == (1 if seconds <= 3 else 0)
        is_told = 3 < seconds <= 60
        assert view.trouble == (f"r-1 has been silent for {seconds} seconds" if is_told else "")


@pytest.mark.refutes("FL-12")
async def test_a_replica_that_goes_on_writing_stays(
    database: Database, clock: SteppedClock
) -> None:
    busy, reader = a_table(database, clock, "r-1"), a_table(database, clock, "r-2")
    for _ in range(10):
        await busy.write([a_connection("r-1", 1)])
        clock.seconds += 3
        assert len((await reader.everywhere([])).connections) == 1


@pytest.mark.proves("FL-13")
async def test_a_replica_that_starts_tidies_up(database: Database, clock: SteppedClock) -> None:
    await a_table(database, clock, "r-1").write([a_connection("r-1", 1), a_connection("r-1", 9)])
    await a_table(database, clock, "gone").write([a_connection("gone", 1)])
    clock.seconds += 601
    await a_table(database, clock, "r-1").write([a_connection("r-1", 1)])
    async with database.reading() as transaction:
        found = (await transaction.execute(select(rows.c.replica_id, rows.c.number))).all()
        replicas = (await transaction.execute(select(fleet_replica.c.replica_id))).all()
    assert [tuple(each) for each in found] == [("r-1", 1)]
    assert [tuple(each) for each in replicas] == [("r-1",)]


@pytest.mark.refutes("FL-13")
async def test_a_replica_that_was_silent_for_less_stays(
    database: Database, clock: SteppedClock
) -> None:
    await a_table(database, clock, "quiet").write([a_connection("quiet", 1)])
    clock.seconds += 599
    await a_table(database, clock, "r-1").write([])
    async with database.reading() as transaction:
        found = (await transaction.execute(select(rows.c.replica_id))).all()
    assert [tuple(each) for each in found] == [("quiet",)]


@pytest.mark.proves("FL-14")
async def test_an_outage_is_said_once_and_made_up_for(
    database: Database, clock: SteppedClock
) -> None:
    table, other = a_table(database, clock, "r-1"), a_table(database, clock, "r-2")
    await table.write([a_connection("r-1", 1)])
    await other.write([a_connection("r-2", 1)])
    assert len((await table.everywhere([])).connections) == 1
    table._database = Away()  # type: ignore[assignment]
    with capture_logs() as logs:
        for _ in range(3):
            clock.seconds += 3
            assert await table.write([a_connection("r-1", 2)]) == 0
    assert [each["event"] for each in logs] == ["fleet.unwritten"]
    view = await table.everywhere([a_connection("r-1", 2)])
    assert [each.replica for each in view.connections] == ["r-1", "r-2"]
    assert "away" in view.trouble
    clock.seconds += 10
    aged = await table.everywhere([a_connection("r-1", 2)])
    assert [each.replica for each in aged.connections] == ["r-1"]
    assert aged.trouble
    table._database = database
    with capture_logs() as logs:
        await table.write([a_connection("r-1", 2)])
    assert [each["event"] for each in logs] == ["fleet.written"]
    await other.write([a_connection("r-2", 1)])
    clock.seconds += 2
    assert [each.number for each in (await other.everywhere([])).connections] == [2]
    assert (await table.everywhere([])).trouble == ""


@pytest.mark.refutes("FL-14")
async def test_without_an_outage_nothing_is_said(database: Database, clock: SteppedClock) -> None:
    table = a_table(database, clock, "r-1")
    with capture_logs() as logs:
        await table.write([a_connection("r-1", 1)])
        await table.everywhere([])
    assert logs == []


@pytest.mark.proves("FL-15")
async def test_rows_of_other_versions_are_left_out_and_said_to_be(
    database: Database, clock: SteppedClock
) -> None:
    table, other = a_table(database, clock, "r-1"), a_table(database, clock, "r-2")
    await other.write([a_connection("r-2", 1), a_connection("r-2", 2)])
    async with database.writing() as transaction:
        await transaction.execute(
            text('UPDATE connection SET detail = \'{"from": "the future"}\' WHERE number = 1')
        )
    view = await table.everywhere([])
    assert [each.number for each in view.connections] == [2]
    assert view.trouble == "1 connections of other versions are left out"


@pytest.mark.refutes("FL-15")
async def test_facts_that_a_later_version_adds_do_no_harm(
    database: Database, clock: SteppedClock
) -> None:
    table, other = a_table(database, clock, "r-1"), a_table(database, clock, "r-2")
    await other.write([a_connection("r-2", 1)])
    async with database.writing() as transaction:
        await transaction.execute(
            text("UPDATE connection SET detail = replace(detail, '{\"replica\"', :new)"),
            {"new": '{"new":1,"replica"'},
        )
    assert (await table.everywhere([])).connections == (a_connection("r-2", 1),)


async def test_readers_share_one_look_into_the_database(
    database: Database, clock: SteppedClock
) -> None:
    table, other = a_table(database, clock, "r-1"), a_table(database, clock, "r-2")
    await asyncio.gather(*(table.everywhere([]) for _ in range(5)))
    await other.write([a_connection("r-2", 1)])
    assert (await table.everywhere([])).connections == ()
    clock.seconds += 1
    assert len((await table.everywhere([])).connections) == 1


async def test_it_writes_by_itself_until_it_is_cancelled(
    database: Database, clock: SteppedClock
) -> None:
    table, other = a_table(database, clock, "r-1"), a_table(database, clock, "r-2")
    rounds = 0

    began = clock.seconds

    def current() -> list[Connection]:
        nonlocal rounds
        assert clock.seconds == began + 3 * rounds
        rounds += 1
        if rounds > 3:
            task.cancel()
        return [a_connection("r-1", rounds)]

    task = asyncio.ensure_future(table.run(current))
    with suppress(asyncio.CancelledError):
        await task
    assert rounds == 4
    assert [each.number for each in (await other.everywhere([])).connections] == [3]


async def test_between_writing_it_gives_signs_of_life(
    database: Database, clock: SteppedClock
) -> None:
    table = a_table(database, clock, "r-1")
    seen: list[float] = []

    async def sleep(seconds: float) -> None:
        seen.append((await _seen_at(database) - clock.now()).total_seconds())
        clock.seconds += seconds
        if len(seen) == 7:
            raise asyncio.CancelledError

    clock.sleep = sleep  # type: ignore[method-assign]
    with suppress(asyncio.CancelledError):
        await table.run(lambda: [a_connection("r-1", 1)])
    assert seen == [0.0] * 7


async def test_a_sign_of_life_that_cannot_be_written_does_no_harm(
    database: Database, clock: SteppedClock
) -> None:
    table = a_table(database, clock, "r-1")
    await table.write([a_connection("r-1", 1)])
    table._database = Away()  # type: ignore[assignment]
    await table._beat()
    table._database = database
    assert await table.write([a_connection("r-1", 1)]) == 0


async def _seen_at(database: Database) -> datetime:
    async with database.reading() as transaction:
        (seen_at,) = (await transaction.execute(select(fleet_replica.c.seen_at))).one()
    assert isinstance(seen_at, datetime)
    return seen_at
