import base64
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from controlplane.cluster.client import Answer
from controlplane.controllers.root_certificates import Roots
from controlplane.controllers.webhook_configuration import WebhookConfiguration
from tests.support.cluster_memory import Asked, ClusterMemory, a_refusal
from tests.support.cluster_time import PassingClock, settled
from tests.support.kubernetes_fields import PatchError, json_patched

NAME = "istiod-lite-validator-istio-system"
PATH = f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{NAME}"
PEM = "-----BEGIN CERTIFICATE-----\n"


def an_entry(name: str = "validation.istio.io", **fields: Any) -> dict[str, Any]:
    service = {"name": "istiod", "namespace": "istio-system", "path": "/validate"}
    return {"name": name, "clientConfig": {"service": service}, "failurePolicy": "Ignore", **fields}


class Patching(ClusterMemory):
    """Takes JSON patches; ``meanwhile`` is what others make of the object before the next one."""

    meanwhile: list[dict[str, Any]]

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile = []

    async def request(self, method: str, path: str, **more: Any) -> Answer:
        if method != "PATCH" or self.is_away or self.faults.get(method):
            return await super().request(method, path, **more)
        assert more["content_type"] == "application/json-patch+json"
        self.asked.append(Asked(method, path, more["params"], more["body"], more["timeout"]))
        if self.meanwhile:
            self.put(path, self.meanwhile.pop(0))
        try:
            patched = json_patched(self.objects[path], json.loads(more["body"]))
        except PatchError:
            return a_refusal(422, "Invalid")
        return Answer(200, json.dumps(self.put(path, patched)).encode())


@dataclass
class Lead:
    seconds_left: float = 8.0


@dataclass
class Rig:
    entries: list[dict[str, Any]] = field(default_factory=lambda: [an_entry()])
    reason: str = ""
    roots: Roots | None = field(default_factory=lambda: Roots(pem=PEM, version=1))
    cluster: Patching = field(default_factory=Patching)
    lead: Lead = field(default_factory=Lead)
    clock: PassingClock = field(default_factory=PassingClock)
    probed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.write(self.entries)
        self.keeper = WebhookConfiguration(
            self.cluster,
            lead=self.lead,
            configuration=NAME,
            roots=lambda: self.roots,
            probe=self.probe,
            clock=self.clock,
            draw=lambda: 0.0,
        )

    async def probe(self, roots_pem: str) -> str:
        self.probed.append(roots_pem)
        return self.reason

    def write(self, entries: list[dict[str, Any]]) -> None:
        self.cluster.put(PATH, {"metadata": {"name": NAME}, "webhooks": entries})

    @property
    def live(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cluster.objects[PATH]["webhooks"]
        return found

    @property
    def policies(self) -> list[str]:
        return [each["failurePolicy"] for each in self.live]

    @property
    def bundles(self) -> list[str]:
        return [
            base64.b64decode(each["clientConfig"].get("caBundle", "")).decode()
            for each in self.live
        ]

    async def rounds(self, number: int = 1) -> None:
        """As many looks as that and the work that follows, ten seconds apart."""
        queue = self.keeper._queue
        async with settled(queue.run()) as until:
            for _ in range(number):
                await self.keeper.look()
                await until(lambda: queue.is_idle)
                self.clock.time += timedelta(seconds=10)


@pytest.mark.proves("AD-22", "AD-23")
async def test_once_the_webhook_answers_it_counts() -> None:
    rig = Rig()
    await rig.rounds()
    assert rig.policies == ["Fail"]
    assert rig.bundles == [PEM]
    assert rig.keeper.troubles == {}


async def test_it_works_by_itself() -> None:
    rig = Rig()
    async with settled(rig.keeper.run()) as until:
        await until(lambda: rig.policies == ["Fail"])
    assert rig.keeper.name == "webhook-configuration"


@pytest.mark.refutes("AD-20", "AD-23")
async def test_what_is_right_is_not_written() -> None:
    rig = Rig()
    await rig.rounds()
    writes = len(rig.cluster.writes)
    await rig.rounds(5)
    assert len(rig.cluster.writes) == writes == 1


@pytest.mark.proves("AD-20")
async def test_only_two_fields_of_our_entries_are_written() -> None:
    others = [an_entry("policy.example.com"), an_entry("b.istio.io", failurePolicy="Fail")]
    rig = Rig([others[0], an_entry(timeoutSeconds=5), others[1]])
    await rig.rounds()
    mine = an_entry(timeoutSeconds=5, failurePolicy="Fail")
    mine["clientConfig"]["caBundle"] = base64.b64encode(PEM.encode()).decode()
    assert rig.live == [others[0], mine, others[1]]
    assert [each.params for each in rig.cluster.writes] == [{"fieldManager": "istiod-lite-webhook"}]


@pytest.mark.proves("AD-20")
async def test_without_a_lead_or_roots_nobody_asks_or_writes() -> None:
    for rig in (Rig(lead=Lead(0.0)), Rig(roots=None)):
        for _ in range(3):
            await rig.keeper.look()
        assert rig.cluster.asked == []
        assert rig.probed == []


@pytest.mark.proves("AD-20")
async def test_nothing_is_written_at_the_end_of_a_lead() -> None:
    rig = Rig(lead=Lead(0.4))
    await rig.rounds()
    assert rig.cluster.asked == []


@pytest.mark.proves("AD-22")
async def test_new_roots_are_written() -> None:
    rig = Rig()
    await rig.rounds()
    rig.roots = Roots(pem=PEM * 2, version=2)
    await rig.rounds()
    assert rig.bundles == [PEM * 2]
    assert rig.policies == ["Fail"]


@pytest.mark.refutes("AD-22")
async def test_the_same_roots_of_a_new_version_are_not_written_again() -> None:
    rig = Rig()
    await rig.rounds()
    rig.roots = Roots(pem=PEM, version=2)
    await rig.rounds()
    assert len(rig.cluster.writes) == 1


@pytest.mark.proves("AD-24")
async def test_silence_ends_the_veto_and_an_answer_brings_it_back() -> None:
    rig = Rig()
    await rig.rounds()
    rig.reason = "ConnectError"
    with capture_logs() as logs:
        await rig.rounds(6)
    assert rig.policies == ["Ignore"]
    assert [(each["event"], each["reason"]) for each in logs] == [
        ("webhook.silent", "ConnectError")
    ]
    (trouble,) = rig.keeper.troubles.values()
    assert trouble.message == "the webhook does not answer: ConnectError"
    rig.reason = ""
    with capture_logs() as logs:
        await rig.rounds()
    assert rig.policies == ["Fail"]
    assert [each["event"] for each in logs] == ["webhook.answers"]
    assert rig.keeper.troubles == {}


@pytest.mark.refutes("AD-24")
async def test_two_looks_without_an_answer_are_no_silence() -> None:
    rig = Rig()
    await rig.rounds()
    rig.reason = "ConnectError"
    rig.clock.time += timedelta(seconds=100)
    await rig.rounds(2)
    rig.reason = ""
    await rig.rounds()
    assert rig.policies == ["Fail"]
    assert len(rig.cluster.writes) == 1


@pytest.mark.refutes("AD-24")
async def test_many_looks_in_a_moment_are_no_silence() -> None:
    rig = Rig(reason="ConnectError", entries=[an_entry(failurePolicy="Fail")])
    for _ in range(10):
        await rig.keeper.look()
    assert rig.keeper._policy == ""


@pytest.mark.refutes("AD-23")
@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_a_new_leader_leaves_the_policy_until_it_knows(policy: str) -> None:
    rig = Rig(reason="ConnectError", entries=[an_entry(failurePolicy=policy)])
    await rig.rounds()
    assert rig.policies == [policy]
    assert rig.bundles == [PEM]


@pytest.mark.proves("AD-23")
async def test_who_leads_again_finds_out_anew() -> None:
    rig = Rig()
    await rig.rounds()
    rig.lead.seconds_left = 0.0
    await rig.keeper.look()
    rig.lead.seconds_left, rig.reason = 8.0, "ConnectError"
    rig.write([an_entry()])
    await rig.rounds()
    assert rig.policies == ["Ignore"]


@pytest.mark.proves("AD-25")
@pytest.mark.parametrize("entries", [None, [], [an_entry("policy.example.com")]], ids=str)
async def test_nothing_of_ours_is_nothing_to_do(entries: list[dict[str, Any]] | None) -> None:
    rig = Rig(entries or [])
    if entries is None:
        del rig.cluster.objects[PATH]
    with capture_logs() as logs:
        await rig.rounds(3)
    assert [each["event"] for each in logs] == ["webhook.answers", "webhook.unconfigured"]
    assert rig.cluster.writes == []
    assert rig.keeper.troubles == {}


async def test_a_webhook_that_nobody_configured_may_be_silent() -> None:
    rig = Rig(reason="no such host")
    del rig.cluster.objects[PATH]
    await rig.rounds(5)
    assert rig.keeper.troubles == {}
    rig.write([an_entry()])
    await rig.rounds()
    assert set(rig.keeper.troubles) == {"validating webhook"}


@pytest.mark.refutes("AD-25")
async def test_a_configuration_that_comes_is_kept() -> None:
    rig = Rig()
    del rig.cluster.objects[PATH]
    await rig.rounds()
    rig.write([an_entry()])
    await rig.rounds()
    assert rig.policies == ["Fail"]


@pytest.mark.proves("AD-26")
async def test_an_entry_that_moved_is_found_where_it_is() -> None:
    rig = Rig()
    other = an_entry("policy.example.com")
    moved = {"metadata": {"name": NAME}, "webhooks": [other, an_entry()]}
    rig.cluster.meanwhile.append(moved)
    await rig.rounds()
    assert rig.live[0] == other
    assert rig.policies == ["Ignore", "Fail"]
    assert len(rig.cluster.writes) == 2


@pytest.mark.proves("AD-26")
async def test_entries_that_keep_moving_are_a_conflict_and_others_stay_whole() -> None:
    rig = Rig()
    other = an_entry("policy.example.com")
    orders = [[other, an_entry()], [an_entry(), other]]
    rig.cluster.meanwhile.extend({"metadata": {}, "webhooks": orders[n % 2]} for n in range(3))
    applied = await rig.keeper._write(NAME)
    assert applied.outcome.value == "conflict"
    assert rig.policies == ["Ignore", "Ignore"]


@pytest.mark.proves("AD-26")
async def test_being_forbidden_is_shown_logged_once_and_tried_again() -> None:
    rig = Rig()
    rig.cluster.fail("PATCH", *[a_refusal(403, "Forbidden", message="not you")] * 10)
    with capture_logs() as logs:
        await rig.rounds(2)
        assert rig.keeper.troubles[NAME].message == "not you"
        await rig.rounds(20)
    assert [each["event"] for each in logs].count("write.forbidden") == 1
    assert rig.policies == ["Fail"]
    assert rig.keeper.troubles == {}


@pytest.mark.refutes("AD-26")
async def test_what_was_given_up_is_not_tried_at_every_look() -> None:
    rig = Rig()
    rig.cluster.fail("PATCH", *[a_refusal(403, "Forbidden")] * 5)
    await rig.rounds(4)
    assert len(rig.cluster.writes) == 5


async def test_an_api_server_that_is_away_is_asked_again() -> None:
    rig = Rig()
    rig.cluster.fail("GET", a_refusal(503), Answer(200, b"nonsense"))
    rig.cluster.fail("PATCH", a_refusal(429))
    await rig.rounds(3)
    assert rig.policies == ["Fail"]
