"""The port through which programs speak in the name of a pod (RFC 1928)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from controlplane.lab.node.access import OUTBOUND, AccessRecord
from controlplane.lab.node.outbound import Connected, UnreachableError
from controlplane.lab.node.pipe import joined
from controlplane.lab.node.socks import SocksPort
from controlplane.lab.plain import Plain
from tests.support.lab_sockets import all_closed

ASKED: list[tuple[str, int]] = []


@asynccontextmanager
async def a_port() -> AsyncIterator[tuple[str, int]]:
    """Run a SOCKS port behind which an echo answers for the host ``there``."""
    echo = await asyncio.start_server(_echo, "127.0.0.1", 0)

    async def connect(host: str, port: int) -> Connected:
        ASKED.append((host, port))
        if host not in {"there", "10.0.0.7", "fd00::7"}:
            raise UnreachableError("nobody")
        plain = await asyncio.open_connection(*echo.sockets[0].getsockname())
        record = AccessRecord(direction=OUTBOUND, source="", destination="")
        return Connected(record=record, began=0.0, plain=plain)

    async def carry(connected: Connected, here: Plain) -> None:
        assert connected.plain is not None
        await joined(here, connected.plain)

    ASKED.clear()
    async with SocksPort("127.0.0.1", connect, carry, port=0) as port:
        yield port.address
    echo.close()
    await all_closed()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer):
        while data := await reader.read(1000):
            writer.write(data)


async def _say(address: tuple[str, int], *requests: bytes) -> Plain:
    reader, writer = await asyncio.open_connection(*address)
    for request in requests:
        writer.write(request)
    return reader, writer


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"\x03\x05there", "there"),
        (b"\x01\x0a\x00\x00\x07", "10.0.0.7"),
        (b"\x04\xfd" + bytes(14) + b"\x07", "fd00::7"),
    ],
)
async def test_it_connects_by_name_and_address(target: bytes, host: str) -> None:
    async with a_port() as address:
        reader, writer = await _say(
            address, b"\x05\x01\x00", b"\x05\x01\x00" + target + b"\x00\x50"
        )
        assert await reader.readexactly(2) == b"\x05\x00"
        assert (await reader.readexactly(10))[:2] == b"\x05\x00"
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
    assert [(host, 80)] == ASKED


async def test_what_cannot_be_reached_is_said() -> None:
    async with a_port() as address:
        reader, writer = await _say(address, b"\x05\x01\x00", b"\x05\x01\x00\x03\x04gone\x00\x50")
        await reader.readexactly(2)
        assert (await reader.readexactly(10))[1] == 4
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize(
    ("requests", "answer"),
    [
        ((b"\x05\x01\x02",), b"\x05\xff"),
        ((b"\x04\x01\x00\x50",), b"\x05\xff"),
        ((b"\x05\x01\x00", b"\x05\x02\x00\x03\x05there\x00\x50"), b"\x05\x00\x05\x07"),
        ((b"\x05\x01\x00", b"\x05\x01\x00\x09"), b"\x05\x00\x05\x07"),
    ],
)
async def test_what_it_does_not_serve_is_refused(
    requests: tuple[bytes, ...], answer: bytes
) -> None:
    async with a_port() as address:
        reader, writer = await _say(address, *requests)
        assert (await reader.read()).startswith(answer)
        writer.close()
    assert ASKED == []
