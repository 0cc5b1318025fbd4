import pytest

from controlplane.mesh.peer_authentication import (
    PeerOutcome,
    PeerPolicy,
    oldest,
    peer_outcome,
    peer_policy_from,
    static_strict,
)
from controlplane.model.names import Name
from controlplane.model.policy import (
    Action,
    Group,
    Match,
    MatchType,
    Rule,
    Scope,
    StringMatch,
)
from tests.support.builders import a_peer_authentication

ROOT = "istio-system"
APP = {"app": "a"}
ANYONE = (StringMatch(MatchType.PRESENCE),)
NO_IDENTITY = Rule((Match(not_principals=ANYONE),))
STATIC = Name(ROOT, "istio_converted_static_strict")
CONVERTED = Name("default", "converted_peer_authentication_p")


def _outcome(mode: str, ports: dict[int, str], *, inherits: bool = False) -> PeerOutcome:
    manifest = a_peer_authentication("p", mode=mode, selector=APP, port_modes=ports)
    outcome = peer_outcome(
        peer_policy_from(manifest), inherits_strict=inherits, root_namespace=ROOT
    )
    assert outcome is not None
    return outcome


def _exempt(port: int) -> Rule:
    return Rule((Match(not_destination_ports=(port,)),))


def _required(port: int) -> Group:
    return Group((Rule((Match(not_principals=ANYONE, destination_ports=(port,)),)),))


@pytest.mark.proves("PA-4")
def test_the_static_policy_denies_whoever_has_no_identity() -> None:
    policy = static_strict(ROOT)
    assert policy.key == STATIC
    assert (policy.scope, policy.action) == (Scope.WORKLOAD_SELECTOR, Action.DENY)
    assert policy.groups == (Group((NO_IDENTITY,)),)


@pytest.mark.proves("PA-5")
@pytest.mark.parametrize(
    ("mode", "ports", "inherits", "groups"),
    [
        ("STRICT", {9090: "DISABLE"}, False, [Group((NO_IDENTITY, _exempt(9090)))]),
        ("STRICT", {9090: "DISABLE"}, True, [Group((NO_IDENTITY, _exempt(9090), NO_IDENTITY))]),
        (
            "STRICT",
            {9090: "PERMISSIVE", 8080: "DISABLE", 7070: "STRICT"},
            False,
            [Group((NO_IDENTITY, _exempt(8080), _exempt(9090)))],
        ),
        ("UNSET", {9090: "PERMISSIVE"}, True, [Group((_exempt(9090), NO_IDENTITY))]),
        ("UNSET", {9090: "DISABLE"}, True, [Group((_exempt(9090), NO_IDENTITY))]),
        ("UNSET", {9090: "STRICT", 8080: "DISABLE"}, False, [_required(9090)]),
        ("PERMISSIVE", {9090: "STRICT", 8080: "PERMISSIVE"}, True, [_required(9090)]),
        ("DISABLE", {9090: "STRICT", 8080: "STRICT"}, False, [_required(8080), _required(9090)]),
    ],
)
def test_ports_that_differ_make_a_policy_of_their_own(
    mode: str, ports: dict[int, str], *, inherits: bool, groups: list[Group]
) -> None:
    outcome = _outcome(mode, ports, inherits=inherits)
    assert outcome.listed == (CONVERTED,)
    assert outcome.authorization is not None
    assert outcome.authorization.key == CONVERTED
    assert outcome.authorization.scope is Scope.WORKLOAD_SELECTOR
    assert outcome.authorization.action is Action.DENY
    assert outcome.authorization.groups == tuple(groups)


@pytest.mark.refutes("PA-5")
@pytest.mark.parametrize(
    ("mode", "ports", "inherits", "listed"),
    [
        ("STRICT", {}, False, (STATIC,)),
        ("STRICT", {9090: "STRICT", 8080: "UNSET"}, False, (STATIC,)),
        ("UNSET", {9090: "STRICT"}, True, (STATIC,)),
        ("UNSET", {9090: "PERMISSIVE"}, False, ()),
        ("PERMISSIVE", {9090: "DISABLE"}, True, ()),
        ("DISABLE", {}, True, ()),
    ],
)
def test_ports_that_do_not_differ_make_none(
    mode: str, ports: dict[int, str], *, inherits: bool, listed: tuple[Name, ...]
) -> None:
    assert _outcome(mode, ports, inherits=inherits) == PeerOutcome(listed, None)


@pytest.mark.proves("PA-2")
@pytest.mark.refutes("PA-2")
def test_an_empty_selector_covers_like_none() -> None:
    selectors: tuple[dict[str, str] | None, ...] = (None, {})
    for selector in selectors:
        policy = peer_policy_from(a_peer_authentication("p", selector=selector))
        assert policy.selector is None
        assert peer_outcome(policy, inherits_strict=True, root_namespace=ROOT) is None
    policy = peer_policy_from(a_peer_authentication("p", selector=APP))
    assert policy.selector == frozenset({("app", "a")})


@pytest.mark.proves("PA-3")
@pytest.mark.refutes("PA-3")
def test_the_oldest_decides_and_names_break_ties() -> None:
    def policy(name: str, namespace: str, created: float) -> PeerPolicy:
        return peer_policy_from(a_peer_authentication(name, namespace, created=created))

    young, b, a = policy("a", "a", 2.0), policy("b", "a", 1.0), policy("a", "b", 1.0)
    assert oldest([young, a, b]) == b
    assert oldest([young, a]) == a
    assert oldest([]) is None


@pytest.mark.proves("PA-7")
@pytest.mark.refutes("PA-7")
def test_labels_are_ignored_in_the_root_namespace_only() -> None:
    for namespace, is_ignored in ((ROOT, True), ("default", False)):
        manifest = a_peer_authentication("p", namespace, mode="STRICT", selector=APP)
        outcome = peer_outcome(
            peer_policy_from(manifest), inherits_strict=False, root_namespace=ROOT
        )
        assert (outcome is None) is is_ignored


@pytest.mark.proves("PA-8")
@pytest.mark.refutes("PA-8")
def test_ports_count_with_labels_and_when_they_are_ports() -> None:
    ports = {0: "STRICT", -1: "STRICT", 65536: "STRICT", 65535: "STRICT", 80: "UNSET", 1: "DISABLE"}
    labelled = a_peer_authentication(selector=APP, port_modes=ports)
    assert peer_policy_from(labelled).ports == ((1, "DISABLE"), (65535, "STRICT"))
    assert peer_policy_from(a_peer_authentication(port_modes=ports)).ports == ()
