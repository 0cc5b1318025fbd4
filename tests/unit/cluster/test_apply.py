import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from controlplane.cluster.apply import Applied, Applier, Outcome, Target
from controlplane.cluster.client import Answer
from controlplane.cluster.errors import ClusterUnavailableError
from tests.support.cluster_memory import ClusterMemory, a_refusal

TARGET = Target(api_version="v1", plural="configmaps", namespace="shop", name="root")
GATEWAY = Target(
    api_version="gateway.networking.k8s.io/v1", plural="gateways", namespace="shop", name="w"
)


@dataclass
class Lead:
    seconds_left: float = 8.0


@dataclass
class Writing:
    cluster: ClusterMemory = field(default_factory=ClusterMemory)
    lead: Lead = field(default_factory=Lead)

    def __post_init__(self) -> None:
        self.applier = Applier(self.cluster, manager="istiod-lite-roots", lead=self.lead)

    async def apply(self, text: str = "a", **options: Any) -> Applied:
        return await self.applier.apply(TARGET, a_map(text), **options)


def a_map(text: str, **data: str) -> dict[str, Any]:
    metadata = {"name": "root", "namespace": "shop"}
    data = {"root": text, **data}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def conditions(*found: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": GATEWAY.api_version,
        "kind": "Gateway",
        "metadata": {"name": "w", "namespace": "shop"},
        "status": {"conditions": list(found)},
    }


def test_targets_know_their_path() -> None:
    assert TARGET.path == "/api/v1/namespaces/shop/configmaps/root"
    assert GATEWAY.path == "/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/w"
    namespace = Target(api_version="v1", plural="namespaces", name="shop")
    assert namespace.path == "/api/v1/namespaces/shop"
    assert str(namespace) == "namespaces shop"
    assert str(TARGET) == "configmaps shop/root"


@pytest.mark.proves("WR-1")
@pytest.mark.refutes("WR-1")
async def test_differences_are_written_and_nothing_else() -> None:
    writing = Writing()
    outcomes = [(await writing.apply(text)).outcome for text in ("a", "a", "b", "b")]
    assert outcomes == [Outcome.WRITTEN, Outcome.UNCHANGED] * 2
    assert len(writing.cluster.writes) == 2
    # Somebody who starts anew sees it in the object alone.
    again = Writing(cluster=writing.cluster)
    applied = await again.apply("b")
    assert (applied.outcome, applied.is_done) == (Outcome.UNCHANGED, True)
    assert applied.live is not None
    assert applied.live["data"] == {"root": "b"}
    write = writing.cluster.writes[0]
    assert write.params == {"fieldManager": "istiod-lite-roots", "force": "false"}


async def test_a_status_is_written_beside_those_of_others() -> None:
    writing = Writing()
    theirs = conditions({"type": "Theirs", "status": "True"})
    writing.cluster.put(GATEWAY.path, theirs)
    ours = conditions({"type": "Ours", "status": "True"})
    for outcome in (Outcome.WRITTEN, Outcome.UNCHANGED):
        applied = await writing.applier.apply(GATEWAY, ours, subresource="status")
        assert applied.outcome is outcome
    found = writing.cluster.objects[GATEWAY.path]["status"]["conditions"]
    assert [each["type"] for each in found] == ["Theirs", "Ours"]


@pytest.mark.proves("WR-3")
async def test_a_value_of_the_servers_own_writing_is_written_once() -> None:
    writing = Writing()
    await writing.apply("1000m")
    writing.cluster.objects[TARGET.path]["data"]["root"] = "1"
    assert (await writing.apply("1000m")).outcome is Outcome.UNCHANGED


@pytest.mark.proves("WR-3")
async def test_it_is_not_written_again_when_others_change_the_rest() -> None:
    writing = Writing()
    await writing.apply("1")
    own_way = writing.cluster.objects[TARGET.path]
    writing.cluster.fail("PATCH", Answer(200, json.dumps(own_way).encode()))
    assert (await writing.apply("1000m")).outcome is Outcome.WRITTEN
    writing.cluster.put(TARGET.path, {**own_way, "status": {"of": "others"}})
    assert (await writing.apply("1000m")).outcome is Outcome.UNCHANGED
    writing.cluster.put(TARGET.path, {**own_way, "data": {"root": "2"}})
    assert (await writing.apply("1000m")).outcome is Outcome.WRITTEN


@pytest.mark.refutes("WR-3")
async def test_a_value_that_somebody_changed_is_written_again() -> None:
    writing = Writing()
    await writing.apply("a")
    changed = {**writing.cluster.objects[TARGET.path], "data": {"root": "mine"}}
    writing.cluster.put(TARGET.path, changed)
    assert (await writing.apply("a")).outcome is Outcome.WRITTEN
    writing.applier.forget(TARGET)
    writing.cluster.objects[TARGET.path]["data"]["root"] = "mine"
    assert (await writing.apply("a")).outcome is Outcome.WRITTEN


@pytest.mark.proves("WR-4")
async def test_a_field_of_somebody_elses_is_a_conflict() -> None:
    writing = Writing()
    refusal = a_refusal(409, "Conflict", "FieldManagerConflict", message='conflict with "kubectl"')
    writing.cluster.fail("PATCH", refusal)
    applied = await writing.apply()
    assert (applied.outcome, applied.is_done) == (Outcome.CONFLICT, False)
    assert applied.message == 'conflict with "kubectl"'
    assert len(writing.cluster.writes) == 1


@pytest.mark.refutes("WR-4")
async def test_taking_over_is_asked_for_and_changes_are_looked_at_again() -> None:
    writing = Writing()
    writing.cluster.fail("PATCH", *[a_refusal(409, "Conflict")] * 2)
    assert (await writing.apply(is_forced=True)).outcome is Outcome.WRITTEN
    assert [each.params["force"] for each in writing.cluster.writes] == ["true"] * 3
    writing.cluster.fail("PATCH", *[a_refusal(409, "Conflict")] * 3)
    assert (await writing.apply("b")).outcome is Outcome.CONFLICT


@pytest.mark.proves("WR-5")
@pytest.mark.refutes("WR-5")
async def test_being_forbidden_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    writing = Writing()
    writing.cluster.fail("PATCH", *[a_refusal(403, "Forbidden")] * 3)
    for text in "abc":
        assert (await writing.apply(text)).outcome is Outcome.FORBIDDEN
    assert capsys.readouterr().out.count("write.forbidden") == 1
    assert writing.applier.forbidden == {("v1", "configmaps")}
    assert (await writing.apply()).outcome is Outcome.WRITTEN
    assert not writing.applier.forbidden


@pytest.mark.proves("WR-6")
async def test_nothing_is_written_to_what_is_gone() -> None:
    writing = Writing()
    found = await writing.applier.apply(GATEWAY, conditions(), subresource="status")
    assert found.outcome is Outcome.GONE
    assert not writing.cluster.writes
    writing.cluster.fail(
        "PATCH", a_refusal(404, "NotFound"), a_refusal(403, "Forbidden", "NamespaceTerminating")
    )
    for _ in range(2):
        assert (await writing.apply()).outcome is Outcome.GONE
    assert not writing.applier.forbidden


@pytest.mark.refutes("WR-6")
async def test_an_object_that_is_not_there_is_made() -> None:
    writing = Writing()
    await writing.apply()
    assert writing.cluster.objects[TARGET.path]["data"] == {"root": "a"}


@pytest.mark.proves("WR-7")
async def test_nothing_is_asked_without_a_lead() -> None:
    writing = Writing(lead=Lead(0.4))
    assert (await writing.apply()).outcome is Outcome.NOT_LEADING
    assert not writing.cluster.asked


@pytest.mark.refutes("WR-7")
async def test_no_request_outlasts_the_lead() -> None:
    writing = Writing(lead=Lead(3.0))
    await writing.apply()
    assert [each.timeout for each in writing.cluster.asked] == [3.0, 3.0]


@pytest.mark.proves("WR-7")
async def test_a_lead_that_ends_in_between_writes_nothing() -> None:
    writing = Writing()

    class Overtaken(ClusterMemory):
        async def request(self, method: str, path: str, **rest: Any) -> Answer:
            writing.lead.seconds_left = 0.0
            return await super().request(method, path, **rest)

    cluster = Overtaken()
    writing.applier = Applier(cluster, manager="m", lead=writing.lead)
    assert (await writing.apply()).outcome is Outcome.NOT_LEADING
    assert not cluster.writes


@pytest.mark.proves("WR-8")
@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (ClusterUnavailableError("away"), Outcome.UNAVAILABLE),
        (a_refusal(500, "InternalError"), Outcome.UNAVAILABLE),
        (a_refusal(429, "TooManyRequests"), Outcome.UNAVAILABLE),
        (a_refusal(422, "Invalid", message="a webhook says no"), Outcome.REFUSED),
        (a_refusal(400, "BadRequest"), Outcome.REFUSED),
        (Answer(418, b"teapot"), Outcome.REFUSED),
        (Answer(418, json.dumps([1]).encode()), Outcome.REFUSED),
    ],
)
async def test_whatever_is_wrong_is_an_outcome(fault: Answer | Exception, outcome: Outcome) -> None:
    for method in ("GET", "PATCH"):
        writing = Writing()
        writing.cluster.fail(method, fault)
        applied = await writing.apply()
        assert applied.outcome is outcome
        assert applied.message


@pytest.mark.refutes("WR-8")
async def test_a_success_that_cannot_be_read_is_a_success() -> None:
    writing = Writing()
    writing.cluster.fail("PATCH", Answer(200, b""))
    applied = await writing.apply()
    assert (applied.outcome, applied.live) == (Outcome.WRITTEN, None)


async def test_a_wish_decides_on_what_it_finds() -> None:
    writing = Writing()
    found: list[Any] = []

    def wish(live: Mapping[str, Any] | None) -> Mapping[str, Any] | Applied:
        found.append(live)
        if live is None:
            return a_map("made")
        if live["data"]["root"] == "theirs":
            return Applied(outcome=Outcome.CONFLICT, message="theirs")
        wanted = a_map("changed")
        revision = live["metadata"]["resourceVersion"]
        return {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": revision}}

    outcomes = [(await writing.applier.apply(TARGET, wish)).outcome for _ in range(3)]
    assert outcomes == [Outcome.WRITTEN, Outcome.WRITTEN, Outcome.UNCHANGED]
    assert found[0] is None
    # It is asked again whenever the object is looked at again.
    writing.cluster.put(TARGET.path, a_map("other"))
    writing.cluster.fail("PATCH", a_refusal(409, "Conflict"))
    assert (await writing.applier.apply(TARGET, wish)).outcome is Outcome.WRITTEN
    assert len(found) == 5
    writing.cluster.put(TARGET.path, a_map("theirs"))
    writes = len(writing.cluster.writes)
    left = await writing.applier.apply(TARGET, wish)
    assert (left.outcome, left.message) == (Outcome.CONFLICT, "theirs")
    assert len(writing.cluster.writes) == writes
