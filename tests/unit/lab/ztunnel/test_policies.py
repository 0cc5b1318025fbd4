"""Whether connections are let in."""

from ipaddress import ip_address
from typing import Any

import pytest

from controlplane.lab.ztunnel.inbound import InboundConnections
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.policies import Connection, Reason, Verdict, evaluate
from controlplane.lab.ztunnel.session import Session
from controlplane.pb import authorization_pb2
from tests.support.wire import a_policy, a_response, a_workload, policies, uid_of

ALLOW, DENY = authorization_pb2.ALLOW, authorization_pb2.DENY
GLOBAL, NAMESPACE = authorization_pb2.GLOBAL, authorization_pb2.NAMESPACE
NEVER: list[authorization_pb2.Group] = []
ALWAYS = [authorization_pb2.Group()]
SLEEP = "spiffe://cluster.local/ns/default/sa/sleep"


def group(*rules: list[dict[str, Any]]) -> authorization_pb2.Group:
    return authorization_pb2.Group(
        rules=[
            authorization_pb2.Rules(matches=[authorization_pb2.Match(**fields) for fields in rule])
            for rule in rules
        ]
    )


def a_connection(
    identity: str = SLEEP, source: str = "10.0.0.1", destination: str = "10.0.0.2", port: int = 8080
) -> Connection:
    return Connection(
        identity=identity,
        source_ip=ip_address(source),
        destination_ip=ip_address(destination),
        destination_port=port,
    )


def verdict(
    *held: authorization_pb2.Authorization,
    lists: tuple[str, ...] | None = None,
    connection: Connection | None = None,
) -> Verdict:
    """Return what a workload that lists every held policy, or ``lists``, decides."""
    session = Session(NodeIdentity())
    session.connect()
    session.receive(policies(*held))
    listed = tuple(f"default/{policy.name}" for policy in held) if lists is None else lists
    session.receive(a_response(a_workload("a", policies=listed)))
    workload = session.state.workloads.by_uid[uid_of("a")]
    return evaluate(session.state, workload, connection or a_connection())


def fires(connection: Connection | None = None, **fields: Any) -> bool:
    """Return whether a policy of one match with these fields matches the connection."""
    policy = a_policy(action=DENY, groups=[group([fields])])
    return not verdict(policy, connection=connection).allowed


@pytest.mark.proves("ZT-40")
def test_the_four_outcomes_in_order() -> None:
    deny, allow = (
        a_policy("d", action=DENY, groups=ALWAYS),
        a_policy("a", action=ALLOW, groups=ALWAYS),
    )
    miss = a_policy("m", action=ALLOW, groups=NEVER)
    denied = verdict(deny, allow)
    assert (denied.allowed, denied.reason, denied.policy) == (False, Reason.DENIED, "default/d")
    open_ = verdict(a_policy("d", action=DENY, groups=NEVER))
    assert (open_.allowed, open_.reason, open_.policy) == (True, Reason.NO_ALLOW_POLICY, "")
    allowed = verdict(miss, allow)
    assert (allowed.allowed, allowed.reason, allowed.policy) == (True, Reason.ALLOWED, "default/a")
    unmatched = verdict(miss)
    assert (unmatched.allowed, unmatched.reason) == (False, Reason.NOTHING_ALLOWS)


@pytest.mark.refutes("ZT-40")
def test_a_deny_policy_that_does_not_match_denies_nothing() -> None:
    assert verdict(a_policy("d", action=DENY, groups=NEVER)).allowed
    assert verdict().allowed


@pytest.mark.proves("ZT-41")
def test_dry_run_policies_only_report() -> None:
    dry = verdict(
        a_policy("d", action=DENY, groups=ALWAYS, dry_run=True),
        a_policy("a", action=ALLOW, groups=NEVER, dry_run=True),
    )
    assert (dry.allowed, dry.reason, dry.dry_run) == (True, Reason.NO_ALLOW_POLICY, ("default/d",))


@pytest.mark.refutes("ZT-41")
def test_the_same_policies_in_force_decide() -> None:
    assert not verdict(a_policy("d", action=DENY, groups=ALWAYS)).allowed
    assert not verdict(a_policy("a", action=ALLOW, groups=NEVER)).allowed


@pytest.mark.proves("ZT-42")
@pytest.mark.parametrize(
    "policy",
    [
        a_policy("p", "elsewhere", scope=GLOBAL),
        a_policy("p", "default", scope=NAMESPACE),
        a_policy("p", "default"),
    ],
)
def test_covering_policies(policy: authorization_pb2.Authorization) -> None:
    lists = ("default/p",) if policy.scope == authorization_pb2.WORKLOAD_SELECTOR else ()
    assert not verdict(policy, lists=lists).allowed


@pytest.mark.refutes("ZT-42")
def test_policies_that_do_not_cover_the_workload() -> None:
    assert verdict(a_policy("p"), lists=()).allowed
    assert verdict(a_policy("p", "elsewhere", scope=NAMESPACE), lists=()).allowed
    missing = verdict(lists=("default/gone",))
    assert missing.allowed
    assert missing.unknown == ("default/gone",)


@pytest.mark.refutes("ZT-42")
@pytest.mark.parametrize("scope", [GLOBAL, NAMESPACE])
def test_a_policy_whose_scope_narrowed_covers_no_more(scope: int) -> None:
    session = Session(NodeIdentity())
    session.connect()
    session.receive(a_response(a_workload("a")))
    workload = session.state.workloads.by_uid[uid_of("a")]
    session.receive(policies(a_policy("p", scope=scope)))
    assert not evaluate(session.state, workload, a_connection()).allowed
    session.receive(policies(a_policy("p")))
    assert evaluate(session.state, workload, a_connection()).allowed


HIT = {"destination_ports": [8080]}
MISS = {"destination_ports": [1]}


@pytest.mark.proves("ZT-43")
@pytest.mark.parametrize(
    "groups",
    [
        [group()],
        [group([])],
        [group([MISS]), group([HIT])],
        [group([HIT], [HIT])],
        [group([MISS, HIT])],
        [group([HIT | {"source_ips": [{"address": b"\x0a\0\0\0", "length": 8}]}])],
        [group([{"destination_ports": [1, 8080]}])],
        [group([{"not_destination_ports": [1, 2]}])],
    ],
)
def test_what_matches(groups: list[authorization_pb2.Group]) -> None:
    assert not verdict(a_policy(groups=groups)).allowed


@pytest.mark.refutes("ZT-43")
@pytest.mark.parametrize(
    "groups",
    [
        [],
        [group([MISS]), group([MISS])],
        [group([HIT], [MISS])],
        [group([MISS, MISS])],
        [group([HIT | {"source_ips": [{"address": b"\x0b\0\0\0", "length": 8}]}])],
        [group([{"not_destination_ports": [1, 8080]}])],
    ],
)
def test_what_does_not_match(groups: list[authorization_pb2.Group]) -> None:
    assert verdict(a_policy(groups=groups)).allowed


@pytest.mark.proves("ZT-44")
def test_matches_without_fields_are_skipped() -> None:
    assert verdict(a_policy(groups=[group([{}])])).allowed
    assert verdict(a_policy(groups=[group([{}, {}], [HIT])])).allowed
    unreadable = {"source_ips": [{"address": b"1", "length": 1}]}
    assert verdict(a_policy(groups=[group([unreadable])])).allowed


@pytest.mark.refutes("ZT-44")
def test_a_match_without_fields_does_not_stop_the_others() -> None:
    assert not verdict(a_policy(groups=[group([{}, HIT])])).allowed


IDENTITY_FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("namespaces", {"presence": {}}),
    ("namespaces", {"exact": ""}),
    ("namespaces", {"prefix": ""}),
    ("principals", {"presence": {}}),
    ("principals", {"suffix": ""}),
    ("service_accounts", {"namespace": "default", "serviceAccount": "sleep"}),
    ("service_accounts", {"namespace": "", "serviceAccount": ""}),
]


@pytest.mark.proves("ZT-45")
@pytest.mark.parametrize(("field", "value"), IDENTITY_FIELDS)
def test_without_identity(field: str, value: dict[str, Any]) -> None:
    plaintext = a_connection(identity="")
    assert not fires(plaintext, **{field: [value]})
    assert fires(plaintext, **{f"not_{field}": [value]})


@pytest.mark.refutes("ZT-45")
def test_with_identity() -> None:
    for field in ("namespaces", "principals"):
        assert fires(**{field: [{"presence": {}}]})
        assert not fires(**{f"not_{field}": [{"presence": {}}]})


PRINCIPAL = "cluster.local/ns/default/sa/sleep"


@pytest.mark.proves("ZT-46")
@pytest.mark.parametrize(
    "text",
    [{"exact": PRINCIPAL}, {"prefix": "cluster.local/ns"}, {"suffix": "/sleep"}, {"presence": {}}],
)
def test_principals_that_match(text: dict[str, Any]) -> None:
    assert fires(principals=[text])


@pytest.mark.refutes("ZT-46")
@pytest.mark.parametrize(
    "text", [{"exact": SLEEP}, {"exact": "sleep"}, {"prefix": "spiffe"}, {"suffix": "sleep/"}]
)
def test_principals_that_do_not_match(text: dict[str, Any]) -> None:
    assert not fires(principals=[text])
    assert not fires(namespaces=[text])


@pytest.mark.proves("ZT-47")
def test_service_accounts_match_in_any_trust_domain() -> None:
    entry = {"namespace": "default", "serviceAccount": "sleep"}
    assert fires(service_accounts=[entry])
    assert fires(a_connection("spiffe://other/ns/default/sa/sleep"), service_accounts=[entry])


@pytest.mark.refutes("ZT-47")
def test_other_service_accounts_do_not_match() -> None:
    for entry in (
        {"namespace": "default", "serviceAccount": "s"},
        {"namespace": "other", "serviceAccount": "sleep"},
        {"namespace": "default", "serviceAccount": "*"},
    ):
        assert not fires(service_accounts=[entry])


@pytest.mark.proves("ZT-48")
def test_addresses_and_ports_that_match() -> None:
    assert fires(source_ips=[{"address": b"\x0a\0\0\xff", "length": 24}])
    assert fires(destination_ips=[{"address": b"\x0a\0\0\2", "length": 32}])
    assert fires(source_ips=[{"address": b"\1\2\3\4", "length": 0}])
    assert fires(destination_ports=[8080])


@pytest.mark.refutes("ZT-48")
def test_addresses_and_ports_that_do_not_match() -> None:
    assert not fires(source_ips=[{"address": b"\x0a\0\1\0", "length": 24}])
    assert not fires(source_ips=[{"address": bytes(16), "length": 0}])
    assert not fires(
        a_connection(source="::a00:1"), source_ips=[{"address": bytes(4), "length": 0}]
    )
    assert not fires(destination_ports=[80])


def two_connections() -> tuple[Session, InboundConnections]:
    session = Session(NodeIdentity())
    session.connect()
    session.receive(a_response(a_workload("a", policies=["default/p"]), a_workload("b")))
    inbound = InboundConnections(session.state)
    for name in ("a", "b"):
        assert inbound.accept(session.state.workloads.by_uid[uid_of(name)], a_connection()).allowed
    return session, inbound


@pytest.mark.proves("ZT-49")
def test_open_connections_are_closed_when_denied() -> None:
    session, inbound = two_connections()
    session.receive(policies(a_policy("p")))
    assert [closed.workload.name for closed in inbound.policies_changed()] == ["a"]
    assert [still.workload.name for still in inbound.open] == ["b"]
    workload = session.state.workloads.by_uid[uid_of("a")]
    assert not inbound.accept(workload, a_connection()).allowed
    assert len(inbound.open) == 1


@pytest.mark.refutes("ZT-49")
def test_a_new_list_of_policies_alone_closes_nothing() -> None:
    session, inbound = two_connections()
    session.receive(a_response(a_workload("b", policies=["default/q"]), nonce="2"))
    session.receive(policies(a_policy("q")))
    assert inbound.policies_changed() == ()
    assert len(inbound.open) == 2
