"""One stream of an HBONE connection: a byte stream with flow control, half close and reset.

What comes in waits in a buffer that is as large as the window we grant: the peer is given more
only for what has been read.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from h2.errors import ErrorCodes

from controlplane.lab.hbone_errors import HboneError


class Carrier(Protocol):
    """What a stream needs of its connection."""

    async def send(self, stream: "HboneStream", data: bytes) -> None:
        """Send all of ``data``, waiting for windows and the socket."""
        ...

    def send_end(self, number: int) -> None:
        """Say that nothing more comes."""
        ...

    def send_reset(self, number: int, error_code: int) -> None:
        """Give the stream up."""
        ...

    def consumed(self, number: int, length: int) -> None:
        """Let the peer send as much again."""
        ...


class HboneStream:
    """A tunnel, or one that is still being asked for.

    ``headers`` are those the peer began with: the request at a server, the response at a client.
    ``bytes_sent`` and ``bytes_received`` count what went through.
    """

    def __init__(self, carrier: Carrier, number: int) -> None:
        self.number = number
        self.headers: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
        self.bytes_sent = 0
        self.bytes_received = 0
        self.writable = asyncio.Event()
        self._carrier = carrier
        self._readable = asyncio.Event()
        self._chunks: deque[bytes] = deque()
        self._received_end = False
        self._sent_end = False
        self._error: HboneError | None = None

    @property
    def is_over(self) -> bool:
        """Return whether both sides have ended it, or it broke."""
        return self._error is not None or (self._received_end and self._sent_end)

    @property
    def error(self) -> HboneError | None:
        """Return what broke it."""
        return self._error

    async def read(self, limit: int = 65_536) -> bytes:
        """Return 1 to ``limit`` bytes, or none once the peer has ended its side.

        Raises:
            HboneError: the stream broke; what came before is read first.
        """
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._received_end:
                return b""
            self._readable.clear()
            await self._readable.wait()
        chunk = self._chunks.popleft()
        if len(chunk) > limit:
            self._chunks.appendleft(chunk[limit:])
            chunk = chunk[:limit]
        if self._error is None:
            self._carrier.consumed(self.number, len(chunk))
        return chunk

    async def write(self, data: bytes) -> None:
        """Send ``data``; returns when the windows and the socket have taken it.

        Raises:
            HboneError: the stream is over, or our side of it is.
        """
        if self._error is not None:
            raise self._error
        if self._sent_end:
            raise HboneError("our side of the stream has ended")
        await self._carrier.send(self, data)

    def end(self) -> None:
        """End our side; what the peer sends still arrives."""
        if not self._sent_end and self._error is None:
            self._sent_end = True
            self._carrier.send_end(self.number)

    def reset(self, error_code: int = ErrorCodes.CANCEL) -> None:
        """Give it up, both ways; harmless when it is over."""
        if not self.is_over:
            self._carrier.send_reset(self.number, error_code)
        self.fail(HboneError("the stream was given up"))
        self._chunks.clear()

    def received_headers(self, headers: Mapping[str, str]) -> None:
        """Take what the peer began with."""
        if not self.headers.done():
            self.headers.set_result(headers)

    def received(self, data: bytes) -> None:
        """Take what came in."""
        if data and self._error is None:
            self.bytes_received += len(data)
            self._chunks.append(data)
            self._readable.set()
        elif data:
            self._carrier.consumed(self.number, len(data))

    def received_end(self) -> None:
        """Take it that nothing more comes in."""
        self._received_end = True
        self._readable.set()

    def fail(self, error: HboneError) -> None:
        """Take it that the stream is broken; the first reason stays."""
        if self._error is None:
            self._error = error
            # Read or not, it no longer counts against the window that all streams share.
            self._carrier.consumed(self.number, sum(map(len, self._chunks)))
        if not self.headers.done():
            self.headers.set_exception(self._error)
            self.headers.exception()  # Nobody may be waiting for them.
        self._readable.set()
        self.writable.set()
