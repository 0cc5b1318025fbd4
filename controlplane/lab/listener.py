"""A port whose connections are tasks of ours: when it ends they end, and all of them are closed."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Final, Self, TypeAlias

from controlplane.lab.ending import ended
from controlplane.lab.plain import Address

Serve: TypeAlias = Callable[
    [asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]
]

_TLS_FAREWELL: Final = 1.0


class Listener:
    """Use it as ``async with Listener(...) as listener``, or ``start`` and ``end``.

    However a connection's task ends, before its first step included, its writer is closed: one
    that is forgotten would stay open as long as the process.

    Args:
        serve: what is done with a connection; may raise nothing.
        host: the address to listen on.
        port: where, 0 for any free port.
        name: what the tasks are called.
        context: for TLS.
    """

    def __init__(
        self,
        serve: Serve,
        host: str,
        port: int = 0,
        *,
        name: str,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._serve = serve
        self._wanted = (host, port)
        self._name = name
        self._context = context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> Address:
        """Return where it listens."""
        if self._server is None:
            return self._wanted
        host, port, *_ = self._server.sockets[0].getsockname()
        return host, port

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.end()

    async def start(self) -> None:
        """Listen. Raises OSError when the port is not free."""
        self._server = await asyncio.start_server(
            self._begin,
            *self._wanted,
            ssl=self._context,
            ssl_shutdown_timeout=_TLS_FAREWELL if self._context is not None else None,
        )

    async def end(self) -> None:
        """Take no new connections and end those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        ending = list(self._tasks)
        for task in ending:
            task.cancel()
        await ended(asyncio.gather(*ending, return_exceptions=True))

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Do something that ends with it."""
        task = asyncio.create_task(work, name=self._name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:
            # It came while we were closing.
            writer.transport.abort()
            return
        self.spawn(self._serve(reader, writer)).add_done_callback(lambda _: writer.close())
