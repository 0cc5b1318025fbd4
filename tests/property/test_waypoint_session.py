"""Any history of a waypoint's configuration reaches a client like Envoy, and drops nothing.

The client asserts after every response that each cluster a listener or a route leads to is there,
and that nothing is removed while it is in use. docs/protocol/waypoint-sessions.md WS-n.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.encode.envelope import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
)
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.frame import finished
from controlplane.snapshots.scope import waypoint_resources
from controlplane.xds.request import parse_request
from tests.support.discovery import FakeClock
from tests.support.waypoint_discovery import (
    WAYPOINT,
    EnvoyModel,
    a_cluster,
    a_listener,
    a_waypoint_session,
    some_endpoints,
    some_routes,
    versions,
)

TYPES = (CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE)


class Service(NamedTuple):
    """A service: editions of its cluster, endpoints and routes, and where else its routes lead."""

    cluster: int = 0
    endpoints: int = 0
    routes: int = 0
    leads_to: int | None = None
    is_discovered: bool = True


@dataclass
class Waypoint:
    """The desired state; ``commit`` brings the catalog there as the pipeline does."""

    services: dict[int, Service] = field(default_factory=dict)
    listener: int = 0
    catalog: Catalog = field(default_factory=lambda: Catalog(tombstone_limit=0))
    _staged: dict[str, set[str]] = field(default_factory=dict)

    def commit(self) -> None:
        wanted: dict[str, dict[str, Any]] = {each: {} for each in TYPES}
        for number, service in self.services.items():
            name = f"service-{number}"
            wanted[CLUSTER_TYPE][name] = a_cluster(
                name, edition=service.cluster, is_discovered=service.is_discovered
            )
            if service.is_discovered:
                wanted[ENDPOINT_TYPE][name] = some_endpoints(name, edition=service.endpoints)
            targets = [name]
            if service.leads_to in self.services:
                targets.append(f"service-{service.leads_to}")
            wanted[ROUTE_TYPE][name] = some_routes(name, clusters=targets, edition=service.routes)
        names = sorted(wanted[CLUSTER_TYPE])
        wanted[LISTENER_TYPE]["main_internal"] = a_listener(
            "main_internal", clusters=names[:1], routes=names, edition=self.listener
        )
        for type_url, resources in wanted.items():
            gone = self._staged.get(type_url, set()) - resources.keys()
            self.catalog.stage(
                waypoint_resources(WAYPOINT, type_url),
                [*resources.items(), *((name, None) for name in gone)],
            )
            self._staged[type_url] = set(resources)
        self.catalog.publish()


class Connection:
    """A client and a session with a queue each way."""

    def __init__(self, waypoint: Waypoint, client: EnvoyModel) -> None:
        self.waypoint = waypoint
        self.client = client
        self.clock = FakeClock()
        self.reconnect()

    def reconnect(self) -> None:
        self.session = a_waypoint_session(self.waypoint.catalog, self.clock)
        self.to_server = deque(each.SerializeToString() for each in self.client.requests())
        self.to_client: deque[bytes] = deque()

    def serve(self) -> None:
        if self.to_server:
            self.session.receive(finished(parse_request(self.to_server.popleft())))

    def send(self) -> None:
        self.to_client += [each.body for each in self.session.responses() if each is not None]
        assert self.session.ending() is None

    def read(self) -> None:
        if self.to_client:
            answers = self.client.apply(self.to_client.popleft())
            self.to_server += [each.SerializeToString() for each in answers]

    def settle(self) -> None:
        for _ in range(1000):
            self.serve()
            self.send()
            self.read()
            self.clock.time += 0.01
            if not self.to_server and not self.to_client and not self.session.has_work():
                # What waits for its time is sent when that has come.
                self.clock.time += 2.0
                self.send()
                if not self.to_client:
                    return
        raise AssertionError("the conversation does not come to an end")


services = st.builds(
    Service,
    cluster=st.integers(0, 2),
    endpoints=st.integers(0, 2),
    routes=st.integers(0, 2),
    leads_to=st.one_of(st.none(), st.integers(0, 3)),
    is_discovered=st.sampled_from([True, True, True, False]),
)
changes = st.lists(
    st.one_of(
        st.tuples(st.just("service"), st.integers(0, 3), st.one_of(st.none(), services)),
        st.tuples(st.just("listener"), st.integers(0, 2), st.none()),
    ),
    max_size=3,
)
commits = st.tuples(st.just("commit"), changes, st.sampled_from(["send", "settle"]))
moves = st.sampled_from([("serve",), ("send",), ("read",), ("settle",), ("reconnect",)])
histories = st.lists(st.one_of(commits, commits, moves), max_size=25)
starts = st.fixed_dictionaries({0: services, 1: services})


def play(waypoint: Waypoint, connection: Connection, step: Any) -> None:
    match step:
        case ("commit", made, move):
            for kind, number, value in made:
                if kind == "listener":
                    waypoint.listener = number
                elif value is None:
                    waypoint.services.pop(number, None)
                else:
                    waypoint.services[number] = value
            waypoint.commit()
            getattr(connection, move)()
        case (move,):
            getattr(connection, move)()


def converge(start: dict[int, Service], history: list[Any]) -> EnvoyModel:
    """Play a history, settle, and compare what the client holds with what is committed.

    Listeners of edition 2 are refused; in the end it is put right.
    """
    waypoint = Waypoint(services=dict(start))
    waypoint.commit()
    client = EnvoyModel(refuses_listeners=frozenset({2}))
    connection = Connection(waypoint, client)
    connection.settle()
    for step in history:
        play(waypoint, connection, step)
    connection.settle()
    waypoint.listener = 0
    waypoint.commit()
    connection.settle()
    assert client.is_warm, "a cluster waits for its endpoints for ever"
    for type_url in TYPES:
        assert client.held[type_url] == versions(waypoint.catalog, type_url), type_url
    return client


@pytest.mark.proves("WS-12", "WS-13", "WS-14")
@given(start=starts, history=histories)
def test_a_client_ends_with_what_is_committed(
    start: dict[int, Service], history: list[Any]
) -> None:
    converge(start, history)


@pytest.mark.proves("WS-12")
def test_a_changed_cluster_whose_endpoints_go_before_they_are_asked_for_goes_too() -> None:
    waypoint = Waypoint(services={0: Service(), 1: Service()})
    waypoint.commit()
    client = EnvoyModel()
    connection = Connection(waypoint, client)
    connection.settle()
    connection.reconnect()
    connection.serve()  # Clusters alone are asked for so far.
    waypoint.services[1] = Service(cluster=1)
    waypoint.commit()
    connection.send()
    del waypoint.services[1]
    waypoint.commit()
    connection.settle()
    assert client.is_warm
    assert client.held[CLUSTER_TYPE] == versions(waypoint.catalog, CLUSTER_TYPE)


@pytest.mark.proves("WS-7")
def test_a_cluster_that_waited_when_the_stream_ended_gets_its_endpoints_on_the_next() -> None:
    waypoint = Waypoint(services={0: Service()})
    waypoint.commit()
    client = EnvoyModel()
    connection = Connection(waypoint, client)
    connection.settle()
    waypoint.services[0] = Service(cluster=1)
    waypoint.commit()
    connection.send()
    connection.read()
    assert not client.is_warm
    connection.reconnect()
    connection.settle()
    assert client.is_warm


@pytest.mark.proves("WS-7")
@given(start=starts, history=histories)
def test_a_client_that_comes_back_is_sent_nothing_it_holds(
    start: dict[int, Service], history: list[Any]
) -> None:
    waypoint = Waypoint(services=dict(start))
    waypoint.commit()
    connection = Connection(waypoint, EnvoyModel())
    for step in history:
        play(waypoint, connection, step)
    connection.settle()
    before = len(connection.client.responses)
    connection.reconnect()
    connection.settle()
    answers = connection.client.responses[before:]
    assert len(answers) >= 2
    again = [each for each in answers if each.type_url != ENDPOINT_TYPE]
    assert all(not each.resources and not each.removed_resources for each in again)


@pytest.mark.proves("WS-8")
@given(
    start=starts,
    refused=st.sets(st.sampled_from(["cluster", "endpoints", "routes"]), min_size=1),
    history=histories,
)
def test_what_is_refused_keeps_nothing_else_from_the_client(
    start: dict[int, Service], refused: set[str], history: list[Any]
) -> None:
    """Edition 9 of one service is refused; in the end it is put right."""
    waypoint = Waypoint(services=dict(start))
    waypoint.commit()
    client = EnvoyModel()
    connection = Connection(waypoint, client)
    connection.settle()
    bad = Service(**dict.fromkeys(refused, 9))
    client.refuses = {
        a_cluster("service-9", edition=9).version,
        some_endpoints("service-9", edition=9).version,
        some_routes("service-9", clusters=["service-9"], edition=9).version,
    }
    waypoint.services[9] = Service()
    waypoint.commit()
    connection.settle()
    waypoint.services[9] = bad
    for step in history:
        play(waypoint, connection, step)
    waypoint.commit()
    connection.settle()
    for type_url in TYPES:
        wanted = versions(waypoint.catalog, type_url)
        missing = wanted.items() - client.held[type_url].items()
        assert {name for name, _ in missing} <= {"service-9"}, type_url
    waypoint.services[9] = Service(cluster=1, endpoints=1, routes=1)
    waypoint.commit()
    connection.settle()
    for type_url in TYPES:
        assert client.held[type_url] == versions(waypoint.catalog, type_url), type_url
