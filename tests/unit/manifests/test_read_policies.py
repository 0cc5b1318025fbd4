"""Security policies are read as meant or refused."""

import pytest

from controlplane.manifests.istio import (
    AuthorizationPolicy,
    AuthorizationRule,
    Operation,
    PeerAuthentication,
    Source,
    TargetReference,
    When,
)
from tests.unit.manifests.test_reading import manifest_of, problem_of

HEAD = "apiVersion: security.istio.io/v1\nkind: {}\nmetadata: {{name: a}}\n"


def policy(spec: str) -> AuthorizationPolicy:
    found = manifest_of(HEAD.format("AuthorizationPolicy") + f"spec: {spec}\n")
    assert isinstance(found, AuthorizationPolicy)
    return found


def field_refused(spec: str, kind: str = "AuthorizationPolicy") -> str | None:
    problem = problem_of(HEAD.format(kind) + f"spec: {spec}\n")
    assert problem.object is not None
    assert problem.object.kind == kind
    return problem.field


SOURCE = (
    "principals requestPrincipals namespaces serviceAccounts trustDomains ipBlocks remoteIpBlocks"
)
OPERATION = "hosts ports methods paths"


@pytest.mark.refutes("MF-13")
@pytest.mark.parametrize(
    ("place", "name"),
    [("from: [{source", name) for name in SOURCE.split()]
    + [("to: [{operation", name) for name in OPERATION.split()],
)
def test_no_field_of_the_api_is_unknown(place: str, name: str) -> None:
    twin = f"not{name[0].upper()}{name[1:]}"
    (rule,) = policy(f"{{rules: [{{{place}: {{{name}: [a], {twin}: [b]}}}}]}}]}}").rules
    (element,) = rule.sources or rule.operations
    written = {field: getattr(element, field) for field in element.__struct_fields__}
    assert sorted(value for value in written.values() if value) == [("a",), ("b",)]


@pytest.mark.refutes("MF-13", "MF-15")
def test_every_known_field_is_read() -> None:
    source = {name: (f"{name}-1", f"{name}-2") for name in Source.__struct_fields__}
    operation = {name: (f"{name}-1",) for name in Operation.__struct_fields__}

    def camel(values: dict[str, tuple[str, ...]]) -> str:
        parts = []
        for name, listed in values.items():
            first, *rest = name.split("_")
            parts.append(f"{first}{''.join(map(str.title, rest))}: [{', '.join(listed)}]")
        return ", ".join(parts)

    found = policy(
        "{selector: {matchLabels: {a: b}}, action: DENY, rules: [{"
        f"from: [{{source: {{{camel(source)}}}}}], to: [{{operation: {{{camel(operation)}}}}}], "
        "when: [{key: k, values: [v], notValues: [w]}]}]}"
    )
    assert (found.selector, found.action) == ({"a": "b"}, "DENY")
    assert found.rules == (
        AuthorizationRule(
            (Source(**source),), (Operation(**operation),), (When("k", ("v",), ("w",)),)
        ),
    )


@pytest.mark.proves("MF-13")
@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("{rule: []}", "spec.rule"),
        ("{selectr: {}}", "spec.selectr"),
        ("{selector: {matchLabel: {}}}", "spec.selector.matchLabel"),
        ("{rules: [{form: []}]}", "spec.rules[0].form"),
        (
            "{rules: [{}, {from: [{source: {ipBlock: [x]}}]}]}",
            "spec.rules[1].from[0].source.ipBlock",
        ),
        ("{rules: [{from: [{principals: [x]}]}]}", "spec.rules[0].from[0].principals"),
        ("{rules: [{to: [{operation: {port: ['1']}}]}]}", "spec.rules[0].to[0].operation.port"),
        ("{rules: [{when: [{key: a, value: [b]}]}]}", "spec.rules[0].when[0].value"),
        (
            "{targetRefs: [{kind: Service, name: a, sectionName: b}]}",
            "spec.targetRefs[0].sectionName",
        ),
    ],
)
def test_a_misspelt_field_refuses_the_policy(spec: str, field: str) -> None:
    assert field_refused(spec) == field


@pytest.mark.proves("MF-13", "MF-15")
@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("{mtl: {mode: STRICT}}", "spec.mtl"),
        ("{mtls: {mod: STRICT}}", "spec.mtls.mod"),
        ("{mtls: {mode: strict}}", "spec.mtls.mode"),
        ("{mtls: STRICT}", "spec.mtls"),
        ("{portLevelMtls: {http: {mode: STRICT}}}", "spec.portLevelMtls.http"),
        ("{portLevelMtls: {70000: {mode: STRICT}}}", "spec.portLevelMtls.70000"),
        ("{portLevelMtls: {80: {mode: ON}}}", "spec.portLevelMtls.80.mode"),
    ],
)
def test_impossible_peer_authentications_are_refused(spec: str, field: str) -> None:
    assert field_refused(spec, "PeerAuthentication") == field


@pytest.mark.proves("MF-14")
@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("{rules: [{from: }]}", "spec.rules[0].from"),
        ("{rules: [{from: [{source: {ipBlocks: }}]}]}", "spec.rules[0].from[0].source.ipBlocks"),
        ("{rules: [{from: [{source: {principals: [~]}}]}]}",
         "spec.rules[0].from[0].source.principals[0]"),
        ("{action: null}", "spec.action"),
    ],
)  # fmt: skip
def test_nulls_that_would_broaden_are_refused(spec: str, field: str) -> None:
    assert field_refused(spec) == field


@pytest.mark.refutes("MF-14")
@pytest.mark.proves("MF-17")
def test_null_objects_are_empty_objects() -> None:
    assert policy("{rules: [{from: [{source: null}], to: [{operation: null}]}]}").rules == (
        AuthorizationRule((Source(),), (Operation(),)),
    )
    assert policy("{rules: [{from: [null], to: [null]}]}").rules == (
        AuthorizationRule((Source(),), (Operation(),)),
    )
    assert policy("{rules: [null]}").rules == (AuthorizationRule(),)
    assert policy("null") == policy("{}")
    # No rules at all: an ALLOW then denies everything, where refusing it would enforce nothing.
    assert policy("{rules: null}") == policy("{}")
    assert policy("{rules: [{from: []}]}").rules == (AuthorizationRule(),)


@pytest.mark.proves("MF-15")
def test_actions_are_from_a_fixed_set() -> None:
    assert [policy(f"{{action: {a}}}").action for a in ("ALLOW", "DENY", "AUDIT", "CUSTOM")] == [
        "ALLOW", "DENY", "AUDIT", "CUSTOM",
    ]  # fmt: skip
    assert policy("{}").action == "ALLOW"
    assert [field_refused(f"{{action: {a}}}") for a in ("allow", "''", "1")] == ["spec.action"] * 3


@pytest.mark.proves("MF-12")
def test_ports_of_rules_are_text() -> None:
    assert policy("{rules: [{to: [{operation: {ports: ['80']}}]}]}").rules
    field = field_refused("{rules: [{to: [{operation: {ports: [80]}}]}]}")
    assert field == "spec.rules[0].to[0].operation.ports[0]"


@pytest.mark.proves("MF-22")
@pytest.mark.parametrize("kind", ["AuthorizationPolicy", "RequestAuthentication"])
def test_a_policy_attaches_in_one_way(kind: str) -> None:
    reference = "{group: '', kind: Service, name: s}"
    spec = f"{{selector: {{}}, targetRefs: [{reference}]}}"
    assert field_refused(spec, kind) == "spec.selector"
    spec = f"{{targetRef: {reference}, targetRefs: [{reference}]}}"
    assert field_refused(spec, kind) == "spec.targetRef"


@pytest.mark.refutes("MF-22")
def test_each_way_alone_is_fine() -> None:
    reference = "{group: gateway.networking.k8s.io, kind: Gateway, name: w, namespace: x}"
    expected = (TargetReference("Gateway", "w", "gateway.networking.k8s.io", "x"),)
    assert policy(f"{{targetRefs: [{reference}]}}").target_references == expected
    assert policy(f"{{targetRef: {reference}}}").target_references == expected
    assert policy("{selector: {}}").selector == {}
    assert policy("{}").selector is None


def test_peer_authentications_are_read() -> None:
    found = manifest_of(
        HEAD.format("PeerAuthentication")
        + "spec: {selector: {matchLabels: {a: b}}, mtls: {mode: STRICT},"
        " portLevelMtls: {9090: {mode: DISABLE}, '80': {mode: PERMISSIVE}}}\n"
    )
    assert isinstance(found, PeerAuthentication)
    assert (found.selector, found.mode) == ({"a": "b"}, "STRICT")
    assert list(found.port_modes.items()) == [(80, "PERMISSIVE"), (9090, "DISABLE")]


@pytest.mark.proves("MF-13")
def test_who_decides_is_read() -> None:
    assert policy("{action: CUSTOM, provider: {name: judge}}").provider == "judge"
    assert policy("{action: CUSTOM}").provider == ""
    assert field_refused("{provider: {names: judge}}") == "spec.provider.names"
