"""The webhook's port: TLS on one socket, in the process's own loop.

uvicorn is told to leave signals alone, as on the admin side. It waits for ever for the first
request of a connection, which would let silent strangers take every place: here that has an end.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from controlplane.admission.tls import ServingContext

_PATIENCE: Final = 5
_MOST_CONNECTIONS: Final = 256
_LONGEST_HEAD: Final = 16 * 1024
_DRAIN: Final = 5


class _Server(uvicorn.Server):
    """A server that takes no signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


class _Connection(H11Protocol):
    """A connection that ends when no request comes in time."""

    _hanging_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._hanging_up = self.loop.call_later(_PATIENCE, self._hang_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        if self._hanging_up is not None:
            self._hanging_up.cancel()
        super().connection_lost(exc)

    def _hang_up(self) -> None:
        # uvicorn types it as if there always were a request.
        cycle: object = self.cycle
        if cycle is None:
            self.transport.close()


class AdmissionServer:
    """``application`` over TLS. ``port`` 0 takes a free one; ``self.port`` says which.

    Raises:
        UnusableCertificateError: the chain and the key are not PEM, or do not belong together.
        OSError: the port cannot be had.
    """

    def __init__(
        self, application: FastAPI, *, host: str, port: int, chain_pem: bytes, key_pem: bytes
    ) -> None:
        self._serving = ServingContext(chain_pem, key_pem)
        self._socket = _listening(host, port)
        self.port: int = self._socket.getsockname()[1]
        context = self._serving.context
        self._server = _Server(
            uvicorn.Config(
                application,
                log_config=None,
                access_log=False,
                lifespan="off",
                loop="none",
                http=_Connection,
                ws="none",
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_keep_alive=_PATIENCE,
                timeout_graceful_shutdown=_DRAIN,
                h11_max_incomplete_event_size=_LONGEST_HEAD,
                ssl_context_factory=lambda *_: context,
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

    def stop(self) -> None:
        """Ask ``run`` to return once open requests are answered."""
        self._server.should_exit = True

    def replace(self, chain_pem: bytes, key_pem: bytes) -> None:
        """Serve another certificate from the next handshake on.

        Raises:
            UnusableCertificateError: as at construction; the ones before stay.
        """
        self._serving.replace(chain_pem, key_pem)


def _listening(host: str, port: int) -> socket.socket:
    """Return the socket; ``::`` takes IPv4 as well."""
    is_dual = host == "::" and socket.has_dualstack_ipv6()
    listening = socket.create_server(
        (host, port),
        family=socket.AF_INET6 if ":" in host else socket.AF_INET,
        dualstack_ipv6=is_dual,
        backlog=128,
    )
    # asyncio would do so for each connection, but only where the protocol of the socket is spelled
    # out. Without it the second part of an answer waits 40 ms for the other side to confirm the
    # first. Connections take it over.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
