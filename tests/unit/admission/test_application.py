import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from controlplane.admission.application import Admission, AdmissionLimits
from controlplane.admission.review import ReviewRequest, Verdict
from tests.support.admission import UID, CommittedMesh, Seen, a_review, body_of
from tests.support.cluster_time import PassingClock

GOOD = {
    "apiVersion": "security.istio.io/v1",
    "kind": "PeerAuthentication",
    "metadata": {"name": "a", "namespace": "shop"},
    "spec": {"mtls": {"mode": "STRICT"}},
}
BAD = {**GOOD, "spec": {"mtls": {"mode": "SOMETIMES"}}}


@dataclass
class Webhook:
    judge: Any = field(default_factory=lambda: CommittedMesh().judge)
    is_ready: bool = True
    limits: AdmissionLimits = field(default_factory=AdmissionLimits)
    seen: Seen = field(default_factory=Seen)
    clock: PassingClock = field(default_factory=PassingClock)

    def __post_init__(self) -> None:
        admission = Admission(
            self.judge,
            observer=self.seen,
            is_ready=lambda: self.is_ready,
            clock=self.clock,
            limits=self.limits,
        )
        self.application = admission.application()

    async def ask(
        self, body: bytes | AsyncIterator[bytes], query: str = "", method: str = "POST"
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.application)
        async with httpx.AsyncClient(transport=transport, base_url="https://webhook") as client:
            return await client.request(method, f"/validate{query}", content=body)

    async def ready(self) -> int:
        transport = httpx.ASGITransport(self.application)
        async with httpx.AsyncClient(transport=transport, base_url="https://webhook") as client:
            return (await client.get("/ready")).status_code


@pytest.mark.proves("AD-1")
async def test_a_review_gets_its_verdict() -> None:
    webhook = Webhook()
    allowed = await webhook.ask(body_of(a_review(GOOD)))
    refused = await webhook.ask(body_of(a_review(BAD)))
    assert allowed.json()["response"] == {"uid": UID, "allowed": True}
    assert refused.json()["response"]["allowed"] is False
    assert refused.json()["response"]["status"]["message"].startswith("spec.mtls.mode: ")
    assert {allowed.status_code, refused.status_code} == {200}
    about = ("security.istio.io", "peerauthentications")
    assert webhook.seen == Seen(passes=[about], failures=[(*about, "invalid_resource")])


@pytest.mark.proves("AD-1")
@pytest.mark.refutes("AD-1")
async def test_ready_follows_the_mesh() -> None:
    webhook = Webhook(is_ready=False)
    assert await webhook.ready() == 503
    webhook.is_ready = True
    assert await webhook.ready() == 200


@pytest.mark.refutes("AD-1")
async def test_what_is_not_judged_is_not_counted() -> None:
    webhook = Webhook()
    assert (await webhook.ask(body_of(a_review(BAD, operation="DELETE")))).status_code == 200
    assert webhook.seen == Seen()


@pytest.mark.proves("AD-21")
async def test_probes_are_not_counted() -> None:
    webhook = Webhook()
    for body in (body_of(a_review(GOOD)), body_of(a_review(BAD)), b"garbage"):
        await webhook.ask(body, "?probe=true")
    assert webhook.seen == Seen()


@pytest.mark.proves("AD-2")
async def test_garbage_has_a_precise_answer() -> None:
    webhook = Webhook()
    answered = await webhook.ask(b'{"kind": "AdmissionReview"}')
    assert answered.status_code == 400
    assert "missing required field `apiVersion`" in answered.json()["message"]
    answered = await webhook.ask(body_of(a_review(None, kind="PeerAuthentication", old=GOOD)))
    assert answered.status_code == 400
    assert answered.json() == {"message": "request.object: the field is required for CREATE"}
    assert webhook.seen.statuses == [400, 400]


@pytest.mark.proves("AD-2")
async def test_no_depth_of_an_object_is_a_fault_of_ours() -> None:
    webhook = Webhook()
    statuses = set()
    for depth in (10, *range(800, 1000), 100_000):
        deep = "[" * depth + "]" * depth
        rule = f'{{"issuer": "i", "more": {deep}}}'
        review = a_review({**GOOD, "kind": "RequestAuthentication", "spec": {"jwtRules": [0]}})
        body = body_of(review).replace(b'"jwtRules": [0]', f'"jwtRules": [{rule}]'.encode())
        statuses.add((await webhook.ask(body)).status_code)
    assert statuses == {200, 400}


@pytest.mark.proves("AD-2")
@pytest.mark.refutes("AD-2")
async def test_the_size_of_a_request_is_bounded() -> None:
    body = body_of(a_review(GOOD))
    webhook = Webhook(limits=AdmissionLimits(body=len(body)))
    assert (await webhook.ask(body)).status_code == 200

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 100

    for too_big in (body + b" ", endless()):
        answered = await webhook.ask(too_big)
        assert answered.status_code == 413
        assert answered.headers["connection"] == "close"


@pytest.mark.proves("AD-3")
async def test_before_the_mesh_is_loaded_nothing_is_judged() -> None:
    webhook = Webhook(is_ready=False)
    assert (await webhook.ask(body_of(a_review(GOOD)))).status_code == 503
    assert webhook.seen == Seen(statuses=[503])


@pytest.mark.proves("AD-3")
@pytest.mark.parametrize(
    ("limits", "query"),
    [(AdmissionLimits(seconds=0.0), ""), (AdmissionLimits(), "?timeout=0s")],
    ids=["ours", "theirs"],
)
async def test_what_cannot_be_judged_in_time_is_not_judged(
    limits: AdmissionLimits, query: str
) -> None:
    webhook = Webhook(limits=limits)

    async def waiting() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    assert (await webhook.ask(waiting(), query)).status_code == 503
    assert webhook.seen.statuses == [503]


@pytest.mark.refutes("AD-3")
@pytest.mark.parametrize("query", ["?timeout=10s", "?timeout=never", "?timeout=", "?timeout=-1s"])
async def test_time_that_is_left_is_enough(query: str) -> None:
    assert (await Webhook().ask(body_of(a_review(GOOD)), query)).status_code == 200


class Broken:
    def judge(self, _: ReviewRequest) -> Verdict:
        raise RuntimeError("a secret of ours")


@pytest.mark.proves("AD-3")
async def test_a_fault_of_ours_says_nothing_about_itself() -> None:
    webhook = Webhook(judge=Broken())
    with capture_logs() as logs:
        answered = await webhook.ask(body_of(a_review(GOOD)))
    assert answered.status_code == 500
    assert answered.json() == {"message": "a fault of the control plane"}
    assert [each["event"] for each in logs] == ["admission.failed"]


async def test_a_refusal_is_logged_by_its_first_error() -> None:
    with capture_logs() as logs:
        await Webhook().ask(body_of(a_review(BAD)))
    assert logs[0]["event"] == "admission.refused"
    assert logs[0]["object"] == "PeerAuthentication shop/a"
    assert logs[0]["reason"].startswith("spec.mtls.mode: ")


class ToldTime(PassingClock):
    def pass_time(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class Slow:
    """A judge that takes its time."""

    clock: ToldTime
    seconds: float = 1.0

    def judge(self, _: ReviewRequest) -> Verdict:
        self.clock.pass_time(self.seconds)
        return Verdict()


@pytest.mark.proves("AD-14")
async def test_judging_takes_a_quarter_of_the_time_at_most() -> None:
    clock = ToldTime()
    webhook = Webhook(judge=Slow(clock), clock=clock)
    body = body_of(a_review(GOOD))
    await asyncio.gather(*(webhook.ask(body) for _ in range(4)))
    # Two seconds without judging are made up for.
    assert clock.slept == pytest.approx([1.0, 3.0, 3.0])


@pytest.mark.refutes("AD-14")
async def test_a_lone_review_does_not_wait() -> None:
    clock = ToldTime()
    webhook = Webhook(judge=Slow(clock), clock=clock)
    for _ in range(5):
        await webhook.ask(body_of(a_review(GOOD)))
        clock.pass_time(3.0)
    assert clock.slept == []


@pytest.mark.refutes("AD-14")
async def test_a_few_reviews_at_once_do_not_wait() -> None:
    clock = ToldTime()
    webhook = Webhook(judge=Slow(clock, seconds=0.005), clock=clock)
    body = body_of(a_review(GOOD))
    await asyncio.gather(*(webhook.ask(body) for _ in range(50)))
    assert clock.slept == []


async def test_nothing_else_is_served() -> None:
    webhook = Webhook()
    transport = httpx.ASGITransport(webhook.application)
    async with httpx.AsyncClient(transport=transport, base_url="https://webhook") as client:
        statuses = [
            (await client.get(path)).status_code for path in ("/", "/docs", "/openapi.json")
        ]
        assert statuses == [404, 404, 404]
        assert (await client.get("/validate")).status_code == 405
        assert json.loads((await client.get("/validate")).content) == {
            "detail": "Method Not Allowed"
        }
