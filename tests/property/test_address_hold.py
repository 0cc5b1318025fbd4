"""Whatever happens, node proxies hear of a binding after the waypoint does, or in time."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from envoy.config.listener.v3 import listener_pb2
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from controlplane.encode.envelope import LISTENER_TYPE, ROUTE_TYPE
from controlplane.model.waypoint import WaypointPod
from controlplane.pb import workload_pb2
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.frame import finished
from controlplane.snapshots.scope import ADDRESS_TYPE, ADDRESSES
from controlplane.xds.address_hold import AddressHold
from controlplane.xds.request import parse_request
from controlplane.xds.session import Session
from controlplane.xds.settings import XdsSettings
from controlplane.xds.waypoint_types import WaypointTypes
from tests.support.discovery import FakeClock, a_request, a_service, introduced, parsed, taken
from tests.support.waypoint_discovery import (
    WAYPOINT,
    EnvoyModel,
    a_cluster,
    a_listener,
    put,
    some_endpoints,
    some_routes,
)

PODS = 2
BOUND = 1.0


@dataclass
class Pod:
    """A pod of the waypoint with a queue each way. ``since`` is when its stream opened."""

    mesh: "Mesh"
    client: EnvoyModel = field(default_factory=EnvoyModel)
    since: float = 0.0

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        mesh = self.mesh
        self.since = mesh.clock.time
        self.session = Session(
            mesh.catalog,
            mesh.settings,
            mesh.clock,
            authorize=lambda _: WaypointPod(WAYPOINT),
            hold=mesh.hold,
        )
        self.to_server = deque(each.SerializeToString() for each in self.client.requests())
        self.to_client: deque[bytes] = deque()

    def reconnect(self) -> None:
        self.session.close()
        self.open()

    def serve(self) -> None:
        if self.to_server:
            self.session.receive(finished(parse_request(self.to_server.popleft())))

    def send(self) -> None:
        self.to_client += [each.body for each in self.session.responses() if each is not None]

    def read(self) -> None:
        if self.to_client:
            answers = self.client.apply(self.to_client.popleft())
            self.to_server += [each.SerializeToString() for each in answers]

    def settle(self) -> None:
        for _ in range(60):
            self.serve()
            self.send()
            self.read()

    @property
    def edition(self) -> int:
        """The edition of what serves: of listeners, if all routes that they name are there."""
        listener = self.client.content.get((LISTENER_TYPE, "main"))
        if not isinstance(listener, listener_pb2.Listener):
            return -1
        routes = [chain.name.removeprefix("routes:") for chain in listener.filter_chains]
        is_whole = all(name in self.client.held[ROUTE_TYPE] for name in routes)
        return int(listener.stat_prefix) if is_whole else -1


@dataclass
class Mesh:
    """A waypoint with its pods, and a node proxy that is told of a service bound to it."""

    clock: FakeClock = field(default_factory=FakeClock)
    catalog: Catalog = field(default_factory=Catalog)
    settings: XdsSettings = field(default_factory=lambda: XdsSettings(binding_wait=BOUND))
    committed: dict[int, float] = field(default_factory=dict)
    behind_since: float | None = None
    told: int = -1

    def __post_init__(self) -> None:
        self.hold = AddressHold(self.catalog, self.settings, self.clock, pods=lambda _: PODS)
        self.catalog.subscribe(lambda at: self.hold.committed(at, self.catalog.changed))
        self.pods = [Pod(self) for _ in range(PODS)]
        self.node = Session(self.catalog, self.settings, self.clock, hold=self.hold)
        self.node.receive(introduced(a_request(ADDRESS_TYPE)))
        self.bind()
        self.rest()

    def bind(self) -> None:
        """Commit that the service is bound once more: its listeners and routes are new."""
        edition = len(self.committed)
        self.committed[edition] = self.clock.time
        if self.behind_since is None:
            self.behind_since = self.clock.time
        name = f"edition-{edition}"
        service = a_service("shop/web.shop", padding=str(edition))
        self.catalog.stage(ADDRESSES, [(service.name, service)])
        put(
            self.catalog,
            cluster=[a_cluster("web")],
            endpoint=[some_endpoints("web")],
            listener=[a_listener("main", routes=[name], edition=edition)],
            route=[some_routes(name, clusters=["web"])],
        )

    def tell(self) -> None:
        """Let the node proxy be told what it may be, and judge whether it may."""
        self.notice()
        for response in taken(self.node):
            if response.type_url == ADDRESS_TYPE:
                for each in parsed(response).resources:
                    address = workload_pb2.Address.FromString(each.resource.value)
                    self.judge(int(address.service.name))
            self.node.receive(a_request(response.type_url, nonce=response.nonce))

    def judge(self, edition: int) -> None:
        at = self.committed[edition]
        has_waited = self.behind_since is not None and self.clock.time >= self.behind_since + BOUND
        for pod in self.pods:
            is_new = pod.since >= at
            assert pod.edition >= edition or is_new or has_waited, f"{edition} is not served yet"
        self.told = max(self.told, edition)

    def notice(self) -> None:
        if all(pod.edition == len(self.committed) - 1 for pod in self.pods):
            self.behind_since = None

    def pass_time(self, seconds: float) -> None:
        self.clock.time += seconds
        self.hold.look()

    def rest(self) -> None:
        for pod in self.pods:
            pod.settle()
        self.pass_time(0.35)
        self.tell()
        self.tell()


numbers = st.integers(0, PODS - 1)
moves = st.sampled_from(["serve", "send", "read", "serve", "send", "read", "settle", "reconnect"])
steps = st.one_of(
    st.tuples(st.just("bind")),
    st.tuples(st.just("tell")),
    st.tuples(st.just("time"), st.sampled_from([0.01, 0.1, 0.5])),
    st.tuples(st.just("pod"), numbers, moves),
    st.tuples(st.just("pods"), moves),
    st.tuples(st.just("pods"), moves),
)
histories = st.lists(steps, max_size=40)


def play(history: list[Any]) -> None:
    """Play a history; in the end everybody knows the last edition."""
    mesh = Mesh()
    for step in history:
        match step:
            case ("bind",):
                mesh.bind()
                mesh.tell()
            case ("tell",):
                mesh.tell()
            case ("time", seconds):
                mesh.pass_time(seconds)
            case ("pod", number, move):
                getattr(mesh.pods[number], move)()
                mesh.tell()
            case ("pods", move):
                for pod in mesh.pods:
                    getattr(pod, move)()
                mesh.tell()
    for _ in range(8):
        mesh.rest()
    assert mesh.told == len(mesh.committed) - 1
    assert all(pod.edition == mesh.told for pod in mesh.pods)


@pytest.mark.proves("WS-31", "WS-32")
@given(histories)
def test_node_proxies_hear_of_a_binding_after_the_waypoint(history: list[Any]) -> None:
    play(history)


@pytest.mark.proves("WS-32")
@given(st.lists(st.tuples(st.just("bind")) | st.tuples(st.just("time"), st.just(0.1)), max_size=60))
def test_node_proxies_hear_of_it_in_time_whatever_waypoints_do(history: list[Any]) -> None:
    mesh = Mesh()
    for step in history:
        mesh.bind() if step == ("bind",) else mesh.pass_time(0.1)
        mesh.tell()
        oldest = min((at for number, at in mesh.committed.items() if number > mesh.told), default=0)
        assert not oldest or mesh.clock.time - oldest <= 2 * BOUND + 0.2


PLANTED: dict[str, tuple[type, str, Any]] = {
    "addresses do not wait": (AddressHold, "is_open", property(lambda _: True)),
    "what is sent counts as taken in": (WaypointTypes, "works_with", lambda *_: True),
    "one pod is enough": (
        AddressHold,
        "progressed",
        lambda hold, stream: hold._waits.pop(stream.waypoint, None),
    ),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, planted = PLANTED[fault]
    monkeypatch.setattr(owner, name, planted)
    with pytest.raises(AssertionError):
        _played(play)()


def _played(played: Callable[[list[Any]], None]) -> Callable[[], None]:
    @settings(
        max_examples=2000,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(histories)
    def run(history: list[Any]) -> None:
        played(history)

    return run
