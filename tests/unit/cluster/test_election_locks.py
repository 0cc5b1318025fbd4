import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from controlplane.cluster.election_locks import LockSettings
from controlplane.cluster.errors import ClusterUnavailableError
from controlplane.cluster.lock_record import ElectionLock, LockKind, read_leases, read_lock
from tests.support.beside_istiod import BesideIstiod
from tests.support.cluster_memory import a_refusal
from tests.support.istiod_elector import ANNOTATION, KEY_ANNOTATION, LEASES, NAMESPACE, record_of

ROOTS = f"{NAMESPACE}/istio-namespace-controller-election"
CONDITIONS = f"{LEASES}/istio-status-leader"
DEPLOYMENTS = f"{LEASES}/istio-gateway-deployment-default"


def holders(mesh: BesideIstiod) -> dict[str, str]:
    return {
        path.rpartition("/")[2]: record_of(found).get("holderIdentity", "")
        for path, found in mesh.cluster.objects.items()
        if not path.endswith("/istiod-lite")
    }


@pytest.mark.proves("LK-1", "LK-2")
async def test_every_lock_is_made_and_an_istiod_that_comes_later_waits() -> None:
    mesh = BesideIstiod()
    ours, istiod = mesh.replica(), mesh.istiod()
    await ours.campaign()
    assert ours.lead.reason == ""
    assert ours.lead.seconds_left == 10
    assert holders(mesh) == dict.fromkeys(
        (
            "istio-namespace-controller-election",
            "istio-gateway-status-leader",
            "istio-ip-autoallocate",
            "istio-status-leader",
            "istio-gateway-deployment-default",
            "istio-gateway-status-leader-default",
        ),
        "istiod-lite",
    )
    for _ in range(60):
        await istiod.attempt()
        assert not istiod.writes
        mesh.advance(2.5)
        await ours.campaign()
        assert ours.writes


@pytest.mark.refutes("LK-1", "LK-2")
@pytest.mark.proves("LK-3")
async def test_beside_a_living_istiod_nothing_is_written_and_it_is_said_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mesh = BesideIstiod()
    ours, istiod = mesh.replica(), mesh.istiod("istiod-abc")
    await istiod.attempt()
    for _ in range(20):
        await ours.campaign()
        assert not ours.writes
        assert ours.lease.is_leader
        mesh.advance(5)
        await istiod.attempt()
    assert ours.locks.held_by_others["istio-gateway-deployment-default"] == "istiod-abc"
    assert "istiod istiod-abc holds istio-gateway-deployment-default" in ours.lead.reason
    assert capsys.readouterr().out.count("election_locks.waiting") == 1
    assert set(holders(mesh).values()) == {"istiod-abc"}


@pytest.mark.proves("LK-3")
async def test_a_plane_that_lacks_one_lock_keeps_none() -> None:
    mesh = BesideIstiod()
    ours, istiod = mesh.replica(), mesh.istiod()
    await istiod.electors[0].attempt()
    await ours.campaign()
    assert set(holders(mesh)) == {"istio-namespace-controller-election"}
    # What a former process of ours still had is given up as well.
    mesh.cluster.objects.clear()
    await ours.campaign()
    again = mesh.replica()
    mesh.advance(16)
    await ours.lease.campaign()
    mesh.cluster.put(ROOTS, _held(mesh, ROOTS, "istiod-x"))
    await again.locks.campaign()
    assert set(holders(mesh).values()) == {"", "istiod-x"}


@pytest.mark.refutes("LK-3")
async def test_a_lock_for_what_we_never_write_holds_nobody_up() -> None:
    mesh = BesideIstiod()
    mesh.cluster.put(
        f"{LEASES}/some-operator",
        {"metadata": {"name": "some-operator"}, "spec": {"holderIdentity": "other"}},
    )
    ours = mesh.replica()
    await ours.campaign()
    assert ours.writes


@pytest.mark.proves("LK-2")
@pytest.mark.refutes("LK-3")
async def test_the_locks_of_an_istiod_that_is_gone_are_taken_when_they_ran_out() -> None:
    mesh = BesideIstiod()
    ours, istiod = mesh.replica(), mesh.istiod()
    await istiod.attempt()
    waited = 0.0
    while not ours.writes:
        await ours.campaign()
        assert not (ours.writes and istiod.writes)
        mesh.advance(2.5)
        waited += 2.5
    assert 30 < waited <= 37.5
    assert record_of(mesh.cluster.objects[ROOTS])["leaderTransitions"] == 1


@pytest.mark.refutes("LK-2")
async def test_time_that_a_record_tells_does_not_count() -> None:
    mesh = BesideIstiod()
    ours, istiod = mesh.replica(), mesh.istiod()
    await istiod.attempt()
    mesh.advance(1000)
    await ours.campaign()
    assert not ours.writes
    for path in (ROOTS, CONDITIONS):
        mesh.cluster.objects[path] = _claiming(mesh.cluster.objects[path], 90)
        mesh.cluster.put(path, mesh.cluster.objects[path])
    await ours.campaign()
    mesh.advance(80)
    await ours.campaign()
    assert sorted(ours.locks.held_by_others) == [
        "istio-namespace-controller-election",
        "istio-status-leader",
    ]
    mesh.advance(11)
    await ours.campaign()
    assert ours.locks.held_by_others == {}


@pytest.mark.proves("LK-1")
async def test_an_istiod_of_another_revision_counts_with_its_own_locks() -> None:
    mesh = BesideIstiod()
    ours, istiod = mesh.replica(revision="lite"), mesh.istiod(revision="1-24")
    await ours.campaign()
    assert ours.writes
    await istiod.attempt()
    mesh.advance(2.5)
    await ours.campaign()
    assert not ours.writes
    assert sorted(ours.locks.held_by_others) == [
        "istio-gateway-deployment-1-24",
        "istio-gateway-status-leader-1-24",
    ]
    await istiod.attempt()
    assert istiod.writes_all
    await istiod.release()
    await ours.campaign()
    await ours.campaign()
    assert ours.writes
    # A lock that is gone for good is nothing to hold.
    del mesh.cluster.objects[f"{LEASES}/istio-gateway-deployment-1-24"]
    mesh.advance(5)
    await ours.campaign()
    assert ours.locks.seconds_left == 15


@pytest.mark.proves("LK-4")
async def test_a_process_that_was_frozen_does_not_write_when_it_wakes() -> None:
    mesh = BesideIstiod()
    ours, istiod = mesh.replica(), mesh.istiod()
    await ours.campaign()
    mesh.advance(14.9)
    assert ours.locks.seconds_left == pytest.approx(0.1)
    mesh.advance(0.2)
    assert ours.locks.seconds_left == 0.0
    await istiod.attempt()
    mesh.advance(31)
    await istiod.attempt()
    assert istiod.writes_all
    assert not ours.writes
    await ours.campaign()
    assert not ours.writes


@pytest.mark.refutes("LK-4")
async def test_locks_are_written_no_more_often_than_they_must_be() -> None:
    mesh = BesideIstiod()
    ours = mesh.replica()
    await ours.campaign()
    before = len(mesh.cluster.writes)
    mesh.advance(2.5)
    await ours.locks.campaign()
    assert len(mesh.cluster.writes) == before
    assert ours.locks.seconds_left == 12.5
    mesh.advance(2.5)
    await ours.locks.campaign()
    assert len(mesh.cluster.writes) == before + 6
    assert ours.locks.seconds_left == 15


@pytest.mark.proves("LK-5")
async def test_a_stolen_lock_ends_the_writing_at_the_next_look_and_its_key_is_learned() -> None:
    mesh = BesideIstiod()
    ours, istiod = mesh.replica(), mesh.istiod(revision="1-24", default="1-24")
    await ours.campaign()
    await istiod.electors[0].attempt()
    assert istiod.writes
    mesh.advance(2.5)
    await ours.campaign()
    assert not ours.writes
    assert "istiod-a holds istio-namespace-controller-election" in ours.lead.reason
    await istiod.attempt()
    assert istiod.writes_all
    await istiod.release()
    await ours.campaign()
    assert ours.writes
    await istiod.attempt()
    assert not istiod.writes
    assert record_of(mesh.cluster.objects[ROOTS])["holderKey"] == "1-24"
    assert mesh.cluster.objects[CONDITIONS]["metadata"]["annotations"] == {KEY_ANNOTATION: "1-24"}


@pytest.mark.refutes("LK-5")
async def test_with_the_key_of_the_default_revision_nobody_steals() -> None:
    mesh = BesideIstiod()
    ours, istiod = mesh.replica(revision="1-24"), mesh.istiod(revision="1-24", default="1-24")
    await ours.campaign()
    await istiod.attempt()
    assert not istiod.writes


@pytest.mark.refutes("LK-5")
async def test_a_lock_that_was_deleted_is_ours_again_once_it_is_made() -> None:
    mesh = BesideIstiod()
    ours = mesh.replica()
    await ours.campaign()
    del mesh.cluster.objects[ROOTS]
    mesh.cluster.fail("POST", a_refusal(409, "AlreadyExists"))
    await ours.campaign()
    assert not ours.writes
    assert "are not ours" in ours.lead.reason
    await ours.campaign()
    assert ours.writes


@pytest.mark.proves("LK-6")
async def test_what_is_given_up_is_the_istiods_at_its_next_try() -> None:
    mesh = BesideIstiod()
    ours, istiod = mesh.replica(), mesh.istiod()
    await ours.campaign()
    await istiod.attempt()
    await _cancelled(ours.lead.run)
    assert not ours.writes
    assert set(holders(mesh).values()) == {""}
    await istiod.attempt()
    assert istiod.writes_all


@pytest.mark.refutes("LK-6")
async def test_nobody_elses_lock_is_given_up() -> None:
    mesh = BesideIstiod()
    ours = mesh.replica()
    await ours.campaign()
    mesh.cluster.put(ROOTS, _held(mesh, ROOTS, "istiod-x"))
    mesh.cluster.fail("GET", *[a_refusal(503)] * 4)
    await _cancelled(ours.lead.run)
    assert holders(mesh)["istio-namespace-controller-election"] == "istiod-x"


@pytest.mark.proves("LK-7")
async def test_the_records_are_what_istiod_reads() -> None:
    mesh = BesideIstiod()
    ours = mesh.replica(revision="1-24")
    await ours.campaign()
    mesh.cluster.objects[ROOTS]["metadata"]["labels"] = {"theirs": "kept"}
    mesh.cluster.put(ROOTS, mesh.cluster.objects[ROOTS])
    mesh.advance(5)
    await ours.campaign()
    metadata = mesh.cluster.objects[ROOTS]["metadata"]
    assert metadata["labels"] == {"theirs": "kept"}
    assert json.loads(metadata["annotations"][ANNOTATION]) == {
        "holderIdentity": "istiod-lite",
        "holderKey": "1-24",
        "leaseDurationSeconds": 30,
        "acquireTime": "2026-03-01T12:00:00Z",
        "renewTime": "2026-03-01T12:00:05Z",
        "leaderTransitions": 0,
    }
    lease = mesh.cluster.objects[f"{LEASES}/istio-gateway-deployment-1-24"]
    assert lease["metadata"]["annotations"] == {}
    assert lease["spec"] == {
        "holderIdentity": "istiod-lite",
        "leaseDurationSeconds": 30,
        "acquireTime": "2026-03-01T12:00:00.000000Z",
        "renewTime": "2026-03-01T12:00:05.000000Z",
        "leaseTransitions": 0,
    }


@pytest.mark.refutes("LK-7")
@pytest.mark.parametrize("annotation", ["{", "[]", '"text"', '{"leaderTransitions": "many"}'])
async def test_a_record_that_cannot_be_read_is_never_written_over(annotation: str) -> None:
    mesh = BesideIstiod()
    garbled = {
        "kind": "ConfigMap",
        "metadata": {"name": ROOTS, "annotations": {ANNOTATION: annotation}},
    }
    mesh.cluster.put(ROOTS, garbled)
    ours = mesh.replica()
    await ours.campaign()
    assert not ours.writes
    assert "istio-namespace-controller-election is not a lock" in ours.lead.reason
    assert mesh.cluster.objects[ROOTS]["metadata"]["annotations"] == {ANNOTATION: annotation}


@pytest.mark.proves("LK-8")
async def test_the_next_leader_of_ours_need_not_wait_for_the_locks() -> None:
    mesh = BesideIstiod()
    first, second, istiod = mesh.replica("r0"), mesh.replica("r1"), mesh.istiod()
    await first.campaign()
    waited = 0.0
    while not second.writes:
        await second.campaign()
        await istiod.attempt()
        assert not (first.writes and second.writes)
        mesh.advance(2)
        waited += 2
    assert waited <= 18
    assert not istiod.writes
    # Cancelled late, the first frees nothing that the second has renewed.
    first.locks.stop()
    await first.locks.release()
    assert set(holders(mesh).values()) == {"istiod-lite"}


@pytest.mark.refutes("LK-8")
async def test_a_replica_without_the_lease_leaves_the_locks_alone() -> None:
    mesh = BesideIstiod()
    first, second = mesh.replica("r0"), mesh.replica("r1")
    await first.campaign()
    writes = len(mesh.cluster.writes)
    await second.campaign()
    await _cancelled(second.lead.run)
    assert len(mesh.cluster.writes) == writes
    assert second.lead.reason == f"another replica leads: {first.lease.identity}"


@pytest.mark.proves("LK-9")
async def test_trouble_is_told_once_and_the_lead_runs_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mesh = BesideIstiod()
    ours = mesh.replica()
    await ours.campaign()
    mesh.cluster.fail("GET", *[a_refusal(403, "Forbidden")] * 12)
    for _ in range(3):
        mesh.advance(4)
        await ours.locks.campaign()
    assert ours.locks.seconds_left == 3
    mesh.advance(3.5)
    assert ours.locks.reason == (
        "the election locks of istiod are not ours: HTTP status 403, Forbidden"
    )
    assert capsys.readouterr().out.count("election_locks.unknown") == 1
    await ours.campaign()
    assert ours.writes


@pytest.mark.refutes("LK-9")
async def test_a_write_whose_answer_is_lost_is_neither_a_hold_nor_a_loss() -> None:
    mesh = BesideIstiod()
    ours = mesh.replica()
    await ours.lease.campaign()
    mesh.cluster.lost_after = {"POST"}
    await ours.campaign()
    assert not ours.writes
    await ours.campaign()
    assert ours.writes
    mesh.advance(5)
    mesh.cluster.fail("PUT", ClusterUnavailableError("no answer"))
    await ours.locks.campaign()
    assert ours.locks.seconds_left == 10


def test_times_in_another_order_are_refused() -> None:
    for times in ({"deadline": 30.0}, {"renewal": 15.0}, {"retry": 0.0}, {"renewal": 1.0}):
        with pytest.raises(ValueError, match="outlast"):
            LockSettings(**times)


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"items": [{}]}', b'{"items": 1}'])
def test_what_is_no_list_of_leases_is_an_error_of_ours(answer: bytes) -> None:
    with pytest.raises(Exception, match="no list of Leases"):
        read_leases(answer)
    lock = ElectionLock(kind=LockKind.LEASE, name="l")
    with pytest.raises(Exception, match="l is not a lock"):
        read_lock(lock, answer)


def _held(mesh: BesideIstiod, path: str, holder: str) -> dict[str, Any]:
    found = mesh.cluster.objects[path]
    record = {**record_of(found), "holderIdentity": holder}
    return {**found, "metadata": {**found["metadata"], "annotations": _annotated(record)}}


def _claiming(found: dict[str, Any], seconds: int) -> dict[str, Any]:
    if "spec" in found:
        return {**found, "spec": {**found["spec"], "leaseDurationSeconds": seconds}}
    record = {**record_of(found), "leaseDurationSeconds": seconds}
    return {**found, "metadata": {**found["metadata"], "annotations": _annotated(record)}}


def _annotated(record: dict[str, Any]) -> dict[str, str]:
    return {ANNOTATION: json.dumps(record)}


async def _cancelled(run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
