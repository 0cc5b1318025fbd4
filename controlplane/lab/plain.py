"""Plain connections: what they are, and how one is broken off."""

import asyncio
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from typing import TypeAlias

Address: TypeAlias = tuple[str, int]
Plain: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def break_off(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset: closed without lingering, where it can be said."""
    # A transport that is closed already has no socket, or one without a number.
    with suppress(OSError, AttributeError, ValueError):
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
    writer.transport.abort()
