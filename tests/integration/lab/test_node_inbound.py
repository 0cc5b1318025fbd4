"""A captured pod: who comes in, what is open when policies change, and how a pod ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

import pytest
from google.protobuf.message import Message

from controlplane.clock import SystemClock
from controlplane.lab.hbone import HboneClient, Waypoint
from controlplane.lab.hbone_errors import ConnectRefusedError, HboneError
from controlplane.lab.node.access import AccessLog
from controlplane.lab.node.inbound import InboundPod
from controlplane.lab.node.plain_ports import PlainPorts
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from controlplane.pb import authorization_pb2
from tests.support.hbone_certificates import an_identity, held, of_a_stranger
from tests.support.lab_sockets import all_closed
from tests.support.wire import a_policy, a_response, a_workload, policies, uid_of

ADDRESS = "127.95.255.1"
"""Of a range that labs claim last."""
APPLICATION = 8080
WEB, SLEEP = an_identity("web", "default"), an_identity("sleep", "default")


@dataclass(slots=True)
class Bed:
    """A pod, what its node knows, and what it tells."""

    session: Session
    pod: InboundPod
    log: AccessLog

    def receive(self, *messages: Message) -> None:
        """Let the node know of workloads."""
        self.session.receive(a_response(*messages))
        assert self.session.nacks == []

    def deny_all(self) -> None:
        """Let the node know of a policy that denies everything, as it would hear of it."""
        group = authorization_pb2.Group()
        policy = a_policy(
            action=authorization_pb2.DENY, scope=authorization_pb2.GLOBAL, groups=[group]
        )
        self.session.receive(policies(policy))
        assert self.session.nacks == []
        self.pod.policies_changed()


@asynccontextmanager
async def _a_pod() -> AsyncIterator[Bed]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while data := await reader.read(100):
                writer.write(data)

    application = await asyncio.start_server(echo, "127.0.0.1", 0)
    session = Session(NodeIdentity())
    session.connect()
    session.receive(a_response(a_workload("web", ips=[ADDRESS], service_account="web")))
    log = AccessLog()
    pod = InboundPod(
        session.state.workloads.by_uid[uid_of("web")],
        held(WEB),
        state=session.state,
        application=lambda _, port: (
            application.sockets[0].getsockname()[:2] if port == APPLICATION else None
        ),
        log=log,
        clock=SystemClock(),
    )
    async with application, pod, PlainPorts(ADDRESS, (APPLICATION,)) as ports:
        await ports.given_to(pod.plain)
        yield Bed(session=session, pod=pod, log=log)
    await all_closed()


def _client() -> HboneClient:
    return HboneClient(Waypoint(host=ADDRESS, port=15008, identities={WEB}), held(SLEEP))


async def test_the_application_is_reached_and_told_of_with_who_came() -> None:
    async with _a_pod() as bed, _client() as client:
        tunnel = await client.open(f"{ADDRESS}:{APPLICATION}")
        await tunnel.write(b"hello")
        assert await tunnel.read() == b"hello"
        (record,) = bed.log.records
        assert (record.source_identity, record.destination_identity) == (SLEEP, WEB)
        assert record.duration is None


@pytest.mark.parametrize(
    ("authority", "status"),
    [
        (f"127.95.255.2:{APPLICATION}", 400),
        ("web.default:8080", 400),
        (f"{ADDRESS}:http", 400),
        (f"{ADDRESS}:9999", 503),
    ],
)
async def test_a_tunnel_leads_to_the_pod_s_own_ports_alone(authority: str, status: int) -> None:
    async with _a_pod() as bed, _client() as client:
        with pytest.raises(ConnectRefusedError) as caught:
            await client.open(authority)
        assert caught.value.status == status
        assert [bool(record.error) for record in bed.log.records] == [True]


async def test_who_has_no_certificate_of_the_mesh_does_not_come_in() -> None:
    async with _a_pod() as bed:
        place = Waypoint(host=ADDRESS, port=15008, identities={WEB})
        with pytest.raises(HboneError):
            async with HboneClient(place, of_a_stranger(SLEEP)):
                pass
        assert list(bed.log.records) == []


async def test_what_is_open_ends_when_it_is_denied() -> None:
    async with _a_pod() as bed, _client() as client:
        tunnel = await client.open(f"{ADDRESS}:{APPLICATION}")
        reader, writer = await asyncio.open_connection(ADDRESS, APPLICATION)
        writer.write(b"plain")
        assert await reader.read(100) == b"plain"
        bed.pod.policies_changed()
        await tunnel.write(b"still")
        assert await tunnel.read() == b"still"
        bed.deny_all()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        async with asyncio.timeout(15):
            with pytest.raises(HboneError):
                await tunnel.read()
        with pytest.raises(ConnectRefusedError) as caught:
            await client.open(f"{ADDRESS}:{APPLICATION}")
        assert caught.value.status == 401


async def test_a_pod_that_ends_serves_those_who_have_not_heard_and_still_judges() -> None:
    async with _a_pod() as bed, _client() as client:
        bed.session.receive(a_response(removed=[uid_of("web")]))
        assert uid_of("web") not in bed.session.state.workloads.by_uid
        tunnel = await client.open(f"{ADDRESS}:{APPLICATION}")
        await tunnel.write(b"hello")
        assert await tunnel.read() == b"hello"
        bed.deny_all()
        with pytest.raises(ConnectRefusedError):
            await client.open(f"{ADDRESS}:{APPLICATION}")
