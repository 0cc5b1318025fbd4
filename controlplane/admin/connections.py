"""Connections of the admin side: whoever opens one has to say something, and opens only so many.

uvicorn waits for ever for the first request, and for the rest of any. Who has no account could so
take up every file descriptor of the process, those of discovery with them
(docs/protocol/admin.md AM-15).
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS: Final = 10.0
"""Time for the head of a request, from the connection or from its first byte."""

CONNECTIONS: Final = 256
"""Connections of one address at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How patient a server is; ``open_by`` counts what is open by address, for one server."""

    header_seconds: float = HEADER_SECONDS
    connections: int = CONNECTIONS
    open_by: Counter[str] = field(default_factory=Counter)

    def protocol(self) -> type[asyncio.Protocol]:
        """Return the protocol that keeps these limits, as uvicorn takes it."""

        class Limited(_LimitedProtocol):
            limits = self

        return Limited


class _LimitedProtocol(H11Protocol):
    """HTTP/1.1 with a deadline for heads of requests."""

    limits: ConnectionLimits
    _deadline: asyncio.TimerHandle | None = None
    _peer: str | None = None

    def connection_made(self, transport: Any) -> None:
        """Take a connection, or close it when its address has too many."""
        super().connection_made(transport)
        peer = self.client[0] if self.client else ""
        if self.limits.open_by[peer] >= self.limits.connections:
            transport.abort()
            return
        self._peer = peer
        self.limits.open_by[peer] += 1
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place of the connection back."""
        self._forget_deadline()
        if self._peer is not None:
            self.limits.open_by[self._peer] -= 1
            if not self.limits.open_by[self._peer]:
                del self.limits.open_by[self._peer]
            self._peer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read; a head that has begun has to end in time."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect_head()
        else:
            self._forget_deadline()

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.header_seconds, self._too_late)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()
