from typing import Any

import pytest

from controlplane.manifests.mesh_config import MeshConfig
from controlplane.model.names import Name
from controlplane.model.policy import Action, Group, Match, MatchType, Rule, Scope, StringMatch
from tests.support.builders import (
    a_gateway,
    a_peer_authentication,
    a_pod,
    a_service,
    a_waypoint,
    an_authorization_policy,
)
from tests.support.policies import PolicyRig
from tests.support.waypoint_snapshots import Waypoints

APP = {"app": "a"}
ROOT = "istio-system"
STATIC = f"{ROOT}/istio_converted_static_strict"


def _pods() -> list[Any]:
    return [a_pod(labels=APP), a_pod("other", labels={"app": "b"}), a_pod("bare")]


@pytest.mark.proves("AP-18", "AP-19")
@pytest.mark.refutes("AP-18", "AP-19")
def test_a_list_has_three_sorted_parts_of_policies_that_are_sent() -> None:
    gateway_pod = a_pod(
        "proxy",
        labels={"gateway.networking.k8s.io/gateway-name": "waypoint"},
        service_account="waypoint-account",
    )
    manifests = (
        *_pods(),
        a_waypoint(),
        gateway_pod,
        a_peer_authentication("strict", mode="STRICT"),
        an_authorization_policy("z", selector=APP),
        an_authorization_policy("a", selector=APP),
    )
    rig = PolicyRig(*manifests, allows_waypoints_implicitly=True)
    name = Name("default", "istio_allow_waypoint_default_waypoint")
    assert rig.listed() == ["default/a", "default/z", STATIC]
    assert rig.admissions.get(Name("default", "pod")) == (name,)
    admission = rig.policies.authorizations.get(name)
    assert admission is not None
    identity = StringMatch(MatchType.EXACT, "cluster.local/ns/default/sa/waypoint-account")
    assert (admission.action, admission.scope) == (Action.ALLOW, Scope.WORKLOAD_SELECTOR)
    assert admission.groups == (Group((Rule((Match(principals=(identity,)),)),)),)
    rig.remove(gateway_pod)
    assert rig.admissions.get(Name("default", "pod")) == ()
    assert rig.policies.authorizations.get(name) is None
    assert PolicyRig(*manifests).admissions.get(Name("default", "pod")) == ()


@pytest.mark.proves("AP-19")
def test_a_trust_domain_of_the_mesh_is_that_of_its_waypoints() -> None:
    rig = PolicyRig(
        MeshConfig(trust_domain="example.org"),
        a_waypoint(),
        a_pod("proxy", labels={"gateway.networking.k8s.io/gateway-name": "waypoint"}),
        allows_waypoints_implicitly=True,
    )
    policy = rig.authorization("istio_allow_waypoint_default_waypoint")
    assert policy.groups[0].rules[0].matches[0].principals == (
        StringMatch(MatchType.EXACT, "example.org/ns/default/sa/default"),
    )


GUARD = "istiod-lite.io/waypoint-guard"
NAME = "istio_allow_waypoint_default_waypoint"
PROXY = a_pod(
    "proxy",
    labels={"gateway.networking.k8s.io/gateway-name": "waypoint"},
    service_account="waypoint-account",
)


def _sent(*manifests: Any, **settings: Any) -> bool:
    return f"default/{NAME}" in PolicyRig(*manifests, **settings).sent()


@pytest.mark.proves("GP-1", "GP-2")
@pytest.mark.refutes("GP-1")
@pytest.mark.parametrize("is_usual", [False, True])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("T", True),
        ("1", True),
        ("false", False),
        ("F", False),
        ("0", False),
        ("yes", None),
        ("", None),
        (None, None),
    ],
)
def test_an_annotation_decides_before_the_setting(
    text: str | None, expected: bool | None, *, is_usual: bool
) -> None:
    annotations = {} if text is None else {GUARD: text}
    rig = PolicyRig(
        a_waypoint(annotations=annotations), PROXY, allows_waypoints_implicitly=is_usual
    )
    is_sent = f"default/{NAME}" in rig.sent()
    assert is_sent is (is_usual if expected is None else expected)
    assert (rig.admissions.get(Name("default", "proxy")) == (Name("default", NAME),)) is is_sent
    found = [(value.code, value.field, value.message) for _, value in rig.policies.problems.items()]
    usual = "is guarded" if is_usual else "is not guarded"
    message = f'"{text}" is neither true nor false: the waypoint {usual}, as is usual'
    told = ("waypoint.unreadable-guard", f"metadata.annotations[{GUARD}]", message)
    assert found == ([told] if text is not None and expected is None else [])


@pytest.mark.refutes("GP-1")
def test_a_gateway_that_is_no_ready_waypoint_is_not_guarded() -> None:
    annotations = {GUARD: "true"}
    assert not _sent(a_gateway(annotations=annotations), PROXY)
    ingress = a_waypoint(class_name="istio", listeners=(), annotations=annotations)
    assert not _sent(ingress, PROXY, allows_waypoints_implicitly=True)


@pytest.mark.proves("GP-4")
@pytest.mark.refutes("GP-2", "GP-4")
def test_without_a_pod_an_annotated_waypoint_lets_nobody_in() -> None:
    rig = PolicyRig(a_waypoint(annotations={GUARD: "true"}), PROXY)
    assert rig.authorization(NAME).groups != ()
    rig.remove(PROXY)
    guard = rig.authorization(NAME)
    assert (guard.action, guard.scope, guard.groups) == (Action.ALLOW, Scope.WORKLOAD_SELECTOR, ())
    assert not _sent(a_waypoint(), allows_waypoints_implicitly=True)


@pytest.mark.proves("GP-3")
@pytest.mark.refutes("GP-3")
def test_a_workload_lists_the_guards_of_its_waypoints_and_no_others() -> None:
    guarded = {GUARD: "true"}
    labels = {"app": "web", "istio.io/use-waypoint": "own"}
    waypoints = Waypoints()
    waypoints.apply(
        a_waypoint("own", labels={"istio.io/waypoint-for": "all"}, annotations=guarded),
        *(a_waypoint(name, annotations=guarded) for name in ("front", "canary", "unused")),
        a_waypoint("open"),
        a_service(
            "web",
            selector={"app": "web"},
            labels={"istio.io/use-waypoint": "front", "istio.io/use-waypoint-canary": "canary"},
        ),
        a_service("also", selector={"app": "web"}, labels={"istio.io/use-waypoint": "open"}),
        a_service("else", selector={"app": "x"}, labels={"istio.io/use-waypoint": "unused"}),
        a_pod("web", labels=labels),
        a_pod("plain", labels={"app": "plain"}),
    )
    listed = {
        value.name: [name.name.rpartition("_")[2] for name in value.authorization_policies]
        for _, value in waypoints.pipeline.world.workloads.items()
    }
    assert listed == {"web": ["canary", "front", "own"], "plain": []}
