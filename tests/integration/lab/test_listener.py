"""A port whose connections end with it, whatever became of their tasks."""

import asyncio
import gc
from asyncio import StreamReader, StreamWriter

import pytest

from controlplane.lab.listener import Listener
from tests.support.lab_sockets import all_closed

TURNS = 8


@pytest.mark.parametrize("turns", range(TURNS))
async def test_a_connection_that_comes_while_it_ends_is_closed_as_well(turns: int) -> None:
    served: list[StreamWriter] = []

    async def hold(reader: StreamReader, writer: StreamWriter) -> None:
        served.append(writer)
        await reader.read()

    async with Listener(hold, "127.0.0.1", name="held") as listener:
        reader, writer = await asyncio.open_connection(*listener.address)
        for _ in range(turns):
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        # In order or not: what matters is that there is an end.
        (end,) = await asyncio.gather(reader.read(), return_exceptions=True)
    assert end == b"" or isinstance(end, ConnectionResetError)
    writer.close()
    await all_closed()
    assert all(each.transport.is_closing() for each in served)
    del reader, writer
    gc.collect()


async def test_who_serves_need_not_close() -> None:
    async def greet(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(await reader.readline())

    async with Listener(greet, "127.0.0.1", name="greeting") as listener:
        reader, writer = await asyncio.open_connection(*listener.address)
        writer.write(b"hello\n")
        assert await reader.read() == b"hello\n"
        writer.close()
        with pytest.raises(OSError, match="in use"):
            async with Listener(greet, *listener.address, name="another"):
                pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*listener.address)
    await all_closed()
