from typing import Any

import pytest

from controlplane.manifests.mesh_config import MeshConfig
from controlplane.model.names import Name
from controlplane.model.policy import Action, Group, Match, MatchType, Rule, Scope, StringMatch
from tests.support.builders import (
    a_peer_authentication,
    a_pod,
    a_waypoint,
    an_authorization_policy,
)
from tests.support.policies import PolicyRig

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
