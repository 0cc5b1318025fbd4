"""Transcripts of docs/protocol/discovery.md ADR-9 to ADR-15: addresses on demand."""

from typing import Any

import pytest

from controlplane.snapshots.catalog import Catalog
from controlplane.xds.errors import MalformedRequestError
from controlplane.xds.response import Response
from controlplane.xds.session import Session
from tests.support.discovery import (
    a_catalog,
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

HERE = a_workload("c//Pod/ns/here", ips=["10.0.0.1"], node="n1")
AWAY = a_workload("c//Pod/ns/away", ips=["10.0.0.2"], node="n2", services=("ns/host",))
TWIN = a_workload("c//Pod/ns/twin", ips=["10.0.0.2"], node="n3")
SERVICE = a_service("ns/host", vips=["10.1.0.1", "10.2.0.0/24"])


def on_demand(catalog: Catalog, **request: Any) -> tuple[Session, Response]:
    """Open a stream of node n1 and return its first answer, acknowledged."""
    session = a_session(catalog)
    request = {"subscribe": ["*"], "unsubscribe": ["*"], **request}
    session.receive(introduced(a_request(**request), kind="waypoint", node_name="n1"))
    (first,) = taken(session)
    acknowledge(session, first)
    return session, first


def ask(session: Session, *keys: str, without: tuple[str, ...] = ()) -> Response:
    session.receive(a_request(subscribe=keys, unsubscribe=without))
    (answer,) = taken(session)
    acknowledge(session, answer)
    return answer


@pytest.mark.proves("ADR-9")
@pytest.mark.parametrize(
    ("key", "found"),
    [
        (AWAY.name, [AWAY.name]),
        ("net/10.0.0.2", [AWAY.name, TWIN.name]),
        (SERVICE.name, [SERVICE.name, AWAY.name]),
        ("net/10.1.0.1", [SERVICE.name, AWAY.name]),
        ("net/10.2.0.0", [SERVICE.name, AWAY.name]),
        ("net/10.2.0.0/24", [SERVICE.name, AWAY.name]),
    ],
)
def test_53_keys_find_what_they_stand_for(key: str, found: list[str]) -> None:
    session, _ = on_demand(a_catalog(AWAY, TWIN, SERVICE))
    assert names(ask(session, key)) == found


@pytest.mark.refutes("ADR-9")
@pytest.mark.parametrize("key", ["away", "net/10.9.9.9", "other/10.0.0.2", "ns/other", "/"])
def test_53_other_keys_find_nothing(key: str) -> None:
    session, _ = on_demand(a_catalog(AWAY, SERVICE))
    answer = ask(session, key)
    assert (names(answer), removed(answer)) == ([], [key])


@pytest.mark.proves("ADR-10")
def test_53_a_key_that_is_no_name_is_listed_as_removed_so_that_who_waits_for_it_wakes() -> None:
    session, _ = on_demand(a_catalog(AWAY, SERVICE))
    answer = ask(session, "net/10.0.0.2", "net/10.1.0.1", "c//Pod/ns/none")
    assert removed(answer) == ["net/10.0.0.2", "net/10.1.0.1", "c//Pod/ns/none"]
    assert names(answer) == [AWAY.name, SERVICE.name]


@pytest.mark.refutes("ADR-10")
def test_a_key_that_is_the_name_of_what_is_sent_or_known_is_not_removed() -> None:
    session, first = on_demand(a_catalog(AWAY), known={AWAY.name: AWAY.version})
    assert (names(first), removed(first)) == ([], [])
    assert removed(ask(session, AWAY.name)) == []


@pytest.mark.proves("ADR-11")
def test_54_workloads_of_the_clients_node_come_without_being_asked_for() -> None:
    catalog = a_catalog(HERE, AWAY)
    session, first = on_demand(catalog, known={"net/10.0.0.2": ""})
    assert sorted(names(first)) == sorted([AWAY.name, HERE.name])
    new = a_workload("c//Pod/ns/new", node="n1")
    put(catalog, new)
    assert names(taken(session)[0]) == [new.name]


@pytest.mark.refutes("ADR-11")
def test_53_a_pod_of_another_node_that_nobody_asked_for_is_silent() -> None:
    catalog = a_catalog(HERE, AWAY)
    session, _ = on_demand(catalog)
    put(catalog, a_workload(AWAY.name, node="n2", padding="2"))
    assert taken(session) == []


@pytest.mark.proves("ADR-12")
def test_a_change_of_a_service_brings_its_workloads() -> None:
    catalog = a_catalog(AWAY, SERVICE)
    session, _ = on_demand(catalog)
    ask(session, SERVICE.name)
    put(catalog, a_service(SERVICE.name, padding="2"))
    assert names(taken(session)[0]) == [SERVICE.name, AWAY.name]


@pytest.mark.refutes("ADR-12")
def test_a_workload_that_joins_a_service_is_not_sent_by_itself() -> None:
    catalog = a_catalog(AWAY, SERVICE)
    session, _ = on_demand(catalog)
    ask(session, SERVICE.name)
    put(catalog, a_workload("c//Pod/ns/new", services=(SERVICE.name,)))
    assert taken(session) == []


@pytest.mark.proves("ADR-13")
@pytest.mark.parametrize("key", [AWAY.name, "net/10.0.0.2"])
def test_a_key_is_followed_up(key: str) -> None:
    catalog = a_catalog(HERE)
    session, _ = on_demand(catalog)
    assert removed(ask(session, key)) == [key]
    put(catalog, AWAY)
    assert names(taken(session)[0]) == [AWAY.name]


@pytest.mark.refutes("ADR-13")
def test_a_key_that_was_unsubscribed_is_not_followed_up() -> None:
    catalog = a_catalog(HERE)
    session, _ = on_demand(catalog)
    ask(session, "net/10.0.0.2")
    ask(session, without=("net/10.0.0.2",))
    put(catalog, AWAY)
    assert taken(session) == []


def aliases(response: Response) -> list[list[str]]:
    return [[*each.aliases] for each in parsed(response).resources]


@pytest.mark.proves("ADR-14")
def test_on_demand_resources_carry_aliases() -> None:
    session, _ = on_demand(a_catalog(AWAY, SERVICE))
    assert aliases(ask(session, AWAY.name)) == [["net/10.0.0.2"]]


@pytest.mark.refutes("ADR-14")
def test_wildcard_resources_carry_none() -> None:
    session = a_session(a_catalog(AWAY))
    session.receive(introduced(a_request(), kind="waypoint"))
    assert aliases(taken(session)[0]) == [[]]


@pytest.mark.proves("ADR-15")
def test_what_was_sent_and_is_gone_is_removed() -> None:
    catalog = a_catalog(HERE, AWAY)
    session, _ = on_demand(catalog)
    ask(session, "net/10.0.0.2")
    remove(catalog, HERE.name, AWAY.name)
    assert sorted(removed(taken(session)[0])) == sorted([HERE.name, AWAY.name])


@pytest.mark.refutes("ADR-15")
def test_what_was_never_sent_is_not_removed_and_nothing_twice() -> None:
    catalog = a_catalog(HERE, AWAY)
    session, _ = on_demand(catalog)
    remove(catalog, AWAY.name)
    assert taken(session) == []
    remove(catalog, HERE.name)
    acknowledge(session, *taken(session))
    put(catalog, TWIN)
    assert taken(session) == []


def test_a_request_that_finds_and_misses_nothing_is_answered() -> None:
    session, first = on_demand(a_catalog())
    assert (names(first), removed(first)) == ([], [])
    assert names(ask(session, without=("net/1.1.1.1",))) == []


def test_pending_keys_are_answered_together_after_the_acknowledgement() -> None:
    catalog = a_catalog(AWAY, TWIN, SERVICE)
    session = a_session(catalog)
    session.receive(introduced(a_request(subscribe=["*"], unsubscribe=["*"]), kind="waypoint"))
    (first,) = taken(session)
    session.receive(a_request(subscribe=[TWIN.name]))
    session.receive(a_request(subscribe=[SERVICE.name]))
    assert taken(session) == []
    acknowledge(session, first)
    assert names(taken(session)[0]) == [TWIN.name, SERVICE.name, AWAY.name]


def test_asking_for_the_star_later_turns_into_the_wildcard() -> None:
    session, _ = on_demand(a_catalog(AWAY, SERVICE))
    assert names(ask(session, "*")) == [AWAY.name, SERVICE.name]


def test_dropping_the_star_turns_into_on_demand() -> None:
    catalog = a_catalog(AWAY, SERVICE)
    session = a_session(catalog)
    session.receive(introduced(a_request(), kind="waypoint"))
    acknowledge(session, *taken(session))
    assert names(ask(session, AWAY.name, without=("*",))) == [AWAY.name]


def test_the_keys_of_one_stream_are_bounded() -> None:
    session, _ = on_demand(a_catalog())
    with pytest.raises(MalformedRequestError, match="more than 100000"):
        session.receive(a_request(subscribe=[f"net/{n}" for n in range(100_001)]))


def test_servers_without_on_demand_clients_build_no_lookup() -> None:
    catalog = a_catalog(AWAY)
    session = a_session(catalog)
    session.receive(introduced(a_request(), kind="waypoint"))
    assert taken(session)
    assert catalog._lookup is None
