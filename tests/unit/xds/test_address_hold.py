"""When addresses of a commit may be sent: after waypoints have its listeners, or in time."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from controlplane.encode.envelope import LISTENER_TYPE, ROUTE_TYPE
from controlplane.model.names import Name
from controlplane.model.waypoint import WaypointPod
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import (
    ADDRESS_TYPE,
    ADDRESSES,
    AUTHORIZATION_TYPE,
    AUTHORIZATIONS,
    waypoint_resources,
)
from controlplane.xds.address_hold import AddressHold
from controlplane.xds.session import Session
from controlplane.xds.settings import XdsSettings
from tests.support.discovery import (
    FakeClock,
    a_policy,
    a_request,
    a_service,
    acknowledge,
    introduced,
    names,
    taken,
)
from tests.support.waypoint_discovery import (
    WAYPOINT,
    a_listener,
    from_waypoint,
    put,
    some_routes,
)

OTHER = Name("shop", "other")


@dataclass
class Bed:
    """A catalog, and sessions that share one hold; ``pods`` are those of waypoints."""

    settings: XdsSettings = field(default_factory=XdsSettings)
    pods: dict[Name, int] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)
    catalog: Catalog = field(default_factory=Catalog)
    opened: int = 0
    held: list[tuple[float, tuple[Name, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hold = AddressHold(
            self.catalog,
            self.settings,
            self.clock,
            pods=lambda name: self.pods.get(name, 0),
            on_open=self._open,
            on_held=lambda seconds, late: self.held.append((round(seconds, 6), late)),
        )
        self.catalog.subscribe(lambda at: self.hold.committed(at, self.catalog.changed))
        self.catalog.stage(ADDRESSES, [_address(0)])
        put(self.catalog, listener=[a_listener("main")])
        # What the beginning is waited for is over.
        self.clock.time += 10
        self.hold.look()
        self.opened, self.held = 0, []

    def _open(self) -> None:
        self.opened += 1

    def node(self, *, asks: tuple[str, ...] = ()) -> Session:
        """Return a session of a node proxy that is up to date, on demand where it asks for keys."""
        session = Session(self.catalog, self.settings, self.clock, hold=self.hold)
        session.receive(introduced(a_request(AUTHORIZATION_TYPE)))
        session.receive(a_request(ADDRESS_TYPE, subscribe=asks))
        while responses := taken(session):
            acknowledge(session, *responses)
        return session

    def waypoint(self, name: Name = WAYPOINT) -> "Proxy":
        """Return a pod of a waypoint that is up to date."""
        session = Session(
            self.catalog,
            self.settings,
            self.clock,
            authorize=lambda _: WaypointPod(name),
            hold=self.hold,
        )
        session.receive(from_waypoint(a_request(LISTENER_TYPE)))
        session.receive(a_request(ROUTE_TYPE, subscribe=["first"]))
        proxy = Proxy(session)
        proxy.accept()
        return proxy

    def bind(self, edition: int = 1, *, waypoint: Name = WAYPOINT, **rest: Any) -> None:
        """Commit listeners that lead to new routes, and a service that is bound by that."""
        self.catalog.stage(ADDRESSES, [_address(edition)])
        name = f"routes-{edition}"
        listener = a_listener("main", routes=[name], edition=edition)
        put(self.catalog, waypoint, listener=[listener], route=[some_routes(name)], **rest)


@dataclass
class Proxy:
    session: Session

    def accept(self) -> None:
        while responses := taken(self.session):
            acknowledge(self.session, *responses)

    def ask(self, *routes: str) -> None:
        self.session.receive(a_request(ROUTE_TYPE, subscribe=routes))


def _address(edition: int) -> tuple[str, Any]:
    made = a_service("shop/web.shop", padding=str(edition))
    return made.name, made


def _addresses(session: Session) -> list[str]:
    return [
        name for each in taken(session) if each.type_url == ADDRESS_TYPE for name in names(each)
    ]


@pytest.mark.proves("WS-31")
def test_addresses_wait_for_listeners_and_the_routes_that_these_name() -> None:
    bed = Bed(pods={WAYPOINT: 1})
    node, proxy = bed.node(), bed.waypoint()
    bed.bind()
    assert _addresses(node) == []
    proxy.accept()
    # It has accepted the listeners, and has yet to ask for what they name.
    assert _addresses(node) == []
    proxy.ask("routes-1")
    (routes,) = taken(proxy.session)
    assert (bed.opened, _addresses(node)) == (0, [])
    acknowledge(proxy.session, routes)
    assert bed.opened == 1
    assert _addresses(node) == ["shop/web.shop"]
    assert bed.held == [(0.0, ())]


@pytest.mark.proves("WS-31")
def test_every_pod_of_every_waypoint_is_waited_for() -> None:
    bed = Bed(pods={WAYPOINT: 2, OTHER: 1})
    put(bed.catalog, OTHER, listener=[a_listener("main")])
    bed.clock.time += 10
    bed.hold.look()
    node = bed.node()
    proxies = [bed.waypoint(), bed.waypoint(), bed.waypoint(OTHER)]
    bed.catalog.stage(ADDRESSES, [_address(1)])
    for waypoint in (WAYPOINT, OTHER):
        bed.catalog.stage(
            waypoint_resources(waypoint, LISTENER_TYPE),
            [("main", a_listener("main", edition=1))],
        )
    bed.catalog.publish()
    for proxy in proxies:
        assert _addresses(node) == []
        proxy.accept()
    assert _addresses(node) == ["shop/web.shop"]


@pytest.mark.refutes("WS-31")
def test_addresses_of_commits_that_change_no_listeners_wait_for_nothing() -> None:
    bed = Bed(pods={WAYPOINT: 1})
    node = bed.node()
    bed.waypoint()
    bed.catalog.stage(ADDRESSES, [_address(1)])
    put(bed.catalog, route=[some_routes("first", edition=1)])
    assert _addresses(node) == ["shop/web.shop"]
    assert bed.held == []


@pytest.mark.proves("WS-31")
def test_answers_to_questions_wait_as_well() -> None:
    bed = Bed(pods={WAYPOINT: 1})
    node, proxy = bed.node(asks=("shop/web.shop",)), bed.waypoint()
    bed.bind()
    node.receive(a_request(ADDRESS_TYPE, subscribe=["shop/web.shop"]))
    assert _addresses(node) == []
    proxy.accept()
    proxy.ask("routes-1")
    proxy.accept()
    assert _addresses(node) == ["shop/web.shop"]


@pytest.mark.proves("WS-32")
def test_a_waypoint_that_hangs_is_waited_for_no_longer_than_is_set() -> None:
    bed = Bed(pods={WAYPOINT: 1}, settings=XdsSettings(binding_wait=1.0))
    node = bed.node()
    bed.waypoint()
    bed.bind()
    bed.clock.time += 0.99
    bed.hold.look()
    assert _addresses(node) == []
    bed.clock.time += 0.01
    assert _addresses(node) == ["shop/web.shop"]
    bed.hold.look()
    assert (bed.opened, bed.held) == (1, [(1.0, (WAYPOINT,))])


@pytest.mark.proves("WS-32")
def test_commits_that_follow_on_each_other_fold() -> None:
    bed = Bed(pods={WAYPOINT: 1})
    node = bed.node()
    bed.waypoint()
    began = bed.clock.time
    for edition in range(1, 100):
        bed.bind(edition)
        if _addresses(node):
            break
        bed.clock.time += 0.1
    assert 1.0 <= bed.clock.time - began <= 2.1


@pytest.mark.refutes("WS-32")
def test_each_commit_has_its_time() -> None:
    bed = Bed(pods={WAYPOINT: 1})
    node = bed.node()
    bed.waypoint()
    bed.bind(1)
    bed.clock.time += 0.9
    bed.bind(2)
    bed.clock.time += 0.9
    bed.hold.look()
    assert _addresses(node) == []


@pytest.mark.refutes("WS-32")
def test_no_time_at_all_is_never_waited() -> None:
    bed = Bed(pods={WAYPOINT: 1}, settings=XdsSettings(binding_wait=0.0))
    node = bed.node()
    bed.waypoint()
    bed.bind()
    assert _addresses(node) == ["shop/web.shop"]


@pytest.mark.proves("WS-33")
@pytest.mark.parametrize("here", [0, 1])
def test_pods_that_others_serve_are_given_a_short_while(here: int) -> None:
    bed = Bed(pods={WAYPOINT: 2})
    node = bed.node()
    proxies = [bed.waypoint() for _ in range(here)]
    bed.bind()
    for proxy in proxies:
        proxy.accept()
        proxy.ask("routes-1")
        proxy.accept()
    bed.clock.time += 0.29
    bed.hold.look()
    assert _addresses(node) == []
    bed.clock.time += 0.02
    bed.hold.look()
    assert _addresses(node) == ["shop/web.shop"]
    assert bed.held[0][1] == ()


@pytest.mark.refutes("WS-33")
def test_a_waypoint_that_nobody_runs_is_not_waited_for() -> None:
    bed = Bed()
    node = bed.node()
    bed.bind()
    assert _addresses(node) == ["shop/web.shop"]


@pytest.mark.proves("WS-33")
def test_a_pod_that_leaves_is_given_the_short_while_to_be_back_elsewhere() -> None:
    bed = Bed(pods={WAYPOINT: 1})
    node, proxy = bed.node(), bed.waypoint()
    bed.bind()
    proxy.session.close()
    assert _addresses(node) == []
    bed.clock.time += 0.31
    bed.hold.look()
    assert _addresses(node) == ["shop/web.shop"]


@pytest.mark.proves("WS-34")
def test_policies_do_not_wait() -> None:
    bed = Bed(pods={WAYPOINT: 1})
    node = bed.node()
    bed.waypoint()
    policy = a_policy("shop/deny")
    bed.catalog.stage(AUTHORIZATIONS, [(policy.name, policy)])
    bed.bind()
    (sent,) = taken(node)
    assert (sent.type_url, names(sent)) == (AUTHORIZATION_TYPE, ["shop/deny"])


@pytest.mark.refutes("WS-34")
def test_policies_that_go_wait_for_the_addresses_that_list_them() -> None:
    bed = Bed(pods={WAYPOINT: 1})
    policy = a_policy("shop/deny")
    bed.catalog.stage(AUTHORIZATIONS, [(policy.name, policy)])
    bed.catalog.publish()
    node = bed.node()
    proxy = bed.waypoint()
    bed.catalog.stage(AUTHORIZATIONS, [(policy.name, None)])
    bed.bind()
    assert taken(node) == []
    proxy.accept()
    proxy.ask("routes-1")
    proxy.accept()
    assert next(each.type_url for each in taken(node)) == ADDRESS_TYPE
