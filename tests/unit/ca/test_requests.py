import asyncio
from dataclasses import replace

import pytest
import structlog

from controlplane.authentication.caller import Caller, Metadata
from controlplane.authentication.errors import (
    AuthenticationLimitedError,
    AuthenticationUnavailableError,
    Reason,
    UnauthenticatedError,
)
from controlplane.ca.errors import Failure, UnavailableError
from controlplane.ca.limits import RateLimits
from controlplane.ca.requests import RequestSettings
from controlplane.pb.certificate_pb2 import IstioCertificateRequest
from tests.support.issuing import (
    HEADERS,
    SHOP,
    WAYPOINT,
    ZTUNNEL,
    ZTUNNEL_ITSELF,
    Desk,
    KnownTokens,
    a_csr,
    a_request,
    chain_of,
    refusal_of,
)


@pytest.mark.proves("CA-18", "CA-31")
async def test_a_certificate_has_a_row() -> None:
    desk = Desk()
    chain = chain_of(await desk.ask())
    assert len(chain) == 3
    (row,) = desk.ledger.issued
    assert (row.spiffe_id, row.impersonated, row.caller_id, row.node) == (
        str(SHOP),
        True,
        "istio-system/ztunnel",
        "node-a",
    )
    assert (row.key_type, row.request_id, row.cluster_id) == ("P-256", "request-1", "Kubernetes")
    assert row.issued_at == desk.clock.now()
    assert desk.ledger.refused == []
    assert desk.witness.heard == ["requested", "signed", "issued P-256"]


@pytest.mark.proves("CA-18")
async def test_strictly_the_row_comes_first() -> None:
    desk = Desk(settings=RequestSettings(is_ledger_strict=True))
    chain_of(await desk.ask())
    assert len(desk.ledger.strictly) == 1
    assert desk.ledger.issued == []


@pytest.mark.refutes("CA-18")
async def test_strictly_no_row_no_certificate() -> None:
    desk = Desk(settings=RequestSettings(is_ledger_strict=True))
    desk.ledger.failure = OSError("database password")
    reply = refusal_of(await desk.ask())
    assert (reply.status, reply.reason_code) == ("UNAVAILABLE", "ledger-unavailable")
    assert "password" not in reply.text


class Steps(KnownTokens):
    """Refuses everybody."""

    async def authenticate(self, metadata: Metadata, peer: str) -> Caller:
        await super().authenticate(metadata, peer)
        raise UnauthenticatedError(Reason.REJECTED)


@pytest.mark.proves("CA-1")
async def test_each_step_comes_before_the_next() -> None:
    """Everything is wrong with a request; what is put right lets it come one step further."""
    nobody = Desk(authenticator=Steps())
    assert refusal_of(await nobody.ask(a_request(""))).reason_code == "csr-size"
    bad = {"named": None, "metadata": {"ImpersonatedIdentity": 7}, "validity": 2**62}
    assert refusal_of(await nobody.ask(a_request("x", **bad))).reason_code == "rejected"
    limited = Desk(limits=RateLimits(burst_per_caller=1))
    chain_of(await limited.ask())
    assert refusal_of(await limited.ask(a_request("x", **bad))).reason_code == "caller-rate"
    desk = Desk()
    reply = refusal_of(await desk.ask(a_request("x", **bad)))
    assert reply.reason_code == "identity-not-a-string"
    reply = refusal_of(await desk.ask(a_request("x", named="x", validity=2**62)))
    assert reply.reason_code == "identity-malformed"
    reply = refusal_of(await desk.ask(a_request("x", validity=2**62)))
    assert reply.reason_code == "csr-framing"
    desk.signer.snapshot = None
    reply = refusal_of(await desk.ask(a_request(validity=2**62)))
    assert reply.reason_code == "lifetime-above-maximum"
    assert refusal_of(await desk.ask()).reason_code == "signer-unfit"


@pytest.mark.refutes("CA-1")
async def test_nothing_later_is_done_for_a_refused_request() -> None:
    desk = Desk()
    await desk.ask(a_request(""))
    assert desk.authenticator.asked == 0
    await desk.ask(a_request("x", named="x"))
    assert desk.authenticator.asked == 1
    assert desk.pods.asked == []
    assert "signed" not in desk.witness.heard


@pytest.mark.proves("CA-2")
@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\0" * (4 * 1024 * 1024 + 1), "oversized-request"),
        (b"\0" * (64 * 1024 + 1), "request-size"),
        (b"\xff", "request-unreadable"),
        (b"", "csr-size"),
        (IstioCertificateRequest(csr="\u00e9").SerializeToString(), "csr-size"),
        (IstioCertificateRequest(csr="A" * 16_385).SerializeToString(), "csr-size"),
        (b"\x22" + b"\x7f" * 20_000, "request-unreadable"),
    ],
)
async def test_sizes(message: bytes, reason: str) -> None:
    desk = Desk()
    assert refusal_of(await desk.ask(message)).reason_code == reason
    assert desk.authenticator.asked == 0


@pytest.mark.refutes("CA-4")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnauthenticatedError(Reason.EXPIRED), "UNAUTHENTICATED"),
        (AuthenticationUnavailableError(Reason.REVIEW_TIMED_OUT), "UNAVAILABLE"),
        (AuthenticationLimitedError(Reason.TOO_MANY_REVIEWS), "RESOURCE_EXHAUSTED"),
    ],
)
async def test_credentials_that_do_not_help(error: Exception, status: str) -> None:
    desk = Desk()
    desk.authenticator.callers["ztunnel"] = error
    reply = refusal_of(await desk.ask())
    assert (reply.status, reply.failure) == (status, Failure.AUTHENTICATION)
    assert desk.ledger.refused[0].caller_id == ""


@pytest.mark.proves("CA-12")
@pytest.mark.parametrize("named", ["x", "spiffe://elsewhere/ns/a/sa/b", str(SHOP)])
async def test_denials_look_the_same_to_callers(named: str) -> None:
    desk = Desk()
    desk.pods.identities.clear()
    reply = refusal_of(await desk.ask(a_request(a_csr(), named=named)))
    assert reply.text == "request impersonation authentication failure"
    assert desk.ledger.refused[0].reason == reply.reason_code
    assert reply.reason_code not in reply.text


@pytest.mark.proves("CA-10")
async def test_a_view_that_is_not_there_is_ours_to_mend() -> None:
    desk = Desk()
    desk.pods.failure = UnavailableError("no view", reason_code="view-behind")
    assert refusal_of(await desk.ask()).status == "UNAVAILABLE"


@pytest.mark.proves("CA-6")
async def test_rates() -> None:
    desk = Desk(limits=RateLimits(burst_per_caller=2))
    answers = [await desk.ask() for _ in range(4)]
    assert [isinstance(answer, bytes) for answer in answers] == [True, True, False, False]
    assert refusal_of(answers[3]).status == "RESOURCE_EXHAUSTED"
    own = a_request(named=None)
    assert isinstance(await desk.ask(own, {"authorization": "Bearer waypoint"}), bytes)


class Gate(KnownTokens):
    """Lets nobody through before it opens."""

    def __init__(self) -> None:
        super().__init__()
        self.opening = asyncio.Event()

    async def authenticate(self, metadata: Metadata, peer: str) -> Caller:
        await self.opening.wait()
        return ZTUNNEL


@pytest.mark.refutes("CA-7")
async def test_requests_under_way_are_bounded() -> None:
    gate = Gate()
    desk = Desk(authenticator=gate, settings=RequestSettings(at_once=2))
    waiting = [asyncio.create_task(desk.ask()) for _ in range(2)]
    await asyncio.sleep(0)
    assert refusal_of(await desk.ask()).reason_code == "at-once"
    gate.opening.set()
    assert all(isinstance(answer, bytes) for answer in await asyncio.gather(*waiting))
    assert isinstance(await desk.ask(), bytes)


@pytest.mark.refutes("CA-7")
async def test_who_is_not_known_yet_takes_the_places_of_its_own_address_alone() -> None:
    gate = Gate()
    desk = Desk(authenticator=gate, settings=RequestSettings(unknown_at_once=2))
    waiting = [asyncio.create_task(desk.ask()) for _ in range(2)]
    await asyncio.sleep(0)
    assert refusal_of(await desk.ask()).reason_code == "address-rate"
    other = asyncio.create_task(desk.requests.answer(a_request(), HEADERS, "ipv4:10.9.9.9:1"))
    await asyncio.sleep(0)
    gate.opening.set()
    answers = await asyncio.gather(*waiting, other)
    assert all(isinstance(answer, bytes) for answer in answers)
    assert isinstance(await desk.ask(), bytes)


async def test_a_caller_that_leaves_frees_its_place() -> None:
    gate = Gate()
    desk = Desk(authenticator=gate, settings=RequestSettings(at_once=1))
    leaving = asyncio.create_task(desk.ask())
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    gate.opening.set()
    assert isinstance(await desk.ask(), bytes)


@pytest.mark.proves("CA-5")
async def test_a_signer_is_ignored_and_counted() -> None:
    desk = Desk()
    assert isinstance(await desk.ask(a_request(metadata={"CertSigner": "mine", "x": [1]})), bytes)
    assert desk.witness.heard.count("signer ignored") == 1


@pytest.mark.refutes("CA-33")
async def test_a_key_renewed_in_its_place_is_not_noted() -> None:
    desk = Desk()
    desk.authenticator.callers["ztunnel"] = replace(ZTUNNEL, node_name="")
    await desk.ask()
    await desk.ask()
    assert [row.key_seen_on for row in desk.ledger.issued] == ["", ""]


@pytest.mark.refutes("CA-17", "CA-8")
async def test_a_node_proxy_asks_for_nobody_else_in_its_csr() -> None:
    desk = Desk()
    assert refusal_of(await desk.ask(a_request(a_csr(SHOP), named=None))).reason_code == "csr-names"
    for csr in (a_csr(None), a_csr(ZTUNNEL_ITSELF)):
        chain_of(await desk.ask(a_request(csr, named=None)))
    assert {row.spiffe_id for row in desk.ledger.issued} == {str(ZTUNNEL_ITSELF)}


@pytest.mark.refutes("CA-8")
async def test_own_identity_without_a_pod() -> None:
    desk = Desk()
    desk.authenticator.callers["waypoint"] = replace(WAYPOINT, pod_uid="")
    reply = refusal_of(await desk.ask(a_request(named=None), {"authorization": "Bearer waypoint"}))
    assert (reply.status, reply.text) == ("UNAUTHENTICATED", "request authenticate failure")
    assert reply.reason_code == "unbound-credentials"


@pytest.mark.refutes("CA-19", "CA-34")
async def test_a_fault_of_ours_is_logged_without_its_words() -> None:
    desk = Desk()

    async def broken(*_: object) -> None:
        raise KeyError("CANARY")

    desk.pods.authorize = broken  # type: ignore[method-assign]
    with structlog.testing.capture_logs() as logs:
        reply = refusal_of(await desk.ask())
    assert (reply.status, reply.text) == ("INTERNAL", "internal error")
    (entry,) = logs
    assert entry["event"] == "certificate.failed"
    assert entry["error"] == "KeyError"
    assert "CANARY" not in str(logs) + str(desk.ledger.refused)


@pytest.mark.proves("CA-34")
async def test_logs_say_what_happened() -> None:
    desk = Desk()
    with structlog.testing.capture_logs() as logs:
        await desk.ask()
        await desk.ask(a_request("x"))
        await desk.ask(headers={**HEADERS, "authorization": ()})
    assert [entry["event"] for entry in logs] == ["certificate.issued"] + [
        "certificate.refused"
    ] * 2
    assert logs[0]["identity"] == str(SHOP)
    assert logs[2]["reason"] == "no-credentials"
