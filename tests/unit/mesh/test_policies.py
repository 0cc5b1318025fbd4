from typing import Any

import pytest

from controlplane.manifests.core import Namespace
from controlplane.manifests.istio import AuthorizationRule, Source
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.model.names import Name
from controlplane.model.policy import Action, Group, Match, MatchType, Rule, Scope, StringMatch
from tests.support.builders import (
    a_namespace,
    a_peer_authentication,
    a_pod,
    a_waypoint,
    an_authorization_policy,
)
from tests.support.policies import PolicyRig

APP = {"app": "a"}
ROOT = "istio-system"
STATIC = f"{ROOT}/istio_converted_static_strict"
CONVERTED = "default/converted_peer_authentication_own"


def _pods() -> list[Any]:
    return [a_pod(labels=APP), a_pod("other", labels={"app": "b"}), a_pod("bare")]


@pytest.mark.proves("AP-17")
@pytest.mark.refutes("AP-17")
def test_a_selector_takes_the_workloads_with_all_its_labels() -> None:
    rig = PolicyRig(
        *_pods(),
        a_pod("away", "elsewhere", labels=APP),
        an_authorization_policy("labels", selector=APP),
        an_authorization_policy("more", selector=APP | {"version": "v1"}),
        an_authorization_policy("everyone", selector={}),
        an_authorization_policy("namespace"),
        an_authorization_policy("mesh", ROOT),
        an_authorization_policy("root-labels", ROOT, selector=APP),
    )
    assert rig.listed() == ["default/everyone", "default/labels", f"{ROOT}/root-labels"]
    assert rig.listed("other") == ["default/everyone"]
    assert rig.listed("bare") == ["default/everyone"]
    assert rig.listed("away", "elsewhere") == [f"{ROOT}/root-labels"]
    assert rig.authorization("everyone").scope is Scope.WORKLOAD_SELECTOR


@pytest.mark.proves("AP-17")
@pytest.mark.refutes("AP-17")
def test_lists_follow_the_policies() -> None:
    policy = an_authorization_policy(selector=APP)
    rig = PolicyRig(*_pods())
    assert rig.listed() == []
    rig.put(policy)
    assert rig.listed() == ["default/policy"]
    rig.put(an_authorization_policy(selector={"app": "b"}))
    assert (rig.listed(), rig.listed("other")) == ([], ["default/policy"])
    rig.put(an_authorization_policy(selector=APP, action="AUDIT"))
    assert (rig.listed(), rig.listed("other")) == ([], [])
    rig.remove(policy)
    assert rig.sent() == []


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


@pytest.mark.proves("AP-20")
@pytest.mark.refutes("AP-20")
def test_a_policy_of_another_revision_does_not_exist() -> None:
    def policy(name: str, revision: str | None) -> Any:
        labels = {} if revision is None else {"istio.io/rev": revision}
        return an_authorization_policy(name, labels=labels)

    rig = PolicyRig(
        policy("none", None), policy("same", "blue"), policy("other", "green"), revision="blue"
    )
    assert rig.sent() == ["default/none", "default/same"]
    assert {reference.name for (reference, _), _ in rig.policies.conditions.items()} == {
        "none",
        "same",
    }


@pytest.mark.proves("AP-2", "AP-3", "AP-4")
def test_what_is_not_sent_is_listed_by_nobody() -> None:
    rig = PolicyRig(
        *_pods(),
        an_authorization_policy("audit", selector=APP, action="AUDIT"),
        an_authorization_policy("dry", selector=APP, annotations={"istio.io/dry-run": "true"}),
    )
    assert (rig.sent(), rig.listed()) == ([], [])


@pytest.mark.proves("PA-4")
@pytest.mark.refutes("PA-4")
def test_the_static_policy_exists_while_any_peer_authentication_does() -> None:
    mesh = a_peer_authentication("mesh", ROOT, mode="PERMISSIVE")
    rig = PolicyRig(*_pods())
    assert rig.sent() == []
    rig.put(mesh)
    assert rig.sent() == [STATIC]
    assert rig.listed() == []
    strict = a_peer_authentication("all", mode="STRICT")
    rig.put(strict)
    assert [rig.listed(name) for name in ("pod", "other", "bare")] == [[STATIC]] * 3
    rig.remove(strict)
    assert (rig.listed(), rig.sent()) == ([], [STATIC])
    rig.remove(mesh)
    assert rig.sent() == []


@pytest.mark.proves("PA-6")
@pytest.mark.refutes("PA-6")
def test_a_workload_lists_the_static_policy_or_the_converted_one() -> None:
    def own(mode: str, **ports: str) -> Any:
        numbers = {int(port.removeprefix("p")): value for port, value in ports.items()}
        return a_peer_authentication("own", mode=mode, selector=APP, port_modes=numbers)

    rig = PolicyRig(*_pods(), a_peer_authentication("all", mode="STRICT"), own("PERMISSIVE"))
    assert (rig.listed(), rig.listed("other")) == ([], [STATIC])
    rig.put(own("PERMISSIVE", p80="STRICT"))
    assert rig.listed() == [CONVERTED]
    rig.put(own("PERMISSIVE", p80="PERMISSIVE"))
    assert rig.listed() == []
    rig.put(own("STRICT", p80="PERMISSIVE"))
    assert rig.listed() == [CONVERTED]
    rig.put(own("UNSET", p80="PERMISSIVE"))
    assert rig.listed() == [CONVERTED]
    rig.put(a_peer_authentication("all", mode="PERMISSIVE"))
    assert (rig.listed(), rig.sent()) == ([], [STATIC])


@pytest.mark.proves("PA-3")
@pytest.mark.refutes("PA-3")
def test_of_several_the_oldest_decides_on_every_level() -> None:
    def level(name: str, namespace: str, created: float, mode: str, **rest: Any) -> Any:
        return a_peer_authentication(name, namespace, created=created, mode=mode, **rest)

    rig = PolicyRig(
        *_pods(),
        level("a", ROOT, 2.0, "STRICT"),
        level("b", ROOT, 1.0, "DISABLE"),
    )
    assert rig.listed() == []
    rig.put(level("a", ROOT, 1.0, "STRICT"))
    assert rig.listed() == [STATIC]
    rig.put(level("b", "default", 2.0, "DISABLE"), level("a", "default", 2.0, "STRICT"))
    assert rig.listed() == [STATIC]
    rig.put(level("b", "default", 1.0, "DISABLE"))
    assert rig.listed() == []
    rig.put(
        level("x", "default", 5.0, "STRICT", selector=APP),
        level("y", "default", 4.0, "DISABLE", selector=APP),
    )
    assert rig.listed() == []
    rig.put(level("y", "default", 6.0, "DISABLE", selector=APP))
    assert rig.listed() == [STATIC]


@pytest.mark.proves("PA-2", "PA-7")
@pytest.mark.refutes("PA-2", "PA-7")
def test_an_empty_selector_covers_everything_and_root_labels_nothing() -> None:
    rig = PolicyRig(
        *_pods(),
        a_pod("system", ROOT, labels=APP),
        a_peer_authentication("root-labels", ROOT, mode="STRICT", selector=APP),
    )
    assert (rig.listed(), rig.listed("system", ROOT)) == ([], [])
    rig.put(a_peer_authentication("empty", mode="STRICT", selector={}))
    assert (rig.listed(), rig.listed("bare")) == ([STATIC], [STATIC])
    assert rig.listed("system", ROOT) == []
    rig.put(a_peer_authentication("mesh", ROOT, mode="STRICT", selector={}))
    assert rig.listed("system", ROOT) == [STATIC]


def test_the_root_namespace_follows_the_mesh_configuration() -> None:
    rig = PolicyRig(
        *_pods(),
        a_peer_authentication("mesh", "roots", mode="STRICT"),
        an_authorization_policy("mesh", "roots"),
    )
    assert (rig.listed(), rig.sent()) == ([], [STATIC, "roots/mesh"])
    assert rig.authorization("mesh", "roots").scope is Scope.NAMESPACE
    rig.put(MeshConfig(root_namespace="roots"))
    assert rig.listed() == ["roots/istio_converted_static_strict"]
    assert rig.authorization("mesh", "roots").scope is Scope.GLOBAL


def test_an_edit_of_rules_touches_no_workload() -> None:
    rig = PolicyRig(*_pods(), a_namespace(), an_authorization_policy(selector=APP))
    assert isinstance(rig.inputs.namespaces.get(Name("", "default")), Namespace)
    lists = rig.lists.rule_calls
    rule = AuthorizationRule(sources=(Source(namespaces=("default",)),))
    rig.put(an_authorization_policy(selector=APP, rules=(rule,)))
    assert rig.authorization().groups != ()
    assert rig.lists.rule_calls == lists
