import asyncio

import pytest

from controlplane.cluster.write_lead import WriteLead
from tests.support.beside_istiod import BesideIstiod
from tests.support.cluster_memory import a_refusal


@pytest.mark.proves("LK-9")
async def test_why_nothing_is_written_is_said_in_words() -> None:
    mesh = BesideIstiod()
    ours = mesh.replica()
    assert ours.lead.reason == "no replica leads at the moment"
    mesh.cluster.fail("GET", a_refusal(503))
    await ours.campaign()
    assert ours.lead.reason == "who leads cannot be found out: HTTP status 503"
    await ours.lease.campaign()
    assert ours.lead.reason == "the election locks of istiod are not ours: not asked yet"
    await ours.lead.campaign()
    assert ours.lead.reason == ""


@pytest.mark.refutes("LK-1")
async def test_where_no_istiod_will_ever_be_the_lease_alone_decides() -> None:
    mesh = BesideIstiod()
    await mesh.istiod().attempt()
    ours = mesh.replica()
    lead = WriteLead(ours.lease, None, clock=mesh.clock)
    await lead.run()
    await lead.campaign()
    assert lead.seconds_left == 0.0
    await ours.lease.campaign()
    assert (lead.seconds_left, lead.reason) == (10, "")


@pytest.mark.proves("LK-8")
async def test_a_lead_that_was_lost_leaves_the_locks_to_the_next_replica() -> None:
    mesh = BesideIstiod()
    first, second = mesh.replica("r0"), mesh.replica("r1")
    await first.campaign()
    await second.campaign()
    mesh.advance(16)
    await second.campaign()
    await _cancelled(asyncio.create_task(first.lead.run()))
    await second.campaign()
    istiod = mesh.istiod()
    await istiod.attempt()
    assert (second.writes, istiod.writes) == (True, False)


@pytest.mark.proves("LK-6")
async def test_locks_are_freed_also_when_the_lease_was_given_up_before() -> None:
    mesh = BesideIstiod()
    ours, istiod = mesh.replica(), mesh.istiod()
    lease = asyncio.create_task(ours.lease.run())
    lead = asyncio.create_task(ours.lead.run())
    for _ in range(50):
        await asyncio.sleep(0)
    assert ours.writes
    await _cancelled(lease)
    for _ in range(50):
        await asyncio.sleep(0)
    await _cancelled(lead)
    await istiod.attempt()
    assert istiod.writes_all


@pytest.mark.refutes("LK-8")
async def test_a_replica_that_gains_the_lease_takes_the_locks_without_a_pause() -> None:
    mesh = BesideIstiod()
    ours = mesh.replica()
    run = asyncio.create_task(ours.lead.run())
    for _ in range(5):
        await asyncio.sleep(0)
    assert mesh.cluster.asked == []
    await ours.lease.campaign()
    for _ in range(50):
        await asyncio.sleep(0)
    assert ours.writes
    await _cancelled(run)
    assert not ours.writes


async def _cancelled(run: asyncio.Task[None]) -> None:
    await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
