"""A pod that no node proxy captures: its applications are reached as they are."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from controlplane.lab.hbone_terminator import Address
from controlplane.lab.node.pipe import break_off, joined


class BarePod:
    """Use it as ``async with``. ``applications`` are where each port of the pod really leads."""

    def __init__(self, address: str, applications: dict[int, Address]) -> None:
        self._address = address
        self._applications = applications
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for port, target in self._applications.items():
            self._servers.append(await self._listen(port, target))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self, port: int, target: Address) -> asyncio.Server:
        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there = await asyncio.open_connection(*target)
            except OSError:
                break_off(writer)
                return
            with suppress(OSError):
                await joined((reader, writer), there)

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(carry(reader, writer), name="bare pod")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return await asyncio.start_server(begin, self._address, port)
