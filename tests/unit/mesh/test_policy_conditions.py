from typing import Any

import pytest

from controlplane.manifests.istio import AuthorizationRule, Operation, Source, When
from controlplane.model.problem import Condition, Severity
from tests.support.builders import a_peer_authentication, an_authorization_policy, some_metadata
from tests.support.policies import PolicyRig

ZTUNNEL = "ZtunnelAccepted"
MANAGER = "istio-ambient-ztunnel-policy"

L4 = AuthorizationRule(sources=(Source(principals=("td/ns/a/sa/b",)),))
HTTP = AuthorizationRule(operations=(Operation(paths=("/",), methods=("GET",)),))
MIXED = AuthorizationRule(operations=(Operation(ports=("80",), methods=("GET",)),))
FOUND = (
    "ztunnel does not support HTTP attributes (found: methods, paths). In ambient mode you must "
    "use a waypoint proxy to enforce HTTP rules. "
)


def _condition(**policy: Any) -> Condition:
    return PolicyRig(an_authorization_policy(**policy)).condition(ZTUNNEL)


@pytest.mark.proves("ST-1")
def test_a_policy_in_force_is_accepted() -> None:
    condition = _condition(rules=(L4,))
    assert (condition.status, condition.reason) == (True, "Accepted")
    assert condition.message == "attached to ztunnel"
    assert condition.manager == MANAGER


@pytest.mark.proves("ST-2")
@pytest.mark.refutes("ST-1")
@pytest.mark.parametrize(
    ("action", "rules", "expected"),
    [
        (
            "ALLOW",
            (L4, HTTP),
            (
                "Within an ALLOW policy, rules matching HTTP attributes are omitted. "
                "This will be more restrictive than requested."
            ),
        ),
        (
            "DENY",
            (L4, HTTP),
            (
                "DENY policy with HTTP attributes is enforced without the HTTP rules. This will be "
                "more restrictive than requested."
            ),
        ),
        (
            "DENY",
            (AuthorizationRule(), HTTP),
            (
                "DENY policy with HTTP attributes is enforced without the HTTP rules. This will be "
                "more restrictive than requested."
            ),
        ),
        (
            "DENY",
            (HTTP,),
            (
                "After omitting unsupported HTTP attributes, this DENY policy has no enforceable "
                "rules at ztunnel and will have no effect. Deploy a waypoint proxy and use a "
                "targetRef to enforce this policy."
            ),
        ),
    ],
)
def test_http_attributes_are_named_with_what_follows(
    action: str, rules: tuple[AuthorizationRule, ...], expected: str
) -> None:
    condition = _condition(action=action, rules=rules)
    assert (condition.status, condition.reason) == (True, "UnsupportedValue")
    assert condition.message == FOUND + expected


@pytest.mark.proves("ST-2")
@pytest.mark.refutes("ST-2")
def test_a_deny_that_can_only_fire_with_http_attributes_has_no_effect() -> None:
    rule = AuthorizationRule(sources=L4.sources, when=(When("request.host", values=("a",)),))
    condition = _condition(action="DENY", rules=(rule,))
    assert "(found: request.host)" in condition.message
    assert "will have no effect" in condition.message
    mixed = _condition(action="DENY", rules=(MIXED,))
    assert "is enforced without the HTTP rules" in mixed.message


@pytest.mark.proves("ST-3")
def test_a_policy_that_is_not_sent_says_why() -> None:
    audit = _condition(action="AUDIT")
    assert (audit.status, audit.reason) == (False, "UnsupportedValue")
    assert audit.message == "ztunnel does not support the AUDIT action"
    dry_run = _condition(annotations={"istio.io/dry-run": "true"})
    assert (dry_run.status, dry_run.reason) == (False, "UnsupportedValue")
    assert dry_run.message == (
        'found policy "default/policy" using dry-run annotation, but support for ambient dry-run '
        "authorizationPolicies isn't enabled"
    )


@pytest.mark.refutes("ST-3")
def test_a_dry_run_that_is_sent_is_accepted() -> None:
    policy = an_authorization_policy(annotations={"istio.io/dry-run": "true"})
    rig = PolicyRig(policy, sends_dry_run_policies=True)
    assert rig.condition(ZTUNNEL).reason == "Accepted"
    assert rig.authorization().dry_run
    assert rig.problems() == []


@pytest.mark.proves("ST-4")
@pytest.mark.parametrize(
    ("action", "rest"),
    [
        ("ALLOW", "Within an ALLOW policy, rules with such values are omitted."),
        (
            "DENY",
            (
                "Within a DENY policy, such values are left out and a field without any other "
                "value matches everything."
            ),
        ),
    ],
)
def test_unusable_values_are_a_condition_and_problems(action: str, rest: str) -> None:
    rule = AuthorizationRule(sources=(Source(ip_blocks=("10.0.0.1", "x"), namespaces=("",)),))
    rig = PolicyRig(an_authorization_policy(action=action, rules=(rule,)))
    fields = [f"spec.rules[0].from[0].source.{name}" for name in ("namespaces[0]", "ipBlocks[1]")]
    condition = rig.condition(ZTUNNEL)
    assert (condition.status, condition.reason) == (True, "UnsupportedValue")
    assert (
        condition.message == f"ztunnel cannot use some values (found: {', '.join(fields)}). {rest}"
    )
    assert rig.problems() == sorted(("policy.unusable-value", field) for field in fields)
    assert {problem.severity for problem in rig.all_problems()} == {Severity.ERROR}


@pytest.mark.refutes("ST-4")
def test_a_usable_policy_has_no_problem() -> None:
    assert PolicyRig(an_authorization_policy(rules=(L4,))).problems() == []


def test_a_message_stays_short_whatever_the_number_of_values() -> None:
    rule = AuthorizationRule(sources=(Source(ip_blocks=("x",) * 5000),))
    rig = PolicyRig(an_authorization_policy(rules=(rule,)))
    assert "and 4990 more)" in rig.condition(ZTUNNEL).message
    assert len(rig.problems()) == 5000


@pytest.mark.proves("ST-8")
@pytest.mark.refutes("ST-8")
def test_every_policy_keeps_its_own_condition() -> None:
    policies = [
        an_authorization_policy(name, action=action)
        for name, action in (("a", "AUDIT"), ("b", "CUSTOM"), ("c", "ALLOW"))
    ]
    rig = PolicyRig(*policies)
    messages = {name: rig.condition(ZTUNNEL, name).message for name in "abc"}
    assert messages == {
        "a": "ztunnel does not support the AUDIT action",
        "b": "ztunnel does not support the CUSTOM action",
        "c": "attached to ztunnel",
    }
    rig.remove(policies[0])
    assert len(rig.policies.conditions) == 2


@pytest.mark.proves("ST-8")
def test_a_condition_carries_the_generation_it_judged() -> None:
    policy = type(an_authorization_policy())(metadata=some_metadata("policy", generation=7))
    assert PolicyRig(policy).condition(ZTUNNEL).observed_generation == 7


def test_problems_tell_what_is_not_in_force() -> None:
    rig = PolicyRig(
        an_authorization_policy("audit", action="AUDIT"),
        an_authorization_policy("dry", annotations={"istio.io/dry-run": "true"}),
        an_authorization_policy("word", annotations={"istio.io/dry-run": "perhaps"}),
        an_authorization_policy("void", action="DENY", rules=(HTTP,)),
        an_authorization_policy("less", rules=(L4, HTTP)),
    )
    found = sorted(
        (problem.object.name, problem.code, problem.field, problem.severity)
        for problem in rig.all_problems()
        if problem.object is not None
    )
    annotation = "metadata.annotations[istio.io/dry-run]"
    assert found == [
        ("audit", "policy.unsupported-action", "spec.action", Severity.ERROR),
        ("dry", "policy.unsupported-dry-run", annotation, Severity.ERROR),
        ("less", "policy.http-attribute", "spec.rules[1]", Severity.WARNING),
        ("void", "policy.http-attribute", "spec.rules[0]", Severity.ERROR),
        ("word", "policy.invalid-annotation", annotation, Severity.WARNING),
    ]


@pytest.mark.proves("ST-9", "PA-8")
@pytest.mark.refutes("ST-9", "PA-8")
def test_what_is_ignored_of_a_peer_authentication_is_a_problem() -> None:
    app = {"app": "a"}
    rig = PolicyRig(
        a_peer_authentication("fine", selector=app, port_modes={80: "STRICT"}),
        a_peer_authentication("whole", port_modes={80: "STRICT"}),
        a_peer_authentication("wrong", selector=app, port_modes={0: "STRICT", 80: "STRICT"}),
        a_peer_authentication("root", "istio-system", selector=app, mode="STRICT"),
    )
    assert rig.problems() == [
        ("peer-authentication.ignored-ports", "spec.portLevelMtls"),
        ("peer-authentication.ignored-selector", "spec.selector"),
        ("peer-authentication.invalid-port", "spec.portLevelMtls[0]"),
    ]


@pytest.mark.proves("ST-2", "ST-4")
def test_what_was_dropped_for_either_reason_is_told_in_one_message() -> None:
    rule = AuthorizationRule(sources=(Source(ip_blocks=("x",), request_principals=("*",)),))
    rig = PolicyRig(an_authorization_policy(action="DENY", rules=(rule,)))
    message = rig.condition(ZTUNNEL).message
    assert message.startswith("ztunnel does not support HTTP attributes (found: requestPrincipals)")
    assert "ztunnel cannot use some values (found: spec.rules[0].from[0].source.ipBlocks[0])" in (
        message
    )
    assert [code for code, _ in rig.problems()] == [
        "policy.http-attribute",
        "policy.unusable-value",
    ]
