"""Which policies a waypoint enforces for which service, as objects come and go."""

from typing import Any

import pytest

from controlplane.manifests.gateway import AllowedNamespaces, Listener
from controlplane.manifests.istio import (
    AuthorizationPolicy,
    AuthorizationRule,
    Operation,
    TargetReference,
)
from controlplane.mesh.http_policies import Target, targets_at, targets_of
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.model.names import Name
from tests.support.builders import (
    a_gateway_class,
    a_namespace,
    a_service,
    a_service_entry,
    a_service_port,
    a_waypoint,
    an_authorization_policy,
)
from tests.support.waypoint_snapshots import Waypoints

ROOT = "istio-system"
GATEWAYS = "gateway.networking.k8s.io"
WAYPOINT = Name("shop", "waypoint")
USE = {"istio.io/use-waypoint": "waypoint"}
AWAY = USE | {"istio.io/use-waypoint-namespace": "shop"}
SERVICE = TargetReference("Service", "web")
ENTRY = TargetReference("ServiceEntry", "api", group="networking.istio.io")
GATEWAY = TargetReference("Gateway", "waypoint", group=GATEWAYS)
CLASS = TargetReference("GatewayClass", "istio-waypoint", group=GATEWAYS)
PATH = AuthorizationRule(operations=(Operation(paths=("/a",)),))

WEB, DB, API = "web.shop.svc.cluster.local", "db.shop.svc.cluster.local", "api.example.com"


def _policy(
    name: str, *targets: TargetReference, namespace: str = "shop", **rest: Any
) -> AuthorizationPolicy:
    return an_authorization_policy(name, namespace, target_references=targets, **rest)


def _waypoints(*policies: AuthorizationPolicy, revision: str = "") -> Waypoints:
    waypoints = Waypoints(settings=MeshSettings(revision=revision))
    waypoints.apply(
        a_gateway_class("istio-waypoint"),
        a_waypoint("waypoint", "shop"),
        a_service("web", "shop", labels=USE),
        a_service("db", "shop", labels=USE, ports=[a_service_port(9000, name="tcp")]),
        a_service_entry("api", "shop", hosts=[API], labels=USE),
        *policies,
    )
    return waypoints


def _applied(waypoints: Waypoints) -> dict[str, list[str]]:
    policies = waypoints.pipeline.world.http_policies.by_service
    return {
        key.hostname: [str(policy.key) for policy in value]
        for key, value in policies.items()
        if key.waypoint == WAYPOINT
    }


def _problems(waypoints: Waypoints) -> list[tuple[str, str | None]]:
    return [(each.code, each.field) for each in waypoints.problems()]


@pytest.mark.proves("HP-1")
@pytest.mark.refutes("HP-1")
@pytest.mark.parametrize(
    ("target", "namespace", "expected"),
    [
        (SERVICE, "shop", {WEB}),
        (SERVICE, "other", set()),
        (SERVICE, ROOT, set()),
        (ENTRY, "shop", {API}),
        (ENTRY, "other", set()),
        (GATEWAY, "shop", {WEB, DB, API}),
        (GATEWAY, "other", set()),
        (GATEWAY, ROOT, set()),
        (CLASS, ROOT, {WEB, DB, API}),
        (CLASS, "shop", set()),
        (TargetReference("GatewayClass", "other", group=GATEWAYS), ROOT, set()),
        (TargetReference("Service", "api"), "shop", set()),
        (TargetReference("ServiceEntry", "web", group="networking.istio.io"), "shop", set()),
        (TargetReference("Gateway", "waypoint", group="networking.istio.io"), "shop", set()),
        (TargetReference("Service", "web", group="core"), "shop", {WEB}),
        (TargetReference("Service", "web", namespace="shop"), "shop", {WEB}),
        (TargetReference("Service", "web", namespace="shop"), "other", set()),
        (TargetReference("Deployment", "web", group="apps"), "shop", set()),
    ],
)
def test_targets_decide(target: TargetReference, namespace: str, expected: set[str]) -> None:
    applied = _applied(_waypoints(_policy("p", target, namespace=namespace)))
    assert {host for host, policies in applied.items() if policies} == expected
    assert applied.keys() == {WEB, DB, API}


@pytest.mark.refutes("HP-1")
@pytest.mark.parametrize("namespace", ["shop", ROOT])
@pytest.mark.parametrize("selector", [None, {}, {"gateway.networking.k8s.io/gateway-name": "x"}])
def test_without_targets_nothing_applies(namespace: str, selector: dict[str, str] | None) -> None:
    policy = an_authorization_policy("p", namespace, selector=selector)
    assert set(map(len, _applied(_waypoints(policy)).values())) == {0}


@pytest.mark.refutes("HP-1")
def test_a_policy_of_another_revision_does_not_apply() -> None:
    policy = _policy("p", SERVICE, labels={"istio.io/rev": "green"})
    assert _applied(_waypoints(policy, revision="blue"))[WEB] == []
    assert _applied(_waypoints(policy, revision="green"))[WEB] == ["shop/p"]


@pytest.mark.proves("HP-1")
def test_services_of_other_namespaces_have_the_policies_of_theirs() -> None:
    waypoints = _waypoints(_policy("own", SERVICE, namespace="other"), _policy("waypoint", GATEWAY))
    waypoints.apply(a_namespace("other"), a_service("web", "other", labels=AWAY))
    listener = Listener("mesh", 15008, "HBONE", AllowedNamespaces("All"))
    waypoints.apply(a_waypoint("waypoint", "shop", listeners=[listener]))
    host = WaypointHost(WAYPOINT, "web.other.svc.cluster.local")
    found = waypoints.pipeline.world.http_policies.by_service.get(host)
    assert [str(policy.key) for policy in found or ()] == ["other/own", "shop/waypoint"]
    assert _applied(waypoints)[WEB] == ["shop/waypoint"]


@pytest.mark.proves("HP-1")
@pytest.mark.refutes("HP-1")
def test_a_target_elsewhere_is_told() -> None:
    away = TargetReference("Gateway", "waypoint", group=GATEWAYS, namespace="shop")
    waypoints = _waypoints(_policy("p", away, namespace="other"), _policy("q", away))
    field = "spec.targetRefs[0].namespace"
    assert _problems(waypoints) == [("policy.target-not-bound", field)]


@pytest.mark.proves("HP-2")
@pytest.mark.refutes("HP-2")
def test_lists_are_sorted_and_have_each_policy_once() -> None:
    waypoints = _waypoints(
        _policy("z", GATEWAY, SERVICE),
        _policy("b", SERVICE, SERVICE),
        _policy("a", CLASS, namespace=ROOT),
    )
    both = [f"{ROOT}/a", "shop/b", "shop/z"]
    assert _applied(waypoints) == {
        WEB: both,
        DB: [f"{ROOT}/a", "shop/z"],
        API: [f"{ROOT}/a", "shop/z"],
    }
    by_waypoint = waypoints.pipeline.world.http_policies.by_waypoint.get(WAYPOINT)
    assert [str(policy.key) for policy in by_waypoint or ()] == [f"{ROOT}/a", "shop/z"]
    waypoints.apply(removed=[_policy("b"), _policy("z")])
    assert _applied(waypoints)[WEB] == [f"{ROOT}/a"]
    waypoints.apply(removed=[_policy("a", namespace=ROOT)])
    assert _applied(waypoints) == {WEB: [], DB: [], API: []}
    assert waypoints.pipeline.world.http_policies.by_waypoint.get(WAYPOINT) == ()
    waypoints.apply(removed=[a_waypoint("waypoint", "shop")])
    assert _applied(waypoints) == {}
    assert waypoints.pipeline.world.http_policies.by_waypoint.get(WAYPOINT) is None


def test_an_edit_reaches_its_service_alone() -> None:
    waypoints = _waypoints(_policy("p", SERVICE), _policy("q", ENTRY))
    changed: list[str] = []
    waypoints.pipeline.world.http_policies.by_service.subscribe(
        lambda changes: changed.extend(change.key.hostname for change in changes)
    )
    del changed[:]
    waypoints.apply(_policy("p", SERVICE, rules=[PATH]))
    assert changed == [WEB]


@pytest.mark.proves("HP-17")
@pytest.mark.refutes("HP-17")
def test_rules_that_a_port_cannot_have_are_told() -> None:
    waypoints = _waypoints(_policy("p", GATEWAY, rules=[PATH]))
    (problem,) = waypoints.problems()
    assert (problem.code, problem.field) == ("policy.http-on-connections", "spec.rules")
    assert problem.message.endswith(f": {DB}:9000")
    port = AuthorizationRule(operations=(Operation(ports=("9000",)),))
    waypoints.apply(_policy("p", GATEWAY, rules=[port]))
    assert waypoints.problems() == []
    waypoints.apply(_policy("p", SERVICE, rules=[PATH]))
    assert waypoints.problems() == []
    sniffed = [a_service_port(7000, name="odd")]
    waypoints.apply(a_service("web", "shop", labels=USE, ports=sniffed))
    assert waypoints.problems() == []


@pytest.mark.proves("HP-8")
@pytest.mark.refutes("HP-8")
def test_problems_of_values_come_with_targets_alone() -> None:
    rules = [AuthorizationRule(operations=(Operation(paths=("/{a}",)),))]
    waypoints = _waypoints(_policy("p", SERVICE, rules=rules))
    assert _problems(waypoints) == [
        ("policy.unusable-value", "spec.rules[0].to[0].operation.paths[0]")
    ]
    waypoints.apply(_policy("p", SERVICE, rules=[PATH]))
    assert waypoints.problems() == []


def test_targets_as_values() -> None:
    policy = _policy("p", SERVICE, GATEWAY, CLASS, SERVICE)
    own = (Target("Service", "shop", "web"), Target("Gateway", "shop", "waypoint"))
    assert targets_of(policy, ROOT) == own
    assert targets_of(policy, "shop") == (*own, Target("GatewayClass", "", "istio-waypoint"))
    assert targets_of(_policy("p"), ROOT) == ()
    assert targets_at(WAYPOINT, "c") == (
        Target("Gateway", "shop", "waypoint"),
        Target("GatewayClass", "", "c"),
    )
