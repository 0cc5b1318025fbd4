"""Transcripts of docs/protocol/discovery.md XDS-n: what a client says and what it is answered."""

from functools import partial

import pytest

from controlplane.authentication.caller import Caller, Metadata
from controlplane.model.names import Name
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import (
    ADDRESS_TYPE,
    ADDRESSES,
    AUTHORIZATION_TYPE,
    AUTHORIZATIONS,
)
from controlplane.xds.errors import ForbiddenError, MalformedRequestError
from controlplane.xds.identity import Access
from controlplane.xds.session import Session
from controlplane.xds.settings import XdsSettings
from tests.support.discovery import (
    FakeClock,
    a_catalog,
    a_policy,
    a_request,
    a_service,
    a_session,
    a_workload,
    acknowledge,
    introduced,
    names,
    parsed,
    put,
    remove,
    removed,
    taken,
)

POD = a_workload("c//Pod/ns/a")
OTHER = a_workload("c//Pod/ns/b")


def opened(session: Session, **node: str) -> None:
    """Subscribe as a node proxy does."""
    session.receive(introduced(a_request(ADDRESS_TYPE), **node))
    session.receive(a_request(AUTHORIZATION_TYPE))


@pytest.mark.proves("XDS-2")
def test_a_node_with_four_parts_a_known_kind_and_an_address_is_let_in() -> None:
    session = a_session(a_catalog())
    opened(session)
    assert session.node is not None
    assert (session.node.kind, session.node.namespace) == ("ztunnel", "istio-system")
    assert len(taken(session)) == 2


@pytest.mark.refutes("XDS-2")
@pytest.mark.parametrize(
    ("node_id", "says"),
    [
        ("", "missing node information"),
        ("ztunnel~10.0.0.1~a.b", "four parts"),
        ("toaster~10.0.0.1~a.b~c", "unknown type"),
        ("ztunnel~10.0.0.1~~c", "no name"),
        ("ztunnel~nowhere~a.b~c", "no valid IP"),
    ],
)
def test_other_nodes_are_refused(node_id: str, says: str) -> None:
    request = a_request()
    request.node.id = node_id
    with pytest.raises(MalformedRequestError, match=says):
        a_session(a_catalog()).receive(request)


@pytest.mark.refutes("XDS-2")
def test_a_first_request_without_a_node_is_refused() -> None:
    with pytest.raises(MalformedRequestError, match="missing node information"):
        a_session(a_catalog()).receive(a_request())


class Nobody:
    """Is not asked."""

    async def authenticate(self, metadata: Metadata, peer: str) -> Caller:
        raise AssertionError(metadata, peer)


def session_of(namespace: str) -> Session:
    caller = Caller(namespace=namespace, service_account="ztunnel", cluster="c", node_name="n")
    access = Access(authenticator=Nobody(), trusted=frozenset({Name("istio-system", "ztunnel")}))
    return Session(
        a_catalog(), XdsSettings(), FakeClock(), authorize=partial(access.authorize, caller)
    )


@pytest.mark.proves("XDS-3")
def test_a_caller_speaks_for_nodes_of_its_namespace() -> None:
    session_of("istio-system").receive(introduced(a_request(), node_name="n"))
    own = introduced(a_request(), node_name="n", SERVICE_ACCOUNT="ztunnel")
    session_of("istio-system").receive(own)


@pytest.mark.refutes("XDS-3")
def test_a_caller_does_not_speak_for_other_namespaces_or_accounts() -> None:
    with pytest.raises(ForbiddenError, match="authorization failed"):
        session_of("default").receive(introduced(a_request(), node_name="n"))
    with pytest.raises(ForbiddenError, match="authorization failed"):
        session_of("istio-system").receive(
            introduced(a_request(), node_name="n", SERVICE_ACCOUNT="other")
        )


@pytest.mark.proves("XDS-7")
def test_52_first_requests_are_answered_although_there_is_nothing() -> None:
    session = a_session(a_catalog())
    opened(session)
    answers = taken(session)
    assert {each.type_url for each in answers} == {ADDRESS_TYPE, AUTHORIZATION_TYPE}
    assert [names(each) + removed(each) for each in answers] == [[], []]


@pytest.mark.refutes("XDS-7")
def test_acknowledgements_and_irrelevant_commits_are_not_answered() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    opened(session)
    acknowledge(session, *taken(session))
    assert taken(session) == []
    put(catalog, POD)
    assert taken(session) == []
    assert not session.has_work()


LARGE = [a_workload(f"c//Pod/ns/{n}", padding="x" * 100_000) for n in range(8)]


@pytest.mark.proves("XDS-8")
def test_first_responses_are_whole_and_later_ones_split_with_removals_last() -> None:
    catalog = a_catalog(*LARGE, POD)
    session = a_session(catalog)
    opened(session)
    first = taken(session)
    assert len(names(first[1])) == 9
    acknowledge(session, *first)
    catalog.stage(ADDRESSES, [(POD.name, None)])
    put(catalog, *(a_workload(each.name, padding="y" * 100_000) for each in LARGE))
    parts = []
    while answers := taken(session):
        assert len(answers) == 1
        parts += answers
        acknowledge(session, *answers)
    assert len(parts) == 4
    assert sum(len(names(part)) for part in parts) == 8
    assert [removed(part) for part in parts] == [[], [], [], [POD.name]]
    assert all(len(part.body) < 300_000 for part in parts)


@pytest.mark.refutes("XDS-8")
def test_a_returning_clients_first_response_is_whole_and_small_ones_are_never_split() -> None:
    catalog = a_catalog(*LARGE)
    session = a_session(catalog)
    session.receive(introduced(a_request(known={POD.name: "1"}), kind="waypoint"))
    (first,) = taken(session)
    assert (len(names(first)), removed(first)) == (8, [POD.name])
    acknowledge(session, first)
    put(catalog, POD, OTHER)
    assert len(taken(session)) == 1


@pytest.mark.proves("XDS-9")
def test_nonces_differ_and_shared_responses_are_one_object() -> None:
    catalog = a_catalog(POD, policies=[a_policy("ns/p")])
    sessions = [a_session(catalog), a_session(catalog)]
    for session in sessions:
        opened(session)
    first, second = (taken(session) for session in sessions)
    assert [one.body is two.body for one, two in zip(first, second, strict=True)] == [True, True]
    assert len({each.nonce for each in first}) == 2
    assert first[1].nonce == str(catalog.commit)


@pytest.mark.refutes("XDS-9")
def test_asking_again_at_the_same_commit_does_not_repeat_a_nonce() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    opened(session)
    nonces = [each.nonce for each in taken(session)]
    for _ in range(3):
        session.receive(a_request(ADDRESS_TYPE, nonce=nonces[-1], subscribe=["x/y/z"]))
        nonces += [each.nonce for each in taken(session)]
    assert len(nonces) == len(set(nonces)) == 5


@pytest.mark.proves("XDS-20")
@pytest.mark.refutes("XDS-20")
def test_a_response_names_the_commit_it_belongs_to() -> None:
    catalog = a_catalog(POD, policies=[a_policy("ns/p")])
    session = a_session(catalog)
    opened(session)
    _, addresses = taken(session)
    first = str(catalog.commit)
    acknowledge(session, addresses)
    put(catalog, OTHER)
    (second,) = taken(session)
    versions = [parsed(each).system_version_info for each in (addresses, second)]
    assert versions == [first, str(catalog.commit)]
    acknowledge(session, second)
    session.receive(a_request(ADDRESS_TYPE, subscribe=["x/y/z"]))
    (again,) = taken(session)
    assert (parsed(again).system_version_info, again.nonce != second.nonce) == (versions[1], True)


@pytest.mark.proves("XDS-10")
def test_a_stale_request_is_ignored() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    opened(session)
    taken(session)
    session.receive(a_request(ADDRESS_TYPE, nonce="0", subscribe=["x/y/z"]))
    put(catalog, OTHER)
    assert taken(session) == []


@pytest.mark.refutes("XDS-10")
def test_a_request_with_the_last_nonce_or_none_counts() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    session.receive(introduced(a_request(nonce="of an earlier stream"), kind="waypoint"))
    acknowledge(session, *taken(session))
    session.receive(a_request(subscribe=["x/y/z"]))
    assert len(taken(session)) == 1


@pytest.mark.proves("XDS-11")
def test_changes_fold_into_one_step_while_a_response_is_unacknowledged() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    opened(session)
    first = taken(session)
    put(catalog, OTHER)
    put(catalog, a_service("ns/host"))
    remove(catalog, POD.name)
    assert taken(session) == []
    acknowledge(session, *first)
    (step,) = taken(session)
    assert (names(step), removed(step)) == ([OTHER.name, "ns/host"], [POD.name])


@pytest.mark.refutes("XDS-11")
def test_another_type_does_not_wait_for_an_acknowledgement() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    opened(session)
    policies, _ = taken(session)
    acknowledge(session, policies)
    put(catalog, a_policy("ns/p"), key=AUTHORIZATIONS)
    assert [each.type_url for each in taken(session)] == [AUTHORIZATION_TYPE]


@pytest.mark.proves("XDS-12")
def test_a_rejection_is_recorded_and_not_answered() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    opened(session)
    policies, addresses = taken(session)
    acknowledge(session, policies)
    error = f"{POD.name}: bad; c/discovery.k8s.io/EndpointSlice/ns/s/fd00::1: worse"
    session.receive(a_request(ADDRESS_TYPE, nonce=addresses.nonce, error=error))
    assert taken(session) == []
    subscription = session.subscriptions[ADDRESS_TYPE]
    assert subscription.last_error == error
    assert subscription.rejected == (POD.name, "c/discovery.k8s.io/EndpointSlice/ns/s/fd00::1")


@pytest.mark.refutes("XDS-12")
def test_after_a_rejection_other_resources_flow_and_an_acknowledgement_clears_it() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    opened(session)
    policies, addresses = taken(session)
    acknowledge(session, policies)
    session.receive(a_request(ADDRESS_TYPE, nonce=addresses.nonce, error=f"{POD.name}: bad"))
    put(catalog, OTHER)
    (step,) = taken(session)
    assert names(step) == [OTHER.name]
    acknowledge(session, step)
    assert session.subscriptions[ADDRESS_TYPE].last_error == ""
    session.receive(a_request("never.subscribed", error="no state"))
    assert "never.subscribed" not in session.subscriptions


@pytest.mark.proves("XDS-13")
def test_types_that_are_not_served_are_answered_empty_and_the_stream_goes_on() -> None:
    session = a_session(a_catalog(POD))
    session.receive(introduced(a_request("type.example/Other", subscribe=["b", "a"])))
    (answer,) = taken(session)
    assert (answer.type_url, names(answer), removed(answer)) == (
        "type.example/Other",
        [],
        ["a", "b"],
    )
    acknowledge(session, answer)
    assert taken(session) == []
    opened(session)
    assert len(taken(session)) == 2


@pytest.mark.refutes("XDS-13")
def test_an_empty_type_and_too_many_types_end_the_stream() -> None:
    with pytest.raises(MalformedRequestError, match="type_url"):
        a_session(a_catalog()).receive(introduced(a_request("")))
    session = a_session(a_catalog())
    for number in range(32):
        session.receive(introduced(a_request(f"type.example/{number}")))
    with pytest.raises(MalformedRequestError, match="more than 32 types"):
        session.receive(a_request("type.example/33"))


@pytest.mark.proves("XDS-14")
def test_a_client_that_acknowledges_nothing_is_to_be_closed() -> None:
    clock = FakeClock()
    session = a_session(a_catalog(POD), clock, acknowledgement_timeout=30.0)
    opened(session)
    taken(session)
    clock.time += 31
    assert session.ending() == "nothing acknowledged for too long"


@pytest.mark.refutes("XDS-14")
def test_a_client_that_is_owed_nothing_may_be_silent() -> None:
    clock = FakeClock()
    session = a_session(a_catalog(POD), clock, acknowledgement_timeout=30.0)
    opened(session)
    acknowledge(session, *taken(session))
    clock.time += 3000
    assert session.ending() is None


def a_forgetful_catalog() -> Catalog:
    """Return nine pods in a catalog that remembers two removals."""
    catalog = Catalog(tombstone_limit=2)
    put(catalog, *(a_workload(f"c//Pod/ns/{n}") for n in range(9)))
    return catalog


@pytest.mark.proves("XDS-15")
def test_a_client_behind_forgotten_removals_is_to_come_back() -> None:
    catalog = a_forgetful_catalog()
    session = a_session(catalog)
    opened(session)
    first = taken(session)
    for number in range(9):
        remove(catalog, f"c//Pod/ns/{number}")
    acknowledge(session, *first)
    assert taken(session) == []
    assert session.ending() == "too far behind to be told what changed"
    again = a_session(catalog)
    known = {f"c//Pod/ns/{n}": "1" for n in range(9)}
    again.receive(introduced(a_request(known=known), kind="waypoint"))
    assert len(removed(taken(again)[0])) == 9


@pytest.mark.refutes("XDS-15")
def test_a_client_within_what_is_remembered_stays() -> None:
    catalog = a_forgetful_catalog()
    session = a_session(catalog)
    opened(session)
    acknowledge(session, *taken(session))
    for number in range(9):
        remove(catalog, f"c//Pod/ns/{number}")
        acknowledge(session, *taken(session))
        assert session.ending() is None
