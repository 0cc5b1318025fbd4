"""What pods of waypoints are told is near, and what changes of that cost."""

from collections.abc import Mapping
from typing import Any

import pytest

from controlplane.manifests.connections import BackendReference, ConnectionRoute, ConnectionRule
from controlplane.manifests.istio import ServiceEntryPort, WorkloadSpec
from controlplane.model.route_parent import ParentReference
from controlplane.snapshots.scope import CLUSTER_TYPE, ENDPOINT_TYPE, WAYPOINT_TYPES
from tests.support.builders import (
    HBONE,
    a_namespace,
    a_node,
    a_pod,
    a_service,
    a_service_entry,
    a_service_port,
    a_waypoint,
    some_metadata,
)
from tests.support.waypoint_snapshots import WAYPOINT, Waypoints

USE = {"istio.io/use-waypoint": "waypoint"}
WEB = "inbound-vip|80|http|web.shop.svc.cluster.local"
CLOSE: dict[str, Any] = {"traffic_distribution": "PreferClose"}
LOCAL: dict[str, Any] = {"internal_traffic_policy": "Local"}
SAME_NODE: dict[str, Any] = {
    "annotations": {"networking.istio.io/traffic-distribution": "PreferSameNode"}
}
ANYWHERE = {"1", "2", "3"}


def a_place(name: str, zone: str) -> Any:
    labels = {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": zone}
    return a_node(name, labels=labels)


def a_web_pod(number: str, node: str, *, ready: bool = True) -> Any:
    return a_pod(
        f"web-{number}",
        "shop",
        labels={"app": "web"},
        annotations=HBONE,
        ips=[f"10.0.0.{number}"],
        node=node,
        ready=ready,
    )


def an_instance(node: str, **rest: Any) -> Any:
    labels = {"gateway.networking.k8s.io/gateway-name": "waypoint"}
    return a_pod(f"waypoint-{node}", "shop", labels=labels, ips=[], node=node, **rest)


def a_web(**asked: Any) -> Any:
    return a_service("web", "shop", labels=USE, selector={"app": "web"}, **asked)


def a_mesh(*more: Any, instances: tuple[str, ...] = ("a", "c")) -> Waypoints:
    """Web pods 1 and 2 are in zone z1, on nodes a and b, number 3 is in z2, on node c."""
    waypoints = Waypoints()
    waypoints.apply(
        *(a_place("a", "z1"), a_place("b", "z1"), a_place("c", "z2")),
        a_waypoint("waypoint", "shop"),
        *(a_web_pod("1", "a"), a_web_pod("2", "b"), a_web_pod("3", "c")),
        *map(an_instance, instances),
        *more,
    )
    return waypoints


def told(waypoints: Waypoints, node: str, name: str = WEB) -> list[set[str]]:
    """Return the web pods that a pod of the waypoint is told, by priority."""
    found: dict[int, set[str]] = {}
    for group in waypoints.documents(ENDPOINT_TYPE, node=node)[name].get("endpoints", ()):
        for each in group["lb_endpoints"]:
            local = each["metadata"]["filter_metadata"]["envoy.filters.listener.original_dst"]
            address = local["local"].partition(":")[0]
            found.setdefault(group.get("priority", 0), set()).add(address.rpartition(".")[2])
    assert sorted(found) == list(range(len(found)))
    return [found[priority] for priority in sorted(found)]


@pytest.mark.proves("WC-72", "WC-74")
@pytest.mark.parametrize(
    ("asked", "at_a", "at_c"),
    [
        (CLOSE, [{"1", "2"}, {"3"}], [{"3"}, {"1", "2"}]),
        (SAME_NODE, [{"1"}, {"2"}, {"3"}], [{"3"}, {"1", "2"}]),
        (LOCAL, [{"1"}], [{"3"}]),
    ],
)
def test_what_is_near_differs_by_where_a_pod_runs(
    asked: dict[str, Any], at_a: list[set[str]], at_c: list[set[str]]
) -> None:
    waypoints = a_mesh(a_web(**asked))
    assert (told(waypoints, "a"), told(waypoints, "c")) == (at_a, at_c)
    assert waypoints.problems() == []


@pytest.mark.proves("WC-72")
def test_a_namespace_may_ask_for_its_services() -> None:
    annotations = {"networking.istio.io/traffic-distribution": "PreferClose"}
    waypoints = a_mesh(a_namespace("shop", annotations=annotations), a_web())
    assert told(waypoints, "c") == [{"3"}, {"1", "2"}]


@pytest.mark.refutes("WC-72", "WC-74")
def test_without_a_wish_all_pods_are_told_the_same() -> None:
    waypoints = a_mesh(a_web())
    assert told(waypoints, "a") == told(waypoints, "c") == [ANYWHERE]
    places = {key.scope for key in waypoints.catalog.changed if key.scope.count("/") > 2}
    assert places == set()


@pytest.mark.refutes("WC-72")
def test_everything_but_endpoints_is_the_same_for_all_pods() -> None:
    waypoints = a_mesh(a_web(**CLOSE))
    for type_url in set(WAYPOINT_TYPES) - {ENDPOINT_TYPE}:
        assert waypoints.catalog.waypoint(WAYPOINT, type_url, "a") is waypoints.catalog.waypoint(
            WAYPOINT, type_url, "c"
        )


@pytest.mark.proves("WC-74")
def test_a_tier_counts_as_long_as_one_of_it_is_healthy() -> None:
    waypoints = a_mesh(a_web(**CLOSE), a_web_pod("2", "b", ready=False))
    found = waypoints.documents(ENDPOINT_TYPE, node="a")[WEB]
    assert found["policy"] == {"overprovisioning_factor": 100_000_000}
    near = [each for group in found["endpoints"][:-1] for each in group["lb_endpoints"]]
    assert [each.get("health_status", "HEALTHY") for each in near] == ["HEALTHY", "UNHEALTHY"]


@pytest.mark.proves("WC-74")
def test_no_endpoint_on_the_node_is_no_endpoint() -> None:
    waypoints = a_mesh(a_web(**LOCAL), instances=("d",))
    assert told(waypoints, "d") == []


@pytest.mark.proves("WC-75")
@pytest.mark.parametrize("asked", [CLOSE, LOCAL])
def test_where_a_pod_is_not_known_to_be_all_endpoints_are_alike(asked: dict[str, Any]) -> None:
    waypoints = a_mesh(a_web(**asked), instances=())
    assert told(waypoints, "") == [ANYWHERE]


@pytest.mark.refutes("WC-75")
def test_a_node_without_labels_is_known_all_the_same() -> None:
    waypoints = a_mesh(a_web(**LOCAL), a_node("c"), instances=("c",))
    assert told(waypoints, "c") == [{"3"}]


@pytest.mark.proves("WC-72")
def test_a_pod_costs_one_resource_for_each_place() -> None:
    waypoints = a_mesh(a_web(**CLOSE), a_service("other", "shop", labels=USE, ips=["10.96.0.9"]))
    changed = waypoints.apply(a_web_pod("4", "b"))
    assert changed == {f"shop/waypoint/{node} EDS": {WEB} for node in ("", "a", "c")}


@pytest.mark.proves("WC-72")
def test_a_waypoint_pod_on_another_node_costs_what_is_near_to_it() -> None:
    waypoints = a_mesh(a_web(**CLOSE))
    assert waypoints.apply(an_instance("b")) == {"shop/waypoint/b EDS": {WEB}}
    assert told(waypoints, "b") == [{"1", "2"}, {"3"}]
    second = a_pod("second", "shop", labels=an_instance("b").metadata.labels, ips=[], node="b")
    assert waypoints.apply(second) == {}
    assert waypoints.apply(removed=[second]) == {}
    assert waypoints.apply(removed=[an_instance("b")]) == {"shop/waypoint/b EDS": {f"-{WEB}"}}


def test_an_instance_that_has_ended_is_nowhere() -> None:
    waypoints = a_mesh(a_web(**CLOSE))
    changed = waypoints.apply(an_instance("c", phase="Failed"))
    assert changed == {"shop/waypoint/c EDS": {f"-{WEB}"}}


def test_a_node_that_moves_to_another_zone_takes_its_pods_along() -> None:
    waypoints = a_mesh(a_web(**CLOSE))
    waypoints.apply(a_place("b", "z2"))
    assert told(waypoints, "a") == [{"1"}, {"2", "3"}]
    waypoints.apply(a_place("a", "z2"))
    assert told(waypoints, "a") == [ANYWHERE]


def test_who_begins_or_ceases_to_ask_moves_without_a_gap() -> None:
    waypoints = a_mesh(a_web())
    view = waypoints.catalog.waypoint(WAYPOINT, ENDPOINT_TYPE, "c")
    for asked, expected in ((CLOSE, [{"3"}, {"1", "2"}]), ({}, [ANYWHERE])):
        before = view.commit
        waypoints.apply(a_web(**asked))
        updates, removed = view.changes(before)
        assert [each.name for each in updates] == [WEB]
        assert removed == []
        assert told(waypoints, "c") == expected


def test_services_that_only_routes_lead_to_are_near_or_not_too() -> None:
    ports = [a_service_port(9000, name="tcp")]
    route = ConnectionRoute(
        metadata=some_metadata("bytes", "shop"),
        route_kind="TCPRoute",
        parents=(ParentReference("", "Service", "", "front"),),
        rules=(ConnectionRule((BackendReference("web", port=9000),)),),
    )
    waypoints = a_mesh(
        a_service("front", "shop", labels=USE, ports=ports),
        a_service("web", "shop", selector={"app": "web"}, ports=ports, ips=["10.96.0.2"], **CLOSE),
        route,
    )
    name = "outbound|9000|tcp|web.shop.svc.cluster.local"
    assert name in waypoints.names(CLUSTER_TYPE)
    assert told(waypoints, "c", name) == [{"3"}, {"1", "2"}]
    assert waypoints.apply(removed=[route]) == {
        "shop/waypoint CDS": {f"-{name}"},
        "shop/waypoint LDS": {"main_internal"},
        **{f"shop/waypoint/{node} EDS": {f"-{name}"} for node in ("", "a", "c")},
    }


def an_entry(annotations: Mapping[str, str]) -> Any:
    return a_service_entry(
        "outside",
        "shop",
        hosts=["a.example.com"],
        resolution="DNS",
        labels=USE,
        annotations=annotations,
        ports=[ServiceEntryPort(number=80, name="http", protocol="HTTP")],
    )


@pytest.mark.proves("WC-79")
@pytest.mark.refutes("WC-79")
@pytest.mark.parametrize(
    ("address", "tunnel", "is_said"),
    [
        ("a.example.com", "http", True),
        ("a.example.com", "", False),
        ("192.0.2.1", "http", False),
    ],
)
def test_names_that_would_take_hbone_are_sent_to_in_the_clear_and_that_is_said(
    address: str, tunnel: str, *, is_said: bool
) -> None:
    entry = a_service_entry(
        "outside",
        "shop",
        hosts=["out.example.com"],
        resolution="DNS",
        labels=USE | {"networking.istio.io/tunnel": tunnel},
        endpoints=(WorkloadSpec(address=address),),
        ports=[ServiceEntryPort(number=80, name="http", protocol="HTTP")],
    )
    codes = [each.code for each in a_mesh(entry).problems()]
    assert codes == (["waypoint.spoken-in-the-clear"] if is_said else [])


@pytest.mark.proves("WC-76")
def test_names_that_are_looked_up_are_not_near_and_that_is_said() -> None:
    waypoints = a_mesh(an_entry({"networking.istio.io/traffic-distribution": "PreferClose"}))
    assert [each.code for each in waypoints.problems()] == ["waypoint.nearness-not-applied"]
    assert waypoints.names(ENDPOINT_TYPE) == set()


@pytest.mark.refutes("WC-76")
def test_nothing_is_said_where_nearness_counts_or_nobody_asks() -> None:
    waypoints = a_mesh(a_web(**CLOSE), an_entry({}))
    assert waypoints.problems() == []
