"""What users are told, of objects and of parents of routes, in one collection."""

import pytest

from controlplane.dataflow import Graph
from controlplane.mesh.told_conditions import build_told_conditions, parent_text
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Condition
from controlplane.model.route_parent import ParentCondition, ParentReference, RouteParent

ROUTE = ObjectReference("HTTPRoute", "shop", "route")
SERVICE = Condition(
    object=ObjectReference("Service", "shop", "web"),
    type="istio.io/WaypointBound",
    status=True,
    reason="WaypointAccepted",
    message="attached",
    manager="istio-ambient-service",
)


def _at(name: str, *conditions: ParentCondition, generation: int = 0) -> RouteParent:
    return RouteParent(
        route=ROUTE,
        parent=ParentReference("", "Service", "", name),
        conditions=conditions,
        observed_generation=generation,
    )


def _accepted(*, status: bool) -> ParentCondition:
    return ParentCondition("Accepted", status=status, reason="R", message="m")


@pytest.mark.proves("RT-10")
@pytest.mark.refutes("RT-10")
def test_conditions_at_parents_stand_beside_those_of_objects() -> None:
    graph = Graph(run_twice=True)
    conditions = graph.input("conditions", Condition, key=lambda each: (each.object, each.type))
    parents = graph.input("parents", RouteParent, key=lambda each: (each.route, each.parent))
    told = build_told_conditions(graph, conditions, parents)
    with graph.transaction():
        conditions.put(SERVICE)
        parents.put(_at("web", _accepted(status=True), generation=3))
        parents.put(_at("db", _accepted(status=False)))
    found = {
        (str(value.object), value.parent, value.type): (
            value.status,
            value.manager,
            value.observed_generation,
        )
        for _, value in told.items()
    }
    manager = "istiod-lite-route-status"
    assert found == {
        ("Service shop/web", "", "istio.io/WaypointBound"): (True, SERVICE.manager, None),
        ("HTTPRoute shop/route", "Service web", "Accepted"): (True, manager, 3),
        ("HTTPRoute shop/route", "Service db", "Accepted"): (False, manager, None),
    }
    with graph.transaction():
        parents.remove((ROUTE, _at("db").parent))
        conditions.remove((SERVICE.object, SERVICE.type))
    assert [value.parent for _, value in told.items()] == ["Service web"]


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        (ParentReference("", "Service", "", "web"), "Service web"),
        (ParentReference("", "", "other", "edge"), "Gateway other/edge"),
        (ParentReference("", "Service", "shop", "web", "http", 80), "Service shop/web http 80"),
    ],
)
def test_a_parent_is_shown_as_people_read_it(parent: ParentReference, expected: str) -> None:
    assert parent_text(parent) == expected
