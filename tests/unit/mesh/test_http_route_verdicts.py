"""What the authors of routes of requests are told."""

from typing import Any

import pytest

from tests.support.builders import a_gateway, a_gateway_class, a_service
from tests.support.mesh import Mesh
from tests.support.routes import (
    SERVED,
    a_parent,
    a_route,
    a_routed_mesh,
    conditions_of,
    problem_codes,
)


@pytest.mark.proves("HR-50", "HR-53")
def test_what_the_author_of_a_good_route_is_told() -> None:
    mesh = a_routed_mesh(a_route(SERVED, generation=7))
    conditions = conditions_of(mesh)
    assert [(each.status, each.reason) for each in conditions.values()] == [
        (True, "Accepted"),
        (True, "ResolvedRefs"),
        (True, "ResolvedWaypoints"),
    ]
    assert "shop/waypoint" in conditions["ResolvedWaypoints"].message
    ((_, told),) = mesh.world.http_routes.parents.items()
    assert (told.observed_generation, told.parent.name) == (7, "web")
    assert problem_codes(mesh) == []


@pytest.mark.refutes("HR-53")
def test_without_a_waypoint_a_route_has_no_effect() -> None:
    mesh = Mesh()
    mesh.apply([a_service("web", "shop"), a_route(SERVED)])
    told = conditions_of(mesh)["ResolvedWaypoints"]
    assert told.status
    assert "istio.io/use-waypoint" in told.message
    assert problem_codes(mesh) == [("route.no-waypoint", "spec.parentRefs[0]")]


@pytest.mark.proves("HR-51")
@pytest.mark.parametrize(
    ("parent", "reason"),
    [
        (a_parent(name="gone"), "NoMatchingParent"),
        (a_parent(namespace="far"), "NoMatchingParent"),
        (a_parent(port=81), "NoMatchingParent"),
        (a_parent(sectionName="odd"), "NoMatchingParent"),
        (a_parent("Gateway", "waypoint", "gateway.networking.k8s.io"), "NotAllowedByListeners"),
    ],
)
def test_parents_that_cannot_be(parent: dict[str, Any], reason: str) -> None:
    mesh = a_routed_mesh(a_route(SERVED, parents=[parent]))
    accepted = conditions_of(mesh)["Accepted"]
    assert (accepted.status, accepted.reason) == (False, reason)
    assert problem_codes(mesh) == [("route.parent-not-accepted", "spec.parentRefs[0]")]


@pytest.mark.refutes("HR-50", "HR-51", "HR-52")
@pytest.mark.parametrize(
    "parent",
    [
        a_parent("Gateway", "edge", "gateway.networking.k8s.io"),
        a_parent("Gateway", "gone", "gateway.networking.k8s.io"),
        a_parent("Inference", "pool", "example.com"),
        a_parent(name="elsewhere"),
    ],
)
def test_others_business_gets_no_answer(parent: dict[str, Any]) -> None:
    mesh = a_routed_mesh(
        a_gateway_class("other", "example.com/controller"),
        a_gateway(
            "edge", "shop", class_name="other", listeners=(), addresses={"IPAddress": "10.1.1.1"}
        ),
        a_service("elsewhere", "shop", labels={"istio.io/use-waypoint": "edge"}),
        a_route("- backendRefs: [{name: gone, port: 80}]", parents=[parent]),
    )
    assert mesh.world.http_routes.parents.items() == []
    assert [code for code, _ in problem_codes(mesh) if code.startswith("route.")] == []


@pytest.mark.refutes("HR-52")
def test_faults_are_told_as_far_as_there_is_room() -> None:
    rules = "\n".join("- {filters: [{type: Odd}]}" for _ in range(16))
    mesh = a_routed_mesh(a_route(rules))
    assert conditions_of(mesh)["ResolvedRefs"].message.endswith("and 8 more")
    assert len(problem_codes(mesh)) == 16
