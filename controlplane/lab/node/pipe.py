"""Two plain connections joined: what comes out of one goes into the other, both ways."""

import asyncio
from contextlib import suppress

from controlplane.lab.plain import Plain, break_off


async def joined(here: Plain, there: Plain) -> tuple[int, int]:
    """Carry bytes and half closes until both have ended; return bytes from here, from there.

    What breaks one breaks the other. Raises OSError when something broke.
    """
    ways = [
        asyncio.ensure_future(_carry(here[0], there[1])),
        asyncio.ensure_future(_carry(there[0], here[1])),
    ]
    try:
        out, back = await asyncio.gather(*ways)
    except (OSError, RuntimeError) as error:
        # No orderly end: the program at the other end must not take it for one.
        break_off(here[1])
        break_off(there[1])
        raise ConnectionError(str(error) or "a connection broke") from error
    else:
        return out, back
    finally:
        for way in ways:
            way.cancel()
        # Before anything is waited for: whoever cancels us a second time would leave them open.
        for _, writer in (here, there):
            writer.close()
        await asyncio.gather(*ways, return_exceptions=True)


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
