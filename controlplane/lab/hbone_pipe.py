"""A plain connection and a tunnel joined: what comes out of one goes into the other, both ways."""

import asyncio
from contextlib import suppress

from controlplane.lab.hbone_errors import HboneError
from controlplane.lab.hbone_stream import HboneStream


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
        writer.transport.abort()
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
    with suppress(OSError):
        await writer.wait_closed()
