import json
from dataclasses import replace
from typing import Any

import pytest

from controlplane.cluster.apply import Outcome
from controlplane.cluster.client import Answer
from controlplane.controllers.statuses import StatusConditions
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Condition
from tests.support import kubernetes_fields
from tests.support.cluster_memory import a_refusal
from tests.support.cluster_statuses import PATHS, Lead
from tests.support.cluster_time import settled
from tests.support.told_cluster import ToldCluster

BOUND = "istio.io/WaypointBound"
MISSING = "istio.io/WaypointMissing"
SERVICES = "istio-ambient-service"


def a_condition(
    kind: str = "Service",
    name: str = "shop",
    condition: str = BOUND,
    *,
    manager: str = SERVICES,
    **rest: Any,
) -> Condition:
    told = {"status": True, "reason": "WaypointAccepted", "message": "attached", **rest}
    reference = ObjectReference(kind, "default", name)
    return Condition(object=reference, type=condition, manager=manager, **told)


def accepted(kind: str, **rest: Any) -> Condition:
    manager = {
        "ZtunnelAccepted": "istio-ambient-ztunnel-policy",
        "WaypointAccepted": "istio-ambient-waypoint-policy",
    }[kind]
    return a_condition("AuthorizationPolicy", "policy", kind, manager=manager, **rest)


class Telling(ToldCluster):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.conditions = self.graph.input(
            "conditions", Condition, key=lambda value: (value.object, value.type)
        )
        self.controller = StatusConditions(self.terms, conditions=self.conditions)

    def want(self, *conditions: Condition) -> None:
        with self.graph.transaction():
            for condition in conditions:
                self.conditions.put(condition)

    def unwant(self, condition: Condition) -> None:
        with self.graph.transaction():
            self.conditions.remove((condition.object, condition.type))

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(each.body or b"") for each in self.cluster.writes]

    def told(self, kind: str = "Service", name: str = "shop") -> dict[str, str]:
        found = self.cluster.conditions(kind, name)
        return {each["type"]: each["reason"] for each in found.values()}


@pytest.mark.proves("SS-1", "SS-2")
async def test_a_wanted_condition_is_applied_to_the_status() -> None:
    telling = Telling()
    telling.cluster.make("ServiceEntry", "entry")
    telling.want(
        a_condition("ServiceEntry", "entry", MISSING, reason="R", observed_generation=4),
        a_condition("ServiceEntry", "entry", status=False),
    )
    await telling.run()
    (write,) = telling.cluster.writes
    assert write.path == (
        "/apis/networking.istio.io/v1/namespaces/default/serviceentries/entry/status"
    )
    assert write.params == {"fieldManager": SERVICES, "force": "true"}
    assert telling.bodies == [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": "entry", "namespace": "default"},
            "status": {
                "conditions": [
                    {
                        "type": BOUND,
                        "status": "False",
                        "reason": "WaypointAccepted",
                        "message": "attached",
                        "lastTransitionTime": telling.bodies[0]["status"]["conditions"][0][
                            "lastTransitionTime"
                        ],
                    },
                    {
                        "type": MISSING,
                        "status": "True",
                        "reason": "R",
                        "message": "attached",
                        "lastTransitionTime": telling.bodies[0]["status"]["conditions"][1][
                            "lastTransitionTime"
                        ],
                        "observedGeneration": 4,
                    },
                ]
            },
        }
    ]
    assert telling.controller.name == "status-conditions"
    assert not telling.controller.troubles


@pytest.mark.refutes("SS-1", "SS-2")
async def test_each_kind_has_its_managers_and_nobody_elses_conditions_are_sent() -> None:
    telling = Telling()
    theirs = {"type": "Theirs", "status": "True", "reason": "T"}
    for kind, name in (("WorkloadEntry", "vm"), ("Service", "shop")):
        telling.cluster.make(kind, name, status={"conditions": [theirs]})
    telling.cluster.make("AuthorizationPolicy", "policy")
    telling.cluster.make("RequestAuthentication", "tokens")
    telling.want(
        a_condition("WorkloadEntry", "vm", manager="istio-ambient-workloadentry"),
        a_condition(),
        accepted("ZtunnelAccepted"),
        a_condition(
            "RequestAuthentication",
            "tokens",
            "WaypointAccepted",
            manager="istio-ambient-waypoint-policy",
        ),
    )
    await telling.run()
    managers = {
        each.path.split("/")[-3]: each.params["fieldManager"] for each in telling.cluster.writes
    }
    assert managers == {
        "workloadentries": "istio-ambient-workloadentry",
        "services": SERVICES,
        "authorizationpolicies": "istio-ambient-ztunnel-policy",
        "requestauthentications": "istio-ambient-waypoint-policy",
    }
    assert telling.told()["Theirs"] == "T"
    sent = [each["type"] for body in telling.bodies for each in body["status"]["conditions"]]
    assert "Theirs" not in sent


@pytest.mark.proves("SS-3")
@pytest.mark.refutes("SS-3", "SS-7")
async def test_a_settled_mesh_is_not_written_to_by_a_next_leader() -> None:
    telling = Telling()
    for name in ("shop", "cart"):
        telling.cluster.make("Service", name)
    wanted = [a_condition(name=name, observed_generation=2) for name in ("shop", "cart")]
    telling.want(*wanted)
    await telling.run()
    assert len(telling.cluster.writes) == 2
    # As some schemas have it, and as others.
    telling.cluster.conditions("Service", "shop")[BOUND]["observedGeneration"] = "2"
    assert telling.cluster.conditions("Service", "cart")[BOUND]["observedGeneration"] == 2
    again = Telling(cluster=telling.cluster)
    again.want(*wanted)
    asked = len(telling.cluster.asked)
    await again.run()
    await again.run()
    assert len(telling.cluster.writes) == 2
    # Lists alone: not a look at each object.
    assert len(telling.cluster.asked) - asked == 2 * len(PATHS)


@pytest.mark.proves("SS-3", "SS-8")
@pytest.mark.parametrize(
    "change",
    [{"status": False}, {"reason": "Other"}, {"message": "new"}, {"observed_generation": 9}],
)
async def test_each_difference_is_written_once(change: dict[str, Any]) -> None:
    telling = Telling()
    telling.cluster.make("Service", "shop")
    telling.want(a_condition())
    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        asked = len(telling.cluster.asked)
        telling.want(a_condition(**change))
        await telling.rest(until)
        assert [each.method for each in telling.cluster.asked[asked:]] == ["GET", "PATCH"]
    found = telling.cluster.conditions("Service", "shop")[BOUND]
    expected = {"status": "True", "reason": "WaypointAccepted", "message": "attached"}
    for name, value in change.items():
        key = "observedGeneration" if name == "observed_generation" else name
        expected[key] = "False" if value is False else value
    assert found | expected == found


@pytest.mark.proves("SS-4")
@pytest.mark.refutes("SS-4")
async def test_the_time_is_that_of_the_last_change_of_status() -> None:
    telling = Telling()
    telling.cluster.make("Service", "shop")
    telling.want(a_condition())

    def since() -> str:
        return str(telling.cluster.conditions("Service", "shop")[BOUND]["lastTransitionTime"])

    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        first = since()
        await until(lambda: len(telling.clock.slept) > 100)
        telling.want(a_condition(message="said otherwise"))
        await telling.rest(until)
        assert telling.bodies[-1]["status"]["conditions"][0]["message"] == "said otherwise"
        assert since() == first
        telling.want(a_condition(status=False))
        await telling.rest(until)
        assert since() > first


@pytest.mark.proves("SS-5")
async def test_what_is_wanted_no_more_is_removed() -> None:
    telling = Telling()
    telling.cluster.make("ServiceEntry", "entry")
    bound, missing = (a_condition("ServiceEntry", "entry", kind) for kind in (BOUND, MISSING))
    telling.want(bound, missing)
    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        telling.unwant(missing)
        await telling.rest(until)
        assert set(telling.told("ServiceEntry", "entry")) == {BOUND}
        telling.unwant(bound)
        await telling.rest(until)
    assert telling.bodies[-1]["status"] == {"conditions": []}
    assert telling.told("ServiceEntry", "entry") == {}


@pytest.mark.proves("SS-5", "SS-7")
async def test_what_a_leader_before_left_behind_is_removed() -> None:
    before = Telling()
    before.cluster.make("Service", "shop")
    before.want(a_condition())
    await before.run()
    assert set(before.told()) == {BOUND}
    now = Telling(cluster=before.cluster)
    await now.run()
    assert now.told() == {}


@pytest.mark.refutes("SS-5")
async def test_what_somebody_else_has_set_stays() -> None:
    telling = Telling()
    telling.cluster.make(
        "Service", "shop", status={"conditions": [{"type": BOUND, "status": "True", "reason": "T"}]}
    )
    await telling.run()
    assert telling.told() == {BOUND: "T"}
    assert not telling.cluster.writes
    assert not telling.controller.troubles


@pytest.mark.proves("SS-6")
@pytest.mark.refutes("SS-6")
@pytest.mark.parametrize("is_whole", [False, True])
async def test_who_only_removes_writes_first(is_whole: bool, monkeypatch: Any) -> None:
    if is_whole:
        # Lists of conditions as istio defines them: the last apply replaces the list.
        monkeypatch.delitem(kubernetes_fields._KEYS, "conditions")
    telling = Telling()
    telling.cluster.make("AuthorizationPolicy", "policy")
    kinds = ["ZtunnelAccepted", "WaypointAccepted"]
    telling.want(accepted(kinds[0]))
    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        for _ in range(3):
            writes = len(telling.cluster.writes)
            with telling.graph.transaction():
                gone, new = accepted(kinds[0]), accepted(kinds[1])
                telling.conditions.remove((gone.object, gone.type))
                telling.conditions.put(new)
            await telling.rest(until)
            kinds.reverse()
            assert set(telling.told("AuthorizationPolicy", "policy")) == {kinds[0]}
            assert len(telling.cluster.writes) == writes + 2
            first, second = (body["status"]["conditions"] for body in telling.bodies[-2:])
            assert first == []
            assert len(second) == 1
    writes = len(telling.cluster.writes)
    again = Telling(cluster=telling.cluster)
    again.want(accepted(kinds[0]))
    await again.run()
    assert len(telling.cluster.writes) == writes


@pytest.mark.refutes("SS-7", "SS-11")
async def test_nothing_is_asked_before_the_mesh_is_known_or_without_a_lead() -> None:
    for telling in (Telling(is_ready=False), Telling(lead=Lead(0.0))):
        telling.cluster.make("Service", "shop")
        telling.want(a_condition())
        async with settled(telling.controller.run()) as until:
            await telling.rest(until)
            telling.want(a_condition(message="news"))
            await telling.rest(until)
            assert not telling.cluster.asked
            telling.is_ready, telling.lead.seconds_left = True, 8.0
            await until(lambda telling=telling: bool(telling.cluster.writes))  # type: ignore[misc]
        assert telling.told() == {BOUND: "WaypointAccepted"}


@pytest.mark.proves("SS-7", "SS-11")
async def test_a_lead_that_comes_back_finds_what_it_missed() -> None:
    telling = Telling()
    telling.cluster.make("Service", "shop")
    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        telling.lead.seconds_left = 0.0
        telling.want(a_condition())
        asked = len(telling.cluster.asked)
        await telling.rest(until)
        assert len(telling.cluster.asked) == asked
        telling.lead.seconds_left = 8.0
        await until(lambda: bool(telling.cluster.writes))
    assert telling.told() == {BOUND: "WaypointAccepted"}


@pytest.mark.proves("SS-7")
async def test_many_objects_cost_a_list_in_pages() -> None:
    telling = Telling()
    for number in range(1200):
        telling.cluster.make("Service", f"s{number}")
    telling.cluster.make("Service", "shop")
    telling.want(a_condition())
    await telling.run()
    lists = [each for each in telling.cluster.asked if each.path == PATHS["Service"]]
    assert [each.params.get("limit") for each in lists] == ["500"] * 3
    assert [each.params.get("continue") for each in lists] == [None, "500", "1000"]
    assert len(telling.cluster.writes) == 1


@pytest.mark.proves("SS-8")
@pytest.mark.refutes("SS-8")
async def test_what_others_changed_is_repaired_at_the_next_round_and_not_before() -> None:
    telling = Telling(resync=50.0)
    telling.cluster.make("Service", "shop")
    telling.want(a_condition())
    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        theirs = {"conditions": [{"type": BOUND, "status": "False", "reason": "Hacked"}]}
        telling.cluster.make("Service", "shop", status=theirs)
        await until(lambda: len(telling.clock.slept) > 30)
        assert telling.told() == {BOUND: "Hacked"}
        await until(lambda: len(telling.clock.slept) > 60 and telling.controller.is_idle)
    assert telling.told() == {BOUND: "WaypointAccepted"}


@pytest.mark.proves("SS-9")
@pytest.mark.refutes("SS-9")
async def test_a_kind_is_written_where_the_cluster_has_it() -> None:
    telling = Telling()
    path = telling.paths.pop("ServiceEntry")
    telling.cluster.make("ServiceEntry", "entry")
    telling.want(a_condition("ServiceEntry", "entry"))
    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        assert not telling.cluster.writes
        assert not telling.controller.troubles
        telling.paths["ServiceEntry"] = path
        telling.want(a_condition("ServiceEntry", "entry", message="now it is there"))
        await telling.rest(until)
    assert telling.bodies[0]["apiVersion"] == "networking.istio.io/v1"


@pytest.mark.proves("SS-10")
@pytest.mark.refutes("SS-10")
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (a_refusal(403, "Forbidden"), Outcome.FORBIDDEN),
        (a_refusal(409, "Conflict"), Outcome.CONFLICT),
        (a_refusal(422, "Invalid"), Outcome.REFUSED),
        (a_refusal(400, "BadRequest", message="admission webhook denied"), Outcome.REFUSED),
        (a_refusal(404, "NotFound"), None),
        (a_refusal(403, "Forbidden", "NamespaceTerminating"), None),
    ],
)
async def test_one_that_cannot_be_written_stops_no_other(
    answer: Answer, outcome: Outcome | None
) -> None:
    telling = Telling()
    for name in ("bad", "shop"):
        telling.cluster.make("Service", name)
    telling.cluster.refused["bad"] = answer
    bad = a_condition(name="bad")
    telling.want(bad, a_condition())
    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        assert telling.told() == {BOUND: "WaypointAccepted"}
        troubles = {key: each.outcome for key, each in telling.controller.troubles.items()}
        assert troubles == ({} if outcome is None else {bad.object: outcome})
        telling.cluster.refused.clear()
        telling.want(replace(bad, message="again"))
        await telling.rest(until)
        assert not telling.controller.troubles
    assert telling.told(name="bad") == {BOUND: "WaypointAccepted"}


@pytest.mark.proves("SS-10")
async def test_a_kind_that_cannot_be_listed_is_shown_and_stops_no_other() -> None:
    telling = Telling(resync=20.0)
    telling.cluster.make("Service", "shop")
    telling.want(a_condition())
    answers = [a_refusal(403, "Forbidden"), Answer(200, b"no list"), a_refusal(410, "Expired")]
    telling.cluster.fail("GET", answers[0], answers[0], *[answers[0]] * 5)
    async with settled(telling.controller.run()) as until:
        await until(lambda: len(telling.controller.troubles) == len(PATHS))
        keys = {str(key) for key in telling.controller.troubles}
        assert "Service " in keys
        telling.cluster.fail("GET", *answers)
        await until(lambda: bool(telling.cluster.writes) and not telling.controller.troubles)
    assert telling.told() == {BOUND: "WaypointAccepted"}


@pytest.mark.refutes("SS-10")
async def test_an_object_that_is_gone_is_no_trouble() -> None:
    telling = Telling()
    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        telling.want(a_condition(name="gone"))
        await telling.rest(until)
        assert not telling.controller.troubles


@pytest.mark.proves("SS-1")
async def test_kinds_that_only_the_mesh_names_are_told_too() -> None:
    telling = Telling(paths={**PATHS, "Gateway": PATHS["Service"]})
    telling.cluster.make("Service", "waypoint")
    telling.want(a_condition("Gateway", "waypoint", "Ours", manager="ours"))
    await telling.run()
    assert [each.params["fieldManager"] for each in telling.cluster.writes] == ["ours"]


async def test_odd_objects_in_a_list_are_left_out() -> None:
    telling = Telling()
    telling.cluster.make("Service", "odd", status={"conditions": "none"})
    telling.cluster.make("Service", "shop")
    telling.want(a_condition())
    await telling.run()
    assert len(telling.cluster.writes) == 1


@pytest.mark.proves("SS-7")
async def test_a_lead_that_is_missing_for_a_moment_is_noticed_all_the_same() -> None:
    telling = Telling()
    telling.cluster.make("Service", "shop")
    ask = telling.cluster.request

    async def request(method: str, path: str, **rest: Any) -> Answer:
        if method == "GET" and path.endswith("/shop") and not telling.clock.slept[50:]:
            telling.lead.seconds_left = 0.1
        return await ask(method, path, **rest)

    telling.cluster.request = request  # type: ignore[method-assign]
    telling.want(a_condition())
    async with settled(telling.controller.run()) as until:
        await until(lambda: telling.lead.seconds_left == 0.1)
        await until(lambda: len(telling.clock.slept) > 60)
        assert not telling.cluster.writes
        # It was never seen to be without a lead, only too near to its end.
        telling.lead.seconds_left = 8.0
        await until(lambda: bool(telling.cluster.writes))


@pytest.mark.proves("SS-10")
async def test_a_trouble_that_others_put_right_is_over_in_the_next_round() -> None:
    telling = Telling(resync=40.0)
    telling.cluster.make("Service", "bad")
    telling.cluster.refused["bad"] = a_refusal(403, "Forbidden")
    telling.want(a_condition(name="bad"))
    async with settled(telling.controller.run()) as until:
        await until(lambda: any(each.is_given_up for each in telling.controller.troubles.values()))
        right = {"reason": "WaypointAccepted", "message": "attached", "status": "True"}
        telling.cluster.make("Service", "bad", status={"conditions": [{"type": BOUND, **right}]})
        writes = len(telling.cluster.writes)
        await until(lambda: not telling.controller.troubles)
        assert len(telling.cluster.writes) == writes
