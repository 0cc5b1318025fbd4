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
from controlplane.mesh.waypoint_services import WaypointHost
from tests.support.builders import (
    a_namespace,
    a_service,
    a_service_port,
    a_waypoint,
    an_authorization_policy,
)
from tests.support.policy_targets import (
    ALL,
    API,
    CLASS,
    DB,
    ENTRY,
    GATEWAY,
    GATEWAYS,
    ROOT,
    SERVICE,
    USE,
    WAYPOINT,
    WEB,
    a_targeted_mesh,
)
from tests.support.waypoint_snapshots import Waypoints

AWAY = USE | {"istio.io/use-waypoint-namespace": "shop"}
PATH = AuthorizationRule(operations=(Operation(paths=("/a",)),))


def _policy(
    name: str, *targets: TargetReference, namespace: str = "shop", **rest: Any
) -> AuthorizationPolicy:
    return an_authorization_policy(name, namespace, target_references=targets, **rest)


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
        (GATEWAY, "shop", ALL),
        (GATEWAY, "other", set()),
        (GATEWAY, ROOT, set()),
        (CLASS, ROOT, ALL),
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
    applied = _applied(a_targeted_mesh(_policy("p", target, namespace=namespace)))
    assert {host for host, policies in applied.items() if policies} == expected
    assert applied.keys() == ALL


@pytest.mark.refutes("HP-1")
@pytest.mark.parametrize("namespace", ["shop", ROOT])
@pytest.mark.parametrize("selector", [None, {}, {"gateway.networking.k8s.io/gateway-name": "x"}])
def test_without_targets_nothing_applies(namespace: str, selector: dict[str, str] | None) -> None:
    policy = an_authorization_policy("p", namespace, selector=selector)
    assert set(map(len, _applied(a_targeted_mesh(policy)).values())) == {0}


@pytest.mark.refutes("HP-1")
def test_a_policy_of_another_revision_does_not_apply() -> None:
    policy = _policy("p", SERVICE, labels={"istio.io/rev": "green"})
    assert _applied(a_targeted_mesh(policy, revision="blue"))[WEB] == []
    assert _applied(a_targeted_mesh(policy, revision="green"))[WEB] == ["shop/p"]


@pytest.mark.proves("HP-1")
def test_services_of_other_namespaces_have_the_policies_of_theirs() -> None:
    waypoints = a_targeted_mesh(
        _policy("own", SERVICE, namespace="other"), _policy("waypoint", GATEWAY)
    )
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
    waypoints = a_targeted_mesh(_policy("p", away, namespace="other"), _policy("q", away))
    field = "spec.targetRefs[0].namespace"
    assert _problems(waypoints) == [("policy.target-not-bound", field)]


@pytest.mark.proves("HP-2")
@pytest.mark.refutes("HP-2")
def test_lists_are_sorted_and_have_each_policy_once() -> None:
    waypoints = a_targeted_mesh(
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
    waypoints = a_targeted_mesh(_policy("p", SERVICE), _policy("q", ENTRY))
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
    waypoints = a_targeted_mesh(_policy("p", GATEWAY, rules=[PATH]))
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
    waypoints = a_targeted_mesh(_policy("p", SERVICE, rules=rules))
    assert _problems(waypoints) == [
        ("policy.unusable-value", "spec.rules[0].to[0].operation.paths[0]")
    ]
    waypoints.apply(_policy("p", SERVICE, rules=[PATH]))
    assert waypoints.problems() == []
