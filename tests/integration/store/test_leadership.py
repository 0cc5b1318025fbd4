"""Leadership as a row, on both databases: one leader at a time, and larger tokens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.store.database import Database
from controlplane.store.errors import DatabaseError
from controlplane.store.leadership import StoreLeadership
from tests.support.ledger import SteppedClock

pytestmark = pytest.mark.timeout(60)  # the first test starts a server


class Away:
    is_sqlite = True

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        raise DatabaseError("away")
        yield


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


def a_candidate(database: Database, clock: SteppedClock, replica: str) -> StoreLeadership:
    return StoreLeadership(database, replica_id=replica, clock=clock)


@pytest.mark.proves("LG-27")
async def test_one_leads_and_renews_with_its_token(database: Database, clock: SteppedClock) -> None:
    first = a_candidate(database, clock, "replica-1")
    second = a_candidate(database, clock, "replica-2")
    for _ in range(10):
        await first.campaign()
        await second.campaign()
        assert (first.token, second.token) == (1, None)
        clock.seconds += 4


@pytest.mark.proves("LG-27", "LG-28")
async def test_a_leader_that_cannot_renew_is_followed_by_one_with_a_larger_token(
    database: Database, clock: SteppedClock
) -> None:
    first = a_candidate(database, clock, "replica-1")
    second = a_candidate(database, clock, "replica-2")
    await first.campaign()
    first._database = Away()  # type: ignore[assignment]
    seconds = 0
    while second.token is None:
        clock.seconds += 1
        seconds += 1
        await first.campaign()
        await second.campaign()
        assert not (first.is_leader and second.is_leader)
    assert seconds == 15
    assert second.token == 2
    assert first.token is None


@pytest.mark.refutes("LG-28")
async def test_a_short_outage_costs_no_leadership(database: Database, clock: SteppedClock) -> None:
    first = a_candidate(database, clock, "replica-1")
    await first.campaign()
    first._database = Away()  # type: ignore[assignment]
    clock.seconds += 8
    await first.campaign()
    assert first.is_leader
    first._database = database
    await first.campaign()
    clock.seconds += 8
    assert first.token == 1


@pytest.mark.refutes("LG-27", "LG-29")
async def test_another_replica_waits_until_the_lead_has_run_out(
    database: Database, clock: SteppedClock
) -> None:
    await a_candidate(database, clock, "replica-1").campaign()
    second = a_candidate(database, clock, "replica-2")
    clock.seconds += 14
    await second.campaign()
    assert second.token is None
    clock.seconds += 1
    await second.campaign()
    assert second.token == 2


@pytest.mark.proves("LG-29")
async def test_a_restarted_replica_leads_at_once_with_a_larger_token(
    database: Database, clock: SteppedClock
) -> None:
    before = a_candidate(database, clock, "replica-1")
    await before.campaign()
    after = a_candidate(database, clock, "replica-1")
    await after.campaign()
    assert (before.token, after.token) == (1, 2)


@pytest.mark.proves("LG-29")
async def test_who_stops_lets_the_next_one_lead(database: Database, clock: SteppedClock) -> None:
    first = a_candidate(database, clock, "replica-1")
    gained = asyncio.create_task(first.changed())
    running = asyncio.create_task(first.run())
    await gained
    assert first.is_leader
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert not first.is_leader
    second = a_candidate(database, clock, "replica-2")
    await second.campaign()
    assert second.token == 2


async def test_elections_are_apart(database: Database, clock: SteppedClock) -> None:
    first = StoreLeadership(database, replica_id="replica-1", clock=clock, election="ca")
    second = StoreLeadership(database, replica_id="replica-2", clock=clock, election="status")
    await first.campaign()
    await second.campaign()
    assert first.is_leader
    assert second.is_leader


async def test_many_candidates_at_once_make_one_leader(
    database: Database, clock: SteppedClock
) -> None:
    candidates = [a_candidate(database, clock, f"replica-{number}") for number in range(4)]
    await asyncio.gather(*(each.campaign() for each in candidates))
    assert [each.token for each in candidates if each.is_leader] == [1]
