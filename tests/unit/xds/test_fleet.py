"""The fleet shows what clients were sent and accepted."""

from datetime import timedelta

import pytest

from controlplane.model.connection import NOTHING, Connection, TypeProgress
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import (
    ADDRESS_TYPE,
    ADDRESSES,
    AUTHORIZATION_TYPE,
    AUTHORIZATIONS,
    GLOBAL_AUTHORIZATIONS,
    node_authorizations,
)
from controlplane.xds.fleet import MESSAGE, NAMES, Fleet
from controlplane.xds.session import Origin, Session
from controlplane.xds.settings import XdsSettings
from tests.support.discovery import (
    FakeClock,
    a_catalog,
    a_policy,
    a_request,
    a_workload,
    acknowledge,
    introduced,
    put,
    remove,
    taken,
)

POD = a_workload("c//Pod/ns/a")


class Seen:
    """One session in a fleet, on a clock."""

    def __init__(self, catalog: Catalog, **node: str) -> None:
        self.clock = FakeClock()
        self.fleet = Fleet(self.clock, replica="r-1")
        self.session = Session(
            catalog,
            XdsSettings(),
            self.clock,
            origin=Origin(number=7, peer="ipv4:10.0.0.9:1", identity="istio-system/ztunnel"),
        )
        self.fleet.add(self.session)
        self._node = node

    def ask(self, type_url: str = ADDRESS_TYPE, kind: str = "waypoint") -> None:
        self.session.receive(introduced(a_request(type_url), kind=kind, **self._node))

    @property
    def connection(self) -> Connection:
        (found,) = self.fleet.connections()
        return found

    def type(self, type_url: str = ADDRESS_TYPE) -> TypeProgress:
        (found,) = (each for each in self.connection.types if each.type_url == type_url)
        return found


def test_clients_appear_when_they_introduce_themselves_and_go() -> None:
    seen = Seen(a_catalog(POD), CLUSTER_ID="c", ISTIO_VERSION="1.30.0", node_name="n1")
    fleet = seen.fleet
    assert (len(fleet), fleet.connections(), fleet.connection(7)) == (1, (), None)
    seen.ask()
    connection = seen.connection
    assert fleet.connection(7) == connection
    assert (connection.replica, connection.number, connection.kind) == ("r-1", 7, "waypoint")
    assert (connection.pod, connection.namespace, connection.node) == (
        "proxy-1",
        "istio-system",
        "n1",
    )
    assert (connection.cluster, connection.version) == ("c", "1.30.0")
    assert (connection.peer, connection.identity) == ("ipv4:10.0.0.9:1", "istio-system/ztunnel")
    assert connection.name == "proxy-1.istio-system"
    assert connection.connected_at == seen.clock.now()
    fleet.remove(seen.session)
    assert len(fleet) == 0
    assert fleet.connection(7) is None


def test_progress_and_rejections_are_visible_with_their_times() -> None:
    catalog = a_catalog(POD)
    seen = Seen(catalog)
    seen.ask()
    asked = seen.type()
    assert (asked.nonce_sent, asked.sent_at, asked.commit_held) == ("", None, NOTHING)
    (first,) = taken(seen.session)
    sent_at = seen.clock.now()
    seen.clock.time += 2
    assert (seen.type().is_in_flight, seen.type().sent_at) == (True, sent_at)
    acknowledge(seen.session, first)
    accepted = seen.type()
    assert (accepted.acknowledged_at, accepted.commit_held) == (seen.clock.now(), 1)
    assert (accepted.held, accepted.behind_since) == (1, None)
    seen.clock.time += 3
    put(catalog, a_workload("c//Pod/ns/b"))
    (second,) = taken(seen.session)
    seen.session.receive(a_request(nonce=second.nonce, error="c//Pod/ns/b: bad"))
    status = seen.type()
    assert (status.is_on_demand, status.is_in_flight, status.is_served) == (False, False, True)
    assert (status.commit_sent, status.commit_acknowledged) == (2, 1)
    assert (status.commit_held, status.commit_due, status.held) == (1, 2, None)
    assert (status.nonce_sent, status.nonce_acknowledged) == ("2", "1")
    assert (status.last_error, status.rejected) == ("c//Pod/ns/b: bad", ("c//Pod/ns/b",))
    assert status.last_error_at == seen.clock.now()
    seen.clock.time += 1
    assert seen.type().last_error_at == seen.clock.now() - timedelta(seconds=1)


def test_an_accepted_response_ends_an_error() -> None:
    catalog = a_catalog(POD)
    seen = Seen(catalog)
    seen.ask()
    (first,) = taken(seen.session)
    seen.session.receive(a_request(nonce=first.nonce, error="c//Pod/ns/a: bad"))
    put(catalog, a_workload("c//Pod/ns/b"))
    (second,) = taken(seen.session)
    assert (seen.type().commit_held, seen.type().last_error) == (NOTHING, "c//Pod/ns/a: bad")
    acknowledge(seen.session, second)
    status = seen.type()
    assert (status.commit_held, status.last_error, status.last_error_at) == (2, "", None)


def test_what_a_client_says_is_kept_within_bounds() -> None:
    seen = Seen(a_catalog(POD))
    seen.ask()
    (first,) = taken(seen.session)
    long = "; ".join(f"c//Pod/ns/{number}: bad" for number in range(2 * NAMES))
    seen.session.receive(a_request(nonce=first.nonce, error=long))
    assert (len(seen.type().last_error), len(seen.type().rejected)) == (MESSAGE, NAMES)


def test_a_refusal_without_words_is_one() -> None:
    seen = Seen(a_catalog(POD))
    seen.ask()
    (first,) = taken(seen.session)
    seen.session.receive(a_request(nonce=first.nonce, error=""))
    assert (seen.type().last_error, seen.type().rejected) == ("refused without a word", ())


@pytest.mark.proves("FL-8")
def test_a_response_in_pieces_is_held_with_the_last_of_them() -> None:
    catalog = a_catalog(POD)
    seen = Seen(catalog)
    seen.ask()
    for response in taken(seen.session):
        acknowledge(seen.session, response)
    put(catalog, *(a_workload(f"c//Pod/ns/{n}", padding="x" * 200_000) for n in range(2)))
    for held in (1, 2):
        (piece,) = taken(seen.session)
        acknowledge(seen.session, piece)
        assert (piece.commit, seen.type().commit_held) == (2, held)


@pytest.mark.refutes("FL-8")
def test_an_added_policy_is_held_with_its_acknowledgement() -> None:
    catalog = a_catalog(POD)
    seen = Seen(catalog)
    seen.ask(AUTHORIZATION_TYPE, "ztunnel")
    seen.ask(ADDRESS_TYPE, "ztunnel")
    for response in taken(seen.session):
        acknowledge(seen.session, response)
    put(catalog, a_policy("ns/p"), key=AUTHORIZATIONS)
    (added,) = taken(seen.session)
    assert seen.type(AUTHORIZATION_TYPE).commit_held == 1
    acknowledge(seen.session, added)
    assert taken(seen.session) == []
    assert seen.type(AUTHORIZATION_TYPE).commit_held == 2


@pytest.mark.proves("FL-8")
def test_a_policy_is_held_when_added_and_its_removal_only_after_the_workloads_moved_on() -> None:
    catalog = a_catalog(POD, policies=[a_policy("ns/p")])
    seen = Seen(catalog)
    seen.ask(AUTHORIZATION_TYPE, "ztunnel")
    seen.ask(ADDRESS_TYPE, "ztunnel")
    for response in taken(seen.session):
        acknowledge(seen.session, response)
    assert taken(seen.session) == []
    assert seen.type(AUTHORIZATION_TYPE).commit_held == 1
    put(catalog, a_workload("c//Pod/ns/b"))
    (address,) = taken(seen.session)
    catalog.stage(ADDRESSES, [(POD.name, a_workload(POD.name, padding="x"))])
    remove(catalog, "ns/p", key=AUTHORIZATIONS)
    assert taken(seen.session) == []
    assert seen.type(AUTHORIZATION_TYPE).commit_held < 3
    acknowledge(seen.session, address)
    moved, removal = taken(seen.session)
    assert (moved.type_url, removal.type_url) == (ADDRESS_TYPE, AUTHORIZATION_TYPE)
    assert seen.type(AUTHORIZATION_TYPE).commit_held < 3
    acknowledge(seen.session, removal)
    assert seen.type(AUTHORIZATION_TYPE).commit_held == 3


def test_a_client_that_sees_none_of_a_commit_has_it() -> None:
    catalog = a_catalog(POD)
    seen = Seen(catalog, node_name="n1")
    seen.ask(AUTHORIZATION_TYPE, "ztunnel")
    for response in taken(seen.session):
        acknowledge(seen.session, response)
    put(catalog, a_policy("ns/p"), key=node_authorizations("n2"))
    status = seen.type(AUTHORIZATION_TYPE)
    assert (status.commit_due, status.commit_held) == (0, 2)
    put(catalog, a_policy("ns/q"), key=node_authorizations("n1"))
    status = seen.type(AUTHORIZATION_TYPE)
    assert (status.commit_due, status.commit_held) == (3, 1)


def test_followers_name_the_tables_they_look_at() -> None:
    seen = Seen(a_catalog(POD), node_name="n1")
    assert list(seen.fleet.followers()) == []
    seen.ask(AUTHORIZATION_TYPE, "ztunnel")
    seen.ask("type.googleapis.com/what.Ever", "ztunnel")
    (follower,) = seen.fleet.followers()
    assert (follower.number, follower.name, follower.node) == (7, "proxy-1.istio-system", "n1")
    assert [each.keys for each in follower.types] == [
        (GLOBAL_AUTHORIZATIONS, node_authorizations("n1")),
        (),
    ]
    assert seen.type("type.googleapis.com/what.Ever").is_served is False


def test_since_when_a_client_is_behind_is_told_by_who_knows_the_commits() -> None:
    catalog = a_catalog(POD)
    seen = Seen(catalog)
    asked: list[tuple[object, int]] = []

    def behind_since(keys: object, held: int) -> float:
        asked.append((keys, held))
        return seen.clock.time - 5

    seen.fleet.follow(behind_since)
    seen.ask()
    for response in taken(seen.session):
        acknowledge(seen.session, response)
    assert (seen.type().behind_since, asked) == (None, [])
    put(catalog, a_workload("c//Pod/ns/b"))
    assert seen.type().behind_since == seen.clock.now() - timedelta(seconds=5)
    assert asked == [((ADDRESSES,), 1)]


def test_an_on_demand_client_counts_what_it_holds() -> None:
    catalog = a_catalog(POD, a_workload("c//Pod/ns/b"))
    seen = Seen(catalog)
    request = introduced(a_request(subscribe=[POD.name]), kind="waypoint")
    seen.session.receive(request)
    for response in taken(seen.session):
        acknowledge(seen.session, response)
    assert (seen.type().is_on_demand, seen.type().held) == (True, 1)
    put(catalog, a_workload("c//Pod/ns/c"))
    assert taken(seen.session) == []
    assert (seen.type().commit_held, seen.type().commit_due) == (2, 2)
