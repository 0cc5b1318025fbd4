"""Any history of commits, deliveries, acknowledgements and reconnects ends in the committed state.

The model client asserts after every response that it holds each policy its workloads list, that no
nonce repeats and that no name is updated and removed together.
"""

from collections import deque
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.frame import finished
from controlplane.snapshots.scope import (
    ADDRESS_TYPE,
    ADDRESSES,
    AUTHORIZATION_TYPE,
    AUTHORIZATIONS,
    GLOBAL_AUTHORIZATIONS,
    TableKey,
    node_authorizations,
)
from controlplane.xds.request import parse_request
from tests.support.discovery import (
    FakeClock,
    ModelClient,
    a_policy,
    a_request,
    a_session,
    a_workload,
    introduced,
)

NODES = ("n1", "n2")


class Pod(NamedTuple):
    node: str
    wants: frozenset[int]
    edition: int


class Mesh:
    """Desired state; ``commit`` brings the catalog there, policies listed only if they exist."""

    def __init__(self) -> None:
        self.catalog = Catalog(tombstone_limit=2)
        self.policies: dict[int, tuple[int, bool]] = {}
        self.pods: dict[int, Pod] = {}
        self._staged: dict[TableKey, set[str]] = {}

    def commit(self) -> None:
        tables: dict[TableKey, dict[str, Any]] = {
            key: {}
            for key in (
                ADDRESSES,
                AUTHORIZATIONS,
                GLOBAL_AUTHORIZATIONS,
                *map(node_authorizations, NODES),
            )
        }
        for number, (edition, is_global) in self.policies.items():
            policy = a_policy(f"ns/{number}", padding=edition)
            tables[AUTHORIZATIONS][policy.name] = policy
            if is_global:
                tables[GLOBAL_AUTHORIZATIONS][policy.name] = policy
        for number, pod in self.pods.items():
            listed = sorted(f"ns/{each}" for each in pod.wants if each in self.policies)
            resource = a_workload(
                f"c//Pod/ns/{number}", node=pod.node, policies=listed, padding=str(pod.edition)
            )
            tables[ADDRESSES][resource.name] = resource
            for name in listed:
                if name not in tables[GLOBAL_AUTHORIZATIONS]:
                    tables[node_authorizations(pod.node)][name] = tables[AUTHORIZATIONS][name]
        for key, wanted in tables.items():
            gone = self._staged.get(key, set()) - wanted.keys()
            self.catalog.stage(key, [*wanted.items(), *((name, None) for name in gone)])
            self._staged[key] = set(wanted)
        self.catalog.publish()


class Connection:
    """A client and a session with a queue each way; a session that wants to end is replaced."""

    def __init__(self, mesh: Mesh, client: ModelClient) -> None:
        self.mesh = mesh
        self.client = client
        self.clock = FakeClock()
        self.session = a_session(mesh.catalog, self.clock)
        self.to_server: deque[bytes] = deque()
        self.to_client: deque[bytes] = deque()
        self.reconnect()

    def reconnect(self) -> None:
        self.session = a_session(self.mesh.catalog, self.clock)
        requests = self.client.requests(node_name=self.client.node)
        self.to_server = deque(each.SerializeToString() for each in requests)
        self.to_client = deque()

    def serve(self) -> None:
        if self.to_server:
            self.session.receive(finished(parse_request(self.to_server.popleft())))

    def send(self) -> None:
        self.to_client += [each.body for each in self.session.responses() if each is not None]
        if self.session.ending() is not None:
            self.reconnect()

    def read(self) -> None:
        if self.to_client:
            answer = self.client.apply(self.to_client.popleft())
            self.to_server.append(answer.SerializeToString())

    def settle(self) -> None:
        for _ in range(500):
            self.serve()
            self.send()
            self.read()
            if not self.to_server and not self.to_client and not self.session.has_work():
                return
        raise AssertionError("the conversation does not come to an end")


policy_changes = st.tuples(
    st.just("policy"), st.integers(0, 3), st.sampled_from([None, (1, False), (2, False), (1, True)])
)
pod_changes = st.tuples(
    st.just("pod"),
    st.integers(0, 4),
    st.one_of(
        st.none(),
        st.builds(Pod, st.sampled_from(NODES), st.frozensets(st.integers(0, 3)), st.integers(0, 2)),
    ),
)
commits = st.tuples(
    st.just("commit"),
    st.lists(st.one_of(policy_changes, pod_changes), max_size=4),
    st.sampled_from(["send", "settle"]),
)
moves = st.sampled_from([("serve",), ("send",), ("read",), ("settle",), ("reconnect",)])
steps = st.one_of(commits, commits, moves)
# Most faults show only when something is removed that a client already has.
pods = st.fixed_dictionaries(
    {number: pod_changes.map(lambda change: change[2]) for number in (0, 1)}
)


def a_mesh(pods: dict[int, Pod | None]) -> Mesh:
    mesh = Mesh()
    mesh.policies = {0: (1, False), 1: (1, True)}
    mesh.pods = {number: pod for number, pod in pods.items() if pod is not None}
    mesh.commit()
    return mesh


def play(mesh: Mesh, connection: Connection, step: Any) -> None:
    match step:
        case ("commit", changes, move):
            for kind, number, value in changes:
                objects: dict[int, Any] = mesh.policies if kind == "policy" else mesh.pods
                objects[number] = value
                if value is None:
                    del objects[number]
            mesh.commit()
            getattr(connection, move)()
        case (move,):
            getattr(connection, move)()


def versions(catalog: Catalog, *keys: TableKey) -> dict[str, str]:
    return {each.name: each.version for key in keys for each in catalog.table(key).resources()}


histories = st.lists(steps, max_size=25)


def converge(
    pods: dict[int, Pod | None], history: list[Any], *, node: str = "", piece: int = 120
) -> None:
    """Play a history with frames cut at ``piece`` bytes and compare what the client holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("controlplane.snapshots.frame.PIECE_BYTES", piece)
        mesh = a_mesh(pods)
        connection = Connection(mesh, ModelClient(node=node))
        connection.settle()
        for step in history:
            play(mesh, connection, step)
        connection.settle()
    held = connection.client.held
    keys = (GLOBAL_AUTHORIZATIONS, node_authorizations(node)) if node else (AUTHORIZATIONS,)
    assert held[ADDRESS_TYPE] == versions(mesh.catalog, ADDRESSES)
    assert held[AUTHORIZATION_TYPE] == versions(mesh.catalog, *keys)


@pytest.mark.parametrize("node", ["", "n1"])
@pytest.mark.parametrize("piece", [120, 256 * 1024])
@given(pods=pods, history=histories)
def test_a_client_ends_with_what_is_committed(
    node: str, piece: int, pods: dict[int, Pod | None], history: list[Any]
) -> None:
    converge(pods, history, node=node, piece=piece)


@given(pods=pods, history=st.lists(steps, max_size=20))
def test_a_resumed_client_is_sent_nothing_it_holds(
    pods: dict[int, Pod | None], history: list[Any]
) -> None:
    mesh = a_mesh(pods)
    connection = Connection(mesh, ModelClient())
    for step in history:
        play(mesh, connection, step)
    connection.settle()
    before = len(connection.client.responses)
    connection.reconnect()
    connection.settle()
    answers = connection.client.responses[before:]
    assert len(answers) == 2
    assert all(not each.resources and not each.removed_resources for each in answers)


class OnDemandClient(ModelClient):
    """Asks for keys; what it asked for but does not hold is forgotten with the connection."""

    def __init__(self) -> None:
        super().__init__(watches_policies=False, node="n1")
        self.asked: set[str] = set()

    def requests(self, **node: str) -> list[Any]:
        self.nonces = set()
        self.asked &= self.held[ADDRESS_TYPE].keys()
        first = a_request(subscribe=["*"], unsubscribe=["*"], known=self.held[ADDRESS_TYPE])
        return [introduced(first, kind="waypoint", **node)]


asks = st.tuples(st.just("ask"), st.integers(0, 4))


@given(pods=pods, history=st.lists(st.one_of(steps, asks), max_size=25))
def test_an_on_demand_client_holds_current_versions_of_what_it_may_see(
    pods: dict[int, Pod | None], history: list[Any]
) -> None:
    mesh = a_mesh(pods)
    client = OnDemandClient()
    connection = Connection(mesh, client)
    connection.settle()
    for step in history:
        if step[0] != "ask":
            play(mesh, connection, step)
        elif connection.session.node is not None:
            uid = f"c//Pod/ns/{step[1]}"
            client.asked.add(uid)
            connection.to_server.append(a_request(subscribe=[uid]).SerializeToString())
    connection.settle()
    current = versions(mesh.catalog, ADDRESSES)
    held = client.held[ADDRESS_TYPE]
    assert held.items() <= current.items()
    here = {f"c//Pod/ns/{number}" for number, pod in mesh.pods.items() if pod.node == "n1"}
    assert here | (client.asked & current.keys()) <= held.keys()
