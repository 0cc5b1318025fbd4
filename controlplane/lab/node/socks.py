"""A SOCKS5 port for one workload: what connects to it becomes a connection of that workload.

CONNECT without authentication, by name or address (RFC 1928); it listens on loopback alone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import Final, Self

from controlplane.lab.listener import Listener
from controlplane.lab.node.outbound import Connected, UnreachableError
from controlplane.lab.plain import Address, Plain

SOCKS_PORT: Final = 1080

_VERSION: Final = 5
_CONNECT: Final = 1
_NO_AUTHENTICATION: Final = 0
_NONE_ACCEPTABLE: Final = 0xFF
_SUCCEEDED: Final = 0
_UNREACHABLE: Final = 4
_NOT_SUPPORTED: Final = 7
_PATIENCE: Final = 10.0

Connect = Callable[[str, int], Awaitable[Connected]]
Carry = Callable[[Connected, Plain], Awaitable[None]]


class SocksPort:
    """Use it as ``async with SocksPort(...)``.

    Args:
        host: the loopback address to listen on.
        connect: opens a connection to a host and port; raises UnreachableError.
        carry: carries bytes of a client through it.
        port: where to listen, 0 for any free port.
    """

    def __init__(
        self, host: str, connect: Connect, carry: Carry, *, port: int = SOCKS_PORT
    ) -> None:
        self._connect = connect
        self._carry = carry
        self._listener = Listener(self._serve, host, port, name="socks")

    @property
    def address(self) -> Address:
        """Return where it listens."""
        return self._listener.address

    async def __aenter__(self) -> Self:
        await self._listener.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._listener.end()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                target = await _asked(reader, writer)
            if target is None:
                return
            try:
                connected = await self._connect(*target)
            except UnreachableError:
                writer.write(_answer(_UNREACHABLE))
                return
            writer.write(_answer(_SUCCEEDED))
            await self._carry(connected, (reader, writer))
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            return


async def _asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[str, int] | None:
    version, methods = await reader.readexactly(2)
    offered = await reader.readexactly(methods)
    if version != _VERSION or _NO_AUTHENTICATION not in offered:
        writer.write(bytes([_VERSION, _NONE_ACCEPTABLE]))
        return None
    writer.write(bytes([_VERSION, _NO_AUTHENTICATION]))
    _, command, _, kind = await reader.readexactly(4)
    match kind:
        case 1:
            host = str(IPv4Address(await reader.readexactly(4)))
        case 3:
            (length,) = await reader.readexactly(1)
            host = (await reader.readexactly(length)).decode("ascii")
        case 4:
            host = str(IPv6Address(await reader.readexactly(16)))
        case _:
            writer.write(_answer(_NOT_SUPPORTED))
            return None
    port = int.from_bytes(await reader.readexactly(2))
    if command != _CONNECT:
        writer.write(_answer(_NOT_SUPPORTED))
        return None
    return host, port


def _answer(status: int) -> bytes:
    return bytes([_VERSION, status, 0, 1, 0, 0, 0, 0, 0, 0])
