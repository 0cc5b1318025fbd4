from dataclasses import replace

import pytest

from controlplane.app.cluster_observation import leads, measure_kinds, stale, unread
from controlplane.cluster.lease import LeaseLeadership
from controlplane.cluster.write_lead import WriteLead
from controlplane.metrics import Metrics
from controlplane.sources.kubernetes.state import KindState
from tests.support.cluster_memory import ClusterMemory
from tests.support.cluster_time import PassingClock

POD = KindState(
    kind="Pod",
    objects=3,
    is_synced=True,
    is_present=True,
    is_current=True,
    heard_at=0.0,
    troubled_since=None,
    trouble="",
    lag=None,
    lists=1,
    events=0,
)
AWAY = replace(POD, troubled_since=40.0, trouble="the API server is away (no answer in time)")


@pytest.mark.proves("RP-8")
def test_kinds_that_are_missing_are_named_with_the_reason() -> None:
    waiting = replace(POD, kind="Service", is_synced=False)
    refused = replace(waiting, kind="Node", trouble="HTTP status 403")
    assert unread([POD, waiting, refused]) == (
        "Service objects have not been read yet",
        "Node objects have not been read yet: HTTP status 403",
    )


@pytest.mark.proves("RP-9")
def test_kinds_that_are_old_are_named_with_their_age() -> None:
    (sentence,) = stale([AWAY, replace(AWAY, kind="Node", troubled_since=30.0)], 100.0)
    assert sentence == (
        "the last objects known stay in force for Node, Pod, not read for 70 s: "
        "the API server is away (no answer in time)"
    )


@pytest.mark.refutes("RP-8", "RP-9")
def test_nothing_is_missing_or_old_where_all_is_read() -> None:
    assert unread([POD]) == ()
    assert stale([POD, replace(AWAY, is_synced=False)], 100.0) == ()


def _leadership(memory: ClusterMemory, replica: str) -> LeaseLeadership:
    return LeaseLeadership(
        memory, namespace="n", name="l", replica_id=replica, clock=PassingClock()
    )


@pytest.mark.proves("RP-10")
async def test_who_leads_is_said() -> None:
    memory = ClusterMemory()
    first, second = _leadership(memory, "pod_a"), _leadership(memory, "pod-b")
    lead = WriteLead(first, None, clock=PassingClock())
    assert leads(first, lead) == "no replica is known to lead"
    await first.campaign()
    await second.campaign()
    assert leads(first, lead) == "this replica leads, with token 1"
    assert leads(second, lead) == "replica pod_a leads"
    memory.is_away = True
    await second.campaign()
    assert leads(second, lead) == "replica pod_a leads (away)"


def test_each_kind_is_in_one_state() -> None:
    metrics = Metrics("1").cluster
    absent = replace(POD, kind="Gateway", is_present=False)
    waiting = replace(POD, kind="Node", is_synced=False)
    measure_kinds(metrics, [POD, absent, waiting], 100.0)
    measure_kinds(metrics, [AWAY, absent, waiting], 100.0)
    (found,) = metrics.watch_state.collect()
    assert {each.labels["kind"]: each.labels["state"] for each in found.samples} == {
        "Pod": "stale",
        "Gateway": "absent",
        "Node": "waiting",
    }
    (ages,) = metrics.stale_seconds.collect()
    assert {each.labels["kind"]: each.value for each in ages.samples}["Pod"] == 60.0
