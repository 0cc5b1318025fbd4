"""Two plain connections joined: what comes out of one goes into the other, both ways."""

import asyncio
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from typing import TypeAlias

Plain: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def joined(here: Plain, there: Plain) -> tuple[int, int]:
    """Carry bytes and half closes until both have ended; return bytes from here, from there.

    What breaks one breaks the other. Raises OSError when something broke.
    """
    try:
        async with asyncio.TaskGroup() as both:
            out = both.create_task(_carry(here[0], there[1]))
            back = both.create_task(_carry(there[0], here[1]))
    except* OSError as broken:
        break_off(here[1])
        break_off(there[1])
        raise broken.exceptions[0] from None
    finally:
        for _, writer in (here, there):
            writer.close()
    return out.result(), back.result()


def break_off(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset: closed without lingering, where it can be said."""
    with suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
    writer.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    length = 0
    while data := await reader.read(65_536):
        length += len(data)
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        with suppress(OSError):
            writer.write_eof()
    return length
