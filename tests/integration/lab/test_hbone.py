"""The HBONE client and the terminator, with each other over loopback."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controlplane.lab.hbone import HboneClient, Waypoint
from controlplane.lab.hbone_connection import MOST_STREAMS, STREAM_WINDOW
from controlplane.lab.hbone_errors import (
    ConnectionEndedError,
    ConnectRefusedError,
    HandshakeError,
    HboneError,
    StreamResetError,
)
from controlplane.lab.hbone_stream import HboneStream
from controlplane.lab.hbone_terminator import Terminator
from controlplane.lab.plain import Address
from tests.support.hbone_certificates import an_identity, held, of_a_stranger
from tests.support.replicas import until

ALICE = an_identity("alice")
NODE = an_identity("node")
POD = "10.0.0.1:80"


class Application:
    """Echoes what it is told to, and can be told not to read, or to break off."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.reads.set()
        self.breaks_off = False
        self.address: Address = ("127.0.0.1", 0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.reads.wait()
            while data := await reader.read(65_536):
                if self.breaks_off:
                    no_lingering = struct.pack("ii", 1, 0)
                    option = (socket.SOL_SOCKET, socket.SO_LINGER, no_lingering)
                    writer.get_extra_info("socket").setsockopt(*option)
                    return
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def an_application() -> AsyncIterator[Application]:
    application = Application()
    server = await asyncio.start_server(application.serve, "127.0.0.1", 0)
    application.address = server.sockets[0].getsockname()[:2]
    try:
        yield application
    finally:
        application.reads.set()
        server.close()


@asynccontextmanager
async def a_node(application: Address) -> AsyncIterator[Terminator]:
    async with Terminator(
        held(NODE),
        admits=lambda peer: peer == ALICE,
        application={POD: application, "10.0.0.1:81": ("127.0.0.1", 1)}.get,
        host="127.0.0.1",
    ) as node:
        yield node


def where(node: Terminator) -> Waypoint:
    host, port = node.address
    return Waypoint(host=host, port=port, identities={NODE})


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[HboneClient, Terminator, Application]]:
    async with (
        an_application() as application,
        a_node(application.address) as node,
        HboneClient(where(node), held(ALICE)) as client,
    ):
        yield client, node, application


async def rest_of(tunnel: HboneStream) -> bytes:
    content = b""
    while part := await tunnel.read():
        content += part
    return content


async def test_a_tunnel_carries_bytes_both_ways_and_leaves_a_record() -> None:
    content = bytes(range(256)) * 8192
    async with connected() as (client, node, _application):
        tunnel = await client.open(POD, [("baggage", "k8s.namespace.name=app")])
        reading = asyncio.create_task(rest_of(tunnel))
        await tunnel.write(content)
        tunnel.end()
        assert await reading == content
        (access,) = node.accesses
    line = access.line()
    assert str(line.pop("src.addr")).startswith("127.0.0.1:")
    assert str(line.pop("duration")).endswith("ms")
    assert line == {
        "src.identity": ALICE,
        "dst.addr": "{}:{}".format(*where_it_was(access.destination)),
        "dst.hbone_addr": POD,
        "direction": "inbound",
        "response_code": 200,
        "bytes_sent": len(content),
        "bytes_recv": len(content),
    }
    assert access.headers["baggage"] == "k8s.namespace.name=app"


def where_it_was(address: Address) -> Address:
    assert address[0] == "127.0.0.1"
    return address


@pytest.mark.parametrize(("authority", "status"), [("10.0.0.2:80", 404), ("10.0.0.1:81", 503)])
async def test_a_tunnel_to_nowhere_is_refused(authority: str, status: int) -> None:
    async with connected() as (client, _node, _application):
        with pytest.raises(ConnectRefusedError) as refused:
            await client.open(authority)
        assert refused.value.status == status
        assert await client.request("GET", "/") == 404
        async with client.forwarded(authority) as way:
            reader, writer = await asyncio.open_connection(way.host, way.port)
            assert await reader.read() == b""
            writer.close()
        assert [type(each) for each in way.refusals] == [ConnectRefusedError]


async def test_who_is_not_admitted_gets_no_connection() -> None:
    async with an_application() as application, a_node(application.address) as node:
        for who in (held(an_identity("bob")), of_a_stranger(ALICE)):
            with pytest.raises(HandshakeError):
                async with HboneClient(where(node), who):
                    pass
        with pytest.raises(HandshakeError):
            async with HboneClient(where(node), held(ALICE), shows_certificate=False):
                pass
        assert an_identity("bob") in node.refused
        assert not node.accesses


async def test_a_node_that_is_somebody_else_is_turned_away_from() -> None:
    async with an_application() as application, a_node(application.address) as node:
        host, port = node.address
        with pytest.raises(HandshakeError, match=NODE):
            async with HboneClient(Waypoint(host=host, port=port, identities={ALICE}), held(ALICE)):
                pass


async def test_one_stream_that_nobody_reads_does_not_hold_up_another() -> None:
    async with connected() as (client, _node, _application):
        slow, quick = await client.open(POD), await client.open(POD)
        flood = asyncio.create_task(slow.write(bytes(64 << 20)))
        await quick.write(b"hello")
        assert await quick.read() == b"hello"
        await until(lambda: slow.bytes_received == STREAM_WINDOW, 10)
        await quick.write(b"again")
        assert await quick.read() == b"again"
        assert slow.bytes_received == STREAM_WINDOW
        assert not flood.done()
        slow.reset()
        with pytest.raises(HboneError):
            await flood


async def test_an_application_that_breaks_off_is_no_orderly_end() -> None:
    async with an_application() as application, a_node(application.address) as node:
        application.breaks_off = True
        async with HboneClient(where(node), held(ALICE)) as client:
            tunnel = await client.open(POD)
            await tunnel.write(b"hello")
            with pytest.raises(StreamResetError):
                await tunnel.read()


async def test_a_tunnel_that_is_given_up_at_once_harms_nobody() -> None:
    async with connected() as (client, node, _application):
        for _ in range(20):
            await client.abandon(POD)
        tunnel = await client.open(POD)
        await tunnel.write(b"hello")
        assert await tunnel.read() == b"hello"
        assert client.connections_made == 1
        assert len(node.accesses) == 21


async def test_more_tunnels_than_allowed_at_once_wait_for_their_turn() -> None:
    async with connected() as (client, _node, _application):
        tunnels = [await client.open(POD) for _ in range(MOST_STREAMS)]
        waiting = asyncio.create_task(client.open(POD))
        await tunnels[0].write(b"hello")
        assert await tunnels[0].read() == b"hello"
        assert not waiting.done()
        tunnels[0].reset()
        late = await waiting
        await late.write(b"late")
        assert await late.read() == b"late"


async def test_a_node_that_drains_keeps_its_tunnels_and_gets_no_new_ones() -> None:
    async with connected() as (client, node, _application):
        old = await client.open(POD)
        node.drain()
        await old.write(b"still")
        assert await old.read() == b"still"
        new = await client.open(POD)
        assert client.connections_made == 2
        await new.write(b"new")
        await old.write(b"there")
        assert (await new.read(), await old.read()) == (b"new", b"there")
        assert len({access.source for access in node.accesses}) == 2


async def test_a_node_that_goes_away_breaks_tunnels_and_connections_come_again() -> None:
    async with an_application() as application:
        async with a_node(application.address) as node:
            client = HboneClient(where(node), held(ALICE))
            await client.__aenter__()
            tunnel = await client.open(POD)
        try:
            with pytest.raises(ConnectionEndedError):
                await tunnel.read()
            with pytest.raises(HandshakeError):
                await client.open(POD)
        finally:
            await client.__aexit__(None, None, None)


async def test_a_node_that_never_answers_is_not_waited_for_for_ever() -> None:
    async with an_application() as application:
        application.reads.clear()
        silent = await asyncio.start_server(application.serve, "127.0.0.1", 0)
        host, port = silent.sockets[0].getsockname()
        with pytest.raises(HandshakeError):
            async with HboneClient(
                Waypoint(host=host, port=port, identities={NODE}), held(ALICE), patience=0.2
            ):
                pass
        silent.close()


async def test_a_stream_that_a_draining_node_never_saw_is_asked_for_again() -> None:
    async with connected() as (client, node, _application):
        first = await client.open(POD)
        node.drain()
        # Nothing of the drain has been read yet: these begin on the connection that ends.
        late = await asyncio.gather(*(client.open(POD) for _ in range(5)))
        for each in (first, *late):
            await each.write(b"hello")
            assert await each.read() == b"hello"
        assert client.connections_made == 2
        assert len(node.accesses) == 6
