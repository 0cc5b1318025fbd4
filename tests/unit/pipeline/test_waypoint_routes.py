"""Routes of objects on their way to waypoints, and what an edit of one costs."""

from pathlib import Path
from typing import Any

import pytest

from controlplane.dataflow import Graph
from controlplane.encode.http_route import EncodedRoutes, RouteFault
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.model.names import Name, ObjectReference
from controlplane.pipeline.refusals import REFUSED
from controlplane.pipeline.waypoint_routes import build_route_problems
from controlplane.snapshots.scope import ROUTE_TYPE
from tests.support.builders import (
    HBONE,
    a_pod,
    a_service,
    a_service_port,
    a_waypoint,
    an_authorization_policy,
)
from tests.support.envoy_validation import some_secrets, validate
from tests.support.routes import USE, WEB, a_route
from tests.support.waypoint_snapshots import Waypoints

WEB_80 = f"inbound-vip|80|http|{WEB}"
WEB_81 = f"inbound-vip|81|http|{WEB}"
TO_DB = "[{matches: [{path: {type: PathPrefix, value: /db}}], backendRefs: [{name: db, port: 80}]}]"
TO_WEB = "[{backendRefs: [{name: web, port: 80}]}]"


def the_mesh() -> Waypoints:
    """Service web with two ports and service db behind a waypoint."""
    waypoints = Waypoints()
    ports = [a_service_port(number, name=f"http-{number}", target_port=8080) for number in (80, 81)]
    waypoints.apply(
        a_waypoint("waypoint", "shop"),
        a_service("web", "shop", labels=USE, selector={"app": "web"}, ports=ports),
        a_service("db", "shop", ips=["10.96.0.9"], labels=USE),
        a_pod("web-1", "shop", labels={"app": "web"}, annotations=HBONE),
    )
    return waypoints


def routes_of(waypoints: Waypoints, name: str = WEB_80) -> list[dict[str, Any]]:
    (host,) = waypoints.documents(ROUTE_TYPE)[name]["virtual_hosts"]
    found: list[dict[str, Any]] = host["routes"]
    return found


@pytest.mark.proves("EH-1", "EH-7", "EH-23")
def test_a_route_is_sent_for_the_port_it_is_for() -> None:
    waypoints = the_mesh()
    parents = [{"kind": "Service", "group": "", "name": "web", "port": 80}]
    changed = waypoints.apply(a_route(TO_DB, parents=parents))
    assert changed == {"shop/waypoint RDS": {WEB_80}}
    first, last = routes_of(waypoints)
    assert first["match"] == {"path_separated_prefix": "/db"}
    assert first["route"]["cluster"] == "inbound-vip|80|http|db.shop.svc.cluster.local"
    assert last["name"] == "unrouted"
    assert [route["name"] for route in routes_of(waypoints, WEB_81)] == ["default", "unrouted"]


@pytest.mark.refutes("EH-23")
def test_what_is_no_route_leaves_routes_alone() -> None:
    waypoints = the_mesh()
    waypoints.apply(a_route(TO_DB))
    pod = a_pod("web-2", "shop", labels={"app": "web"}, annotations=HBONE, ips=["10.0.0.2"])
    (changed,) = waypoints.apply(pod)
    assert changed.endswith(" EDS")
    assert waypoints.apply(a_route(TO_DB, generation=7)) == {}


@pytest.mark.refutes("EH-1", "EH-7")
def test_a_route_that_goes_leaves_the_one_of_the_service() -> None:
    waypoints = the_mesh()
    route = a_route(TO_DB)
    waypoints.apply(route)
    waypoints.apply(removed=[route])
    assert [each["name"] for each in routes_of(waypoints)] == ["default", "unrouted"]


def test_a_policy_comes_with_routes_and_routes_with_a_policy() -> None:
    waypoints = the_mesh()
    waypoints.apply(a_route(TO_WEB), an_authorization_policy("none", "shop"))
    (host,) = waypoints.documents(ROUTE_TYPE)[WEB_80]["virtual_hosts"]
    assert "rbac-allow" in host["typed_per_filter_config"]
    assert len(host["routes"]) == 2


@pytest.mark.proves("EH-11", "WC-39")
@pytest.mark.refutes("WC-39")
def test_a_backend_that_cannot_be_is_no_fault_of_the_configuration(tmp_path: Path) -> None:
    waypoints = the_mesh()
    rules = "[{backendRefs: [{name: web, port: 80}, {name: gone, port: 80}]}]"
    parents = [{"kind": "Service", "group": "", "name": "web", "port": 80}]
    waypoints.apply(a_route(rules, parents=parents))
    static = waypoints.static(some_secrets())
    assert validate([static], tmp_path) is None
    missing = [each for each in static["clusters"] if each["name"] != WEB_81]
    fault = validate([{**static, "clusters": missing}], tmp_path)
    assert fault is not None
    assert "unknown cluster" in fault


@pytest.mark.proves("EH-8")
def test_a_consumer_s_route_compares_identities_of_the_mesh() -> None:
    waypoints = the_mesh()
    parents = [{"kind": "Service", "group": "", "name": "web", "namespace": "shop"}]
    waypoints.apply(a_route(TO_WEB, namespace="client", parents=parents))
    (state,) = routes_of(waypoints)[0]["match"]["filter_state"]
    expression = state["string_match"]["safe_regex"]["regex"]
    assert expression == r"spiffe://(?:cluster\.local)/ns/client/sa/[^/]+"


@pytest.mark.proves("EH-2")
def test_what_is_wrong_with_a_route_is_one_problem_wherever_it_goes() -> None:
    owner = ObjectReference("HTTPRoute", "shop", "web")
    faults = (RouteFault(owner, "rule", "bad"), RouteFault(owner, "rule", "worse"))
    graph = Graph()
    encoded = graph.input("encoded", EncodedRoutes, key=lambda value: _key(len(value.messages)))
    problems = build_route_problems(graph, encoded)
    with graph.transaction():
        encoded.put(EncodedRoutes((), faults))
        encoded.put(EncodedRoutes((b"",), faults[:1]))
    assert [problem.message for _, problem in sorted(problems.items())] == [
        "'rule' cannot be sent as written: bad",
        "'rule' cannot be sent as written: worse",
    ]
    assert {(problem.code, problem.object) for _, problem in problems.items()} == {(REFUSED, owner)}


def _key(port: int) -> EndpointsKey:
    return EndpointsKey(Name("shop", "waypoint"), WEB, port)
