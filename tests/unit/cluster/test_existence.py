import json
from dataclasses import dataclass
from typing import Any

import pytest

from controlplane.cluster.apply import Outcome, Target
from controlplane.cluster.client import Answer
from controlplane.cluster.errors import ClusterUnavailableError
from controlplane.cluster.existence import Existence
from tests.support.cluster_memory import ClusterMemory, a_refusal

TARGET = Target(api_version="v1", plural="configmaps", namespace="shop", name="root")
LIVE = {"metadata": {"name": "root", "namespace": "shop", "uid": "u", "resourceVersion": "7"}}


@dataclass
class Lead:
    seconds_left: float = 8.0


def existence(cluster: ClusterMemory, lead: Lead | None = None) -> Existence:
    return Existence(cluster, manager="ours", lead=lead or Lead())


async def test_what_is_missing_is_made_once() -> None:
    cluster = ClusterMemory()
    made = existence(cluster)
    document = {"metadata": {"name": "root", "namespace": "shop"}, "data": {"a": "1"}}
    assert (await made.make(TARGET, document)).outcome is Outcome.WRITTEN
    other = {**document, "data": {"a": "2"}}
    assert (await made.make(TARGET, other)).outcome is Outcome.UNCHANGED
    assert cluster.objects[TARGET.path]["data"] == {"a": "1"}
    assert {each.params["fieldManager"] for each in cluster.writes} == {"ours"}


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (a_refusal(403, "Forbidden"), Outcome.FORBIDDEN),
        (a_refusal(404, "NotFound"), Outcome.GONE),
        (a_refusal(409, "Conflict"), Outcome.CONFLICT),
        (a_refusal(422, "Invalid"), Outcome.REFUSED),
        (a_refusal(500), Outcome.UNAVAILABLE),
        (ClusterUnavailableError("away"), Outcome.UNAVAILABLE),
    ],
)
async def test_whatever_is_wrong_is_an_outcome(refusal: Any, outcome: Outcome) -> None:
    cluster = ClusterMemory()
    cluster.fail("POST", refusal)
    cluster.fail("DELETE", refusal)
    assert (await existence(cluster).make(TARGET, LIVE)).outcome is outcome
    assert (await existence(cluster).remove(TARGET, LIVE)).outcome is outcome


@pytest.mark.proves("WR-7")
async def test_nothing_is_made_or_removed_without_a_lead() -> None:
    cluster, lead = ClusterMemory(), Lead(0.4)
    for applied in (
        await existence(cluster, lead).make(TARGET, LIVE),
        await existence(cluster, lead).remove(TARGET, LIVE),
    ):
        assert applied.outcome is Outcome.NOT_LEADING
    assert await existence(cluster, lead).is_there(TARGET, "u")
    assert not cluster.asked


async def test_only_what_was_looked_at_is_removed() -> None:
    cluster = ClusterMemory()
    cluster.fail("DELETE", Answer(200, b"{}"))
    assert (await existence(cluster).remove(TARGET, LIVE)).outcome is Outcome.WRITTEN
    (write,) = cluster.writes
    options = json.loads(write.body or b"")
    assert options["preconditions"] == {"uid": "u", "resourceVersion": "7"}
    assert (write.method, write.path) == ("DELETE", TARGET.path)


async def test_what_is_there_is_told_from_what_is_gone_or_going() -> None:
    cluster = ClusterMemory()
    found = existence(cluster)
    assert not await found.is_there(TARGET, "u")
    cluster.objects[TARGET.path] = LIVE
    assert await found.is_there(TARGET, "u")
    assert not await found.is_there(TARGET, "of before")
    going = {**LIVE["metadata"], "deletionTimestamp": "2026-03-01T12:00:00Z"}
    cluster.objects[TARGET.path] = {"metadata": going}
    assert not await found.is_there(TARGET, "u")


@pytest.mark.parametrize(
    "answer", [Answer(200, b"["), Answer(200, b"[]"), Answer(200, b"{}"), Answer(500, b"")]
)
async def test_in_doubt_it_is_there(answer: Answer) -> None:
    cluster = ClusterMemory()
    cluster.fail("GET", answer)
    assert await existence(cluster).is_there(TARGET, "u")
