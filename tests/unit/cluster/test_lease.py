import asyncio
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from controlplane.cluster.errors import ClusterAnswerError, ClusterUnavailableError
from controlplane.cluster.lease import LeaseLeadership, LeaseSettings
from controlplane.cluster.lease_record import read_lease
from controlplane.leadership import Leadership
from tests.support.authority_stores import ToldClock
from tests.support.cluster_memory import ClusterMemory, a_refusal

PATH = "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases/istiod-lite"


class RestingClock(ToldClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


@dataclass
class Election:
    cluster: ClusterMemory = field(default_factory=ClusterMemory)
    clock: ToldClock = field(default_factory=RestingClock)
    floor: int = 0

    def replica(self, name: str, *, clock: ToldClock | None = None) -> LeaseLeadership:
        return LeaseLeadership(
            self.cluster,
            namespace="istio-system",
            name="istiod-lite",
            replica_id=name,
            clock=clock or self.clock,
            floor=lambda: self.floor,
        )

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.objects[PATH]["spec"]
        return found


def standing(leadership: Leadership) -> tuple[bool, int | None]:
    return leadership.is_leader, leadership.token


@pytest.mark.proves("LE-1", "LE-2")
async def test_the_first_makes_the_lease_and_others_follow() -> None:
    election = Election()
    first, second = election.replica("a"), election.replica("b")
    await first.campaign()
    await second.campaign()
    assert standing(first) == (True, 1)
    assert standing(second) == (False, None)
    assert second.holder == first.identity
    assert election.spec == {
        "holderIdentity": first.identity,
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-03-01T12:00:00.000000Z",
        "renewTime": "2026-03-01T12:00:00.000000Z",
        "leaseTransitions": 1,
    }


@pytest.mark.refutes("LE-2")
async def test_renewing_keeps_the_token_and_what_others_wrote() -> None:
    election = Election()
    replica = election.replica("a")
    await replica.campaign()
    election.cluster.objects[PATH]["metadata"]["labels"] = {"owner": "us"}
    election.clock.advance(seconds=2)
    await replica.campaign()
    assert replica.token == 1
    assert replica.seconds_left == 10
    assert election.spec["renewTime"] == "2026-03-01T12:00:02.000000Z"
    assert election.spec["acquireTime"] == "2026-03-01T12:00:00.000000Z"
    assert election.cluster.objects[PATH]["metadata"]["labels"] == {"owner": "us"}


@pytest.mark.proves("LE-3")
@pytest.mark.refutes("LE-1")
async def test_a_lease_that_stays_unchanged_is_taken_after_its_time() -> None:
    election = Election()
    first, second = election.replica("a"), election.replica("b")
    await first.campaign()
    for _ in range(8):
        await second.campaign()
        assert not second.is_leader
        election.clock.advance(seconds=2)
    await second.campaign()
    assert second.token == 2
    assert not first.is_leader
    await first.campaign()
    assert not first.is_leader


@pytest.mark.refutes("LE-3")
async def test_the_time_begins_anew_with_every_change_and_first_sight() -> None:
    election = Election()
    first, second = election.replica("a"), election.replica("b")
    await first.campaign()
    election.clock.advance(hours=1)
    await second.campaign()
    assert not second.is_leader
    election.clock.advance(seconds=14)
    await first.campaign()
    await second.campaign()
    election.clock.advance(seconds=14)
    await second.campaign()
    assert not second.is_leader


@pytest.mark.proves("LE-4")
async def test_clocks_that_disagree_do_no_harm() -> None:
    election = Election()
    ahead = ToldClock(election.clock.now() + timedelta(days=400))
    first, second = election.replica("a"), election.replica("b", clock=ahead)
    await first.campaign()
    await second.campaign()
    assert not second.is_leader


@pytest.mark.refutes("LE-4")
async def test_a_holder_that_claims_more_time_gets_it() -> None:
    election = Election()
    first, second = election.replica("a"), election.replica("b")
    await first.campaign()
    election.spec["leaseDurationSeconds"] = 60
    election.cluster.put(PATH, election.cluster.objects[PATH])
    await second.campaign()
    election.clock.advance(seconds=59)
    await second.campaign()
    assert not second.is_leader
    election.clock.advance(seconds=2)
    await second.campaign()
    assert second.is_leader


@pytest.mark.proves("LE-5")
async def test_nobody_leads_past_the_deadline() -> None:
    election = Election()
    replica = election.replica("a")
    await replica.campaign()
    election.cluster.is_away = True
    election.clock.advance(seconds=9.9)
    await replica.campaign()
    assert replica.is_leader
    assert replica.trouble == "away"
    election.clock.advance(seconds=0.2)
    assert not replica.is_leader
    assert replica.token is None
    assert replica.seconds_left == 0.0


@pytest.mark.refutes("LE-5")
async def test_who_comes_back_in_time_leads_on_with_the_same_token() -> None:
    election = Election()
    replica = election.replica("a")
    await replica.campaign()
    election.clock.advance(seconds=12)
    assert not replica.is_leader
    await replica.campaign()
    assert replica.token == 1


@pytest.mark.proves("LE-5")
async def test_the_deadline_counts_from_before_the_question() -> None:
    election = Election()

    class Slow(ClusterMemory):
        async def request(self, method: str, path: str, **rest: Any) -> Any:
            election.clock.advance(seconds=3)
            return await super().request(method, path, **rest)

    election.cluster = Slow()
    replica = election.replica("a")
    await replica.campaign()
    assert replica.seconds_left == 4


@pytest.mark.refutes("LE-6")
async def test_a_lost_write_that_never_arrived_makes_no_leader() -> None:
    election = Election()
    replica, other = election.replica("a"), election.replica("b")
    election.cluster.fail("POST", ClusterUnavailableError("no answer"))
    await replica.campaign()
    await other.campaign()
    await replica.campaign()
    assert (replica.is_leader, other.is_leader) == (False, True)


@pytest.mark.proves("LE-6")
async def test_a_lost_answer_costs_nothing() -> None:
    election = Election()
    replica = election.replica("a")
    election.cluster.lost_after = {"POST"}
    await replica.campaign()
    assert not replica.is_leader
    await replica.campaign()
    assert replica.token == 1
    election.cluster.lost_after = {"PUT"}
    election.clock.advance(seconds=9)
    await replica.campaign()
    assert replica.seconds_left == 1
    await replica.campaign()
    assert (replica.token, replica.seconds_left) == (1, 10)


@pytest.mark.proves("LE-1")
async def test_two_that_write_at_once_do_not_both_lead() -> None:
    election = Election()
    first, second = election.replica("a"), election.replica("b")
    await asyncio.gather(first.campaign(), second.campaign())
    assert [first.is_leader, second.is_leader].count(True) == 1
    election.cluster.fail("PUT", a_refusal(409, "Conflict"))
    leader = first if first.is_leader else second
    await leader.campaign()
    assert not leader.is_leader


@pytest.mark.proves("LE-7")
async def test_a_lead_is_given_up_on_the_way_out() -> None:
    election = Election()
    first, second = election.replica("a"), election.replica("b")
    await second.campaign()
    await _run_until_cancelled(second)
    assert election.spec["holderIdentity"] == ""
    assert election.spec["leaseTransitions"] == 1
    await first.campaign()
    assert first.token == 2


@pytest.mark.refutes("LE-7")
async def test_nobody_gives_up_what_is_not_theirs() -> None:
    election = Election()
    first, second = election.replica("a"), election.replica("b")
    await first.campaign()
    writes = len(election.cluster.writes)
    await _run_until_cancelled(second)
    assert len(election.cluster.writes) == writes
    # Overtaken without knowing: what is written is based on something older.
    await first.campaign()
    taken = {**election.cluster.objects[PATH], "spec": {**election.spec, "holderIdentity": "b"}}
    election.cluster.put(PATH, taken)
    election.cluster.fail("GET", *[a_refusal(503)] * 3)
    await _run_until_cancelled(first)
    assert election.spec["holderIdentity"] == "b"


@pytest.mark.proves("LE-7")
async def test_a_renewal_that_was_written_and_not_answered_is_given_up_too() -> None:
    election = Election()
    replica = election.replica("a")
    await replica.campaign()
    renewed = {**election.spec, "renewTime": "2026-03-01T12:00:01.000000Z"}
    election.cluster.put(PATH, {**election.cluster.objects[PATH], "spec": renewed})
    # Told to end before it hears of what was written.
    election.cluster.fail("GET", a_refusal(503))
    await _run_until_cancelled(replica)
    assert election.spec["holderIdentity"] == ""
    assert election.spec["leaseTransitions"] == 1


async def _run_until_cancelled(replica: LeaseLeadership) -> None:
    task = asyncio.create_task(replica.run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not replica.is_leader


@pytest.mark.proves("LE-8")
async def test_tokens_go_on_above_those_seen_elsewhere() -> None:
    election = Election(floor=41)
    first, second = election.replica("a"), election.replica("b")
    await first.campaign()
    assert first.token == 42
    election.floor = 70
    await second.campaign()
    election.clock.advance(seconds=16)
    await second.campaign()
    assert second.token == 71


@pytest.mark.refutes("LE-8")
async def test_a_restart_of_the_same_replica_is_another_holder() -> None:
    election = Election()
    first, again = election.replica("a"), election.replica("a")
    await first.campaign()
    await again.campaign()
    assert not again.is_leader
    election.clock.advance(seconds=16)
    await again.campaign()
    assert again.token == 2


@pytest.mark.proves("LE-9")
async def test_a_refusal_is_told_once_and_ends_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    election = Election()
    replica = election.replica("a")
    election.cluster.fail("GET", *[a_refusal(403, "Forbidden")] * 3)
    for _ in range(3):
        await replica.campaign()
    assert replica.trouble == "HTTP status 403, Forbidden"
    assert capsys.readouterr().out.count("leadership.unknown") == 1
    await replica.campaign()
    assert replica.is_leader
    assert replica.trouble == ""


@pytest.mark.refutes("LE-9")
async def test_an_answer_that_cannot_be_read_makes_no_leader() -> None:
    election = Election()
    for spec in ("text", {"leaseTransitions": "many"}, {"leaseDurationSeconds": ["long"]}):
        election.cluster.put(PATH, {"spec": spec})
        replica = election.replica("a")
        await replica.campaign()
        assert not replica.is_leader
        assert replica.trouble


async def test_a_change_is_told_to_whoever_waits() -> None:
    election = Election()
    replica = election.replica("a")
    waiting = asyncio.create_task(replica.changed())
    await asyncio.sleep(0)
    await replica.campaign()
    await waiting
    waiting = asyncio.create_task(replica.changed())
    await asyncio.sleep(0)
    election.cluster.is_away = True
    election.clock.advance(seconds=11)
    await replica.campaign()
    await waiting


@pytest.mark.parametrize("times", [(10, 10, 2), (15, 2, 2), (15, 10, 0)])
def test_times_in_another_order_are_refused(times: tuple[float, float, float]) -> None:
    duration, deadline, retry = times
    with pytest.raises(ValueError, match="outlast"):
        LeaseSettings(duration=duration, deadline=deadline, retry=retry)


def test_what_is_no_lease_is_an_error_of_ours() -> None:
    for answer in (b"", b"[]", b"{}", json.dumps({"metadata": {}}).encode()):
        with pytest.raises(ClusterAnswerError):
            read_lease(answer)
