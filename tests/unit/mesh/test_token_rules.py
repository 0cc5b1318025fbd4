"""Whose tokens a waypoint takes for which service, with which keys, as objects come and go."""

from typing import Any

import pytest

from controlplane.authentication.key_set import read_key_set
from controlplane.manifests.istio import TargetReference
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.token_keys import keys_uri
from controlplane.model.token_rule import REFUSING_KEYS, FetchedKeySet, KeySetRequest, TokenRule
from controlplane.snapshots.scope import LISTENER_TYPE
from tests.support.policy_targets import (
    ALL,
    API,
    CLASS,
    DB,
    ENTRY,
    GATEWAY,
    ROOT,
    SERVICE,
    WAYPOINT,
    WEB,
    a_targeted_mesh,
)
from tests.support.tokens import a_request_authentication, an_issuer, key_set
from tests.support.waypoint_snapshots import Waypoints

URI = "https://issuer.example/keys"


def _policy(*targets: TargetReference, namespace: str = "shop", **rest: Any) -> Manifest:
    issuers = rest.pop("issuers", (an_issuer(),))
    return a_request_authentication(*issuers, namespace=namespace, targets=targets, **rest)


def _rules(waypoints: Waypoints) -> dict[str, tuple[TokenRule, ...]]:
    found = waypoints.pipeline.world.token_rules.by_service.items()
    return {key.hostname: value for key, value in found if key.waypoint == WAYPOINT}


def _fetch(waypoints: Waypoints, keys: FetchedKeySet | None, uri: str = URI) -> None:
    source = waypoints.pipeline.inputs.key_sets
    with waypoints.pipeline.graph.transaction():
        if keys is None:
            source.remove(uri)
        else:
            source.put(keys)


def _problems(waypoints: Waypoints) -> list[tuple[str, str, str | None]]:
    return [(each.severity.value, each.code, each.field) for each in waypoints.problems()]


def _needed(waypoints: Waypoints) -> list[KeySetRequest]:
    return [value for _, value in sorted(waypoints.pipeline.world.token_rules.needed.items())]


@pytest.mark.proves("RA-4", "RA-8")
@pytest.mark.refutes("RA-4")
@pytest.mark.parametrize(
    ("target", "namespace", "expected"),
    [
        (SERVICE, "shop", {WEB}),
        (SERVICE, "other", set()),
        (ENTRY, "shop", {API}),
        (GATEWAY, "shop", ALL),
        (GATEWAY, "other", set()),
        (CLASS, ROOT, ALL),
        (CLASS, "shop", set()),
        (TargetReference("Service", "web", namespace="shop"), "other", set()),
        (TargetReference("Deployment", "web", group="apps"), "shop", set()),
    ],
)
def test_targets_decide(target: TargetReference, namespace: str, expected: set[str]) -> None:
    found = _rules(a_targeted_mesh(_policy(target, namespace=namespace)))
    assert {host for host, rules in found.items() if rules} == expected
    assert found.keys() == ALL


@pytest.mark.proves("RA-4")
def test_without_targets_nobody_checks_and_that_is_said() -> None:
    waypoints = a_targeted_mesh(_policy(), _policy(namespace=ROOT))
    assert set(map(len, _rules(waypoints).values())) == {0}
    assert _problems(waypoints) == [("warning", "token.no-targets", "spec.targetRefs")] * 2


@pytest.mark.refutes("RA-4")
def test_a_policy_of_another_revision_does_not_exist() -> None:
    policy = _policy(SERVICE, labels={"istio.io/rev": "green"})
    assert _rules(a_targeted_mesh(policy, revision="blue"))[WEB] == ()
    assert len(_rules(a_targeted_mesh(policy, revision="green"))[WEB]) == 1


@pytest.mark.proves("RA-8")
@pytest.mark.refutes("RA-8")
def test_rules_have_one_order_and_come_once() -> None:
    policies = [
        _policy(SERVICE, name="z", issuers=(an_issuer("b"), an_issuer("c", audiences=("z",)))),
        _policy(GATEWAY, name="y", issuers=(an_issuer("c", audiences=("y",)), an_issuer("a"))),
        _policy(CLASS, name="x", namespace=ROOT, issuers=(an_issuer("a"), an_issuer("d"))),
    ]
    found = _rules(a_targeted_mesh(*policies))
    assert [(rule.issuer, rule.audiences) for rule in found[WEB]] == [
        ("a", ()),
        ("b", ()),
        ("c", ("y",)),
        ("c", ("z",)),
        ("d", ()),
    ]
    assert [rule.issuer for rule in found[DB]] == ["a", "c", "d"]
    assert _rules(a_targeted_mesh(*reversed(policies))) == found


@pytest.mark.proves("RA-7")
@pytest.mark.refutes("RA-7")
@pytest.mark.parametrize(
    ("issuer", "uri"),
    [
        (an_issuer(), ""),
        (an_issuer(keys_uri=URI), URI),
        (
            an_issuer("https://i.example/", keys=""),
            "https://i.example/.well-known/openid-configuration",
        ),
        (
            an_issuer("http://i.example/a", keys=""),
            "http://i.example/a/.well-known/openid-configuration",
        ),
        (an_issuer("somebody", keys=""), ""),
        (an_issuer("file:///a", keys=""), ""),
    ],
)
def test_where_keys_are(issuer: Any, uri: str) -> None:
    assert keys_uri(issuer) == uri
    needed = _needed(a_targeted_mesh(_policy(SERVICE, issuers=(issuer,))))
    assert needed == ([KeySetRequest(uri)] if uri else [])


@pytest.mark.proves("RA-9", "RA-10", "RA-11")
@pytest.mark.refutes("RA-11")
def test_keys_come_fail_and_come_again() -> None:
    waypoints = a_targeted_mesh(_policy(SERVICE, issuers=(an_issuer(keys_uri=URI),)))
    field = "spec.jwtRules[0].jwksUri"
    keys = read_key_set(key_set())
    for fetched, expected, problems in (
        (None, REFUSING_KEYS, [("info", "token.keys-not-fetched", field)]),
        (FetchedKeySet(URI, keys), keys, []),
        (FetchedKeySet(URI, keys, "away"), keys, [("warning", "token.unusable-keys", field)]),
        (FetchedKeySet(URI, "", "away"), REFUSING_KEYS, [("error", "token.unusable-keys", field)]),
        (FetchedKeySet(URI, keys), keys, []),
        (None, REFUSING_KEYS, [("info", "token.keys-not-fetched", field)]),
    ):
        _fetch(waypoints, fetched)
        assert [rule.keys for rule in _rules(waypoints)[WEB]] == [expected]
        assert _problems(waypoints) == problems


@pytest.mark.proves("RA-11")
@pytest.mark.parametrize(
    ("issuer", "field"),
    [
        (an_issuer(keys="{}"), "jwks"),
        (an_issuer(keys="nonsense"), "jwks"),
        (an_issuer("somebody", keys=""), "issuer"),
    ],
)
def test_keys_that_never_can_be_had(issuer: Any, field: str) -> None:
    waypoints = a_targeted_mesh(_policy(SERVICE, issuers=(an_issuer("first"), issuer)))
    assert {rule.issuer: rule.keys for rule in _rules(waypoints)[WEB]} == {
        "first": read_key_set(key_set()),
        issuer.issuer: REFUSING_KEYS,
    }
    assert _problems(waypoints) == [("error", "token.unusable-keys", f"spec.jwtRules[1].{field}")]


@pytest.mark.proves("RA-27")
@pytest.mark.refutes("RA-27")
def test_what_is_needed_follows_the_policies() -> None:
    slow, quick = an_issuer(keys_uri=URI, timeout=9.0), an_issuer("b", keys_uri=URI, timeout=2.0)
    first = _policy(SERVICE, name="a", issuers=(slow, quick))
    second = _policy(SERVICE, name="b", issuers=(quick,))
    aside = _policy(name="c", issuers=(an_issuer(keys_uri="https://aside.example"),))
    waypoints = a_targeted_mesh(first, second, aside)
    assert _needed(waypoints) == [KeySetRequest(URI, 9.0)]
    waypoints.apply(removed=[first])
    assert _needed(waypoints) == [KeySetRequest(URI, 2.0)]
    waypoints.apply(removed=[second])
    assert _needed(waypoints) == []


@pytest.mark.proves("RA-8")
def test_a_change_of_keys_is_a_change_of_one_listener() -> None:
    waypoints = a_targeted_mesh(_policy(SERVICE, issuers=(an_issuer(keys_uri=URI),)))
    before = waypoints.catalog.commit
    bodies = waypoints.bodies()
    _fetch(waypoints, FetchedKeySet(URI, read_key_set(key_set())))
    after = waypoints.bodies()
    assert {key for key in after if after[key] != bodies[key]} == {(LISTENER_TYPE, "main_internal")}
    assert waypoints.catalog.commit == before + 1
    _fetch(waypoints, FetchedKeySet(URI, read_key_set(key_set())))
    assert waypoints.catalog.commit == before + 1
