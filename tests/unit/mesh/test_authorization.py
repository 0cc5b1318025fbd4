from typing import Any

import pytest

from controlplane.manifests.istio import (
    AuthorizationPolicy,
    AuthorizationRule,
    Operation,
    Source,
    When,
)
from controlplane.mesh.authorization import (
    Refusal,
    Translation,
    Unsupported,
    Unusable,
    can_fire,
    translate_authorization,
)
from controlplane.model.policy import (
    Action,
    AddressMatch,
    Group,
    Match,
    MatchType,
    Rule,
    Scope,
    ServiceAccountMatch,
    StringMatch,
)
from tests.support.builders import an_authorization_policy

ANYONE = StringMatch(MatchType.PRESENCE)
ALICE = StringMatch(MatchType.EXACT, "td/ns/default/sa/alice")


def _translate(policy: AuthorizationPolicy, *, sends_dry_run: bool = False) -> Translation:
    return translate_authorization(
        policy, root_namespace="istio-system", sends_dry_run=sends_dry_run
    )


def _groups(*rules: AuthorizationRule, action: str = "ALLOW") -> tuple[Group, ...]:
    authorization = _translate(an_authorization_policy(action=action, rules=rules)).authorization
    assert authorization is not None
    return authorization.groups


def _a_rule(
    *sources: Source, to: tuple[Operation, ...] = (), when: tuple[When, ...] = ()
) -> AuthorizationRule:
    return AuthorizationRule(sources=sources, operations=to, when=when)


@pytest.mark.proves("AP-1")
@pytest.mark.refutes("AP-1")
@pytest.mark.parametrize(
    ("namespace", "selector", "scope"),
    [
        ("istio-system", None, Scope.GLOBAL),
        ("default", None, Scope.NAMESPACE),
        ("istio-system", {"app": "a"}, Scope.WORKLOAD_SELECTOR),
        ("default", {"app": "a"}, Scope.WORKLOAD_SELECTOR),
        ("default", {}, Scope.WORKLOAD_SELECTOR),
    ],
)
def test_scope_follows_from_selector_and_namespace(
    namespace: str, selector: dict[str, str] | None, scope: Scope
) -> None:
    authorization = _translate(
        an_authorization_policy("p", namespace, selector=selector)
    ).authorization
    assert authorization is not None
    assert (authorization.scope, authorization.name, authorization.namespace) == (
        scope,
        "p",
        namespace,
    )


@pytest.mark.proves("AP-3")
@pytest.mark.refutes("AP-3")
def test_only_allow_and_deny_are_sent() -> None:
    for action in ("ALLOW", "DENY"):
        authorization = _translate(an_authorization_policy(action=action)).authorization
        assert authorization is not None
        assert authorization.action is Action[action]
    for action in ("AUDIT", "CUSTOM"):
        translation = _translate(an_authorization_policy(action=action))
        assert translation == Translation(authorization=None, refusal=Refusal.ACTION)


@pytest.mark.proves("AP-4")
@pytest.mark.refutes("AP-4")
@pytest.mark.parametrize(
    ("text", "is_dry_run", "is_readable"),
    [("true", True, True), ("T", True, True), ("0", False, True), ("yes", False, False)],
)
def test_dry_run_is_not_enforced_and_sent_only_when_asked_for(
    text: str, *, is_dry_run: bool, is_readable: bool
) -> None:
    policy = an_authorization_policy(annotations={"istio.io/dry-run": text})
    translation = _translate(policy)
    assert (translation.refusal is Refusal.DRY_RUN) is is_dry_run
    assert (translation.authorization is None) is is_dry_run
    assert translation.unreadable_dry_run is not is_readable
    asked = _translate(policy, sends_dry_run=True).authorization
    assert asked is not None
    assert asked.dry_run is is_dry_run


@pytest.mark.proves("AP-5", "AP-7")
def test_a_rule_becomes_operations_then_sources_then_conditions() -> None:
    rule = _a_rule(
        Source(principals=("td/ns/default/sa/alice",), not_namespaces=("other",)),
        Source(ip_blocks=("10.0.0.0/8",), not_service_accounts=("a", "other/b")),
        to=(Operation(ports=("80", "443")), Operation(not_ports=("22",))),
        when=(
            When("destination.ip", values=("10.0.0.1",)),
            When("source.namespace", values=("x*",), not_values=("xy",)),
            When("destination.port", not_values=("9090",)),
            When("source.ip", not_values=("10.0.0.2",)),
            When("source.principal", values=("*",)),
        ),
    )
    accounts = (ServiceAccountMatch("default", "a"), ServiceAccountMatch("other", "b"))
    expected = (
        (Match(destination_ports=(80, 443)), Match(not_destination_ports=(22,))),
        (
            Match(principals=(ALICE,), not_namespaces=(StringMatch(MatchType.EXACT, "other"),)),
            Match(
                source_ips=(AddressMatch(bytes([10, 0, 0, 0]), 8),), not_service_accounts=accounts
            ),
        ),
        (Match(destination_ips=(AddressMatch(bytes([10, 0, 0, 1]), 32),)),),
        (
            Match(
                namespaces=(StringMatch(MatchType.PREFIX, "x"),),
                not_namespaces=(StringMatch(MatchType.EXACT, "xy"),),
            ),
        ),
        (Match(not_destination_ports=(9090,)),),
        (Match(not_source_ips=(AddressMatch(bytes([10, 0, 0, 2]), 32),)),),
        (Match(principals=(ANYONE,)),),
    )
    for action in ("ALLOW", "DENY"):
        assert _groups(rule, action=action) == (Group(tuple(Rule(m) for m in expected)),)


@pytest.mark.refutes("AP-5", "AP-7")
def test_what_is_absent_makes_no_rule() -> None:
    only = Rule((Match(destination_ports=(80,)),))
    assert _groups(_a_rule(to=(Operation(ports=("80",)),))) == (Group((only,)),)


@pytest.mark.proves("AP-6")
@pytest.mark.refutes("AP-6")
@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
def test_no_rules_never_match_and_an_empty_rule_always_does(action: str) -> None:
    assert _groups(action=action) == ()
    assert _groups(_a_rule(), action=action) == (Group(),)


HTTP = [
    _a_rule(Source(request_principals=("*",))),
    _a_rule(Source(not_request_principals=("*",))),
    _a_rule(Source(remote_ip_blocks=("10.0.0.1",))),
    _a_rule(Source(not_remote_ip_blocks=("10.0.0.1",))),
    _a_rule(to=(Operation(hosts=("a",)),)),
    _a_rule(to=(Operation(not_hosts=("a",)),)),
    _a_rule(to=(Operation(methods=("GET",)),)),
    _a_rule(to=(Operation(not_methods=("GET",)),)),
    _a_rule(to=(Operation(paths=("/",)),)),
    _a_rule(to=(Operation(not_paths=("/",)),)),
    _a_rule(when=(When("request.headers[x]", values=("y",)),)),
    _a_rule(when=(When("connection.sni", values=("y",)),)),
    _a_rule(when=(When("remote.ip", values=("y",)),)),
    _a_rule(when=(When("experimental.anything"),)),
    _a_rule(Source(trust_domains=("td",))),
    _a_rule(Source(not_trust_domains=("td",))),
]
L4 = _a_rule(Source(principals=("td/ns/default/sa/alice",)))
L4_GROUP = Group((Rule((Match(principals=(ALICE,)),)),))


@pytest.mark.proves("AP-12")
@pytest.mark.refutes("AP-12")
@pytest.mark.parametrize("rule", HTTP)
def test_an_allow_rule_with_an_http_attribute_is_left_out(rule: AuthorizationRule) -> None:
    assert _groups(rule) == ()
    assert _groups(rule, L4) == (L4_GROUP,)


@pytest.mark.proves("AP-13")
@pytest.mark.parametrize("rule", HTTP)
def test_a_deny_clause_of_http_attributes_alone_never_fires(rule: AuthorizationRule) -> None:
    authorization = _translate(an_authorization_policy(action="DENY", rules=(rule,))).authorization
    assert authorization is not None
    assert authorization.groups == (Group((Rule((Match(),)),)),)
    assert not can_fire(authorization)


@pytest.mark.proves("AP-13")
@pytest.mark.refutes("AP-13")
def test_a_deny_rule_loses_http_attributes_and_keeps_the_rest() -> None:
    mixed = Source(principals=("td/ns/default/sa/alice",), request_principals=("*",))
    assert _groups(_a_rule(mixed), action="DENY") == (L4_GROUP,)
    with_condition = _a_rule(
        Source(principals=("td/ns/default/sa/alice",)), when=(When("request.auth.claims[a]"),)
    )
    expected = Group((*L4_GROUP.rules, Rule((Match(),))))
    assert _groups(with_condition, action="DENY") == (expected,)
    assert _groups(_a_rule(), HTTP[0], action="DENY") == (Group(), Group((Rule((Match(),)),)))


def test_http_attributes_are_named_with_their_rule() -> None:
    translation = _translate(an_authorization_policy(rules=(L4, HTTP[6], HTTP[10])))
    assert translation.unsupported == (
        Unsupported("spec.rules[1]", "methods"),
        Unsupported("spec.rules[2]", "request.headers[x]"),
    )


UNUSABLE: list[tuple[AuthorizationRule, Unusable]] = [
    (
        _a_rule(Source(ip_blocks=("garbage",))),
        Unusable("spec.rules[0].from[0].source.ipBlocks[0]", "garbage"),
    ),
    (
        _a_rule(Source(not_ip_blocks=("garbage",))),
        Unusable("spec.rules[0].from[0].source.notIpBlocks[0]", "garbage"),
    ),
    (
        _a_rule(to=(Operation(ports=("http",)),)),
        Unusable("spec.rules[0].to[0].operation.ports[0]", "http"),
    ),
    (
        _a_rule(Source(principals=("",))),
        Unusable("spec.rules[0].from[0].source.principals[0]", ""),
    ),
    (
        _a_rule(when=(When("source.ip", not_values=("x",)),)),
        Unusable("spec.rules[0].when[0].notValues[0]", "x"),
    ),
    (_a_rule(when=(When(""),)), Unusable("spec.rules[0].when[0].key", "")),
]


@pytest.mark.proves("AP-14")
@pytest.mark.refutes("AP-14")
@pytest.mark.parametrize(("rule", "unusable"), UNUSABLE)
def test_an_allow_rule_with_an_unusable_value_is_left_out(
    rule: AuthorizationRule, unusable: Unusable
) -> None:
    translation = _translate(an_authorization_policy(rules=(rule, L4)))
    assert translation.authorization is not None
    assert translation.authorization.groups == (L4_GROUP,)
    assert translation.unusable == (unusable,)


@pytest.mark.proves("AP-15")
@pytest.mark.parametrize(("rule", "unusable"), UNUSABLE)
def test_a_deny_clause_with_nothing_usable_is_left_out(
    rule: AuthorizationRule, unusable: Unusable
) -> None:
    translation = _translate(an_authorization_policy(action="DENY", rules=(rule,)))
    assert translation.authorization is not None
    assert translation.authorization.groups == (Group(),)
    assert translation.unusable == (unusable,)


@pytest.mark.proves("AP-15")
@pytest.mark.refutes("AP-15")
@pytest.mark.parametrize(
    ("source", "match"),
    [
        (Source(ip_blocks=("x", "10.0.0.1")), Match(source_ips=(AddressMatch(b"\n\0\0\1", 32),))),
        (
            Source(not_ip_blocks=("x", "10.0.0.1")),
            Match(not_source_ips=(AddressMatch(b"\n\0\0\1", 32),)),
        ),
        (
            Source(ip_blocks=("x",), principals=("td/ns/default/sa/alice",)),
            Match(principals=(ALICE,)),
        ),
    ],
)
def test_a_deny_rule_keeps_what_is_usable(source: Source, match: Match) -> None:
    assert _groups(_a_rule(source), action="DENY") == (Group((Rule((match,)),)),)


@pytest.mark.proves("AP-15")
def test_an_unusable_value_beside_http_attributes_still_denies() -> None:
    rule = _a_rule(Source(ip_blocks=("x",), request_principals=("*",)))
    assert _groups(rule, action="DENY") == (Group(),)


@pytest.mark.proves("AP-16")
@pytest.mark.parametrize(
    "rule",
    [_a_rule(Source()), _a_rule(to=(Operation(),)), _a_rule(when=(When("source.ip"),))],
)
def test_an_element_that_says_nothing_closes(rule: AuthorizationRule) -> None:
    assert _groups(rule) == ()
    assert _groups(rule, action="DENY") == (Group(),)
    translation = _translate(an_authorization_policy(rules=(rule,)))
    assert [unusable.value for unusable in translation.unusable] == [""]


@pytest.mark.refutes("AP-16")
def test_absent_clauses_are_not_elements_that_say_nothing() -> None:
    translation = _translate(an_authorization_policy(rules=(_a_rule(),)))
    assert translation.unusable == ()
    assert _groups(_a_rule()) == (Group(),)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [((), False), ((_a_rule(),), True), ((L4,), True), ((HTTP[0], L4), True), ((HTTP[0],), False)],
)
def test_a_policy_can_fire_when_some_group_can(rules: tuple[Any, ...], *, expected: bool) -> None:
    authorization = _translate(an_authorization_policy(action="DENY", rules=rules)).authorization
    assert authorization is not None
    assert can_fire(authorization) is expected
