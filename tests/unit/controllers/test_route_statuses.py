"""What routes are told of their parents, in the cluster: whole lists shared with others."""

import json
from typing import Any

import pytest

from controlplane.cluster.apply import Outcome
from controlplane.controllers.route_parents import LISTS
from controlplane.controllers.route_statuses import RouteStatuses
from controlplane.model.names import ObjectReference
from controlplane.model.route_parent import ParentCondition, ParentReference, RouteParent
from tests.support.cluster_memory import Json, a_refusal
from tests.support.cluster_statuses import ROUTE_PATHS, Lead
from tests.support.cluster_time import settled
from tests.support.told_cluster import ToldCluster

OURS = "istio.io/gateway-controller"
ROUTES = ("HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute")
SHOP = {"group": "", "kind": "Service", "name": "shop"}
THEIRS = {
    "controllerName": "example.com/ingress",
    "parentRef": {"name": "edge"},
    "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}],
}


def a_parent(
    route: str = "route",
    name: str = "shop",
    *conditions: ParentCondition,
    of: str = "HTTPRoute",
    generation: int = 1,
    **rest: Any,
) -> RouteParent:
    named = {"group": "", "kind": "Service", "namespace": "", "name": name, **rest}
    told = (ParentCondition("Accepted", True, "Accepted", "Route was valid"),)
    return RouteParent(
        route=ObjectReference(of, "default", route),
        parent=ParentReference(**named),
        conditions=conditions or told,
        observed_generation=generation,
    )


def resolved(*, status: bool = True, **rest: str) -> ParentCondition:
    told = {"reason": "ResolvedRefs", "message": "All references resolved", **rest}
    return ParentCondition("ResolvedRefs", status, **told)


class Telling(ToldCluster):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.parents = self.graph.input(
            "parents", RouteParent, key=lambda value: (value.route, value.parent)
        )
        self.controller = RouteStatuses(self.terms, parents=(self.parents,))

    def make(self, *references: Json, kind: str = "HTTPRoute", **rest: Any) -> Json:
        """Make the route, its generation 1, as somebody else."""
        field_of = "targetRefs" if kind == "BackendTLSPolicy" else "parentRefs"
        metadata = {"generation": 1, **rest.pop("metadata", {})}
        spec = {field_of: list(references) or [SHOP]}
        return self.cluster.make(kind, "route", metadata=metadata, spec=spec, **rest)

    def want(self, *parents: RouteParent) -> None:
        with self.graph.transaction():
            for parent in parents:
                self.parents.put(parent)

    def unwant(self, *parents: RouteParent) -> None:
        with self.graph.transaction():
            for parent in parents:
                self.parents.remove((parent.route, parent.parent))

    def entries(self, kind: str = "HTTPRoute") -> list[Json]:
        status = self.cluster.live(kind, "route").get("status", {})
        found: list[Json] = status.get(LISTS[kind].field, [])
        return found

    def outcomes(self) -> dict[str, Outcome]:
        return {str(key): each.outcome for key, each in self.controller.troubles.items()}


@pytest.mark.proves("RT-1", "RT-2", "RT-5")
@pytest.mark.parametrize("kind", ROUTES)
async def test_a_route_is_told_of_its_parents(kind: str) -> None:
    telling = Telling()
    telling.make(kind=kind, metadata={"generation": 4})
    telling.want(a_parent("route", "shop", resolved(status=False), of=kind, generation=4))
    await telling.run()
    (entry,) = telling.entries(kind)
    (condition,) = entry["conditions"]
    assert entry == {"controllerName": OURS, "parentRef": SHOP, "conditions": [condition]}
    since = condition.pop("lastTransitionTime")
    assert since.endswith("Z")
    assert condition == {
        "type": "ResolvedRefs",
        "status": "False",
        "reason": "ResolvedRefs",
        "message": "All references resolved",
        "observedGeneration": 4,
    }
    (write,) = telling.cluster.writes
    assert write.path.endswith("/default/" + ROUTE_PATHS[kind].rpartition("/")[2] + "/route/status")
    assert write.params == {"fieldManager": "istiod-lite-route-status"}
    assert telling.controller.name == "route-statuses"
    assert not telling.controller.troubles


@pytest.mark.proves("RT-1", "RT-2")
async def test_a_policy_is_told_of_its_ancestors() -> None:
    telling = Telling()
    telling.make(SHOP, kind="BackendTLSPolicy")
    telling.want(
        a_parent(of="BackendTLSPolicy"),
        a_parent(
            "route",
            "waypoint",
            of="BackendTLSPolicy",
            group="gateway.networking.k8s.io",
            kind="Gateway",
            namespace="other",
        ),
    )
    await telling.run()
    assert [entry["ancestorRef"] for entry in telling.entries("BackendTLSPolicy")] == [
        SHOP,
        {
            "group": "gateway.networking.k8s.io",
            "kind": "Gateway",
            "name": "waypoint",
            "namespace": "other",
        },
    ]


@pytest.mark.refutes("RT-1")
async def test_other_objects_are_told_nothing() -> None:
    telling = Telling()
    telling.cluster.make("Service", "route")
    telling.want(a_parent(of="Service"))
    await telling.run()
    assert telling.cluster.writes == []


@pytest.mark.proves("RT-2")
@pytest.mark.refutes("RT-2")
@pytest.mark.parametrize(
    ("written", "named"),
    [
        ({**SHOP, "namespace": "default", "port": 80}, {"port": 80}),
        ({"kind": "Service", "name": "shop"}, {}),
        ({"name": "shop"}, {"kind": ""}),
        ({"name": "shop", "sectionName": "a"}, {"kind": "", "section": "a"}),
        ({"name": "shop"}, {"kind": "Gateway", "group": "gateway.networking.k8s.io"}),
        (
            {"kind": "ServiceEntry", "group": "networking.istio.io", "name": "shop"},
            {"kind": "ServiceEntry", "group": "networking.istio.io", "namespace": "default"},
        ),
    ],
)
async def test_a_parent_is_named_as_the_route_does(written: Json, named: Json) -> None:
    telling = Telling()
    other = {"name": "shop", "sectionName": "other"}
    telling.make(other, written)
    telling.want(a_parent(**named))
    await telling.run()
    (entry,) = telling.entries()
    assert entry["parentRef"] == written


@pytest.mark.proves("RT-3")
async def test_entries_of_others_stay() -> None:
    telling = Telling()
    telling.make(status={"parents": [THEIRS], "other": 1})
    telling.want(a_parent())
    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        assert [entry["controllerName"] for entry in telling.entries()] == [
            "example.com/ingress",
            OURS,
        ]
        telling.unwant(a_parent())
        await telling.rest(until)
    assert telling.entries() == [THEIRS]
    assert telling.cluster.live("HTTPRoute", "route")["status"]["other"] == 1


@pytest.mark.proves("RT-3")
@pytest.mark.refutes("RT-3")
async def test_what_others_wrote_meanwhile_is_not_lost() -> None:
    telling = Telling()
    telling.make()
    telling.want(a_parent())
    answer = telling.cluster._answer
    races = 2

    def raced(method: str, path: str, params: Any, body: Any) -> Any:
        nonlocal races
        if method == "PATCH" and races:
            races -= 1
            mine = {**THEIRS, "parentRef": {"name": f"edge-{races}"}}
            status = {"parents": [mine]}
            telling.cluster.make(
                "HTTPRoute",
                "route",
                metadata={"generation": 1},
                spec={"parentRefs": [SHOP]},
                status=status,
            )
        return answer(method, path, params, body)

    telling.cluster._answer = raced  # type: ignore[method-assign]
    await telling.run()
    assert [entry["parentRef"]["name"] for entry in telling.entries()] == ["edge-0", "shop"]
    assert len(telling.cluster.writes) == 3
    assert not telling.controller.troubles
    tested = [json.loads(each.body or b"")[0] for each in telling.cluster.writes]
    assert {each["op"] for each in tested} == {"test"}
    assert len({each["value"] for each in tested}) == 3


@pytest.mark.proves("RT-4")
@pytest.mark.refutes("RT-4", "RT-9")
async def test_a_settled_mesh_is_not_written_to_by_a_next_leader() -> None:
    telling = Telling()
    telling.make(SHOP, {**SHOP, "name": "cart"}, status={"parents": [THEIRS]})
    wanted = [a_parent(), a_parent("route", "cart")]
    telling.want(*wanted)
    await telling.run()
    assert len(telling.cluster.writes) == 1
    telling.entries().reverse()
    again = Telling(cluster=telling.cluster)
    again.want(*wanted)
    asked = len(telling.cluster.asked)
    await again.run()
    await again.run()
    assert len(telling.cluster.writes) == 1
    # Lists alone: not a look at each object.
    assert len(telling.cluster.asked) - asked == 2 * len(LISTS)


@pytest.mark.proves("RT-4", "RT-9")
async def test_a_change_costs_one_look_and_one_write() -> None:
    telling = Telling()
    telling.make()
    telling.want(a_parent())
    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        asked = len(telling.cluster.asked)
        telling.want(a_parent("route", "shop", resolved()))
        await telling.rest(until)
        assert [each.method for each in telling.cluster.asked[asked:]] == ["GET", "PATCH"]
        asked = len(telling.cluster.asked)
        telling.want(a_parent("route", "shop", resolved()))
        await telling.rest(until)
        assert telling.cluster.asked[asked:] == []


@pytest.mark.proves("RT-5")
@pytest.mark.refutes("RT-5")
async def test_the_time_is_that_of_the_last_change_of_status() -> None:
    telling = Telling()
    telling.make()
    telling.want(a_parent("route", "shop", resolved()))

    def told() -> Json:
        found: Json = telling.entries()[0]["conditions"][0]
        return found

    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        first = told()["lastTransitionTime"]
        await until(lambda: len(telling.clock.slept) > 100)
        telling.want(a_parent("route", "shop", resolved(message="said otherwise")))
        await telling.rest(until)
        assert told()["message"] == "said otherwise"
        assert told()["lastTransitionTime"] == first
        telling.want(a_parent("route", "shop", resolved(status=False)))
        await telling.rest(until)
        assert told()["lastTransitionTime"] > first


@pytest.mark.proves("RT-6")
@pytest.mark.refutes("RT-6")
async def test_a_newer_route_waits_for_the_mesh_to_know_it() -> None:
    telling = Telling()
    telling.make(metadata={"generation": 2})
    telling.want(a_parent(generation=1))
    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        assert telling.entries() == []
        assert not telling.controller.troubles
        telling.want(a_parent(generation=2))
        await telling.rest(until)
        assert telling.entries()[0]["conditions"][0]["observedGeneration"] == 2


@pytest.mark.proves("RT-7", "RT-9")
async def test_what_a_leader_before_left_behind_is_removed() -> None:
    before = Telling()
    before.make()
    before.want(a_parent())
    await before.run()
    assert len(before.entries()) == 1
    now = Telling(cluster=before.cluster)
    await now.run()
    assert now.entries() == []


@pytest.mark.proves("RT-7")
@pytest.mark.refutes("RT-7")
async def test_what_is_said_of_gateways_stays_while_the_route_names_them() -> None:
    edge, gone = (
        {"controllerName": OURS, "parentRef": {"name": name}, "conditions": []}
        for name in ("edge", "gone")
    )
    twice = {"controllerName": OURS, "parentRef": {**SHOP, "name": "cart"}, "conditions": []}
    telling = Telling()
    telling.make({"name": "edge"}, SHOP, status={"parents": [edge, gone, twice, twice]})
    telling.want(a_parent())
    await telling.run()
    assert [entry["parentRef"]["name"] for entry in telling.entries()] == ["edge", "shop"]
    assert telling.entries()[0] == edge


@pytest.mark.proves("RT-8")
@pytest.mark.refutes("RT-8")
@pytest.mark.parametrize(("kind", "most"), [("HTTPRoute", 32), ("BackendTLSPolicy", 16)])
async def test_what_has_no_room_is_a_trouble(kind: str, most: int) -> None:
    where = LISTS[kind]
    others = [{"controllerName": "other", where.reference: {"name": str(n)}} for n in range(2)]
    telling = Telling()
    references = [{**SHOP, "name": f"s{number:02}"} for number in range(most)]
    telling.make(*references, kind=kind, status={where.field: others})
    wanted = [a_parent("route", each["name"], of=kind) for each in references]
    telling.want(*wanted)
    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        assert len(telling.entries(kind)) == most
        assert telling.entries(kind)[:2] == others
        assert telling.entries(kind)[-1][where.reference]["name"] == f"s{most - 3:02}"
        (trouble,) = telling.controller.troubles.values()
        assert trouble.outcome is Outcome.EXHAUSTED
        assert "2 more" in trouble.message
        assert len(telling.cluster.writes) == 1
        telling.unwant(*wanted[-2:])
        await telling.rest(until)
        assert telling.outcomes() == {}


@pytest.mark.refutes("RT-9")
async def test_nothing_is_asked_before_the_mesh_is_known_or_without_a_lead() -> None:
    for telling in (Telling(is_ready=False), Telling(lead=Lead(0.0))):
        telling.make()
        telling.want(a_parent())
        await telling.run()
        assert telling.cluster.asked == []


@pytest.mark.proves("RT-9")
async def test_a_kind_that_the_cluster_does_not_have_is_left_alone() -> None:
    telling = Telling(paths={"HTTPRoute": ROUTE_PATHS["HTTPRoute"]})
    telling.make()
    telling.want(a_parent(), a_parent(of="TCPRoute"))
    await telling.run()
    assert len(telling.entries()) == 1
    assert not telling.controller.troubles


@pytest.mark.proves("RT-9")
async def test_what_others_changed_is_put_right_when_everything_is_gone_over() -> None:
    telling = Telling(resync=50.0)
    telling.make()
    telling.want(a_parent())
    async with settled(telling.controller.run()) as until:
        await telling.rest(until)
        telling.make()
        await until(lambda: len(telling.entries()) == 1)


@pytest.mark.proves("RT-9")
async def test_one_that_cannot_be_written_stops_no_other() -> None:
    telling = Telling()
    telling.make()
    telling.cluster.make("HTTPRoute", "other", metadata={"generation": 1}, spec={})
    telling.cluster.refused["other"] = a_refusal(403, "Forbidden")
    telling.want(a_parent("other"), a_parent(), a_parent("gone"))
    await telling.run()
    assert len(telling.entries()) == 1
    assert telling.outcomes() == {"HTTPRoute default/other": Outcome.FORBIDDEN}


@pytest.mark.parametrize(
    "status", [None, {}, {"parents": None}, {"parents": "no"}, {"parents": [1, None]}]
)
async def test_a_status_of_another_shape_is_written_over(status: Any) -> None:
    telling = Telling()
    telling.make(status=status)
    telling.want(a_parent())
    await telling.run()
    assert len(telling.entries()) == 1


async def test_a_list_that_cannot_be_had_is_a_trouble_of_the_kind() -> None:
    telling = Telling()
    telling.make()
    telling.cluster.fail("GET", *(a_refusal(403) for _ in LISTS))
    async with settled(telling.controller.run()) as until:
        await until(lambda: len(telling.controller.troubles) == len(LISTS))
        await until(lambda: not telling.controller.troubles)
