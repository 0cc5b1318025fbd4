"""Reviews: remembered, shared, limited. Time stands still unless it is advanced."""

import asyncio
from typing import Any

import pytest

from controlplane.authentication.admission import AdmissionSettings
from controlplane.authentication.errors import (
    AuthenticationError,
    AuthenticationLimitedError,
    AuthenticationUnavailableError,
    Reason,
    UnauthenticatedError,
)
from controlplane.authentication.token_review import TokenReviewer
from tests.support.authentication import AUDIENCES, PEER, Counts, Reviews, a_reviewer, a_status
from tests.support.dataflow_time import VirtualClock, let_run

ANY = "t"
POD_UID = "uid-of-istio-system-ztunnel-a"


async def ask(reviewer: TokenReviewer, token: str = ANY, *, peer: str = PEER, **rest: Any) -> Any:
    """The caller of a token, or the error."""
    try:
        return await reviewer.caller(token, peer=peer, **{"expires_at": None, **rest})
    except AuthenticationError as error:
        return error


@pytest.mark.proves("AU-30")
async def test_an_accepted_token_is_remembered_for_20_seconds() -> None:
    clock, reviews, counts = VirtualClock(), Reviews(default=a_status()), Counts()
    reviewer = a_reviewer(reviews, clock, observer=counts)
    first = await ask(reviewer)
    await clock.advance(19.9)
    assert await ask(reviewer) == first
    assert reviews.asked == ["t"]
    assert reviews.audiences == [AUDIENCES]
    assert counts.hits == [False, True]
    assert counts.results == ["accepted"]


@pytest.mark.refutes("AU-30")
async def test_but_no_longer_and_not_beyond_its_expiry() -> None:
    clock, reviews = VirtualClock(), Reviews(default=a_status())
    reviewer = a_reviewer(reviews, clock)
    await ask(reviewer)
    await clock.advance(20)
    await ask(reviewer)
    assert len(reviews.asked) == 2
    expires_at = clock.now().timestamp() + 3
    await ask(reviewer, "short", expires_at=expires_at)
    await clock.advance(2.9)
    await ask(reviewer, "short", expires_at=expires_at)
    assert len(reviews.asked) == 3
    await clock.advance(0.2)
    await ask(reviewer, "short", expires_at=expires_at)
    await ask(reviewer, "short", expires_at=expires_at)
    assert len(reviews.asked) == 5


@pytest.mark.refutes("AU-30")
async def test_the_least_recently_used_token_is_forgotten_when_there_are_too_many() -> None:
    clock, reviews = VirtualClock(), Reviews(default=a_status())
    reviewer = a_reviewer(reviews, clock, remembered=3)
    for token in ("a", "b", "c", "a", "d", "a", "b"):
        await ask(reviewer, token)
    assert reviews.asked == ["a", "b", "c", "d", "b"]
    assert len(reviewer._verdicts) == 3
    assert sum(map(len, reviewer._verdicts._by_pod.values())) == 3


@pytest.mark.proves("AU-31", "AU-20")
async def test_a_rejected_token_is_remembered_for_2_seconds() -> None:
    clock, reviews = VirtualClock(), Reviews()
    reviewer = a_reviewer(reviews, clock)
    for _ in range(3):
        error = await ask(reviewer)
        assert isinstance(error, UnauthenticatedError)
        assert error.reason is Reason.REJECTED
    assert len(reviews.asked) == 1
    await clock.advance(2)
    reviews.default = a_status()
    assert (await ask(reviewer)).service_account == "ztunnel"


@pytest.mark.refutes("AU-31")
async def test_rejected_tokens_do_not_push_out_accepted_ones() -> None:
    clock, reviews = VirtualClock(), Reviews(statuses={"good": a_status()})
    reviewer = a_reviewer(reviews, clock, remembered=3)
    await ask(reviewer, "good")
    for number in range(10):
        await ask(reviewer, f"bad-{number}")
    await ask(reviewer, "good")
    assert reviews.asked.count("good") == 1


@pytest.mark.proves("AU-32")
async def test_equal_tokens_share_a_review_even_when_the_first_gives_up() -> None:
    clock, reviews = VirtualClock(), Reviews(default=a_status())
    reviewer = a_reviewer(reviews, clock)
    reviews.gate.clear()
    callers = [asyncio.create_task(ask(reviewer)) for _ in range(50)]
    await let_run()
    callers[0].cancel()
    await let_run()
    reviews.gate.set()
    found = await asyncio.gather(*callers[1:])
    assert {each.pod_name for each in found} == {"ztunnel-a"}
    assert reviews.asked == ["t"]
    assert not reviewer._flights


@pytest.mark.refutes("AU-32")
async def test_other_tokens_do_not() -> None:
    reviews = Reviews(default=a_status())
    reviewer = a_reviewer(reviews, VirtualClock())
    await asyncio.gather(*(ask(reviewer, token) for token in "abc"))
    assert sorted(reviews.asked) == ["a", "b", "c"]


@pytest.mark.proves("AU-33")
async def test_tokens_of_a_pod_are_forgotten_when_it_goes() -> None:
    reviews = Reviews(default=a_status())
    reviewer = a_reviewer(reviews, VirtualClock())
    await ask(reviewer)
    reviewer.forget_pod(POD_UID)
    reviews.default = {}
    assert isinstance(await ask(reviewer), UnauthenticatedError)
    assert not reviewer._verdicts._by_pod
    assert not reviewer._verdicts._pods


@pytest.mark.proves("AU-33")
async def test_also_while_they_are_reviewed() -> None:
    reviews = Reviews(default=a_status())
    reviewer = a_reviewer(reviews, VirtualClock())
    reviews.gate.clear()
    asking = asyncio.create_task(ask(reviewer))
    await let_run()
    reviewer.forget_pod(POD_UID)
    reviews.gate.set()
    await asking
    await ask(reviewer)
    assert len(reviews.asked) == 2
    await ask(reviewer)
    assert len(reviews.asked) == 2


@pytest.mark.refutes("AU-33")
async def test_tokens_of_other_pods_are_not() -> None:
    reviews = Reviews(default=a_status())
    reviewer = a_reviewer(reviews, VirtualClock())
    await ask(reviewer)
    reviewer.forget_pod("another")
    await ask(reviewer)
    assert len(reviews.asked) == 1


@pytest.mark.proves("AU-24")
async def test_failed_reviews_are_not_remembered_and_not_the_callers_fault() -> None:
    reviews, counts = Reviews(default=a_status(), fails=True), Counts()
    reviewer = a_reviewer(reviews, VirtualClock(), observer=counts)
    error = await ask(reviewer)
    assert isinstance(error, AuthenticationUnavailableError)
    assert error.reason is Reason.REVIEW_FAILED
    reviews.fails = False
    assert (await ask(reviewer)).pod_name == "ztunnel-a"
    assert counts.results == ["review-failed", "accepted"]


@pytest.mark.proves("AU-24")
async def test_reviews_that_take_too_long_are_given_up() -> None:
    reviews = Reviews(default=a_status())
    reviews.gate.clear()
    error = await ask(a_reviewer(reviews, VirtualClock(), timeout=0.01))
    assert isinstance(error, AuthenticationUnavailableError)
    assert error.reason is Reason.REVIEW_TIMED_OUT
    assert reviews.running == 0


@pytest.mark.refutes("AU-24")
async def test_a_rejection_is_no_failure() -> None:
    assert isinstance(await ask(a_reviewer(Reviews(), VirtualClock())), UnauthenticatedError)


@pytest.mark.proves("AU-34")
async def test_32_reviews_run_at_once_and_the_others_wait() -> None:
    reviews = Reviews(default=a_status())
    admission = AdmissionSettings(waiting_per_host=100)
    reviewer = a_reviewer(reviews, VirtualClock(), admission=admission)
    reviews.gate.clear()
    asking = [asyncio.create_task(ask(reviewer, f"t{number}")) for number in range(100)]
    await let_run()
    assert reviews.running == 32
    reviews.gate.set()
    found = await asyncio.gather(*asking)
    assert not any(isinstance(each, Exception) for each in found)
    assert (reviews.most_running, len(reviews.asked)) == (32, 100)


@pytest.mark.refutes("AU-34")
async def test_reviews_that_cannot_begin_are_refused() -> None:
    reviews = Reviews(default=a_status())
    admission = AdmissionSettings(waiting=3)
    reviewer = a_reviewer(
        reviews, VirtualClock(), admission=admission, at_once=1, patience=0.01, timeout=60
    )
    reviews.gate.clear()
    asking = [asyncio.create_task(ask(reviewer, f"t{number}")) for number in range(5)]
    await asyncio.wait(asking[1:])
    reviews.gate.set()
    first, *others = await asyncio.gather(*asking)
    assert first.pod_name == "ztunnel-a"
    assert all(isinstance(each, AuthenticationLimitedError) for each in others)
    assert reviews.asked == ["t0"]
    assert (await ask(reviewer, "t1")).pod_name == "ztunnel-a"


@pytest.mark.proves("AU-35")
async def test_a_host_that_sends_made_up_tokens_runs_out_of_reviews() -> None:
    clock, reviews = VirtualClock(), Reviews(statuses={"good": a_status()})
    reviewer = a_reviewer(reviews, clock)
    await ask(reviewer, "good")
    ends = [await ask(reviewer, f"bad-{number}") for number in range(1000)]
    limited = [each for each in ends if isinstance(each, AuthenticationLimitedError)]
    assert len(ends) - len(limited) == 100
    assert len(reviews.asked) == 101
    assert (await ask(reviewer, "good")).pod_name == "ztunnel-a"
    await clock.advance(2)
    ends = [await ask(reviewer, f"worse-{number}") for number in range(100)]
    assert len(reviews.asked) == 111


@pytest.mark.proves("AU-35")
async def test_a_host_asks_for_64_reviews_at_the_same_time() -> None:
    reviews = Reviews(default=a_status())
    reviewer = a_reviewer(reviews, VirtualClock())
    reviews.gate.clear()
    asking = [asyncio.create_task(ask(reviewer, f"t{number}")) for number in range(65)]
    await let_run()
    assert isinstance(await asking[64], AuthenticationLimitedError)
    other = asyncio.create_task(ask(reviewer, "other", peer="ipv4:10.0.0.2:4711"))
    await let_run()
    reviews.gate.set()
    assert (await other).pod_name == "ztunnel-a"
    await asyncio.gather(*asking)
    assert not reviewer._admission._by_host


@pytest.mark.refutes("AU-35")
@pytest.mark.parametrize("peer", ["ipv4:127.0.0.1:1", "ipv6:%5B::1%5D:1", "unix:/socket"])
async def test_hosts_do_not_pay_for_others_and_this_machine_is_none(peer: str) -> None:
    reviews = Reviews(statuses={"good": a_status()})
    reviewer = a_reviewer(reviews, VirtualClock())
    for number in range(200):
        await ask(reviewer, f"bad-{number}")
    assert (await ask(reviewer, "good", peer="ipv6:%5Bfd00::1%5D:4711")).pod_name == "ztunnel-a"
    for number in range(200):
        assert isinstance(await ask(reviewer, f"more-{number}", peer=peer), UnauthenticatedError)


@pytest.mark.refutes("AU-36")
async def test_no_token_is_kept() -> None:
    reviewer = a_reviewer(Reviews(statuses={"canary-1": a_status()}), VirtualClock())
    errors = [await ask(reviewer, "canary-2")]
    await ask(reviewer, "canary-1")
    kept = [reviewer._verdicts._accepted._values, reviewer._verdicts._rejected._values]
    assert "canary" not in repr([kept, errors, reviewer._flights, vars(reviewer._admission)])
    assert all(map(len, kept))
