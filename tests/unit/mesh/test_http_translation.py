"""AuthorizationPolicies with targets, as waypoints enforce them: what is lost makes stricter."""

from typing import Any

import pytest

from controlplane.manifests.istio import AuthorizationRule, Operation, Source, When
from controlplane.mesh.authorization import DRY_RUN
from controlplane.mesh.http_translation import HttpTranslation, translate_http_policy
from controlplane.model.http_policy import (
    Attribute,
    HttpAction,
    HttpRule,
    PathTemplate,
    Wildcard,
)
from controlplane.model.policy import MatchType, StringMatch
from tests.support.builders import an_authorization_policy

GET = Operation(methods=("GET",))
REFUSING = ["DENY", "AUDIT", "CUSTOM"]


def _translated(*rules: AuthorizationRule, action: str = "ALLOW", **rest: Any) -> HttpTranslation:
    manifest = an_authorization_policy(action=action, rules=rules, provider="judge", **rest)
    return translate_http_policy(manifest, providers=frozenset({"judge"}))


def _rules(translation: HttpTranslation) -> tuple[HttpRule, ...]:
    assert translation.policy is not None
    return translation.policy.rules


def _fields(translation: HttpTranslation) -> list[str]:
    assert {each.code for each in translation.problems} <= {"policy.unusable-value"}
    return [str(each.field) for each in translation.problems]


def test_a_policy_is_read_with_everything_it_says() -> None:
    rule = AuthorizationRule(
        sources=(Source(namespaces=("a",), not_principals=("td/*",)),),
        operations=(GET,),
        when=(When(key="request.headers[A]", values=("x",), not_values=("y",)),),
    )
    translation = _translated(rule, action="CUSTOM")
    policy = translation.policy
    assert policy is not None
    assert (policy.action, policy.provider, policy.is_dry_run) == (
        HttpAction.CUSTOM,
        "judge",
        False,
    )
    (read,) = policy.rules
    assert [(each.attribute, each.is_negated) for each in read.sources[0]] == [
        (Attribute.PRINCIPAL, True),
        (Attribute.NAMESPACE, False),
    ]
    assert [(each.path, each.is_negated) for each in read.conditions] == [
        (("a",), False),
        (("a",), True),
    ]
    assert translation.problems == ()


@pytest.mark.proves("HP-4")
@pytest.mark.parametrize("negated", [False, True])
def test_a_source_may_be_of_a_trust_domain(negated: bool) -> None:
    field = "not_trust_domains" if negated else "trust_domains"
    source = Source(**{field: ("td", "t*")})
    (read,) = _rules(_translated(AuthorizationRule(sources=(source,))))
    (criterion,) = read.sources[0]
    assert (criterion.attribute, criterion.is_negated) == (Attribute.TRUST_DOMAIN, negated)
    assert criterion.values == (Wildcard(("td",)), Wildcard(("t", "")))


UNUSABLE = [
    (Source(principals=("",)), "principals[0]"),
    (Source(principals=("td/ns/*/sa/web",)), "principals[0]"),
    (Source(principals=("spiffe://td/ns/a/sa/web",)), "principals[0]"),
    (Source(principals=("a\nb",)), "principals[0]"),
    (Source(principals=("a" * 4097,)), "principals[0]"),
    (Source(namespaces=("a/b",)), "namespaces[0]"),
    (Source(service_accounts=("a/b/c",)), "serviceAccounts[0]"),
    (Source(service_accounts=("a/*",)), "serviceAccounts[0]"),
    (Source(ip_blocks=("10.0.0.0/33",)), "ipBlocks[0]"),
    (Source(remote_ip_blocks=("localhost",)), "remoteIpBlocks[0]"),
    (Source(request_principals=("https://issuer",)), "requestPrincipals[0]"),
    (Source(request_principals=("/subject",)), "requestPrincipals[0]"),
]
UNUSABLE_OPERATIONS = [
    (Operation(hosts=("",)), "hosts[0]"),
    (Operation(methods=("",)), "methods[0]"),
    (Operation(ports=("0",)), "ports[0]"),
    (Operation(ports=("http",)), "ports[0]"),
    (Operation(paths=("",)), "paths[0]"),
    (Operation(paths=("/a/{b}",)), "paths[0]"),
    (Operation(paths=("/{*}" + "/a" * 3000,)), "paths[0]"),
    (Operation(paths=("/{*}/" + "a" * 254,)), "paths[0]"),
    (Operation(paths=("/{**}/a",)), "paths[0]"),
    (Operation(paths=("a/{*}",)), "paths[0]"),
    (Operation(paths=("/{*}/*",)), "paths[0]"),
    (Operation(paths=("/x{*}",)), "paths[0]"),
    (Operation(paths=("/{*}//a",)), "paths[0]"),
    (Operation(paths=("/{*}/{*}/{*}/{*}/{*}/{*}",)), "paths[0]"),
]


@pytest.mark.proves("HP-8", "HP-9", "HP-10")
@pytest.mark.parametrize("action", ["ALLOW", *REFUSING])
@pytest.mark.parametrize(
    ("element", "field"), [*UNUSABLE, *UNUSABLE_OPERATIONS, (Source(), ""), (Operation(), "")]
)
def test_a_value_that_cannot_be_used_is_told_and_never_weakens(
    element: Source | Operation, field: str, action: str
) -> None:
    is_source = isinstance(element, Source)
    rule = AuthorizationRule(
        sources=(element,) if is_source else (), operations=() if is_source else (element,)
    )
    translation = _translated(rule, AuthorizationRule(operations=(GET,)), action=action)
    place = "from[0].source" if is_source else "to[0].operation"
    assert _fields(translation) == [f"spec.rules[0].{place}" + (f".{field}" if field else "")]
    rules = _rules(translation)
    if action == "ALLOW":
        assert [each.place for each in rules] == [1]
    else:
        assert rules[0] == HttpRule(0, ((),) if is_source else (), () if is_source else ((),))


@pytest.mark.proves("HP-8")
@pytest.mark.refutes("HP-8")
@pytest.mark.parametrize(
    ("when", "field"),
    [
        (When(key="", values=("a",)), "key"),
        (When(key="request.header[a]", values=("a",)), "key"),
        (When(key="request.headers[a b]", values=("a",)), "key"),
        (When(key="request.auth.claims", values=("a",)), "key"),
        (When(key="request.auth.claims[a]b", values=("a",)), "key"),
        (When(key="experimental.envoy.filters.x", values=("a",)), "key"),
        (When(key="source.ip"), ""),
        (When(key="source.ip", values=("10.0.0.1", "x")), "values[1]"),
        (When(key="connection.sni", not_values=("",)), "notValues[0]"),
    ],
)
def test_a_condition_that_cannot_be_used_is_told(when: When, field: str) -> None:
    place = "spec.rules[0].when[0]" + (f".{field}" if field else "")
    rule = AuthorizationRule(operations=(GET,), when=(when,))
    allow, deny = _translated(rule), _translated(rule, action="DENY")
    assert _fields(allow) == _fields(deny) == [place]
    assert _rules(allow) == ()
    assert _rules(deny) == _rules(_translated(AuthorizationRule(operations=(GET,)), action="DENY"))
    good = When(key="source.ip", values=("10.0.0.1",))
    assert _fields(_translated(AuthorizationRule(when=(good,)))) == []


@pytest.mark.proves("HP-10")
@pytest.mark.refutes("HP-9", "HP-10")
def test_of_several_values_what_is_left_never_denies_less() -> None:
    def deny(**fields: Any) -> HttpRule:
        rule = AuthorizationRule(sources=(Source(**fields),))
        return _rules(_translated(rule, action="DENY"))[0]

    assert deny(ip_blocks=("10.0.0.1", "x")).sources == ((),)
    assert deny(not_ip_blocks=("10.0.0.1", "x")) == deny(not_ip_blocks=("10.0.0.1",))
    assert deny(ip_blocks=("x",), namespaces=("a",)) == deny(namespaces=("a",))
    whole = deny(ip_blocks=("10.0.0.1", "10.0.0.2"))
    assert len(whole.sources[0][0].values) == 2
    written = AuthorizationRule(sources=(Source(ip_blocks=("10.0.0.1",)),))
    assert len(_rules(_translated(written))) == 1


@pytest.mark.proves("HP-6")
@pytest.mark.refutes("HP-6")
def test_braces_make_a_template() -> None:
    def read(path: str) -> Any:
        rule = AuthorizationRule(operations=(Operation(paths=(path,)),))
        return _rules(_translated(rule))[0].operations[0][0].values[0]

    assert read("/a/{*}/b/{**}") == PathTemplate("/a/*/b/**")
    assert read("/{**}") == PathTemplate("/**")
    assert read("/a/*") == StringMatch(MatchType.PREFIX, "/a/")
    assert read("/a/*/b") == StringMatch(MatchType.EXACT, "/a/*/b")
    longest = f"/*/{'a' * 253}"
    assert read(longest.replace("*", "{*}")) == PathTemplate(longest)


@pytest.mark.proves("HP-11")
@pytest.mark.refutes("HP-11")
def test_what_a_dry_run_is() -> None:
    def run(value: str, action: str = "DENY") -> tuple[bool | None, list[str]]:
        translation = _translated(action=action, annotations={DRY_RUN: value})
        policy = translation.policy
        found = [each.code for each in translation.problems]
        return None if policy is None else policy.is_dry_run, found

    assert run("true") == (True, [])
    assert run("false") == (False, [])
    assert run("yes") == (False, ["policy.invalid-annotation"])
    assert run("true", "CUSTOM") == (None, ["policy.unsupported-dry-run"])
    assert run("false", "CUSTOM") == (False, [])


@pytest.mark.proves("HP-12")
@pytest.mark.refutes("HP-12")
def test_a_provider_that_is_not_there_is_a_problem() -> None:
    manifest = an_authorization_policy(action="CUSTOM", provider="nobody")
    (problem,) = translate_http_policy(manifest, providers=frozenset({"judge"})).problems
    assert (problem.code, problem.field) == ("policy.unknown-provider", "spec.provider.name")
    assert _translated(action="CUSTOM").problems == ()
    assert translate_http_policy(an_authorization_policy(provider="nobody")).problems == ()


@pytest.mark.proves("HP-23")
@pytest.mark.parametrize("negated", [False, True])
def test_who_is_asked_is_asked_before_tokens_are_read(negated: bool) -> None:
    field = {"not_request_principals" if negated else "request_principals": ("*",)}
    source = Source(namespaces=("a",), **field)
    claim = When(key="request.auth.claims[a]", values=("x",), not_values=("y",))
    rule = AuthorizationRule(sources=(source,), when=(claim,))
    translation = _translated(rule, action="CUSTOM")
    (read,) = _rules(translation)
    assert [each.attribute for each in read.sources[0]] == [Attribute.NAMESPACE]
    assert read.conditions == ()
    name = "notRequestPrincipals" if negated else "requestPrincipals"
    assert _fields(translation) == [
        f"spec.rules[0].from[0].source.{name}[0]",
        "spec.rules[0].when[0].values[0]",
        "spec.rules[0].when[0].notValues[0]",
    ]


@pytest.mark.refutes("HP-23")
@pytest.mark.parametrize("action", ["ALLOW", "DENY", "AUDIT"])
def test_others_know_of_tokens(action: str) -> None:
    rule = AuthorizationRule(sources=(Source(request_principals=("*",)),))
    translation = _translated(rule, action=action)
    assert translation.problems == ()
    (read,) = _rules(translation)
    assert [each.attribute for each in read.sources[0]] == [Attribute.TOKEN_PRINCIPAL]


@pytest.mark.proves("HP-16")
@pytest.mark.refutes("HP-16")
@pytest.mark.parametrize("field", ["values", "not_values"])
def test_the_name_of_a_server_is_not_known_of_connections(field: str) -> None:
    condition = When(key="connection.sni", **{field: ("a.example",)})
    source = Source(namespaces=("shop",))
    rule = AuthorizationRule(sources=(source,), when=(condition,))
    for action in ("ALLOW", "DENY", "AUDIT", "CUSTOM"):
        manifest = an_authorization_policy("p", action=action, rules=[rule], provider="judge")
        policy = translate_http_policy(manifest, providers=("judge",)).policy
        assert policy is not None
        assert policy.needs_http
        weaker = policy.for_connections()
        assert len(weaker.rules) == (action != "ALLOW")
        assert all(not each.conditions and each.sources for each in weaker.rules)
