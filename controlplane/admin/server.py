"""Serving the admin application inside the process's own loop.

uvicorn is told to leave signals alone: SIGTERM belongs to ``app``, which drains streams first.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI

from controlplane.admin.connections import ConnectionLimits

_HEADER_BYTES: Final = 48 * 1024
"""Longest headers; a token may have 16 KiB."""

_PATIENCE: Final = 2
"""Seconds that requests get to end when the server is stopped: some wait for commits."""


class _Server(uvicorn.Server):
    """A server that takes no signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


class AdminServer:
    """The admin application on one listening socket."""

    def __init__(
        self,
        application: FastAPI,
        *,
        host: str,
        port: int,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self._socket = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=128,
            dualstack_ipv6=host == "::",
        )
        self.port: int = self._socket.getsockname()[1]
        self._server = _Server(
            uvicorn.Config(
                application,
                log_config=None,
                # Whoever sends nonsense is answered; a line for each would fill the logs.
                log_level="error",
                http=(limits or ConnectionLimits()).protocol(),
                ws="none",
                access_log=False,
                lifespan="off",
                loop="none",
                # Who is asking is the address of the connection, whatever headers say.
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=_HEADER_BYTES,
                timeout_graceful_shutdown=_PATIENCE,
            )
        )

    async def run(self) -> None:
        """Serve until ``stop``; cancellation stops it too."""
        try:
            await self._server.serve(sockets=[self._socket])
        except asyncio.CancelledError:
            self._server.should_exit = True
            raise
        finally:
            self._socket.close()

    def close(self) -> None:
        """Give up the port of a server that never ran."""
        self._socket.close()

    def stop(self) -> None:
        """Ask ``run`` to return once open requests are answered."""
        self._server.should_exit = True
