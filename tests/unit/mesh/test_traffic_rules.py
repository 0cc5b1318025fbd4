"""VirtualServices and DestinationRules: who is told that what it says is not in force."""

from collections.abc import Iterable
from typing import Any

import pytest

from controlplane.manifests.gateway import AllowedNamespaces, Listener
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.traffic_rules import DestinationRule, VirtualService
from controlplane.mesh.traffic_rules import patterns_of, wildcards_above
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Condition, Severity
from tests.support.builders import (
    a_gateway_class,
    a_service,
    a_service_entry,
    a_waypoint,
    some_metadata,
)
from tests.support.waypoint_snapshots import Waypoints

USE = {"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "shop"}
OPEN = Listener(name="mesh", port=15008, protocol="HBONE", allowed=AllowedNamespaces(origin="All"))
WEB = "web.app.svc.cluster.local"


def a_virtual_service(name: str = "rule", namespace: str = "app", **rest: Any) -> VirtualService:
    return VirtualService(metadata=some_metadata(name, namespace, generation=3), **rest)


def a_destination_rule(name: str = "rule", namespace: str = "app", **rest: Any) -> DestinationRule:
    return DestinationRule(metadata=some_metadata(name, namespace, generation=3), **rest)


def _waypoints(*rules: Manifest) -> Waypoints:
    waypoints = Waypoints()
    waypoints.apply(
        a_gateway_class("istio-waypoint"),
        a_waypoint("waypoint", "shop", listeners=[OPEN]),
        a_service("web", "app", labels=USE),
        a_service("plain", "app"),
        a_service_entry("outside", "app", hosts=["*.example.com"], labels=USE),
        *rules,
    )
    return waypoints


def _told(waypoints: Waypoints) -> dict[tuple[ObjectReference, str], Condition]:
    return {
        key: value
        for key, value in waypoints.pipeline.world.conditions.items()
        if key[0].kind in ("VirtualService", "DestinationRule")
    }


def _messages(*rules: Manifest) -> list[str]:
    return [each.message for each in _told(_waypoints(*rules)).values()]


def _hosts(*rules: Manifest) -> list[str]:
    """Return the hostnames named in what the only rule is told; none where it is told nothing."""
    found = [message.partition(" for ")[2] for message in _messages(*rules)]
    return [part.split()[0] for text in found for part in text.split(", ")]


@pytest.mark.proves("UR-4")
@pytest.mark.parametrize("rule", [a_virtual_service(hosts=("web",)), a_destination_rule(host=WEB)])
def test_a_rule_for_what_a_waypoint_serves_is_told_that_it_is_not_in_force(rule: Manifest) -> None:
    waypoints = _waypoints(rule)
    (condition,) = _told(waypoints).values()
    message = (
        f"waypoints do not follow a {rule.kind}: it is not in force for {WEB} "
        "(waypoint shop/waypoint)"
    )
    assert condition == Condition(
        object=rule.reference,
        type="WaypointAccepted",
        status=False,
        reason="UnsupportedKind",
        message=message,
        manager="istiod-lite-traffic-rule",
        observed_generation=3,
    )
    (problem,) = [each for each in waypoints.problems() if each.code == "waypoint.unsupported-rule"]
    assert (problem.object, problem.message) == (rule.reference, message)
    assert problem.severity is Severity.ERROR


@pytest.mark.proves("UR-4")
def test_at_most_ten_are_named() -> None:
    waypoints = _waypoints(a_virtual_service(hosts=("*.many.svc.cluster.local",)))
    waypoints.apply(*(a_service(f"s{number:02}", "many", labels=USE) for number in range(12)))
    (condition,) = _told(waypoints).values()
    assert "s09.many" in condition.message
    assert "s10.many" not in condition.message
    assert condition.message.endswith(" and 2 more")


@pytest.mark.refutes("UR-4")
def test_it_is_told_nothing_once_it_concerns_nothing() -> None:
    waypoints = _waypoints(a_virtual_service(hosts=("web",)))
    assert _told(waypoints)
    waypoints.apply(a_service("web", "app"))
    assert not _told(waypoints)
    assert not [each for each in waypoints.problems() if each.code == "waypoint.unsupported-rule"]


@pytest.mark.proves("UR-1", "UR-3")
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"hosts": ("web",)}, [WEB]),
        ({"hosts": (WEB,)}, [WEB]),
        ({"hosts": ("WEB.app.svc.cluster.LOCAL",)}, [WEB]),
        ({"hosts": ("web", WEB)}, [WEB]),
        ({"hosts": ("*.app.svc.cluster.local",)}, [WEB]),
        ({"hosts": ("*",)}, ["*.example.com", WEB]),
        ({"hosts": ("a.example.com",)}, ["*.example.com"]),
        ({"hosts": ("*.example.com",)}, ["*.example.com"]),
        ({"hosts": ("*.a.example.com",)}, ["*.example.com"]),
        ({"hosts": ("*.com",)}, ["*.example.com"]),
        ({"hosts": ("web",), "gateways": ("istio-system/ingress", "mesh")}, [WEB]),
        ({"hosts": ("web",), "visible_in": ("*",)}, [WEB]),
        ({"hosts": ("web",), "visible_in": ("other", "shop")}, [WEB]),
        ({"hosts": (WEB,), "visible_in": (".",), "namespace": "shop"}, [WEB]),
    ],
)
def test_a_virtual_service_concerns(rule: dict[str, Any], expected: list[str]) -> None:
    assert _hosts(a_virtual_service(**rule)) == expected


@pytest.mark.refutes("UR-1", "UR-3")
@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"hosts": ("plain",)},
        {"hosts": ("web",), "namespace": "shop"},
        {"hosts": ("web.app",)},
        {"hosts": ("eb.app.svc.cluster.local",)},
        {"hosts": ("*.eb.app.svc.cluster.local",)},
        {"hosts": ("example.com",)},
        {"hosts": ("web",), "gateways": ("istio-system/ingress",)},
        {"hosts": ("web",), "visible_in": (".",)},
        {"hosts": ("web",), "visible_in": ("~",)},
        {"hosts": ("web",), "visible_in": ("other",)},
    ],
)
def test_a_virtual_service_concerns_nothing(rule: dict[str, Any]) -> None:
    assert _messages(a_virtual_service(**rule)) == []


@pytest.mark.proves("UR-2")
@pytest.mark.parametrize(
    "rule",
    [
        {"host": "web"},
        {"host": WEB, "namespace": "shop"},
        {"host": WEB, "namespace": "istio-system"},
        {"host": "*.cluster.local", "visible_in": ("shop",)},
        {
            "host": "web",
            "workload_selector": {"gateway.networking.k8s.io/gateway-name": "waypoint"},
        },
    ],
)
def test_a_destination_rule_concerns(rule: dict[str, Any]) -> None:
    assert _hosts(a_destination_rule(**rule)) == [WEB]


@pytest.mark.refutes("UR-2")
@pytest.mark.parametrize(
    "rule",
    [
        {"host": ""},
        {"host": WEB, "namespace": "elsewhere"},
        {"host": "web", "namespace": "shop"},
        {"host": "web", "visible_in": (".",)},
        {"host": "web", "workload_selector": {"app": "client"}},
        {
            "host": "web",
            "workload_selector": {"gateway.networking.k8s.io/gateway-name": "another"},
        },
    ],
)
def test_a_destination_rule_concerns_nothing(rule: dict[str, Any]) -> None:
    assert _messages(a_destination_rule(**rule)) == []


def test_a_rule_costs_nothing_to_services_that_it_does_not_mean() -> None:
    waypoints = _waypoints(a_virtual_service(hosts=("web",)))
    graph = waypoints.pipeline.graph
    by_name = {each.name: each for each in graph.describe()}
    assert by_name["virtual services not in force"].size == 1
    before = by_name["virtual services not in force"].rule_calls
    waypoints.apply(*(a_service(f"s{number}", "many", labels=USE) for number in range(5)))
    after = {each.name: each for each in graph.describe()}["virtual services not in force"]
    assert after.rule_calls == before


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [
        ("a.b.c", ["*.b.c", "*.c", "*"]),
        ("*.b.c", ["*.c", "*"]),
        ("a", ["*"]),
        ("*", []),
    ],
)
def test_wildcards_above(hostname: str, expected: Iterable[str]) -> None:
    assert list(wildcards_above(hostname)) == expected
    assert list(patterns_of(hostname)) == [hostname, *expected]
