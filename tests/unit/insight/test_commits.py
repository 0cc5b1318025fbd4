"""The commit log: causes, changes, versions of objects, and waiting."""

import asyncio
from datetime import timedelta

import pytest

from controlplane.insight.commits import CAUSES, COMMITS, NAMES, OBJECTS, CommitLog, Waited
from controlplane.insight.trail import Follower
from controlplane.model.names import ObjectReference
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import (
    ADDRESS_TYPE,
    ADDRESSES,
    AUTHORIZATION_TYPE,
    AUTHORIZATIONS,
    GLOBAL_AUTHORIZATIONS,
    node_authorizations,
)
from tests.support.dataflow_time import VirtualClock
from tests.support.discovery import a_policy, a_workload, put, remove
from tests.support.trails import Stream

POD = ObjectReference("Pod", "ns", "a")
OTHER = ObjectReference("Pod", "ns", "b")


class Rig:
    """A log with streams made by hand."""

    def __init__(self, **options: int) -> None:
        self.clock = VirtualClock()
        self.catalog = Catalog()
        self.log = CommitLog(self.catalog, self.clock, replica="r-1", **options)
        self.streams: list[Stream] = []
        self.log.follow(lambda: [each.follower for each in self.streams])

    def commit(self, *objects: ObjectReference, name: str = "c//Pod/ns/a") -> int:
        """Let objects arrive, and commit a change of the resource ``name``."""
        for each in objects:
            self.log.arrived(each)
        self.log.batched()
        put(self.catalog, a_workload(name, padding=str(self.catalog.commit)))
        self.log.finished()
        return self.catalog.commit

    def a_stream(self, number: int = 1) -> Stream:
        stream = Stream(number, began_at=self.clock.monotonic())
        self.streams.append(stream)
        return stream


@pytest.mark.proves("CT-1")
async def test_a_commit_knows_its_causes_and_when_the_first_of_them_came() -> None:
    rig = Rig()
    began = rig.clock.now()
    rig.log.arrived(POD, happened_at=began - timedelta(seconds=3))
    await rig.clock.advance(1)
    rig.log.arrived(OTHER, is_removal=True)
    rig.log.arrived(OTHER)
    rig.log.batched()
    rig.log.arrived(ObjectReference("Pod", "ns", "next"))
    await rig.clock.advance(1)
    put(rig.catalog, a_workload("c//Pod/ns/a"))
    rig.log.finished()
    record = rig.log.get(1)
    assert record is not None
    assert (record.replica, record.received_at) == ("r-1", began)
    assert record.committed_at == began + timedelta(seconds=2)
    assert [(each.object, each.is_removal) for each in record.causes] == [
        (POD, False),
        (OTHER, False),
    ]
    assert record.causes[0].happened_at == began - timedelta(seconds=3)
    assert record.cause_count == 3


@pytest.mark.refutes("CT-1")
def test_a_batch_that_changes_nothing_is_no_cause_of_the_next_commit() -> None:
    rig = Rig()
    rig.log.arrived(POD)
    rig.log.batched()
    rig.log.finished()
    rig.commit(OTHER)
    record = rig.log.get(1)
    assert record is not None
    assert [each.object for each in record.causes] == [OTHER]
    put(rig.catalog, a_workload("c//Pod/ns/by-hand"))
    by_hand = rig.log.get(2)
    assert by_hand is not None
    assert (by_hand.received_at, by_hand.causes) == (None, ())


def test_causes_and_names_are_bounded_and_counted() -> None:
    rig = Rig()
    rig.log.batched()
    for number in range(CAUSES + 5):
        rig.log.arrived(ObjectReference("Pod", "ns", str(number)))
    rig.log.batched()
    pods = [a_workload(f"c//Pod/ns/{number}") for number in range(NAMES + 5)]
    put(rig.catalog, *pods)
    rig.log.finished()
    record = rig.log.get(1)
    assert record is not None
    assert (len(record.causes), record.cause_count) == (CAUSES, CAUSES + 5)
    (change,) = record.types
    assert (len(change.names), change.updated) == (NAMES, NAMES + 5)


@pytest.mark.proves("CT-2")
def test_a_commit_tells_what_became_of_each_type() -> None:
    rig = Rig()
    rig.commit()
    policy = a_policy("ns/p")
    for key in (AUTHORIZATIONS, GLOBAL_AUTHORIZATIONS):
        rig.catalog.stage(key, [(policy.name, policy)])
    remove(rig.catalog, "c//Pod/ns/a")
    record = rig.log.get(2)
    assert record is not None
    found = {each.type_url: (each.updated, each.removed, each.names) for each in record.types}
    assert found == {
        ADDRESS_TYPE: (0, 1, ("c//Pod/ns/a",)),
        AUTHORIZATION_TYPE: (1, 0, ("ns/p",)),
    }


@pytest.mark.refutes("CT-2")
def test_a_policy_that_only_comes_to_a_node_is_no_changed_resource() -> None:
    rig = Rig()
    put(rig.catalog, a_policy("ns/p"), key=node_authorizations("n1"))
    record = rig.log.get(1)
    assert record is not None
    assert [(each.type_url, each.updated) for each in record.types] == [(AUTHORIZATION_TYPE, 0)]


@pytest.mark.proves("CT-9")
async def test_a_commit_everybody_has_stays_as_it_was() -> None:
    rig = Rig()
    stream = rig.a_stream()
    rig.commit()
    before = rig.log.get(1)
    assert before is not None
    assert len(before.progress.waiting) == 1
    await rig.clock.advance(2)
    stream.accepted(1, 2.0)
    final = rig.log.get(1)
    assert final is not None
    assert (final.progress.acknowledged, final.progress.median_seconds) == (1, 2.0)
    rig.streams.clear()
    rig.a_stream(2)
    assert rig.log.get(1) == final
    assert rig.log.progress(1).acknowledged == 0


@pytest.mark.refutes("CT-9")
def test_a_commit_somebody_waits_for_goes_on_and_forgets_who_has_gone() -> None:
    rig = Rig()
    rig.a_stream(1)
    rig.a_stream(2).accepted(1, 1.0)
    rig.commit()
    for expected in ((2, 1), (1, 0)):
        record = rig.log.get(1)
        assert record is not None
        assert (record.progress.concerned, record.progress.acknowledged) == expected
        rig.streams.pop()
    nobody = rig.log.get(1)
    assert nobody is not None
    assert nobody.progress.concerned == 0
    rig.a_stream(3)
    arrived = rig.log.get(1)
    assert arrived is not None
    assert arrived.progress.concerned == 1


@pytest.mark.proves("CT-10")
async def test_the_last_commits_are_remembered_newest_first() -> None:
    rig = Rig(limit=3)
    for _ in range(5):
        rig.commit()
    assert [each.number for each in await rig.log.recent(10)] == [5, 4, 3]
    assert [each.number for each in await rig.log.recent(1, before=5)] == [4]
    assert rig.log.get(5) is not None
    assert COMMITS == 512


@pytest.mark.refutes("CT-10")
async def test_older_ones_are_not() -> None:
    rig = Rig(limit=3)
    assert (rig.log.get(0), await rig.log.recent(5)) == (None, ())
    for _ in range(5):
        rig.commit()
    assert [rig.log.get(number) for number in (-1, 0, 2, 6)] == [None] * 4


async def test_how_long_ago_the_cause_of_a_commit_came() -> None:
    rig = Rig(limit=2)
    rig.log.arrived(POD)
    await rig.clock.advance(1)
    rig.commit()
    put(rig.catalog, a_workload("c//Pod/ns/by-hand"))
    await rig.clock.advance(2)
    assert (rig.log.elapsed(1), rig.log.elapsed(2)) == (3.0, 2.0)
    rig.commit()
    assert rig.log.elapsed(1) is None


async def test_since_when_somebody_is_behind() -> None:
    rig = Rig(limit=3)
    assert rig.log.behind_since((ADDRESSES,), 0) is None
    for _ in range(4):
        await rig.clock.advance(10)
        rig.commit()
    await rig.clock.advance(10)
    put(rig.catalog, a_policy("ns/p"), key=AUTHORIZATIONS)
    assert rig.log.behind_since((ADDRESSES,), 3) == 40.0
    assert rig.log.behind_since((AUTHORIZATIONS,), 3) == 50.0
    assert rig.log.behind_since((ADDRESSES,), 4) is None
    assert rig.log.behind_since((ADDRESSES,), 5) is None
    assert rig.log.behind_since((ADDRESSES,), 0) is None  # forgotten


@pytest.mark.proves("CT-12")
def test_the_version_of_an_object_is_the_commit_of_its_last_arrival() -> None:
    rig = Rig()
    rig.commit(POD)
    rig.commit(OTHER)
    assert (rig.log.version_of(POD), rig.log.version_of(OTHER)) == (1, 2)
    rig.log.arrived(POD)
    assert rig.log.version_of(POD) is None
    rig.log.batched()
    assert rig.log.version_of(POD) is None
    rig.log.finished()
    assert rig.log.version_of(POD) == 2


@pytest.mark.refutes("CT-12")
def test_an_object_that_did_not_arrive_has_no_version_to_wait_for() -> None:
    rig = Rig()
    rig.commit(OTHER)
    assert rig.log.version_of(POD) == 0


@pytest.mark.proves("CT-13")
def test_of_many_objects_old_ones_may_have_a_later_version() -> None:
    rig = Rig()
    rig.commit(POD)
    rig.commit(*(ObjectReference("Pod", "ns", str(number)) for number in range(OBJECTS)))
    assert rig.log.version_of(POD) == 1
    rig.commit(OTHER)
    assert rig.log.version_of(POD) == 2
    assert rig.log.version_of(OTHER) == 3


@pytest.mark.refutes("CT-13")
def test_never_an_earlier_one_also_when_too_many_arrive_at_once() -> None:
    rig = Rig()
    rig.commit(POD)
    many = [ObjectReference("Pod", "ns", str(number)) for number in range(OBJECTS + 1)]
    for each in many:
        rig.log.arrived(each)
    assert rig.log.version_of(many[-1]) is None
    rig.commit()
    assert rig.log.version_of(many[-1]) == rig.log.version_of(many[0]) == 2


async def ended(rig: Rig, waiting: "asyncio.Task[Waited]", seconds: float) -> Waited:
    await rig.clock.advance(seconds)
    assert waiting.done()
    return waiting.result()


@pytest.mark.proves("CT-11")
async def test_waiting_ends_when_the_last_one_has_it() -> None:
    rig = Rig()
    first, second = rig.a_stream(1), rig.a_stream(2)
    waiting = asyncio.ensure_future(rig.log.wait_for(1, seconds=30))
    await rig.clock.advance(1)
    rig.commit()
    first.accepted(1, 1.0)
    await rig.clock.advance(1)
    assert not waiting.done()
    second.accepted(1, 2.0)
    found = await ended(rig, waiting, 0.1)
    assert (found.number, found.is_converged, found.progress.acknowledged) == (1, True, 2)


@pytest.mark.refutes("CT-11")
async def test_waiting_fails_when_time_is_up_and_tells_who_lacks_it() -> None:
    rig = Rig()
    rig.a_stream(1)
    rig.commit()
    waiting = asyncio.ensure_future(rig.log.wait_for(1, seconds=5))
    await rig.clock.advance(4.9)
    assert not waiting.done()
    found = await ended(rig, waiting, 0.2)
    assert (found.is_converged, [each.connection for each in found.progress.waiting]) == (
        False,
        [1],
    )


@pytest.mark.proves("CT-11")
async def test_waiting_fails_at_once_when_all_that_lack_it_refused_it() -> None:
    rig = Rig()
    rig.a_stream(1).accepted(1, 1.0)
    rig.a_stream(2).refused(1, 1.0, says="ns/p: bad")
    rig.commit()
    found = await rig.log.wait_for(1, seconds=30)
    assert (found.is_converged, found.progress.refusals[0].message) == (False, "ns/p: bad")


async def test_waiting_for_some_connections_only() -> None:
    rig = Rig()
    rig.a_stream(1).accepted(1, 1.0)
    rig.a_stream(2)
    rig.commit()

    def is_first(follower: Follower) -> bool:
        return follower.node == "node-1"

    found = await rig.log.wait_for(1, seconds=30, who=is_first)
    assert (found.is_converged, found.progress.concerned) == (True, 1)


async def test_waiting_for_an_object_starts_with_its_commit() -> None:
    rig = Rig()
    stream = rig.a_stream(1)
    rig.log.arrived(POD)
    waiting = asyncio.ensure_future(rig.log.wait_for_object(POD, seconds=30))
    await rig.clock.advance(1)
    assert not waiting.done()
    rig.commit()
    await rig.clock.advance(1)
    assert not waiting.done()
    stream.accepted(1, 2.0)
    assert (await ended(rig, waiting, 0.1)).number == 1
    rig.log.arrived(POD)
    late = asyncio.ensure_future(rig.log.wait_for_object(POD, seconds=1))
    assert await ended(rig, late, 1.1) == Waited(number=None, is_converged=False)


async def test_a_forgotten_commit_can_be_waited_for() -> None:
    rig = Rig(limit=1)
    stream = rig.a_stream(1)
    rig.commit()
    rig.commit()
    waiting = asyncio.ensure_future(rig.log.wait_for(1, seconds=30))
    await rig.clock.advance(1)
    assert not waiting.done()
    stream.accepted(2, 1.0)
    assert (await ended(rig, waiting, 0.1)).is_converged


async def test_what_came_or_went_lately_is_known_by_name() -> None:
    rig = Rig()
    assert not rig.log.knows(POD)
    rig.log.arrived(POD, is_removal=True)
    assert rig.log.knows(POD)
    rig.commit()
    assert rig.log.knows(POD)
    assert not rig.log.knows(OTHER)
