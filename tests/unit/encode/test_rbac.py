"""Policies as filters, compared as text: what an Envoy is told, and nothing beside it."""

from typing import Any

import pytest
from google.protobuf import json_format

from controlplane.encode.errors import EncodeError
from controlplane.encode.rbac import encode_http_policies, encode_network_policies
from controlplane.encode.typed import encoded
from controlplane.manifests.istio import AuthorizationRule, Operation, Source, When
from controlplane.mesh.authorization import DRY_RUN
from controlplane.mesh.http_translation import translate_http_policy
from controlplane.model.http_policy import Attribute, Criterion, HttpAction, HttpPolicy, HttpRule
from controlplane.model.names import Name
from tests.support.builders import an_authorization_policy

PRINCIPAL = "io.istio.peer_principal"
GET = AuthorizationRule(operations=(Operation(methods=("GET",)),))
PORT = AuthorizationRule(operations=(Operation(ports=("9000",)),))
WITH_PATH = AuthorizationRule(
    sources=(Source(namespaces=("a",), request_principals=("*",)),),
    operations=(Operation(paths=("/x",), ports=("9000",)),),
    when=(When(key="request.headers[a]", not_values=("b",)),),
)


def _policy(
    name: str = "p", *rules: AuthorizationRule, action: str = "ALLOW", **rest: Any
) -> HttpPolicy:
    manifest = an_authorization_policy(name, action=action, rules=rules, **rest)
    policy = translate_http_policy(manifest).policy
    assert policy is not None
    return policy


def _told(*policies: HttpPolicy, asked: str = "") -> dict[str, Any]:
    overrides = encode_http_policies(policies, asked=asked)
    return {name: _text(override).get("rbac", {}) for name, override in overrides.items()}


def _text(message: Any) -> Any:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _one(**fields: Any) -> tuple[Any, Any]:
    """What one source, operation or condition becomes: permissions and principals."""
    rule = AuthorizationRule(**fields)
    policies = _told(_policy("p", rule))["rbac-allow"]["rules"]["policies"]
    told = policies["ns[default]-policy[p]-rule[0]"]
    return told["permissions"], told["principals"]


def _source(**fields: Any) -> Any:
    permissions, (principal,) = _one(sources=(Source(**fields),))
    assert permissions == [{"any": True}]
    return principal


def _operation(**fields: Any) -> Any:
    (permission,), principals = _one(operations=(Operation(**fields),))
    assert principals == [{"any": True}]
    return permission


def _when(key: str, *values: str) -> Any:
    (permission,), (principal,) = _one(when=(When(key=key, values=values),))
    return principal if permission == {"any": True} else permission


def _identity(**match: Any) -> Any:
    return {"filter_state": {"key": PRINCIPAL, "string_match": match}}


def _regex(pattern: str) -> dict[str, Any]:
    return {"safe_regex": {"regex": pattern}}


def _block(address: str, length: int) -> dict[str, Any]:
    return {"address_prefix": address, "prefix_len": length}


def _claim(*path: str, value: Any) -> Any:
    keys = [{"key": each} for each in ("payload", *path)]
    matcher = {"filter": "envoy.filters.http.jwt_authn", "path": keys, "value": value}
    return {"sourced_metadata": {"metadata_matcher": matcher}}


@pytest.mark.proves("HP-13")
@pytest.mark.refutes("HP-13")
def test_who_asks() -> None:
    assert _source(principals=("td/ns/a/sa/b",)) == _identity(exact="spiffe://td/ns/a/sa/b")
    assert _source(principals=("td/*",)) == _identity(prefix="spiffe://td/")
    assert _source(principals=("*.x/b",)) == _identity(**_regex(r"spiffe://.*\.x/b"))
    assert _source(principals=("*",)) == _identity(prefix="spiffe://")
    assert _source(namespaces=("a.b",)) == _identity(**_regex(r"spiffe://[^/]+/ns/a\.b/sa/.*"))
    assert _source(namespaces=("a*",)) == _identity(**_regex("spiffe://[^/]+/ns/a[^/]*/sa/.*"))
    account = _identity(**_regex("spiffe://[^/]+/ns/default/sa/web"))
    assert _source(service_accounts=("web",)) == account
    assert _source(service_accounts=("default/web",)) == account
    assert _when("source.trustDomain", "td") == _identity(prefix="spiffe://td/")
    assert _when("source.trustDomain", "*") == _identity(**_regex("spiffe://[^/]*/.*"))
    assert _source(ip_blocks=("10.0.0.0/8",)) == {
        "filter_state": {
            "key": "io.istio.source_ip",
            "address_match": {"ranges": [_block("10.0.0.0", 8)]},
        }
    }
    assert _source(remote_ip_blocks=("fd00::1",)) == {"remote_ip": _block("fd00::1", 128)}


def test_tokens_and_headers() -> None:
    anything = {"string_match": _regex(".+")}
    assert _source(request_principals=("*",)) == {
        "and_ids": {"ids": [_claim("iss", value=anything), _claim("sub", value=anything)]}
    }
    app = {"string_match": {"exact": "app"}}
    either = {"or_match": {"value_matchers": [{"list_match": {"one_of": app}}, app]}}
    assert _when("request.auth.audiences", "app") == _claim("aud", value=either)
    assert _when("request.auth.presenter", "app") == _claim("azp", value=either)
    assert _when("request.auth.claims[a][b]", "app") == _claim("a", "b", value=either)
    assert _when("request.headers[A]", "*") == {"header": {"name": "a", "present_match": True}}
    assert _when("request.headers[A]", "b*") == {
        "header": {"name": "a", "string_match": {"prefix": "b"}}
    }


def test_what_is_asked_for() -> None:
    assert _operation(hosts=("*.X",)) == {
        "header": {"name": ":authority", "string_match": {"suffix": ".X", "ignore_case": True}}
    }
    assert _operation(methods=("GET",)) == {
        "header": {"name": ":method", "string_match": {"exact": "GET"}}
    }
    assert _operation(paths=("/a*",)) == {"url_path": {"path": {"prefix": "/a"}}}
    template = _operation(paths=("/a/{*}",))["uri_template"]["typed_config"]
    assert template["path_template"] == "/a/*"
    assert _operation(ports=("80", "81")) == {
        "or_rules": {"rules": [{"destination_port": 80}, {"destination_port": 81}]}
    }
    assert _operation(not_ports=("80", "81")) == {
        "not_rule": {"or_rules": {"rules": [{"destination_port": 80}, {"destination_port": 81}]}}
    }
    assert _when("destination.ip", "10.96.0.1") == {"destination_ip": _block("10.96.0.1", 32)}
    assert _when("connection.sni", "a") == {"requested_server_name": {"exact": "a"}}
    item = _when("experimental.envoy.filters.x[k]", "[v]")["sourced_metadata"]["metadata_matcher"]
    assert item == {
        "filter": "envoy.filters.x",
        "path": [{"key": "k"}],
        "value": {"list_match": {"one_of": {"string_match": {"exact": "v"}}}},
    }


@pytest.mark.proves("HP-3")
@pytest.mark.refutes("HP-3")
def test_conditions_go_with_every_set_of_their_side() -> None:
    when = (When(key="destination.port", values=("80",)), When(key="source.ip", values=("::1",)))
    permissions, principals = _one(
        sources=(Source(principals=("a",)), Source(principals=("b",))),
        operations=(Operation(methods=("GET",)),),
        when=when,
    )
    (permission,) = permissions
    assert permission["and_rules"]["rules"][1] == {"destination_port": 80}
    assert len(principals) == 2
    for each in principals:
        assert each["and_ids"]["ids"][1]["filter_state"]["key"] == "io.istio.source_ip"
    assert _one() == ([{"any": True}], [{"any": True}])


@pytest.mark.proves("HP-14", "HP-15")
@pytest.mark.refutes("HP-14", "HP-15")
def test_each_filter_has_the_policies_of_its_action() -> None:
    assert _told() == {"rbac-allow": {}}
    assert _told(_policy("d", GET, action="DENY")).keys() == {"rbac-deny", "rbac-allow"}
    told = _told(
        _policy("d", GET, action="DENY"), _policy("a", GET, GET), _policy("l", action="AUDIT")
    )
    assert told["rbac-deny"]["rules"]["action"] == "DENY"
    assert told["rbac-audit"]["rules"] == {"action": "LOG"}
    assert told["rbac-allow"]["rules"]["policies"].keys() == {
        "ns[default]-policy[a]-rule[0]",
        "ns[default]-policy[a]-rule[1]",
    }
    unusable = AuthorizationRule(sources=(Source(ip_blocks=("x",)),))
    some = _told(_policy("a", unusable, GET))["rbac-allow"]["rules"]["policies"]
    assert list(some) == ["ns[default]-policy[a]-rule[1]"]
    # The action is ALLOW, and nothing is allowed.
    assert _told(_policy("a", unusable))["rbac-allow"] == {"rules": {}}
    assert _told(_policy("a"))["rbac-allow"] == {"rules": {}}


@pytest.mark.proves("HP-18")
@pytest.mark.refutes("HP-18")
@pytest.mark.parametrize("action", ["ALLOW", "DENY", "AUDIT"])
def test_dry_runs_are_shadows(action: str) -> None:
    name = f"rbac-{action.lower()}"
    tried = _policy("t", GET, action=action, annotations={DRY_RUN: "true"})
    told = _told(tried)[name]
    assert "rules" not in told
    assert list(told["shadow_rules"]["policies"]) == ["ns[default]-policy[t]-rule[0]"]
    assert told["shadow_rules_stat_prefix"] == f"istio_dry_run_{action.lower()}_"
    both = _told(tried, _policy("e", GET, action=action))[name]
    assert list(both["rules"]["policies"]) == ["ns[default]-policy[e]-rule[0]"]
    assert "shadow_rules" not in _told(_policy("e", GET, action=action))[name]


@pytest.mark.proves("HP-12", "HP-18")
@pytest.mark.refutes("HP-12", "HP-18")
def test_custom_is_asked_about_or_denied() -> None:
    ours = _policy("o", GET, action="CUSTOM", provider="judge")
    other = _policy("x", GET, action="CUSTOM", provider="nobody")
    denied = "-deny-due-to-bad-CUSTOM-action"
    told = _told(ours, asked="judge")["rbac-custom"]
    assert told["shadow_rules_stat_prefix"] == "istio_ext_authz_"
    assert told["shadow_rules"]["action"] == "DENY"
    assert list(told["shadow_rules"]["policies"]) == [
        "istio-ext-authz-judge-ns[default]-policy[o]-rule[0]"
    ]
    # A chain that does not say that it asks denies all the same.
    unasked = told["rules"]["policies"]["ns[default]-policy[o]-rule[0]" + denied]
    (principal,) = unasked["principals"]
    assert principal["and_ids"]["ids"][1]["not_id"] == {
        "filter_state": {"key": "io.istio.asked_provider", "string_match": {"exact": "judge"}}
    }
    told = _told(ours, other, asked="judge")["rbac-custom"]
    assert len(told["rules"]["policies"]) == 2
    elsewhere = told["rules"]["policies"]["ns[default]-policy[x]-rule[0]" + denied]
    assert elsewhere["principals"] == [{"any": True}]
    assert told["rules"]["action"] == "DENY"
    assert len(_told(ours, other)["rbac-custom"]["rules"]["policies"]) == 2
    nameless = _policy("n", GET, action="CUSTOM")
    assert "shadow_rules" not in _told(nameless)["rbac-custom"]


def _connections(*policies: HttpPolicy) -> dict[str, Any]:
    return {name: _text(body) for name, body in encode_network_policies(policies)}


@pytest.mark.proves("HP-16")
@pytest.mark.refutes("HP-16")
def test_connections_have_no_http_attributes() -> None:
    told = _connections(
        _policy("a", WITH_PATH, PORT),
        _policy("d", WITH_PATH, action="DENY"),
        _policy("c", PORT, action="CUSTOM", provider="judge"),
    )
    assert list(told) == ["rbac-custom", "rbac-deny", "rbac-allow"]
    assert list(told["rbac-allow"]["rules"]["policies"]) == ["ns[default]-policy[a]-rule[1]"]
    (denied,) = told["rbac-deny"]["rules"]["policies"].values()
    assert denied["permissions"] == [{"destination_port": 9000}]
    (principal,) = denied["principals"]
    assert principal == _identity(**_regex("spiffe://[^/]+/ns/a/sa/.*"))
    assert told["rbac-custom"]["rules"]["action"] == "DENY"
    assert {each["stat_prefix"] for each in told.values()} == {"tcp."}
    assert _connections() == {}
    alone = AuthorizationRule(operations=(Operation(paths=("/x",)),))
    assert _connections(_policy("a", alone))["rbac-allow"]["rules"] == {}
    (anything,) = _connections(_policy("d", alone, action="DENY"))["rbac-deny"]["rules"][
        "policies"
    ].values()
    assert anything == {"permissions": [{"any": True}], "principals": [{"any": True}]}
    whole = _policy("a", PORT)
    assert whole.for_connections() is whole
    assert _policy("a", WITH_PATH).needs_http


@pytest.mark.proves("HP-19")
@pytest.mark.refutes("HP-19")
def test_equal_policies_are_equal_bytes() -> None:
    policies = [_policy(name, GET, PORT, action="DENY") for name in ("b", "a", "c")]

    def written(some: list[HttpPolicy]) -> dict[str, bytes]:
        return {name: encoded(body) for name, body in encode_http_policies(some).items()}

    assert written(policies) == written(policies[::-1])
    assert written(policies) != written(policies[:2])


@pytest.mark.parametrize(
    "attribute", [Attribute.PATH, Attribute.SOURCE_IP, Attribute.NAMESPACE, Attribute.PRINCIPAL]
)
def test_values_of_another_attribute_are_refused(attribute: Attribute) -> None:
    rule = HttpRule(0, conditions=(Criterion(attribute, (80,)),))
    policy = HttpPolicy(key=Name("a", "b"), action=HttpAction.DENY, rules=(rule,))
    with pytest.raises(EncodeError, match="cannot be 80"):
        encode_http_policies([policy])
