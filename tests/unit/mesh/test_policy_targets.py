from typing import Any

import pytest

from controlplane.manifests.gateway import AllowedNamespaces, Listener
from controlplane.manifests.istio import RequestAuthentication, TargetReference
from controlplane.manifests.mesh_config import MeshConfig, ServiceEntryVisibility
from controlplane.model.names import ObjectReference
from tests.support.builders import (
    a_gateway,
    a_gateway_class,
    a_service,
    a_service_entry,
    a_waypoint,
    an_authorization_policy,
    some_metadata,
)
from tests.support.policies import PolicyRig
from tests.support.policy_targets import CLASS, GATEWAY, ROOT

WAYPOINT = "WaypointAccepted"
USES = {"istio.io/use-waypoint": "waypoint"}

SERVICE = TargetReference("Service", "service")
ENTRY = TargetReference("ServiceEntry", "entry", group="networking.istio.io")


def _policy(*targets: TargetReference, namespace: str = "default", **rest: Any) -> Any:
    return an_authorization_policy("policy", namespace, target_references=targets, **rest)


def _outcome(*manifests: Any, namespace: str = "default") -> tuple[bool, str, str]:
    condition = PolicyRig(*manifests).condition(WAYPOINT, namespace=namespace)
    assert condition.manager == "istio-ambient-waypoint-policy"
    return condition.status, condition.reason, condition.message


@pytest.mark.proves("AP-2", "ST-5")
@pytest.mark.refutes("AP-2", "ST-5")
def test_a_policy_with_targets_is_for_waypoints_alone() -> None:
    rig = PolicyRig(_policy(GATEWAY), an_authorization_policy("other"), a_waypoint())
    assert rig.sent() == ["default/other"]
    kinds = sorted((key[0].name, key[1]) for key, _ in rig.policies.conditions.items())
    assert kinds == [("other", "ZtunnelAccepted"), ("policy", WAYPOINT)]


@pytest.mark.proves("AP-2")
def test_targets_decide_before_action_and_dry_run() -> None:
    rig = PolicyRig(
        _policy(GATEWAY, action="AUDIT", annotations={"istio.io/dry-run": "true"}), a_waypoint()
    )
    assert len(rig.policies.conditions) == 1
    assert rig.condition(WAYPOINT).status


@pytest.mark.proves("ST-5")
@pytest.mark.refutes("ST-5")
def test_a_gateway_is_bound_when_it_is_a_ready_waypoint() -> None:
    bound = (True, "Accepted", "bound to default/waypoint")
    unbound = (False, "TargetNotFound", "not bound")
    assert _outcome(_policy(GATEWAY), a_waypoint()) == bound
    assert _outcome(_policy(GATEWAY)) == unbound
    assert _outcome(_policy(GATEWAY), a_gateway()) == unbound
    assert _outcome(_policy(GATEWAY), a_waypoint("waypoint", "elsewhere")) == unbound
    away = TargetReference("Gateway", "waypoint", namespace="elsewhere")
    assert _outcome(_policy(away), a_waypoint("waypoint", "elsewhere")) == (
        False,
        "Invalid",
        "Gateway elsewhere/waypoint is in another namespace than the policy",
    )
    odd = TargetReference("Gateway", "waypoint", group="example.com")
    assert _outcome(_policy(odd), a_waypoint()) == (False, "unknown", "not bound")


@pytest.mark.proves("ST-5")
@pytest.mark.refutes("ST-5")
@pytest.mark.parametrize(("target", "build"), [(SERVICE, a_service), (ENTRY, a_service_entry)])
def test_a_service_is_bound_when_it_uses_a_waypoint(target: TargetReference, build: Any) -> None:
    what = f"{target.kind} default/{target.name}"
    assert _outcome(_policy(target), a_waypoint(), build(labels=USES)) == (
        True,
        "Accepted",
        "bound to default/waypoint",
    )
    unbound = (False, "AncestorNotBound", f"{what} is not bound to a waypoint")
    assert _outcome(_policy(target), a_waypoint(), build()) == unbound
    assert _outcome(_policy(target), build(labels=USES)) == unbound
    assert _outcome(_policy(target), a_waypoint()) == (
        False,
        "TargetNotFound",
        f"{what} was not found",
    )


@pytest.mark.refutes("ST-5")
def test_an_entry_is_bound_as_its_visibility_allows() -> None:
    labels = USES | {"istio.io/use-waypoint-namespace": "away"}
    listener = Listener("mesh", 15008, "HBONE", AllowedNamespaces("All"))
    away = a_waypoint("waypoint", "away", listeners=(listener,))
    for waypoint, entry, expected in (
        (away, a_service_entry(labels=labels), {"PUBLIC"}),
        (a_waypoint(), a_service_entry(labels=USES), {"PUBLIC", "NAMESPACE"}),
    ):
        bound = set()
        for default in ("PUBLIC", "NAMESPACE", "NONE"):
            config = MeshConfig(service_entry_visibility=ServiceEntryVisibility(default=default))
            if _outcome(_policy(ENTRY), waypoint, entry, config)[0]:
                bound.add(default)
        assert bound == expected


@pytest.mark.proves("ST-6")
def test_a_class_of_the_mesh_is_bound_from_the_root_namespace() -> None:
    manifests = (_policy(CLASS, namespace=ROOT), a_gateway_class())
    assert _outcome(*manifests, namespace=ROOT) == (True, "Accepted", "bound to istio-waypoint")


@pytest.mark.refutes("ST-6")
def test_a_class_is_not_bound_otherwise() -> None:
    assert _outcome(_policy(CLASS), a_gateway_class()) == (
        False,
        "Invalid",
        (
            "AuthorizationPolicy must be in the root namespace `istio-system` when referencing a "
            "GatewayClass"
        ),
    )
    rooted = _policy(CLASS, namespace=ROOT)
    assert _outcome(rooted, namespace=ROOT) == (False, "TargetNotFound", "not bound")
    foreign = a_gateway_class(controller="example.org/controller")
    assert _outcome(rooted, foreign, namespace=ROOT) == (
        False,
        "Invalid",
        "GatewayClass must use controller name `istio.io/mesh-controller` for waypoints",
    )


@pytest.mark.refutes("ST-5")
def test_other_kinds_are_never_bound() -> None:
    target = TargetReference("Deployment", "a", group="apps")
    assert _outcome(_policy(target)) == (False, "unknown", "not bound")


@pytest.mark.proves("ST-7")
@pytest.mark.refutes("ST-7")
def test_several_targets_share_one_condition() -> None:
    other = TargetReference("Deployment", "a", group="apps")
    policy = _policy(GATEWAY, SERVICE, other)
    assert _outcome(policy) == (
        False,
        "Invalid",
        (
            "Invalid targetRefs: Gateway.gateway.networking.k8s.io:default/waypoint, "
            "Service.core:default/service, Deployment.apps:default/a"
        ),
    )
    assert _outcome(policy, a_waypoint(), a_service(labels=USES)) == (
        True,
        "PartiallyInvalid",
        "Invalid targetRefs: Deployment.apps:default/a",
    )
    both = _policy(GATEWAY, SERVICE)
    assert _outcome(both, a_waypoint(), a_service(labels=USES)) == (True, "Accepted", "")
    assert _outcome(_policy(other)) == (False, "unknown", "not bound")


@pytest.mark.proves("ST-11")
@pytest.mark.refutes("ST-11")
def test_a_policy_that_does_nothing_is_not_accepted() -> None:
    tried = {"istio.io/dry-run": "true"}
    custom = _policy(GATEWAY, action="CUSTOM", provider="judge", annotations=tried)
    message = "a dry run of CUSTOM does nothing: nobody is asked"
    assert _outcome(custom, a_waypoint()) == (False, "UnsupportedValue", message)
    assert _outcome(custom) == (False, "TargetNotFound", "not bound")
    for annotations in ({}, {"istio.io/dry-run": "no"}):
        policy = _policy(GATEWAY, action="CUSTOM", provider="judge", annotations=annotations)
        assert _outcome(policy, a_waypoint())[:2] == (True, "Accepted")
    assert _outcome(_policy(GATEWAY, annotations=tried), a_waypoint())[:2] == (True, "Accepted")


@pytest.mark.proves("ST-10")
@pytest.mark.refutes("ST-10")
def test_every_reason_is_told_to_a_request_authentication_too() -> None:
    foreign = a_gateway_class(controller="example.org/controller")
    away = TargetReference("Service", "service", namespace="away")
    cases: list[tuple[tuple[TargetReference, ...], tuple[Any, ...], tuple[bool, str]]] = [
        ((SERVICE,), (a_waypoint(), a_service(labels=USES)), (True, "Accepted")),
        ((ENTRY,), (a_waypoint(), a_service_entry(labels=USES)), (True, "Accepted")),
        ((SERVICE,), (a_waypoint(), a_service()), (False, "AncestorNotBound")),
        ((SERVICE,), (a_waypoint(),), (False, "TargetNotFound")),
        ((away,), (a_waypoint(), a_service("service", "away")), (False, "Invalid")),
        ((CLASS,), (foreign,), (False, "Invalid")),
        ((GATEWAY, SERVICE), (a_waypoint(),), (True, "PartiallyInvalid")),
        ((GATEWAY, SERVICE), (), (False, "Invalid")),
    ]
    key = (ObjectReference("RequestAuthentication", "default", "tokens"), WAYPOINT)
    for targets, manifests, expected in cases:
        condition = PolicyRig(_request(*targets), *manifests).policies.conditions.get(key)
        assert condition is not None
        assert (condition.status, condition.reason) == expected


def test_the_condition_follows_the_target() -> None:
    waypoint = a_waypoint()
    rig = PolicyRig(_policy(SERVICE), a_service(labels=USES))
    assert not rig.condition(WAYPOINT).status
    assert rig.problems() == [("policy.target-not-bound", "spec.targetRefs[0]")]
    rig.put(waypoint)
    assert rig.condition(WAYPOINT).status
    assert rig.problems() == []
    rig.remove(waypoint)
    assert not rig.condition(WAYPOINT).status


def _request(*targets: TargetReference, **metadata: Any) -> RequestAuthentication:
    return RequestAuthentication(
        metadata=some_metadata("tokens", **metadata), target_references=targets
    )


@pytest.mark.proves("ST-10")
def test_a_request_authentication_with_targets_is_told_like_a_policy() -> None:
    key = (ObjectReference("RequestAuthentication", "default", "tokens"), WAYPOINT)
    rig = PolicyRig(_request(GATEWAY, generation=3))
    condition = rig.policies.conditions.get(key)
    assert condition is not None
    assert (condition.status, condition.reason) == (False, "TargetNotFound")
    assert rig.problems() == [("policy.target-not-bound", "spec.targetRefs[0]")]
    rig.put(a_waypoint())
    condition = rig.policies.conditions.get(key)
    assert condition is not None
    assert (condition.status, condition.message) == (True, "bound to default/waypoint")
    assert condition.manager == "istio-ambient-waypoint-policy"
    assert condition.observed_generation == 3
    rig.put(_request(CLASS))
    condition = rig.policies.conditions.get(key)
    assert condition is not None
    assert condition.message.startswith("RequestAuthentication must be in the root namespace")
    assert rig.sent() == []


@pytest.mark.refutes("ST-10")
def test_a_request_authentication_for_nobody_of_ours_is_told_nothing() -> None:
    assert len(PolicyRig(_request()).policies.conditions) == 0
    other = _request(GATEWAY, labels={"istio.io/rev": "canary"})
    assert len(PolicyRig(other, revision="stable").policies.conditions) == 0
