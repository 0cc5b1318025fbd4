"""What a waypoint does with a request, field by field."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.insight.http_decision import Caller, HttpRequest, Matched, Verdict, decide
from controlplane.manifests.istio import (
    AuthorizationPolicy,
    AuthorizationRule,
    Operation,
    Source,
    When,
)
from controlplane.mesh.authorization import DRY_RUN
from controlplane.mesh.http_translation import translate_http_policy
from controlplane.model.http_policy import (
    Attribute,
    Criterion,
    HttpAction,
    HttpPolicy,
    HttpRule,
    ListItem,
)
from controlplane.model.names import Name
from controlplane.model.policy import MatchType, StringMatch
from tests.support.builders import an_authorization_policy

WEB = "spiffe://td/ns/default/sa/web"
CLAIMS = {
    "iss": "https://i",
    "sub": "alice",
    "aud": ["app", "shop"],
    "azp": "phone",
    "a": {"b": "deep"},
}
REQUEST = HttpRequest(
    caller=Caller(identity=WEB, source=b"\x0a\1\2\3", remote=b"\xcb\0\x71\x09", claims=CLAIMS),
    destination=b"\x0a\x60\0\x0a",
    port=8080,
    server_name="a.example",
    method="GET",
    authority="Shop.Example",
    path="/a/b?c=/d",
    headers={"x-color": "red"},
    metadata={"envoy.filters.x": {"key": "red", "list": ["red", "blue"]}},
)

ATTRIBUTES = [
    ("source.principal", "td/ns/default/sa/web", "td/ns/default/sa/we"),
    ("source.principal", "td/ns/default/*", "td/ns/defaul/*"),
    ("source.principal", "*/sa/web", "*/sa/eb"),
    ("source.namespace", "default", "defaul"),
    ("source.namespace", "d*t", "d*l"),
    ("source.serviceAccount", "web", "default"),
    ("source.serviceAccount", "default/web", "other/web"),
    ("source.trustDomain", "td", "t"),
    ("source.trustDomain", "t*", "*t"),
    ("source.ip", "10.1.0.0/16", "10.2.0.0/16"),
    ("source.ip", "10.1.2.3", "::a01:203"),
    ("remote.ip", "203.0.113.0/24", "10.1.0.0/16"),
    ("request.auth.principal", "https://i/alice", "https://i/ali"),
    ("request.auth.principal", "https://i/*", "https://j/*"),
    ("request.auth.principal", "*/alice", "*/bob"),
    ("request.auth.principal", "https://*", "http://*"),
    ("request.auth.audiences", "shop", "sho"),
    ("request.auth.presenter", "phone", "app"),
    ("request.auth.claims[a][b]", "deep", "b"),
    ("request.auth.claims[aud]", "ap*", "*sho"),
    ("request.headers[X-Color]", "red", "re"),
    ("request.headers[host]", "Shop.Example", "shop.example"),
    ("destination.ip", "10.96.0.0/16", "10.97.0.0/16"),
    ("destination.port", "8080", "80"),
    ("connection.sni", "*.example", "b.example"),
    ("experimental.envoy.filters.x[key]", "red", "[red]"),
    ("experimental.envoy.filters.x[list]", "[blue]", "blue"),
]
FIELDS = [
    (Source, "principals", "td/ns/default/sa/web", "td/ns/default/sa/db"),
    (Source, "namespaces", "default", "other"),
    (Source, "service_accounts", "web", "db"),
    (Source, "trust_domains", "td", "other.example"),
    (Source, "ip_blocks", "10.1.0.0/16", "10.2.0.0/16"),
    (Source, "remote_ip_blocks", "203.0.113.9", "10.1.2.3"),
    (Source, "request_principals", "*", "https://i/bob"),
    (Operation, "hosts", "shop.example", "example"),
    (Operation, "hosts", "*.EXAMPLE", "*.example.org"),
    (Operation, "ports", "8080", "80"),
    (Operation, "methods", "GET", "get"),
    (Operation, "paths", "/a/b", "/a/b?c=/d"),
    (Operation, "paths", "/a/*", "*/d"),
    (Operation, "paths", "/{*}/b", "/{*}"),
    (Operation, "paths", "/a/{**}", "/b/{**}"),
]


def _read(*manifests: AuthorizationPolicy) -> list[HttpPolicy]:
    found = [translate_http_policy(each, providers=frozenset({"judge"})) for each in manifests]
    assert [each.problems for each in found] == [()] * len(manifests)
    return [each.policy for each in found if each.policy is not None]


def _allows(rule: AuthorizationRule, request: HttpRequest = REQUEST) -> bool:
    return decide(request, _read(an_authorization_policy(rules=[rule]))).is_allowed


@pytest.mark.proves("HP-4", "HP-5", "HP-7", "HP-13")
@pytest.mark.refutes("HP-4", "HP-5", "HP-7", "HP-13")
@pytest.mark.parametrize(("key", "met", "other"), ATTRIBUTES)
def test_a_condition_is_met_by_its_values_alone(key: str, met: str, other: str) -> None:
    def allows(**values: Any) -> bool:
        return _allows(AuthorizationRule(when=(When(key=key, **values),)))

    assert allows(values=(met,))
    assert not allows(values=(other,))
    assert allows(values=(other, met))
    assert not allows(not_values=(met, other))
    assert allows(not_values=(other,))
    assert not allows(values=(met,), not_values=(met,))


@pytest.mark.proves("HP-4", "HP-6")
@pytest.mark.refutes("HP-4", "HP-6")
@pytest.mark.parametrize(("kind", "field", "met", "other"), FIELDS)
def test_a_field_is_met_by_its_values_alone(kind: Any, field: str, met: str, other: str) -> None:
    def allows(**values: Any) -> bool:
        element = kind(**values)
        side = "sources" if kind is Source else "operations"
        return _allows(AuthorizationRule(**{side: (element,)}))

    assert allows(**{field: (met,)})
    assert not allows(**{field: (other,)})
    assert not allows(**{f"not_{field}": (met,)})
    assert allows(**{f"not_{field}": (other,)})


@pytest.mark.proves("HP-3")
@pytest.mark.refutes("HP-3")
def test_any_source_any_operation_and_every_condition() -> None:
    web, other = Source(namespaces=("default",)), Source(namespaces=("other",))
    get, post = Operation(methods=("GET",)), Operation(methods=("POST",))
    red = When(key="request.headers[x-color]", values=("red",))
    blue = When(key="request.headers[x-color]", values=("blue",))
    assert _allows(AuthorizationRule())
    assert _allows(AuthorizationRule((other, web), (post, get), (red,)))
    assert not _allows(AuthorizationRule((other,), (get,), (red,)))
    assert not _allows(AuthorizationRule((web,), (post,), (red,)))
    assert not _allows(AuthorizationRule((web,), (get,), (red, blue)))
    both = Source(namespaces=("default",), principals=("td/ns/default/sa/db",))
    assert not _allows(AuthorizationRule((both,)))
    no_rules = _read(an_authorization_policy())
    assert not decide(REQUEST, no_rules).is_allowed
    assert decide(REQUEST, _read(an_authorization_policy(action="DENY"))).is_allowed


@pytest.mark.refutes("HP-13")
@pytest.mark.parametrize(
    "identity",
    [
        "",
        "-",
        "td/ns/default/sa/web",
        "http://td/ns/default/sa/web",
        "spiffe://evil/td/ns/default/sa/web",
        "spiffe://td.evil/ns/default/sa/web",
        "spiffe://td/ns/default/sa/web/more",
        "spiffe://td/ns/default2/sa/web",
        "spiffe://td/ns/x/ns/default/sa/web",
    ],
)
def test_who_only_looks_alike_is_somebody_else(identity: str) -> None:
    request = HttpRequest(caller=Caller(identity=identity))
    account = Source(service_accounts=("default/web",))
    exact = Source(principals=("td/ns/default/sa/web",))
    # An account is one of any trust domain: TLS lets in who is of ours.
    is_account = identity == "spiffe://td.evil/ns/default/sa/web"
    assert _allows(AuthorizationRule((account,)), request) is is_account
    assert not _allows(AuthorizationRule((exact,)), request)
    assert _allows(AuthorizationRule((Source(principals=("*",)),)), request) is identity.startswith(
        "spiffe://"
    )


def test_without_a_token_nothing_of_it_is_met() -> None:
    nobody = HttpRequest(caller=Caller(identity=WEB))
    assert not _allows(AuthorizationRule((Source(request_principals=("*",)),)), nobody)
    assert _allows(AuthorizationRule((Source(not_request_principals=("*",)),)), nobody)
    assert not _allows(
        AuthorizationRule(when=(When(key="request.auth.claims[a][b]", values=("*",)),)), nobody
    )


def _policy(name: str, action: str, *, matches: bool = True, **rest: Any) -> AuthorizationPolicy:
    method = "GET" if matches else "PUT"
    rule = AuthorizationRule(operations=(Operation(methods=(method,)),))
    return an_authorization_policy(name, action=action, rules=[rule], **rest)


def _because(name: str) -> Matched:
    return Matched(policy=Name("default", name), rule=0)


@pytest.mark.proves("HP-20")
@pytest.mark.refutes("HP-20")
def test_who_decides() -> None:
    allow, deny = _policy("allow", "ALLOW"), _policy("deny", "DENY")
    audit = _policy("audit", "AUDIT")
    assert decide(REQUEST, []) == Verdict(is_allowed=True)
    assert decide(REQUEST, _read(allow)) == Verdict(is_allowed=True, because=_because("allow"))
    assert decide(REQUEST, _read(allow, deny)) == Verdict(
        is_allowed=False, because=_because("deny")
    )
    assert decide(REQUEST, _read(_policy("deny", "DENY", matches=False))).is_allowed
    assert decide(REQUEST, _read(_policy("allow", "ALLOW", matches=False))) == Verdict(
        is_allowed=False
    )
    assert decide(REQUEST, _read(audit)) == Verdict(is_allowed=True, audited=(_because("audit"),))
    assert decide(REQUEST, _read(audit, deny)).audited == (_because("audit"),)
    assert decide(REQUEST, _read(_policy("audit", "AUDIT", matches=False))).audited == ()


@pytest.mark.proves("HP-11", "HP-20")
@pytest.mark.refutes("HP-11")
def test_dry_runs_tell_and_do_nothing_else() -> None:
    try_out = {"annotations": {DRY_RUN: "true"}}
    deny, allow = _policy("deny", "DENY", **try_out), _policy("allow", "ALLOW", **try_out)
    verdict = decide(REQUEST, _read(deny, allow))
    assert verdict == Verdict(is_allowed=True, tried=(_because("allow"), _because("deny")))
    missed = _policy("allow", "ALLOW", matches=False, **try_out)
    assert decide(REQUEST, _read(missed)) == Verdict(is_allowed=True)
    real = _policy("real", "DENY")
    assert decide(REQUEST, _read(real, allow, deny)).tried == (_because("deny"),)
    assert not decide(
        REQUEST, _read(_policy("d", "DENY", annotations={DRY_RUN: "false"}))
    ).is_allowed


@pytest.mark.proves("HP-12")
@pytest.mark.refutes("HP-12")
def test_custom_asks_the_provider_of_the_chain_or_denies() -> None:
    custom = _policy("custom", "CUSTOM", provider="judge")
    assert decide(REQUEST, _read(custom), asked="judge") == Verdict(is_allowed=True, asked="judge")
    for other in ("", "somebody"):
        assert decide(REQUEST, _read(custom), asked=other) == Verdict(
            is_allowed=False, because=_because("custom")
        )
    missed = _policy("custom", "CUSTOM", matches=False, provider="judge")
    assert decide(REQUEST, _read(missed)) == Verdict(is_allowed=True)
    assert decide(REQUEST, _read(missed), asked="judge").asked == ""
    audit = _policy("audit", "AUDIT")
    assert decide(REQUEST, _read(custom, audit)).audited == ()


def test_values_of_other_attributes_are_refused() -> None:
    item = ListItem(StringMatch(MatchType.EXACT, "x"))
    for attribute in (Attribute.CLAIM, Attribute.PRINCIPAL):
        rule = HttpRule(0, conditions=(Criterion(attribute, (item,), path=("a",)),))
        policy = HttpPolicy(key=Name("a", "b"), action=HttpAction.ALLOW, rules=(rule,))
        with pytest.raises(TypeError, match="cannot be"):
            decide(REQUEST, [policy])


@pytest.mark.proves("HP-27")
@pytest.mark.refutes("HP-27")
def test_a_host_that_is_refused_is_so_in_any_form() -> None:
    forms = ("a.b", "A.b.", "a.b:80", "a.b.:80", "u@a.b", "u:p@a.b:1", "x,a.b", "a.b,x", "a.b:80,x")
    others = ("a.b.c", "xa.b", "a-b", "a.bc", "b", "a.b@x", "")
    for host, more in (("a.b", ()), ("*.b", ("xa.b",)), ("a.*", ("a.b.c", "a.bc", "a.b@x"))):
        denied = AuthorizationRule(operations=(Operation(hosts=(host,)),))
        but_this = AuthorizationRule(operations=(Operation(not_hosts=(host,)),))
        for authority in (*forms, *others):
            is_met = authority in (*forms, *more)
            for action, rule, expected in (
                ("DENY", denied, not is_met),
                ("ALLOW", but_this, not is_met),
                ("ALLOW", denied, authority.lower() in _plainly(host, (*forms, *others))),
            ):
                policy = translate_http_policy(
                    an_authorization_policy("p", action=action, rules=[rule])
                ).policy
                assert policy is not None
                request = replace(REQUEST, authority=authority)
                assert decide(request, [policy]).is_allowed is expected, (host, authority, action)


def _plainly(host: str, authorities: tuple[str, ...]) -> set[str]:
    pattern = host.replace("*", "")
    lower = {each.lower() for each in authorities}
    if host.startswith("*"):
        return {each for each in lower if each.endswith(pattern)}
    if host.endswith("*"):
        return {each for each in lower if each.startswith(pattern)}
    return {pattern}
