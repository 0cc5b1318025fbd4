"""The ports of a pod's applications: whoever has them takes what connects from then on.

A pod that joins the mesh or leaves it goes on listening, as a kernel's redirection would have it:
no connection is refused meanwhile, and those that are open stay with whom they came to.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Self, TypeAlias

from controlplane.lab.listener import Listener, Serve
from controlplane.lab.node.pipe import joined
from controlplane.lab.plain import Address, break_off

Taker: TypeAlias = Callable[
    [int, asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]
]


class PlainPorts:
    """Use it as ``async with``; nobody listens before ``given_to``.

    Args:
        address: the pod's.
        ports: those of its applications.
    """

    def __init__(self, address: str, ports: tuple[int, ...]) -> None:
        self._address = address
        self._ports = ports
        self._taker: Taker | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def given_to(self, taker: Taker) -> None:
        """Have ``taker`` serve new connections. Raises OSError when a port is not free."""
        is_listening = self._taker is not None
        self._taker = taker
        if is_listening:
            return
        try:
            async with AsyncExitStack() as stack:
                for port in self._ports:
                    listener = Listener(self._serve(port), self._address, port, name="plain port")
                    await stack.enter_async_context(listener)
                self._stack = stack.pop_all()
        except OSError:
            self._taker = None
            raise

    def _serve(self, port: int) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._taker is not None:
                await self._taker(port, reader, writer)

        return serve


def as_they_are(applications: dict[int, Address]) -> Taker:
    """Return what leads each port to its application and asks nobody: a pod out of the mesh."""

    async def take(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(*applications[port])
        except (KeyError, OSError):
            break_off(writer)
            return
        with suppress(OSError):
            await joined((reader, writer), there)

    return take
