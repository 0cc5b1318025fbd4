"""A plain connection and a tunnel joined: what comes out of one goes into the other, both ways."""

import asyncio
from typing import Final

from controlplane.lab.hbone_errors import HboneError
from controlplane.lab.hbone_stream import HboneStream
from controlplane.lab.plain import break_off

_FAREWELL: Final = 1.0


async def join(
    stream: HboneStream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry bytes and half closes until both sides have ended; what breaks one breaks the other."""
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_inwards(stream, writer))
            both.create_task(_outwards(reader, stream))
    except* (HboneError, OSError):
        # No orderly end: the program at the other end must not take it for one.
        break_off(writer)
    finally:
        stream.reset()
        await _closed(writer)


async def _inwards(stream: HboneStream, writer: asyncio.StreamWriter) -> None:
    while data := await stream.read():
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _outwards(reader: asyncio.StreamReader, stream: HboneStream) -> None:
    while data := await reader.read(65_536):
        await stream.write(data)
    stream.end()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(_FAREWELL):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        # Whoever reads no more would keep what is left, and us, for ever.
        writer.transport.abort()
