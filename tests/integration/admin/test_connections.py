"""Connections that say nothing, or too slowly, or are too many, against a server on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from controlplane.admin.connections import ConnectionLimits
from controlplane.admin.server import AdminServer
from tests.support.admin import AdminRig

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@asynccontextmanager
async def _serving(limits: ConnectionLimits) -> AsyncIterator[AdminServer]:
    server = AdminServer(AdminRig().application(), host="127.0.0.1", port=0, limits=limits)
    task = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        server.stop()
        await task


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> bytes:
        """Return the first line of an answer, empty when there is none."""
        with suppress(ConnectionResetError):
            return await asyncio.wait_for(self.reader.readline(), 10)
        return b""

    async def rest(self) -> bytes:
        """Return what comes until the server closes."""
        with suppress(ConnectionResetError):
            return await asyncio.wait_for(self.reader.read(), 10)
        return b""


@asynccontextmanager
async def _connection(server: AdminServer) -> AsyncIterator[_Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield _Connection(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionResetError):
            await writer.wait_closed()


@pytest.mark.proves("AM-15")
@pytest.mark.parametrize("begun", [b"", b"GET /healthz HT", b"GET / HTTP/1.1\r\nHost: local"])
async def test_who_never_says_what_he_wants_is_let_go(begun: bytes) -> None:
    async with (
        _serving(ConnectionLimits(header_seconds=0.2)) as server,
        _connection(server) as connection,
    ):
        connection.writer.write(begun)
        assert await connection.rest() == b""


@pytest.mark.proves("AM-15")
async def test_a_further_request_has_to_end_in_time_too() -> None:
    async with (
        _serving(ConnectionLimits(header_seconds=0.2)) as server,
        _connection(server) as connection,
    ):
        connection.writer.write(REQUEST)
        assert b"200" in await connection.answer()
        connection.writer.write(b"GET /healthz HT")
        assert b"alive" in await connection.rest()


@pytest.mark.refutes("AM-15")
async def test_an_answer_may_take_longer_than_a_request() -> None:
    async with (
        _serving(ConnectionLimits(header_seconds=0.1)) as server,
        _connection(server) as connection,
    ):
        body = b'{"commit": 999, "seconds": 1}'
        head = f"POST /api/v1/wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        connection.writer.write(
            head.encode() + b"Content-Type: application/json\r\nConnection: close\r\n\r\n" + body
        )
        assert b" 200 " in await connection.answer()


@pytest.mark.proves("AM-15")
@pytest.mark.refutes("AM-15")
async def test_one_address_has_so_many_connections_until_some_end() -> None:
    limits = ConnectionLimits(connections=2)
    async with _serving(limits) as server:
        async with _connection(server) as first, _connection(server) as second:
            for each in (first, second):
                each.writer.write(REQUEST)
                assert b"200" in await each.answer()
            async with _connection(server) as third:
                third.writer.write(REQUEST)
                assert await third.answer() == b""
        answer = b""
        async with asyncio.timeout(10):
            while b"200" not in answer:  # the server hears of ends a moment later
                async with _connection(server) as later:
                    later.writer.write(REQUEST)
                    answer = await later.answer()
