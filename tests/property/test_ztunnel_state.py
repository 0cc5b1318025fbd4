"""A node that follows changes knows what a node knows that is told everything at once.

The server of these tests is a dictionary: every change of the world is sent as the difference to
what the client was sent before, a changed service with all its workloads, policies before and
after the workloads that need them.
"""

from collections.abc import Iterator
from random import Random

from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from controlplane.lab.ztunnel.audit import Auditor
from controlplane.lab.ztunnel.decode import ADDRESS_TYPE, Response
from controlplane.lab.ztunnel.errors import UndecodableResponseError
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from controlplane.pb import workload_pb2
from tests.support.wire import (
    ADDRESS,
    AUTHORIZATION,
    a_policy,
    a_request,
    a_resource,
    a_response,
    a_service,
    a_workload,
    name_of,
)

SERVICES = ["default/web", "default/db", "other/web"]
NAMES = ["a", "b", "c", "d"]
World = dict[str, Message]

services = st.builds(
    lambda key, health, vips: a_service(
        key.partition("/")[2],
        key.partition("/")[0],
        vips=vips,
        load_balancing={"health_policy": health},
    ),
    st.sampled_from(SERVICES),
    st.sampled_from([0, 1]),
    st.lists(st.sampled_from(["10.1.0.1", "10.1.0.2", "10.2.0.0/16"]), unique=True, max_size=2),
)
workloads = st.builds(
    lambda name, ips, behind, status, listed, host: a_workload(
        name,
        ips=ips,
        services={key: {80: 8080} for key in behind},
        status=status,
        policies=listed,
        network_mode=host,
    ),
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2"]), unique=True, max_size=2),
    st.sets(st.sampled_from(SERVICES)),
    st.sampled_from([0, 1]),
    st.lists(st.sampled_from(["default/p", "default/q"]), unique=True),
    st.sampled_from([0, 0, 0, 1]),
)
authorizations = st.builds(
    lambda name, scope: a_policy(name, scope=scope),
    st.sampled_from(["p", "q", "r"]),
    st.sampled_from([0, 1, 2]),
)
worlds = st.builds(
    lambda messages: settled({name_of(message): message for message in messages}),
    st.lists(st.one_of(services, workloads, authorizations), max_size=10),
)


def settled(world: World) -> World:
    """Leave out of each workload what does not exist: services and policies."""
    for message in world.values():
        if isinstance(message, workload_pb2.Workload):
            for key in [key for key in message.services if key not in world]:
                del message.services[key]
            held = [name for name in message.authorization_policies if name in world]
            del message.authorization_policies[:]
            message.authorization_policies.extend(held)
    return world


def versions(world: World, type_url: str) -> dict[str, str]:
    """Return contents by name; a workload's also tells which services take the unhealthy."""
    found = {}
    for name, message in world.items():
        if message.DESCRIPTOR.full_name.startswith("istio.security") != (type_url == AUTHORIZATION):
            continue
        version = message.SerializeToString(deterministic=True).hex()
        if isinstance(message, workload_pb2.Workload):
            tolerant = [
                key for key in message.services if world[key].load_balancing.health_policy == 1
            ]
            version += f" {sorted(tolerant)}"
        found[name] = version
    return found


class Server:
    """Sends a session from world to world, in an order that is never unsafe."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.nonce = 0
        self.expected: dict[tuple[str, str], dict[str, str]] = {}

    def connect(self, world: World) -> None:
        requests = [a_request(data) for data in self.session.connect()]
        offered = [dict(request.initial_resource_versions) for request in requests]
        self._step(world, {ADDRESS: offered[0], AUTHORIZATION: offered[1]}, is_first=True)

    def change(self, before: World, after: World) -> None:
        known = {kind: versions(before, kind) for kind in (ADDRESS, AUTHORIZATION)}
        self._step(after, known, is_first=False)

    def _step(self, world: World, known: dict[str, dict[str, str]], *, is_first: bool) -> None:
        added, _ = self._difference(world, AUTHORIZATION, known)
        self._send(world, AUTHORIZATION, added, [], is_forced=is_first)
        self._send(world, ADDRESS, *self._difference(world, ADDRESS, known), is_forced=is_first)
        _, gone = self._difference(world, AUTHORIZATION, known)
        self._send(world, AUTHORIZATION, [], gone)

    def _difference(
        self, world: World, kind: str, known: dict[str, dict[str, str]]
    ) -> tuple[list[str], list[str]]:
        current = versions(world, kind)
        changed = [name for name, version in current.items() if known[kind].get(name) != version]
        return changed, sorted(known[kind].keys() - current.keys())

    def _send(
        self,
        world: World,
        kind: str,
        changed: list[str],
        gone: list[str],
        *,
        is_forced: bool = False,
    ) -> None:
        if not (changed or gone or is_forced):
            return
        self.nonce += 1
        current = versions(world, kind)
        for each in (ADDRESS, AUTHORIZATION):
            self.expected[each, str(self.nonce)] = versions(world, each)
        data = a_response(
            *(a_resource(world[name], version=current[name]) for name in changed),
            removed=gone,
            nonce=str(self.nonce),
            type_url=kind,
        )
        assert not a_request(self.session.receive(data)).HasField("error_detail")


def audited() -> tuple[Server, Auditor]:
    session = Session(NodeIdentity())
    server = Server(session)

    def expected(type_url: str, response: Response) -> dict[str, str] | None:
        return server.expected.get((type_url, response.nonce))

    auditor = Auditor(expected=expected)
    auditor.watch(session)
    return server, auditor


def endpoints_of(world: World) -> dict[str, set[str]]:
    """Return the uids behind each service, straight from the messages."""
    return {
        key: {
            uid
            for uid, workload in world.items()
            if isinstance(workload, workload_pb2.Workload)
            and key in workload.services
            and (workload.status == 0 or service.load_balancing.health_policy == 1)
        }
        for key, service in world.items()
        if isinstance(service, workload_pb2.Service)
    }


def endpoints_held(session: Session) -> dict[str, set[str]]:
    held = session.state.view().endpoints
    return {key: {endpoint.uid for endpoint in found} for key, found in held.items()}


@given(st.lists(st.tuples(worlds, st.booleans()), min_size=1, max_size=6))
def test_following_changes_ends_where_being_told_at_once_does(
    history: list[tuple[World, bool]],
) -> None:
    server, auditor = audited()
    before: World = {}
    server.connect(before)
    for world, reconnects in history:
        if reconnects:
            server.connect(world)
        else:
            server.change(before, world)
        before = world
        fresh, _ = audited()
        fresh.connect(world)
        view = server.session.state.view()
        assert view.differences(fresh.session.state.view()) == ()
        assert view == fresh.session.state.view()
        assert server.session.retained(ADDRESS_TYPE) == versions(world, ADDRESS)
        assert endpoints_held(server.session) == endpoints_of(world)
    assert list(map(str, auditor.violations)) == []
    server.change(before, {})
    assert server.session.state.workloads.is_clean
    assert server.session.state.services.is_clean


@given(worlds, st.randoms(use_true_random=False))
def test_the_order_within_a_response_does_not_matter(world: World, random: Random) -> None:
    names = list(versions(world, ADDRESS))
    shuffled = list(names)
    random.shuffle(shuffled)
    views = []
    for order in (names, shuffled):
        session = Session(NodeIdentity())
        session.connect()
        session.receive(a_response(*(world[name] for name in order)))
        views.append(session.state.view())
    assert views[0] == views[1]


def mutations(data: bytes) -> Iterator[bytes]:
    for cut in range(0, len(data), 7):
        yield data[:cut]
        yield data[:cut] + b"\xff" + data[cut + 1 :]


@given(worlds)
def test_garbage_is_a_refusal_or_a_broken_stream_never_a_crash(world: World) -> None:
    session = Session(NodeIdentity())
    session.connect()
    addresses = [world[name] for name in versions(world, ADDRESS)]
    answered = 0
    for data in mutations(a_response(*addresses, removed=["x/y"])):
        try:
            request = a_request(session.receive(data))
        except UndecodableResponseError:
            continue
        answered += 1
        assert request.HasField("error_detail") == bool(session.last and session.last.nack)
    assert answered or not addresses
