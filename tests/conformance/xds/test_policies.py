"""Transcripts of docs/protocol/discovery.md AUT-n and OR-n: policies, and the order of types."""

import pytest

from controlplane.encode.resource import Resource
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import (
    ADDRESS_TYPE,
    ADDRESSES,
    AUTHORIZATION_TYPE,
    AUTHORIZATIONS,
    GLOBAL_AUTHORIZATIONS,
    node_authorizations,
)
from controlplane.xds.response import Response
from controlplane.xds.session import Session
from tests.support.discovery import (
    FakeClock,
    a_catalog,
    a_policy,
    a_request,
    a_session,
    a_workload,
    acknowledge,
    introduced,
    names,
    put,
    remove,
    removed,
    taken,
)

P, Q = a_policy("ns/p"), a_policy("ns/q")
POD = a_workload("c//Pod/ns/a")
LISTED = a_workload("c//Pod/ns/a", policies=["ns/p"])
GLOBAL = a_policy("istio-system/everywhere")


def proxy(
    session: Session, *, known: dict[str, str] | None = None, node: str = "", **metadata: str
) -> list[Response]:
    """Open a node proxy's stream: both requests at once; return what is sent before any ACK."""
    first = introduced(a_request(ADDRESS_TYPE), node_name=node, **metadata)
    session.receive(first)
    session.receive(a_request(AUTHORIZATION_TYPE, known=known))
    return taken(session)


def settled(session: Session, responses: list[Response]) -> None:
    while responses:
        acknowledge(session, *responses)
        responses = taken(session)


def types(responses: list[Response]) -> list[str]:
    return [response.type_url for response in responses]


def scoped() -> Catalog:
    catalog = a_catalog(policies=[GLOBAL], key=GLOBAL_AUTHORIZATIONS)
    put(catalog, P, key=node_authorizations("n1"))
    put(catalog, Q, key=node_authorizations("n2"))
    put(catalog, GLOBAL, P, Q, key=AUTHORIZATIONS)
    return catalog


@pytest.mark.proves("AUT-1")
def test_policies_are_all_sent_even_to_one_that_names_some() -> None:
    session = a_session(a_catalog(policies=[P, Q]), authorization_wait=0.0)
    session.receive(introduced(a_request(AUTHORIZATION_TYPE, subscribe=["ns/p"])))
    (answer,) = taken(session)
    assert sorted(names(answer)) == ["ns/p", "ns/q"]
    acknowledge(session, answer)
    session.receive(a_request(AUTHORIZATION_TYPE, subscribe=["ns/q"]))
    assert len(names(taken(session)[0])) == 2


@pytest.mark.refutes("AUT-1")
def test_policies_with_known_versions_are_not_sent_again() -> None:
    session = a_session(a_catalog(policies=[P, Q]))
    policies, _ = proxy(session, known={P.name: P.version, Q.name: "stale"})
    assert names(policies) == [Q.name]


@pytest.mark.proves("AUT-2")
@pytest.mark.parametrize(
    ("node", "found"),
    [("n1", [GLOBAL.name, P.name]), ("n2", [GLOBAL.name, Q.name]), ("n3", [GLOBAL.name])],
)
def test_a_node_is_sent_global_policies_and_its_own(node: str, found: list[str]) -> None:
    assert names(proxy(a_session(scoped()), node=node)[0]) == found


@pytest.mark.refutes("AUT-2")
def test_changes_of_another_nodes_policies_are_silent() -> None:
    catalog = scoped()
    session = a_session(catalog)
    settled(session, proxy(session, node="n1"))
    put(catalog, a_policy(Q.name, padding=2), key=node_authorizations("n2"))
    assert taken(session) == []
    put(catalog, Q, key=node_authorizations("n1"))
    assert names(taken(session)[0]) == [Q.name]


@pytest.mark.proves("AUT-3")
@pytest.mark.parametrize(("node", "scopes"), [("", True), ("n1", False)])
def test_without_a_node_or_with_full_scope_every_policy_is_sent(node: str, scopes: bool) -> None:
    session = a_session(scoped(), scopes_policies_to_nodes=scopes)
    assert len(names(proxy(session, node=node)[0])) == 3


@pytest.mark.refutes("AUT-3")
def test_with_a_node_and_node_scope_not_every_policy_is_sent() -> None:
    assert len(names(proxy(a_session(scoped()), node="n1")[0])) == 2


DRY = a_policy("ns/p", dry_run=True)


@pytest.mark.proves("AUT-4")
@pytest.mark.parametrize("version", ["1.29.0", "1.30", "2.0.1"])
def test_a_proxy_that_knows_dry_run_is_sent_it(version: str) -> None:
    session = a_session(a_catalog(policies=[DRY]))
    assert names(proxy(session, ISTIO_VERSION=version)[0]) == ["ns/p"]


@pytest.mark.refutes("AUT-4")
@pytest.mark.parametrize("version", ["", "1.28.3", "dev", "1"])
def test_an_old_proxy_never_is_and_loses_a_policy_that_becomes_dry_run(version: str) -> None:
    catalog = a_catalog(policies=[Q, DRY])
    session = a_session(catalog)
    answers = proxy(session, ISTIO_VERSION=version)
    assert names(answers[0]) == [Q.name]
    settled(session, answers)
    put(catalog, a_policy(Q.name, dry_run=True), key=AUTHORIZATIONS)
    (change,) = taken(session)
    assert (names(change), removed(change)) == ([], [Q.name])
    again = a_session(catalog)
    known = {Q.name: Q.version, DRY.name: DRY.version}
    settled_removals = [*proxy(again, known=known)]
    acknowledge(again, *settled_removals)
    assert sorted(removed(taken(again)[0])) == [DRY.name, Q.name]


@pytest.mark.proves("AUT-5")
def test_56_creation_sends_the_new_one_and_deletion_removes_it() -> None:
    catalog = a_catalog(policies=[P])
    session = a_session(catalog)
    settled(session, proxy(session))
    put(catalog, Q, key=AUTHORIZATIONS)
    (created,) = taken(session)
    assert (names(created), removed(created)) == ([Q.name], [])
    acknowledge(session, created)
    remove(catalog, P.name, key=AUTHORIZATIONS)
    (deleted,) = taken(session)
    assert (names(deleted), removed(deleted)) == ([], [P.name])


@pytest.mark.proves("AUT-5")
def test_57_the_static_strict_policy_arrives_when_it_is_made() -> None:
    catalog = a_catalog()
    session = a_session(catalog)
    settled(session, proxy(session))
    put(catalog, a_policy("istio-system/istio_converted_static_strict"), key=AUTHORIZATIONS)
    assert names(taken(session)[0]) == ["istio-system/istio_converted_static_strict"]


@pytest.mark.refutes("AUT-5")
def test_56_other_changes_send_no_policies() -> None:
    catalog = a_catalog(policies=[P])
    session = a_session(catalog)
    settled(session, proxy(session))
    put(catalog, POD)
    answers = taken(session)
    assert types(answers) == [ADDRESS_TYPE]
    acknowledge(session, *answers)
    put(catalog, a_policy("ns/p"), key=AUTHORIZATIONS)
    assert taken(session) == []


@pytest.mark.proves("AUT-6")
def test_a_policy_that_moves_between_scopes_is_not_removed() -> None:
    catalog = scoped()
    session = a_session(catalog)
    settled(session, proxy(session, node="n1"))
    catalog.stage(node_authorizations("n1"), [(P.name, None)])
    put(catalog, P, key=GLOBAL_AUTHORIZATIONS)
    answers = taken(session)
    settled(session, answers)
    assert [removed(each) for each in answers] == [[]]
    assert session.subscriptions[AUTHORIZATION_TYPE].is_in_flight is False


@pytest.mark.refutes("AUT-6")
def test_a_policy_that_leaves_both_scopes_is_removed() -> None:
    catalog = scoped()
    session = a_session(catalog)
    settled(session, proxy(session, node="n1"))
    remove(catalog, P.name, key=node_authorizations("n1"))
    assert [removed(each) for each in taken(session)] == [[P.name]]


def commit(
    catalog: Catalog, *, policy: Resource | None = None, address: Resource | None = None
) -> None:
    if policy:
        catalog.stage(AUTHORIZATIONS, [(policy.name, policy)])
    if address:
        catalog.stage(ADDRESSES, [(address.name, address)])
    catalog.publish()


@pytest.mark.proves("OR-1")
def test_a_commits_policies_precede_its_addresses() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    settled(session, proxy(session))
    commit(catalog, policy=P, address=LISTED)
    assert types(taken(session)) == [AUTHORIZATION_TYPE, ADDRESS_TYPE]


@pytest.mark.refutes("OR-1")
def test_addresses_alone_wait_for_no_policy() -> None:
    catalog = a_catalog(POD, policies=[P])
    session = a_session(catalog)
    settled(session, proxy(session))
    commit(catalog, address=LISTED)
    assert types(taken(session)) == [ADDRESS_TYPE]


@pytest.mark.proves("OR-2")
def test_addresses_wait_while_policies_cannot_be_sent() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    settled(session, proxy(session))
    commit(catalog, policy=Q)
    (unacknowledged,) = taken(session)
    commit(catalog, policy=P, address=LISTED)
    assert taken(session) == []
    commit(catalog, address=a_workload("c//Pod/ns/unrelated"))
    assert taken(session) == []
    acknowledge(session, unacknowledged)
    answers = taken(session)
    assert types(answers) == [AUTHORIZATION_TYPE, ADDRESS_TYPE]
    assert names(answers[1]) == [LISTED.name, "c//Pod/ns/unrelated"]


@pytest.mark.refutes("OR-2")
def test_addresses_go_on_while_sent_policies_are_unacknowledged() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    settled(session, proxy(session))
    commit(catalog, policy=P)
    assert types(taken(session)) == [AUTHORIZATION_TYPE]
    commit(catalog, address=LISTED)
    assert types(taken(session)) == [ADDRESS_TYPE]


@pytest.mark.proves("OR-3")
def test_removed_policies_follow_the_addresses_that_listed_them() -> None:
    catalog = a_catalog(LISTED, policies=[P])
    session = a_session(catalog)
    settled(session, proxy(session))
    catalog.stage(AUTHORIZATIONS, [(P.name, None)])
    put(catalog, POD)
    answers = taken(session)
    assert types(answers) == [ADDRESS_TYPE, AUTHORIZATION_TYPE]
    assert removed(answers[1]) == [P.name]


@pytest.mark.proves("OR-3")
def test_removed_policies_wait_while_addresses_cannot_be_sent() -> None:
    catalog = a_catalog(LISTED, policies=[P])
    session = a_session(catalog)
    settled(session, proxy(session))
    put(catalog, a_workload("c//Pod/ns/b"))
    (unacknowledged,) = taken(session)
    catalog.stage(AUTHORIZATIONS, [(P.name, None)])
    put(catalog, POD)
    assert taken(session) == []
    acknowledge(session, unacknowledged)
    assert types(taken(session)) == [ADDRESS_TYPE, AUTHORIZATION_TYPE]


@pytest.mark.proves("OR-3")
def test_a_returning_clients_removed_policies_follow_its_addresses() -> None:
    session = a_session(a_catalog(POD))
    policies, addresses = proxy(session, known={"ns/gone": "1"})
    assert (removed(policies), types([addresses])) == ([], [ADDRESS_TYPE])
    acknowledge(session, policies)
    (removal,) = taken(session)
    assert (removal.type_url, removed(removal)) == (AUTHORIZATION_TYPE, ["ns/gone"])


@pytest.mark.refutes("OR-3")
def test_a_policy_that_came_back_is_not_removed_and_removals_alone_wait_for_nothing() -> None:
    catalog = a_catalog(LISTED, policies=[P, Q])
    session = a_session(catalog)
    answers = proxy(session, known={"ns/gone": "1"})
    remove(catalog, P.name, key=AUTHORIZATIONS)
    put(catalog, P, a_policy("ns/gone"), key=AUTHORIZATIONS)
    acknowledge(session, *answers)
    assert [removed(each) for each in taken(session)] == [[]]
    other = a_session(catalog)
    settled(other, proxy(other))
    remove(catalog, Q.name, key=AUTHORIZATIONS)
    assert [removed(each) for each in taken(other)] == [[Q.name]]


@pytest.mark.proves("OR-4")
def test_first_addresses_wait_for_the_first_policies() -> None:
    session = a_session(a_catalog(LISTED, policies=[P]))
    session.receive(introduced(a_request(ADDRESS_TYPE)))
    assert taken(session) == []
    session.receive(a_request(AUTHORIZATION_TYPE))
    assert types(taken(session)) == [AUTHORIZATION_TYPE, ADDRESS_TYPE]


@pytest.mark.refutes("OR-4")
def test_the_wait_ends_and_other_kinds_do_not_wait() -> None:
    clock = FakeClock()
    session = a_session(a_catalog(LISTED, policies=[P]), clock)
    session.receive(introduced(a_request(ADDRESS_TYPE)))
    assert taken(session) == []
    assert session.has_work()
    clock.time += 1.1
    assert types(taken(session)) == [ADDRESS_TYPE]
    waypoint = a_session(a_catalog(LISTED, policies=[P]))
    waypoint.receive(introduced(a_request(ADDRESS_TYPE), kind="waypoint"))
    assert types(taken(waypoint)) == [ADDRESS_TYPE]


def test_removals_do_not_starve_under_steady_change() -> None:
    catalog = a_catalog(policies=[P, Q])
    session = a_session(catalog)
    settled(session, proxy(session))
    put(catalog, a_policy("ns/new-0"), key=AUTHORIZATIONS)
    responses = taken(session)
    remove(catalog, P.name, key=AUTHORIZATIONS)
    gone: list[str] = []
    for number in range(1, 4):
        put(catalog, a_policy(f"ns/new-{number}"), key=AUTHORIZATIONS)
        acknowledge(session, *responses)
        responses = taken(session)
        gone += [name for each in responses for name in removed(each)]
    assert gone == [P.name]
