"""Bytes carried between two connections, and pods that nobody captures."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from controlplane.lab.node.plain_ports import PlainPorts, as_they_are
from controlplane.lab.plain import Address, Plain, break_off
from tests.support.lab_sockets import all_closed

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
POD = "127.0.0.1"


@asynccontextmanager
async def _a_bare_pod(serve: Serve) -> AsyncIterator[Address]:
    """Run an application and a pod whose port leads there; yields the pod's."""
    application = await asyncio.start_server(serve, "127.0.0.1", 0)
    with_free_port = await asyncio.start_server(serve, POD, 0)
    port: int = with_free_port.sockets[0].getsockname()[1]
    with_free_port.close()
    await with_free_port.wait_closed()
    leads = {port: application.sockets[0].getsockname()[:2]}
    async with application, PlainPorts(POD, (port,)) as ports:
        await ports.given_to(as_they_are(leads))
        yield POD, port
    await all_closed()


async def _shouts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer when the client has said everything, and not before."""
    said = await reader.read()
    writer.write(said.upper())
    writer.close()


async def _hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    break_off(writer)


async def _connected(address: Address) -> Plain:
    return await asyncio.open_connection(*address)


async def test_an_end_on_one_side_is_an_end_on_the_other_and_answers_still_come() -> None:
    async with _a_bare_pod(_shouts) as address:
        reader, writer = await _connected(address)
        writer.write(b"x" * 200_000)
        writer.write_eof()
        assert await reader.read() == b"X" * 200_000
        writer.close()


async def test_what_breaks_on_one_side_breaks_on_the_other() -> None:
    async with _a_bare_pod(_hangs_up) as address:
        reader, writer = await _connected(address)
        writer.write(b"hello")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_where_no_application_is_nothing_is_answered() -> None:
    async with _a_bare_pod(_shouts) as (host, port):
        async with PlainPorts("127.0.0.2", (port,)) as ports:
            await ports.given_to(as_they_are({port: ("127.0.0.3", port)}))
            reader, writer = await _connected(("127.0.0.2", port))
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
        reader, writer = await _connected((host, port))
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_ports_change_hands_and_what_is_open_stays() -> None:
    async with _a_bare_pod(_shouts) as (_, port), PlainPorts("127.0.0.2", (port,)) as ports:
        asked: list[int] = []

        async def count(
            port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            asked.append(port)
            writer.write(await reader.read())

        with pytest.raises(ConnectionRefusedError):
            await _connected(("127.0.0.2", port))
        await ports.given_to(as_they_are({port: (POD, port)}))
        before = await _connected(("127.0.0.2", port))
        await all_closed()
        await ports.given_to(count)
        after = await _connected(("127.0.0.2", port))
        answers = []
        for reader, writer in (before, after):
            writer.write(b"hello")
            writer.write_eof()
            answers.append(await reader.read())
            writer.close()
        assert (answers, asked) == ([b"HELLO", b"hello"], [port])


async def test_breaking_off_twice_is_no_error() -> None:
    async with _a_bare_pod(_shouts) as address:
        _, writer = await _connected(address)
        break_off(writer)
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        break_off(writer)
