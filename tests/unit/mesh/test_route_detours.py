"""Routes that lead past the policies of the services they send to."""

from typing import Any

import pytest

from controlplane.manifests.istio import TargetReference
from controlplane.mesh.route_detours import GOES_AROUND
from controlplane.model.names import Name
from tests.support.builders import a_service, a_waypoint, an_authorization_policy
from tests.support.mesh import Mesh
from tests.support.routes import USE, a_route, a_routed_mesh

TO_OTHER = "[{backendRefs: [{name: other, port: 80, weight: 1}]}]"
MIRRORED = """
- backendRefs: [{name: web, port: 80}]
  filters: [{type: RequestMirror, requestMirror: {backendRef: {name: other, port: 80}}}]
"""
UNUSED = "[{backendRefs: [{name: other, port: 80, weight: 0}, {name: web, port: 80}]}]"


def a_policy(name: str, *services: str, **rest: Any) -> Any:
    targets = tuple(TargetReference(kind="Service", name=each) for each in services)
    return an_authorization_policy(name, "shop", target_references=targets, **rest)


def a_mesh(*manifests: Any, **labels: Any) -> Mesh:
    return a_routed_mesh(
        a_service("other", "shop", ips=["10.96.0.9"], labels=labels or USE), *manifests
    )


def reported(mesh: Mesh) -> list[str]:
    return [each.message for each in mesh.problems() if each.code == GOES_AROUND]


@pytest.mark.proves("HR-28")
@pytest.mark.parametrize("rules", [TO_OTHER, MIRRORED])
def test_a_way_around_policies_is_reported(rules: str) -> None:
    mesh = a_mesh(a_route(rules), a_policy("mine", "other"), a_policy("both", "other", "web"))
    (told,) = reported(mesh)
    assert told == (
        "requests to web.shop.svc.cluster.local get to other.shop.svc.cluster.local without being "
        "asked about by shop/mine"
    )
    mesh.apply([], removed=[("AuthorizationPolicy", Name("shop", "mine"))])
    assert reported(mesh) == []


@pytest.mark.proves("HR-28")
def test_policies_at_another_waypoint_count_too() -> None:
    elsewhere = {"istio.io/use-waypoint": "aside"}
    mesh = a_mesh(
        a_waypoint("aside", "shop"), a_route(TO_OTHER), a_policy("p", "other"), **elsewhere
    )
    assert len(reported(mesh)) == 1


@pytest.mark.refutes("HR-28")
@pytest.mark.parametrize(
    ("rules", "policies"),
    [
        (TO_OTHER, []),
        (TO_OTHER, [a_policy("both", "other", "web")]),
        (TO_OTHER, [a_policy("audit", "other", action="AUDIT")]),
        (UNUSED, [a_policy("mine", "other")]),
        ("[{backendRefs: [{name: web, port: 80}]}]", [a_policy("own", "web")]),
    ],
)
def test_what_gets_around_nothing_is_not_reported(rules: str, policies: list[Any]) -> None:
    assert reported(a_mesh(a_route(rules), *policies)) == []
