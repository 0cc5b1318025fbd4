"""The translation of AuthorizationPolicy against an independent reading of the manifest.

``_fires`` reads the manifest itself and knows nothing of groups, rules and matches. Values that
cannot be used and HTTP attributes are then *added* to policies whose meaning is known: a DENY may
only come to deny more, an ALLOW only to allow less.
"""

import ipaddress
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.manifests.istio import (
    AuthorizationPolicy,
    AuthorizationRule,
    Operation,
    Source,
    When,
)
from controlplane.mesh.authorization import translate_authorization
from controlplane.model.policy import Authorization
from tests.support.builders import an_authorization_policy
from tests.support.policy_evaluation import Connection, fires

IDENTITIES = (
    None,
    "cluster.local/ns/default/sa/a",
    "cluster.local/ns/other/sa/b",
    "elsewhere/ns/default/sa/b",
)
CONNECTIONS = tuple(
    Connection(identity=identity, source=source, destination=destination, port=port)
    for identity, source, destination, port in product(
        IDENTITIES, ("10.0.0.1", "10.0.1.9", "2001:db8::1"), ("10.2.0.1", "10.2.0.2"), (80, 8080)
    )
)

STRINGS = ("*", "default", "def*", "*er", *(name for name in IDENTITIES if name), "*/sa/b", "clu*")
BLOCKS = ("10.0.0.1", "10.0.0.7/24", "10.0.0.0/8", "2001:db8::/32", "10.2.0.2", "0.0.0.0/0")
ACCOUNTS = ("a", "b", "default/b", "other/b")
PORTS = ("80", "8080", "9999")

UNUSABLE = {
    "principals": ("",),
    "namespaces": ("",),
    "service_accounts": ("", "a/b/c", "/a", "a/", "*"),
    "ip_blocks": ("", "garbage", "10.0.0.0/33", "10.0.0.256", "fe80::1%eth0", "10.0.0.1 "),
    "ports": ("", "http", "0", "65536", "-1", "80.0", "9" * 5000),
}


def _several(values: Iterable[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(tuple(values)), max_size=2, unique=True).map(tuple)


def _some_values(kind: Callable[..., Any], **fields: Iterable[str]) -> st.SearchStrategy[Any]:
    names = [f"{prefix}{name}" for name in fields for prefix in ("", "not_")]
    drawn = {name: _several(fields[name.removeprefix("not_")]) for name in names}
    return st.builds(kind, **drawn).filter(lambda value: any(getattr(value, n) for n in names))


sources = _some_values(
    Source, principals=STRINGS, namespaces=STRINGS, service_accounts=ACCOUNTS, ip_blocks=BLOCKS
)
operations = _some_values(Operation, ports=PORTS)
KEYS = {
    "source.ip": ("ip_blocks", BLOCKS),
    "source.namespace": ("namespaces", STRINGS),
    "source.principal": ("principals", STRINGS),
    "destination.ip": ("ip_blocks", BLOCKS),
    "destination.port": ("ports", PORTS),
}
whens = st.sampled_from(sorted(KEYS)).flatmap(
    lambda key: st.builds(
        When, key=st.just(key), values=_several(KEYS[key][1]), not_values=_several(KEYS[key][1])
    ).filter(lambda when: bool(when.values or when.not_values))
)


def _few(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=2).map(tuple)


rules = st.builds(
    AuthorizationRule, sources=_few(sources), operations=_few(operations), when=_few(whens)
)
policies = st.builds(
    lambda action, items: an_authorization_policy(action=action, rules=items),
    st.sampled_from(("ALLOW", "DENY")),
    _few(rules),
)


def _fires(policy: AuthorizationPolicy, connection: Connection) -> bool:
    return any(
        (not rule.sources or any(_from(source, connection) for source in rule.sources))
        and (not rule.operations or any(_to(item, connection) for item in rule.operations))
        and all(_when(when, connection) for when in rule.when)
        for rule in policy.rules
    )


def _parts(connection: Connection) -> tuple[str, str]:
    if connection.identity is None:
        return "", ""
    _, _, namespace, _, account = connection.identity.split("/")
    return namespace, account


def _from(source: Source, connection: Connection) -> bool:
    namespace, account = _parts(connection)
    identity = connection.identity or ""
    accounts = {f"{namespace}/{account}"} | ({account} if namespace == "default" else set())
    is_account = accounts.__contains__ if identity else lambda _: False
    return (
        _meets(source.principals, source.not_principals, lambda value: _like(value, identity))
        and _meets(source.namespaces, source.not_namespaces, lambda value: _like(value, namespace))
        and _meets(source.service_accounts, source.not_service_accounts, is_account)
        and _meets(
            source.ip_blocks, source.not_ip_blocks, lambda value: _within(value, connection.source)
        )
    )


def _to(operation: Operation, connection: Connection) -> bool:
    return _meets(operation.ports, operation.not_ports, lambda value: int(value) == connection.port)


def _when(when: When, connection: Connection) -> bool:
    namespace, _ = _parts(connection)
    judges: dict[str, Callable[[str], bool]] = {
        "source.ip": lambda value: _within(value, connection.source),
        "destination.ip": lambda value: _within(value, connection.destination),
        "source.namespace": lambda value: _like(value, namespace),
        "source.principal": lambda value: _like(value, connection.identity or ""),
        "destination.port": lambda value: int(value) == connection.port,
    }
    return _meets(when.values, when.not_values, judges[when.key])


def _meets(
    values: tuple[str, ...], not_values: tuple[str, ...], judge: Callable[[str], bool]
) -> bool:
    return (not values or any(map(judge, values))) and not any(map(judge, not_values))


def _like(pattern: str, value: str) -> bool:
    if pattern == "*":
        return bool(value)
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    return value == pattern


def _within(block: str, address: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(block, strict=False)


def _translated(policy: AuthorizationPolicy) -> Authorization:
    translation = translate_authorization(
        policy, root_namespace="istio-system", sends_dry_run=False
    )
    assert translation.authorization is not None
    return translation.authorization


@pytest.mark.proves("AP-5", "AP-6", "AP-7", "AP-8", "AP-9", "AP-10", "AP-11")
@pytest.mark.refutes("AP-5", "AP-6", "AP-7", "AP-8", "AP-9", "AP-10", "AP-11")
@given(policies)
def test_a_policy_that_ztunnel_understands_fires_exactly_when_written(
    policy: AuthorizationPolicy,
) -> None:
    authorization = _translated(policy)
    wrong = [item for item in CONNECTIONS if fires(authorization, item) != _fires(policy, item)]
    assert wrong == []


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[AuthorizationPolicy, AuthorizationPolicy]:
    """Return a clean policy, and the same with values that cannot be used or HTTP attributes."""
    policy = draw(policies.filter(lambda value: bool(value.rules)))
    rows = list(policy.rules)
    for _ in range(draw(st.integers(1, 3))):
        index = draw(st.integers(0, len(rows) - 1))
        rows[index] = draw(st.sampled_from((_spoil_source, _spoil_operation, _spoil_when)))(
            draw, rows[index]
        )
    return policy, msgspec.structs.replace(policy, rules=tuple(rows))


def _bad(draw: st.DrawFn, value: Any, name: str) -> Any:
    bad = draw(st.sampled_from(UNUSABLE[name.removeprefix("not_")]))
    values = list(getattr(value, name))
    values.insert(draw(st.integers(0, len(values))), bad)
    return msgspec.structs.replace(value, **{name: tuple(values)})


def _changed(items: tuple[Any, ...], index: int, value: Any) -> tuple[Any, ...]:
    return (*items[:index], value, *items[index + 1 :])


def _spoil_source(draw: st.DrawFn, rule: AuthorizationRule) -> AuthorizationRule:
    rows = rule.sources or (Source(),)
    index = draw(st.integers(0, len(rows) - 1))
    names = ("principals", "namespaces", "service_accounts", "ip_blocks")
    name = draw(st.sampled_from(("", "not_"))) + draw(st.sampled_from(names))
    value = _bad(draw, rows[index], name)
    if draw(st.booleans()):
        value = msgspec.structs.replace(value, request_principals=("*",))
    return msgspec.structs.replace(rule, sources=_changed(rows, index, value))


def _spoil_operation(draw: st.DrawFn, rule: AuthorizationRule) -> AuthorizationRule:
    rows = rule.operations or (Operation(),)
    index = draw(st.integers(0, len(rows) - 1))
    value = _bad(draw, rows[index], draw(st.sampled_from(("ports", "not_ports"))))
    if draw(st.booleans()):
        value = msgspec.structs.replace(value, methods=("GET",))
    return msgspec.structs.replace(rule, operations=_changed(rows, index, value))


def _spoil_when(draw: st.DrawFn, rule: AuthorizationRule) -> AuthorizationRule:
    key = draw(st.sampled_from(sorted(KEYS)))
    bad = draw(st.sampled_from(UNUSABLE[KEYS[key][0]]))
    when = draw(
        st.sampled_from((When(key, values=(bad,)), When(key, not_values=(bad,)), When(key)))
    )
    return msgspec.structs.replace(rule, when=(*rule.when, when))


@pytest.mark.proves("AP-14", "AP-15")
@pytest.mark.refutes("AP-14", "AP-15")
@given(spoiled())
def test_what_cannot_be_used_never_opens_anything(
    pair: tuple[AuthorizationPolicy, AuthorizationPolicy],
) -> None:
    clean, policy = pair
    authorization = _translated(policy)
    for connection in CONNECTIONS:
        before, after = _fires(clean, connection), fires(authorization, connection)
        if policy.action == "DENY":
            assert after or not before, f"denies less: {connection}"
        else:
            assert before or not after, f"allows more: {connection}"
