from typing import Any

import pytest

from controlplane.manifests.core import Namespace
from controlplane.manifests.istio import AuthorizationRule, Source
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.model.names import Name
from controlplane.model.policy import Scope
from tests.support.builders import (
    a_namespace,
    a_peer_authentication,
    a_pod,
    an_authorization_policy,
)
from tests.support.policies import PolicyRig

APP = {"app": "a"}
ROOT = "istio-system"
STATIC = f"{ROOT}/istio_converted_static_strict"


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
