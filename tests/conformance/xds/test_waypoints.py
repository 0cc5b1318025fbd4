"""Transcripts of docs/protocol/waypoint-sessions.md WS-n, secrets excepted."""

from collections.abc import Iterable

import pytest

from controlplane.encode.envelope import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    SECRET_TYPE,
)
from controlplane.model.names import Name
from controlplane.model.waypoint import WaypointPod
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE, waypoint_endpoints
from controlplane.xds.errors import ForbiddenError
from controlplane.xds.node import Node
from controlplane.xds.response import Response
from controlplane.xds.session import Session
from tests.support.discovery import (
    FakeClock,
    a_request,
    a_workload,
    acknowledge,
    introduced,
    names,
    removed,
    taken,
)
from tests.support.discovery import put as put_addresses
from tests.support.waypoint_discovery import (
    WAYPOINT,
    a_cluster,
    a_listener,
    a_waypoint_session,
    from_waypoint,
    put,
    some_endpoints,
    some_routes,
)

OTHER = Name("shop", "other")
A, B = a_cluster("a"), a_cluster("b")
ENDPOINTS = some_endpoints("a")
ROUTES = some_routes("a", clusters=["a"])
LISTENER = a_listener("main_internal", clusters=["a"], routes=["a"])


def a_catalog() -> Catalog:
    catalog = Catalog()
    put(catalog, cluster=[A], endpoint=[ENDPOINTS], listener=[LISTENER], route=[ROUTES])
    return catalog


def ask(
    session: Session, type_url: str, *subscribe: str, known: dict[str, str] | None = None
) -> None:
    request = a_request(type_url, subscribe=subscribe, known=known)
    session.receive(request if session.node is not None else from_waypoint(request))


def refuse(session: Session, response: Response, message: str, *subscribe: str) -> None:
    session.receive(
        a_request(response.type_url, nonce=response.nonce, error=message, subscribe=subscribe)
    )


def settle(session: Session) -> list[Response]:
    """Acknowledge everything as it comes; return all of it."""
    found: list[Response] = []
    while responses := taken(session):
        found += responses
        acknowledge(session, *responses)
    return found


def types(responses: Iterable[Response]) -> list[str]:
    return [response.type_url for response in responses]


def connected(catalog: Catalog, clock: FakeClock | None = None) -> Session:
    """Return the session of a waypoint that has everything."""
    session = a_waypoint_session(catalog, clock)
    ask(session, CLUSTER_TYPE)
    ask(session, ENDPOINT_TYPE, "a")
    ask(session, LISTENER_TYPE)
    ask(session, ROUTE_TYPE, "a")
    settle(session)
    return session


@pytest.mark.proves("WS-3")
def test_a_waypoint_is_sent_its_own_and_nothing_of_another() -> None:
    catalog = a_catalog()
    put(catalog, OTHER, cluster=[B], endpoint=[some_endpoints("b")], route=[some_routes("b")])
    session = a_waypoint_session(catalog)
    ask(session, CLUSTER_TYPE)
    ask(session, ENDPOINT_TYPE, "b")
    ask(session, ROUTE_TYPE, "*", "b")
    sent = settle(session)
    assert [sorted(names(each)) for each in sent] == [["a"], [], ["a", "b"]]
    assert removed(sent[1]) == ["b"]
    # The routes called b lead nowhere: they are no one's.
    assert b"cluster" not in sent[2].body.partition(b"b")[2]


@pytest.mark.proves("WS-3")
@pytest.mark.parametrize("type_url", [ADDRESS_TYPE, AUTHORIZATION_TYPE])
def test_a_waypoint_is_sent_no_addresses_and_no_policies(type_url: str) -> None:
    catalog = a_catalog()
    put_addresses(catalog, a_workload("c//Pod/ns/a"))
    session = a_waypoint_session(catalog)
    ask(session, type_url, "c//Pod/ns/a")
    (answer,) = taken(session)
    assert (names(answer), removed(answer)) == ([], ["c//Pod/ns/a"])


@pytest.mark.refutes("WS-3")
@pytest.mark.parametrize("type_url", [CLUSTER_TYPE, SECRET_TYPE])
def test_nobody_else_is_sent_the_configuration_of_waypoints(type_url: str) -> None:
    session = a_waypoint_session(a_catalog(), authorize=lambda _: None)
    session.receive(introduced(a_request(type_url, subscribe=["a"]), kind="ztunnel"))
    (answer,) = taken(session)
    assert (names(answer), removed(answer)) == ([], ["a"])


@pytest.mark.proves("WS-4")
@pytest.mark.parametrize("becomes", ["gone", "another", "elsewhere"])
def test_a_stream_ends_with_its_place_in_the_waypoint(becomes: str) -> None:
    known = {"is": WaypointPod(WAYPOINT, "node-a")}

    def authorize(_: Node) -> WaypointPod:
        if "is" not in known:
            raise ForbiddenError("no pod of a Gateway")
        return known["is"]

    session = a_waypoint_session(a_catalog(), authorize=authorize)
    ask(session, CLUSTER_TYPE)
    assert session.ending() is None
    match becomes:
        case "gone":
            del known["is"]
        case "another":
            known["is"] = WaypointPod(OTHER, "node-a")
        case _:
            known["is"] = WaypointPod(WAYPOINT, "node-b")
    assert "no pod of this Gateway" in (session.ending() or "")


@pytest.mark.refutes("WS-4")
def test_a_stream_whose_pod_stays_goes_on() -> None:
    session = connected(a_catalog())
    assert session.ending() is None


@pytest.mark.proves("WS-5")
def test_clusters_and_listeners_are_everything_and_others_by_name_or_star() -> None:
    catalog = a_catalog()
    put(catalog, cluster=[B], endpoint=[some_endpoints("b")])
    session = a_waypoint_session(catalog)
    ask(session, CLUSTER_TYPE, "*")
    ask(session, ENDPOINT_TYPE, "*")
    sent = taken(session)
    assert [sorted(names(each)) for each in sent] == [["a", "b"], ["a", "b"]]


@pytest.mark.refutes("WS-5")
def test_without_a_name_no_endpoints_are_sent_and_never_every_secret() -> None:
    catalog = a_catalog()
    put(catalog, secret=[some_endpoints("bundle")])
    session = a_waypoint_session(catalog)
    ask(session, ENDPOINT_TYPE)
    ask(session, SECRET_TYPE, "*")
    assert [names(each) for each in taken(session)] == [[], []]


@pytest.mark.proves("WS-6")
def test_unknown_names_are_answered_and_followed_up() -> None:
    catalog = a_catalog()
    session = a_waypoint_session(catalog)
    ask(session, ENDPOINT_TYPE, "z")
    ask(session, ROUTE_TYPE, "z")
    endpoints, routes = taken(session)
    assert removed(endpoints) == ["z"]
    assert (names(routes), removed(routes)) == (["z"], [])
    acknowledge(session, endpoints, routes)
    put(catalog, endpoint=[some_endpoints("z")], route=[some_routes("z", clusters=["a"])])
    assert [names(each) for each in settle(session)] == [["z"], ["z"]]


@pytest.mark.refutes("WS-6")
def test_names_that_stand_for_something_are_sent_as_they_are() -> None:
    session = a_waypoint_session(a_catalog())
    ask(session, ENDPOINT_TYPE, "a")
    ask(session, ROUTE_TYPE, "a")
    for answer, stored in zip(taken(session), (ENDPOINTS, ROUTES), strict=True):
        assert stored.body in answer.body
        assert removed(answer) == []


@pytest.mark.refutes("WS-7")
def test_a_returning_client_is_sent_what_differs_and_loses_what_is_gone() -> None:
    session = a_waypoint_session(a_catalog(), authorization_wait=0.0)
    ask(session, CLUSTER_TYPE, known={"a": "stale", "gone": "1"})
    (answer,) = settle(session)
    assert (names(answer), removed(answer)) == (["a"], ["gone"])


@pytest.mark.proves("WS-8")
def test_the_resource_that_is_named_is_refused_and_stays_so() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    put(catalog, cluster=[a_cluster("a", edition=1), B])
    clusters, _ = taken(session)
    refuse(session, clusters, "Error adding/updating cluster(s) a: it is odd, b.c: not this one")
    clusters_held = session.subscriptions[CLUSTER_TYPE]
    assert clusters_held.rejected == ("a",)
    settle(session)
    put(catalog, cluster=[a_cluster("c")])
    assert [names(each) for each in settle(session)] == [["c"]]
    assert (clusters_held.rejected, bool(clusters_held.last_error)) == (("a",), True)
    put(catalog, cluster=[a_cluster("a", edition=2)])
    assert names(settle(session)[0]) == ["a"]
    assert (clusters_held.rejected, clusters_held.last_error) == ((), "")


@pytest.mark.proves("WS-8")
def test_what_was_refused_whole_is_sent_again_in_halves() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    put(catalog, cluster=[a_cluster(name, edition=1) for name in "abcd"])
    whole, endpoints = taken(session)
    refuse(session, whole, "Invalid duration")
    acknowledge(session, endpoints)
    seen = []
    while responses := taken(session):
        for response in responses:
            if response.type_url == CLUSTER_TYPE:
                seen.append(names(response))
                if "c" in seen[-1]:
                    refuse(session, response, "Invalid duration")
                    continue
            acknowledge(session, response)
    assert seen == [["a", "b"], ["c", "d"], ["c"], ["d"]]
    assert session.subscriptions[CLUSTER_TYPE].rejected == ("c",)
    assert session.subscriptions[CLUSTER_TYPE].last_error == "Invalid duration"


@pytest.mark.refutes("WS-8")
def test_what_is_not_named_is_not_refused() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    put(catalog, cluster=[a_cluster("b"), a_cluster("b.c")])
    (clusters,) = taken(session)
    refuse(session, clusters, "Error adding/updating cluster(s) b.c: it is odd")
    assert session.subscriptions[CLUSTER_TYPE].rejected == ("b.c",)
    assert taken(session) == []


@pytest.mark.proves("WS-9")
def test_a_refusal_may_ask_as_well() -> None:
    catalog = a_catalog()
    put(catalog, endpoint=[some_endpoints("b")])
    session = connected(catalog)
    put(catalog, endpoint=[some_endpoints("a", edition=1)])
    (endpoints,) = taken(session)
    refuse(session, endpoints, "it is odd", "b")
    assert names(taken(session)[0]) == ["b"]


@pytest.mark.refutes("WS-9")
def test_a_refusal_alone_is_not_answered() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    put(catalog, endpoint=[some_endpoints("a", edition=1)])
    refuse(session, *taken(session), "it is odd")
    assert taken(session) == []


def change_everything(catalog: Catalog) -> None:
    put(
        catalog,
        cluster=[a_cluster("a", edition=1), B],
        endpoint=[some_endpoints("b")],
        listener=[a_listener("main_internal", clusters=["a", "b"], routes=["a"])],
        route=[some_routes("a", clusters=["b"])],
    )


@pytest.mark.proves("WS-10", "WS-11", "WS-12")
def test_listeners_and_routes_wait_for_warm_clusters() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    change_everything(catalog)
    clusters, endpoints = taken(session)
    assert (sorted(names(clusters)), names(endpoints)) == (["a", "b"], ["a"])
    acknowledge(session, endpoints)
    assert taken(session) == []
    ask(session, ENDPOINT_TYPE, "b")
    (answer,) = taken(session)
    assert names(answer) == ["b"]
    acknowledge(session, answer, clusters)
    assert types(taken(session)) == [LISTENER_TYPE, ROUTE_TYPE]


@pytest.mark.refutes("WS-10")
def test_endpoints_wait_for_nothing() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    change_everything(catalog)
    taken(session)
    ask(session, ENDPOINT_TYPE, "b")
    put(catalog, endpoint=[some_endpoints("b", edition=2)])
    assert taken(session) == []  # One response of a type at a time.
    session.receive(a_request(ENDPOINT_TYPE, nonce=session.subscriptions[ENDPOINT_TYPE].nonce_sent))
    assert types(taken(session)) == [ENDPOINT_TYPE]


@pytest.mark.refutes("WS-11")
def test_routes_alone_are_one_response() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    put(catalog, route=[some_routes("a", clusters=["a"], edition=1)])
    assert types(settle(session)) == [ROUTE_TYPE]


@pytest.mark.refutes("WS-12")
def test_without_a_change_of_their_cluster_endpoints_are_sent_when_they_change() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    put(catalog, cluster=[a_cluster("b", is_discovered=False)])
    assert types(settle(session)) == [CLUSTER_TYPE]
    put(catalog, endpoint=[some_endpoints("a", edition=1)])
    assert types(settle(session)) == [ENDPOINT_TYPE]


def drop_a(catalog: Catalog) -> None:
    put(
        catalog,
        cluster=["a", B],
        endpoint=["a"],
        listener=[a_listener("main_internal", clusters=["b"])],
        route=["a"],
    )


@pytest.mark.proves("WS-13", "WS-14")
def test_what_goes_goes_last() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    drop_a(catalog)
    sent = settle(session)
    told = [(each.type_url, names(each), removed(each)) for each in sent]
    assert told == [
        (CLUSTER_TYPE, ["b"], []),
        (LISTENER_TYPE, ["main_internal"], []),
        (CLUSTER_TYPE, [], ["a"]),
        (ENDPOINT_TYPE, [], ["a"]),
        (ROUTE_TYPE, [], ["a"]),
    ]


@pytest.mark.proves("WS-13", "WS-14")
def test_what_goes_goes_last_also_while_others_commit() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    (listeners,) = _listeners_under_way(catalog, session)
    put(catalog, OTHER, cluster=[a_cluster("b", edition=1)])
    acknowledge(session, listeners)
    assert [removed(each) for each in settle(session)] == [["a"], ["a"], ["a"]]
    assert not session.has_work()


def _listeners_under_way(catalog: Catalog, session: Session) -> list[Response]:
    """Return the listeners that no longer lead to ``a``; others commit before and after."""
    put(catalog, OTHER, cluster=[B])
    drop_a(catalog)
    (clusters,) = taken(session)
    put(catalog, OTHER, endpoint=[some_endpoints("b")])
    acknowledge(session, clusters)
    return taken(session)


@pytest.mark.proves("WS-3")
def test_what_others_are_sent_is_no_work() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    put(catalog, OTHER, cluster=[B], endpoint=[some_endpoints("b")])
    assert not session.is_concerned(frozenset(catalog.changed))
    assert not session.has_work()
    put(catalog, route=[some_routes("a", clusters=["a"], edition=1)])
    assert session.is_concerned(frozenset(catalog.changed))
    assert session.has_work()


@pytest.mark.proves("WS-13")
@pytest.mark.refutes("WS-14")
def test_nothing_goes_while_a_listener_that_may_need_it_is_refused() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    drop_a(catalog)
    (clusters,) = taken(session)
    acknowledge(session, clusters)
    (listeners,) = taken(session)
    refuse(session, listeners, "Error adding/updating listener(s) main_internal: odd")
    assert settle(session) == []
    put(catalog, listener=[a_listener("main_internal", clusters=["b"], edition=1)])
    assert [removed(each) for each in settle(session)] == [[], ["a"], ["a"], ["a"]]


@pytest.mark.refutes("WS-13")
def test_a_cluster_that_comes_back_before_its_turn_is_not_removed() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    drop_a(catalog)
    acknowledge(session, *taken(session))
    put(catalog, cluster=[a_cluster("a", edition=3)])
    assert all(removed(each) != ["a"] or each.type_url != CLUSTER_TYPE for each in settle(session))


@pytest.mark.proves("WS-15")
def test_a_policy_does_not_wait_for_a_cluster_for_ever() -> None:
    catalog, clock = a_catalog(), FakeClock()
    session = connected(catalog, clock)
    put(catalog, cluster=[B])
    assert types(taken(session)) == [CLUSTER_TYPE]
    put(catalog, route=[some_routes("a", clusters=["a"], edition=1)])
    clock.time += 4.9
    assert taken(session) == []
    clock.time += 0.2
    assert types(taken(session)) == [ROUTE_TYPE]


@pytest.mark.refutes("WS-15")
def test_a_policy_does_not_wait_where_no_cluster_changed() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    put(catalog, route=[some_routes("a", clusters=["a"], edition=1)])
    assert types(taken(session)) == [ROUTE_TYPE]


def near(catalog: Catalog, **by_node: int) -> None:
    """Commit what is near to each node; editions tell them apart."""
    for node, edition in by_node.items():
        found = some_endpoints("near", edition=edition)
        catalog.stage(waypoint_endpoints(WAYPOINT, node), [(found.name, found)])
    catalog.publish()


def on_node(catalog: Catalog, node: str) -> Session:
    """Return the session of a pod there that has everything."""
    session = a_waypoint_session(catalog, authorize=lambda _: WaypointPod(WAYPOINT, node))
    ask(session, CLUSTER_TYPE)
    ask(session, ENDPOINT_TYPE, "a", "near")
    settle(session)
    return session


@pytest.mark.proves("WC-72")
@pytest.mark.parametrize("asked", [("a", "near"), ("*",)])
def test_pods_on_different_nodes_are_sent_different_endpoints(asked: tuple[str, ...]) -> None:
    catalog = a_catalog()
    near(catalog, x=1, y=2)
    sent = {}
    for node in ("x", "y", "z"):
        session = a_waypoint_session(
            catalog, authorize=lambda _, node=node: WaypointPod(WAYPOINT, node)
        )
        ask(session, ENDPOINT_TYPE, *asked)
        (sent[node],) = taken(session)
    assert {node: sorted(names(each)) for node, each in sent.items()} == {
        "x": ["a", "near"],
        "y": ["a", "near"],
        "z": ["a"],
    }
    assert sent["x"].body != sent["y"].body


@pytest.mark.refutes("WC-72")
def test_what_is_near_to_others_is_no_news() -> None:
    catalog = a_catalog()
    near(catalog, x=1, y=2)
    here, there = on_node(catalog, "x"), on_node(catalog, "y")
    near(catalog, y=3)
    assert taken(here) == []
    assert [names(each) for each in taken(there)] == [["near"]]
    put(catalog, endpoint=[some_endpoints("a", edition=1)])
    assert [names(each) for each in taken(here)] == [["a"]]


def test_endpoints_that_become_near_are_sent_once_and_never_removed() -> None:
    catalog = a_catalog()
    put(catalog, cluster=[a_cluster("near")], endpoint=[some_endpoints("near")])
    session = on_node(catalog, "x")
    found = some_endpoints("near", edition=1)
    catalog.stage(waypoint_endpoints(WAYPOINT, "x"), [("near", found)])
    put(catalog, endpoint=["near"])
    assert [(names(each), removed(each)) for each in settle(session)] == [(["near"], [])]
    catalog.stage(waypoint_endpoints(WAYPOINT, "x"), [("near", None)])
    put(catalog, endpoint=[some_endpoints("near")])
    assert [(names(each), removed(each)) for each in settle(session)] == [(["near"], [])]


def test_what_is_near_to_a_node_that_the_pod_leaves_stays_with_its_cluster() -> None:
    catalog = a_catalog()
    put(catalog, cluster=[a_cluster("near")])
    near(catalog, x=1)
    session = on_node(catalog, "x")
    catalog.stage(waypoint_endpoints(WAYPOINT, "x"), [("near", None)])
    catalog.publish()
    assert settle(session) == []


def test_equal_changes_are_silent() -> None:
    catalog = a_catalog()
    session = connected(catalog)
    put(catalog, OTHER, cluster=[B])
    assert not session.has_work() or not taken(session)
