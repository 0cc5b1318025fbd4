"""Who is told that a waypoint can be gone around, and when no more."""

from typing import Any

import pytest

from controlplane.manifests.istio import (
    AuthorizationPolicy,
    AuthorizationRule,
    Source,
    TargetReference,
    WorkloadSpec,
)
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.settings import MeshSettings
from controlplane.model.problem import Problem, Severity
from tests.support.builders import (
    HBONE,
    a_gateway_class,
    a_pod,
    a_service,
    a_service_entry,
    a_waypoint,
    a_workload_entry,
    an_authorization_policy,
)
from tests.support.waypoint_snapshots import Waypoints

CODE = "waypoint.can-be-bypassed"
APP = {"app": "web"}
USE = {"istio.io/use-waypoint": "waypoint"}
GUARD = {"istiod-lite.io/waypoint-guard": "true"}
SERVICE = TargetReference("Service", "web")
WAYPOINT_ONLY = AuthorizationRule(
    sources=(Source(principals=("cluster.local/ns/shop/sa/proxy",)),),
)
ANYBODY_ELSE = AuthorizationRule(
    sources=(Source(not_principals=("cluster.local/ns/shop/sa/proxy",)),),
)


def a_policy(
    name: str = "l7", *targets: TargetReference, namespace: str = "shop", **rest: Any
) -> AuthorizationPolicy:
    return an_authorization_policy(name, namespace, target_references=targets or (SERVICE,), **rest)


def the_waypoint(**rest: Any) -> Manifest:
    return a_waypoint("waypoint", "shop", **rest)


def the_pod(name: str = "web", **rest: Any) -> Manifest:
    return a_pod(name, "shop", **({"labels": APP, "annotations": HBONE} | rest))


PROXY = a_pod(
    "proxy",
    "shop",
    labels={"gateway.networking.k8s.io/gateway-name": "waypoint"},
    annotations=HBONE,
    service_account="proxy",
)


def _waypoints(*manifests: Manifest, **settings: Any) -> Waypoints:
    waypoints = Waypoints(settings=MeshSettings(**settings))
    waypoints.apply(
        a_gateway_class("istio-waypoint"),
        the_waypoint(),
        PROXY,
        a_service("web", "shop", selector=APP, labels=USE),
        *manifests,
    )
    return waypoints


def _told(waypoints: Waypoints) -> list[Problem]:
    found = [each for each in waypoints.problems() if each.code == CODE]
    return sorted(found, key=lambda each: str(each.object))


def _objects(waypoints: Waypoints) -> list[str]:
    return [str(each.object) for each in _told(waypoints)]


@pytest.mark.proves("BY-1")
def test_every_workload_behind_a_policy_is_told_of() -> None:
    waypoints = _waypoints(
        the_pod(),
        the_pod("second"),
        a_workload_entry("machine", "shop", labels=APP, annotations=HBONE),
        a_policy(),
    )
    assert _objects(waypoints) == [
        "Pod shop/second",
        "Pod shop/web",
        "WorkloadEntry shop/machine",
    ]
    problem = _told(waypoints)[1]
    assert problem.severity is Severity.WARNING
    assert problem.message == (
        "the policies for web.shop.svc.cluster.local (waypoint shop/waypoint) can be gone around: "
        "others than waypoints may connect to it"
    )


@pytest.mark.proves("BY-1")
def test_traffic_to_its_address_and_several_services_are_one_problem() -> None:
    waypoints = _waypoints(
        the_waypoint(labels={"istio.io/waypoint-for": "all"}),
        *(a_service(f"s{n}", "shop", selector=APP, labels=USE) for n in range(6)),
        the_pod(labels=APP | USE),
        a_policy("l7", TargetReference("Gateway", "waypoint", group="gateway.networking.k8s.io")),
    )
    (problem,) = _told(waypoints)
    assert "traffic to its address (waypoint shop/waypoint), s0.shop" in problem.message
    assert "s3.shop" in problem.message
    assert "s4.shop" not in problem.message
    assert "3 more" in problem.message


@pytest.mark.refutes("BY-1")
@pytest.mark.parametrize(
    "manifests",
    [
        [the_pod()],
        [the_pod(), an_authorization_policy("l4", "shop", selector=APP)],
        [the_pod("other", labels={"app": "other"}), a_policy()],
        [the_pod(), a_policy("l7", TargetReference("Service", "other"))],
        [the_pod(), a_policy(namespace="elsewhere")],
        [the_pod(), a_service("web", "shop", selector=APP), a_policy()],
    ],
)
def test_where_no_policy_is_enforced_nobody_is_told(manifests: list[Manifest]) -> None:
    assert _objects(_waypoints(*manifests)) == []


@pytest.mark.refutes("BY-1")
def test_it_is_told_no_more_once_it_is_guarded() -> None:
    waypoints = _waypoints(the_pod(), a_policy())
    assert _objects(waypoints) == ["Pod shop/web"]
    waypoints.apply(the_waypoint(annotations=GUARD))
    assert _objects(waypoints) == []
    waypoints.apply(the_waypoint())
    assert _objects(waypoints) == ["Pod shop/web"]
    waypoints.apply(removed=[a_policy()])
    assert _objects(waypoints) == []


@pytest.mark.proves("BY-2")
@pytest.mark.parametrize(
    "manifests",
    [
        [an_authorization_policy("a", "shop", selector=APP, rules=[WAYPOINT_ONLY])],
        [an_authorization_policy("a", "shop", rules=[WAYPOINT_ONLY])],
        [an_authorization_policy("a", "istio-system", rules=[WAYPOINT_ONLY])],
        [an_authorization_policy("a", "shop", rules=[])],
        [an_authorization_policy("a", "shop", action="DENY", rules=[ANYBODY_ELSE])],
        [
            an_authorization_policy("a", "shop", rules=[AuthorizationRule()]),
            an_authorization_policy("b", "shop", action="DENY", rules=[ANYBODY_ELSE]),
        ],
        [
            an_authorization_policy(
                "a",
                "shop",
                rules=[
                    AuthorizationRule(sources=(Source(service_accounts=("shop/proxy", "proxy")),))
                ],
            )
        ],
    ],
)
def test_policies_that_keep_everybody_else_out_protect(manifests: list[Manifest]) -> None:
    assert _objects(_waypoints(the_pod(), a_policy(), *manifests)) == []


@pytest.mark.refutes("BY-2")
@pytest.mark.parametrize(
    "manifests",
    [
        [an_authorization_policy("a", "elsewhere", rules=[WAYPOINT_ONLY])],
        [an_authorization_policy("a", "shop", selector={"app": "x"}, rules=[WAYPOINT_ONLY])],
        [an_authorization_policy("a", "shop", rules=[WAYPOINT_ONLY, AuthorizationRule()])],
        [
            an_authorization_policy("a", "shop", rules=[WAYPOINT_ONLY]),
            an_authorization_policy("b", "shop", rules=[AuthorizationRule()]),
        ],
        [
            an_authorization_policy(
                "a", "shop", rules=[AuthorizationRule(sources=(Source(principals=(each,)),))]
            )
            for each in ("cluster.local/ns/shop/sa/client",)
        ],
        *(
            [
                an_authorization_policy(
                    "a", "shop", rules=[AuthorizationRule(sources=(Source(principals=(each,)),))]
                )
            ]
            for each in (
                "*",
                "cluster.local/ns/shop/sa/pro*",
                "other.domain/ns/shop/sa/proxy",
                "cluster.local/ns/shop/sa/proxy/x",
            )
        ),
        [
            an_authorization_policy(
                "a",
                "shop",
                action="DENY",
                rules=[
                    AuthorizationRule(
                        sources=(
                            Source(
                                not_principals=("cluster.local/ns/shop/sa/proxy",),
                                namespaces=("other",),
                            ),
                        )
                    )
                ],
            )
        ],
        [
            an_authorization_policy(
                "a",
                "shop",
                action="DENY",
                rules=[
                    AuthorizationRule(
                        sources=(Source(not_principals=("cluster.local/ns/shop/sa/client",)),)
                    )
                ],
            )
        ],
    ],
)
def test_policies_that_let_others_in_do_not_protect(manifests: list[Manifest]) -> None:
    assert _objects(_waypoints(the_pod(), a_policy(), *manifests)) == ["Pod shop/web"]


@pytest.mark.proves("BY-3")
def test_without_a_node_proxy_nothing_protects() -> None:
    waypoints = _waypoints(the_waypoint(annotations=GUARD), the_pod(annotations={}), a_policy())
    (problem,) = _told(waypoints)
    assert problem.message.endswith("no node proxy stands in front of it")


@pytest.mark.refutes("BY-3")
def test_with_a_node_proxy_a_guard_does() -> None:
    waypoints = _waypoints(the_waypoint(annotations=GUARD), the_pod(), a_policy())
    assert _told(waypoints) == []


@pytest.mark.proves("BY-4")
@pytest.mark.parametrize(
    "policy",
    [a_policy(action="AUDIT"), a_policy(annotations={"istio.io/dry-run": "true"})],
)
def test_what_only_looks_on_leaves_nothing_to_go_around(policy: Manifest) -> None:
    assert _objects(_waypoints(the_pod(), policy)) == []


@pytest.mark.proves("BY-4")
def test_endpoints_of_service_entries_are_left_out() -> None:
    entry = a_service_entry(
        "api",
        "shop",
        hosts=["api.example.com"],
        labels=USE,
        endpoints=(WorkloadSpec(address="10.9.0.1"),),
    )
    target = TargetReference("ServiceEntry", "api", group="networking.istio.io")
    assert _objects(_waypoints(entry, a_policy("l7", target))) == []


@pytest.mark.refutes("BY-4")
def test_a_dry_run_at_node_proxies_protects_nothing() -> None:
    dry = {"istio.io/dry-run": "true"}
    waypoints = _waypoints(
        the_pod(),
        a_policy(),
        an_authorization_policy("a", "shop", rules=[WAYPOINT_ONLY], annotations=dry),
        sends_dry_run_policies=True,
    )
    assert _objects(waypoints) == ["Pod shop/web"]
    asking = _waypoints(the_pod(), a_policy(action="CUSTOM", provider="asked"))
    assert _objects(asking) == ["Pod shop/web"]


def test_what_a_set_of_policies_amounts_to_is_judged_once() -> None:
    waypoints = _waypoints(a_policy(), *(the_pod(f"web-{number}") for number in range(30)))
    assert len(_told(waypoints)) == 30
    counted = {each.name: each for each in waypoints.pipeline.graph.describe()}
    assert counted["shields that hold"].size == 1
    quiet = _waypoints(*(the_pod(f"web-{number}") for number in range(30)))
    counted = {each.name: each for each in quiet.pipeline.graph.describe()}
    assert counted["workloads at places of policies"].size == 0
    assert counted["bypasses of waypoints"].rule_calls == 0
