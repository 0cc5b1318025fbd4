"""One HTTP/2 connection of HBONE, either side of it: bytes and streams, by h2.

It reads by itself, hands what came to the streams and answers what HTTP/2 wants answered. Windows
are bounded: a stream buffers at most ``STREAM_WINDOW`` bytes, all of them ``CONNECTION_WINDOW``.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from controlplane.lab.hbone_errors import (
    ConnectionEndedError,
    HandshakeError,
    HboneError,
    NotHandledError,
    StreamResetError,
)
from controlplane.lab.hbone_goaway import GoAway, GoAwayFilter
from controlplane.lab.hbone_stream import HboneStream

Headers = Sequence[tuple[str, str]]

STREAM_WINDOW: Final = 1 << 18
CONNECTION_WINDOW: Final = 1 << 24
MOST_STREAMS: Final = 100
_FIRST_WINDOW: Final = 65_535
_FAREWELL: Final = 1.0


class HboneConnection:
    """A connection whose TLS handshake is done.

    ``accept`` makes it a server's: it is called with each new stream, and must not block.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        accept: Callable[[HboneStream], None] | None = None,
    ) -> None:
        self.is_draining = False
        self._reader = reader
        self._writer = writer
        self._accept = accept
        is_client = accept is None
        self._http = H2Connection(H2Configuration(client_side=is_client, header_encoding="utf-8"))
        self._http.local_settings = Settings(
            client=is_client,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_CONCURRENT_STREAMS: MOST_STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: 1 << 16,
            },
        )
        self._go_away = GoAwayFilter() if is_client else None
        self._streams: dict[int, HboneStream] = {}
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._slot = asyncio.Event()
        self._last_accepted = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Return whether nothing goes through any more."""
        return self._task is None or self._task.done()

    @property
    def is_idle(self) -> bool:
        """Return whether it has no streams."""
        return not self._streams

    async def start(self) -> None:
        """Begin, and wait until the peer has begun as well.

        Raises:
            HandshakeError: the peer ended the connection instead; with TLS 1.3 this is how a
                client learns that its certificate is refused.
        """
        self._http.initiate_connection()
        self._http.increment_flow_control_window(CONNECTION_WINDOW - _FIRST_WINDOW)
        self._flush()
        self._task = asyncio.create_task(self._run(), name="hbone connection")
        await self._settled

    async def ended(self) -> None:
        """Wait until nothing goes through any more."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def open(self, headers: Headers, *, is_whole: bool = False) -> HboneStream:
        """Begin a stream, waiting while the peer allows no more; ``is_whole``: we send no body.

        Raises:
            NotHandledError: the connection takes no new streams.
        """
        while self._http.open_outbound_streams >= self._http.remote_settings.max_concurrent_streams:
            self._check()
            self._slot.clear()
            await self._slot.wait()
        self._check()
        number = self._http.get_next_available_stream_id()
        stream = self._streams[number] = HboneStream(self, number)
        self._http.send_headers(number, headers, end_stream=is_whole)
        self._flush()
        return stream

    async def abandon(self, headers: Headers) -> None:
        """Begin a stream and give it up in the same breath.

        Raises:
            NotHandledError: the connection takes no new streams.
        """
        self._check()
        number = self._http.get_next_available_stream_id()
        self._http.send_headers(number, headers)
        self._http.reset_stream(number, ErrorCodes.CANCEL)
        self._flush()
        await self._drain()

    def drain(self) -> None:
        """Tell a client to send new streams elsewhere; those there are go on."""
        self.is_draining = True
        frame = GoAwayFrame(stream_id=0, last_stream_id=self._last_accepted)
        self._writer.write(frame.serialize())

    async def close(self) -> None:
        """End the connection and every stream on it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._fail(ConnectionEndedError("the connection was closed"))
        with suppress(H2Error):
            self._http.close_connection()
            self._flush()
        self._writer.close()
        try:
            async with asyncio.timeout(_FAREWELL):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()

    async def send(self, stream: HboneStream, data: bytes) -> None:
        """Send all of ``data`` as fast as the peer takes it."""
        view = memoryview(data)
        while view:
            if stream.error is not None:
                raise stream.error
            try:
                window = self._http.local_flow_control_window(stream.number)
                length = min(window, self._http.max_outbound_frame_size, len(view))
                if length > 0:
                    self._http.send_data(stream.number, view[:length].tobytes())
            except H2Error as error:
                raise ConnectionEndedError(f"nothing can be sent: {error!r}") from error
            if length <= 0:
                stream.writable.clear()
                await stream.writable.wait()
                continue
            stream.bytes_sent += length
            view = view[length:]
            self._flush()
            await self._drain()

    def send_end(self, number: int) -> None:
        """End our side of a stream; one that is gone has no side of ours."""
        with suppress(H2Error):
            self._http.end_stream(number)
        self._flush()
        self._forget(number)

    def send_reset(self, number: int, error_code: int) -> None:
        """Give a stream up; one that is gone cannot be."""
        with suppress(H2Error):
            self._http.reset_stream(number, error_code)
        self._flush()
        self._streams.pop(number, None)
        self._slot.set()

    def consumed(self, number: int, length: int) -> None:
        """Grant the peer ``length`` more bytes."""
        with suppress(H2Error):
            self._http.acknowledge_received_data(length, number)
        self._flush()

    def respond(self, stream: HboneStream, status: int, *, is_whole: bool = False) -> None:
        """Answer a request."""
        with suppress(H2Error):
            self._http.send_headers(stream.number, [(":status", str(status))], end_stream=is_whole)
        self._flush()
        if is_whole:
            stream.end()

    async def _run(self) -> None:
        reason = "the peer ended the connection"
        try:
            while data := await self._reader.read(65_536):
                self._take(data)
                self._flush()
        except ssl.SSLError as error:
            reason = f"TLS: {error.reason or error}"
        except (OSError, H2Error, HboneError) as error:
            reason = f"{type(error).__name__}: {error}"
        finally:
            with suppress(OSError):
                self._flush()  # h2 says why it gives up.
            self._fail(ConnectionEndedError(reason))

    def _take(self, data: bytes) -> None:
        said: list[GoAway] = []
        if self._go_away is not None:
            data, said = self._go_away.feed(data)
        for event in self._http.receive_data(data):
            self._handle(event)
        for each in said:
            self._gone_away(each)

    def _handle(self, event: Event) -> None:
        match event:
            case RequestReceived() if self.is_draining:
                pass  # The client asks again elsewhere: we said that we would not look at it.
            case RequestReceived(stream_id=number, headers=headers) if self._accept is not None:
                self._last_accepted = number
                accepted = self._streams[number] = HboneStream(self, number)
                accepted.received_headers(_text(headers))
                self._accept(accepted)
            case DataReceived(stream_id=number, data=data, flow_controlled_length=length):
                stream = self._streams.get(number)
                self.consumed(number, length - len(data) if stream else length)
                if stream is not None:
                    stream.received(data)
            case ResponseReceived() | StreamEnded() | StreamReset():
                self._handle_on_stream(event)
            case WindowUpdated(stream_id=number):
                self._wake(number)
            case RemoteSettingsChanged():
                if not self._settled.done():
                    self._settled.set_result(None)
                self._slot.set()
                self._wake(0)
            case ConnectionTerminated(error_code=code):
                self._fail(ConnectionEndedError(f"the peer went away with code {code}"))

    def _handle_on_stream(self, event: ResponseReceived | StreamEnded | StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        match event:
            case ResponseReceived(headers=headers):
                stream.received_headers(_text(headers))
            case StreamEnded():
                stream.received_end()
            case StreamReset(error_code=ErrorCodes.REFUSED_STREAM):
                stream.fail(NotHandledError("the peer refused the stream"))
            case StreamReset(error_code=code):
                stream.fail(StreamResetError(int(code or 0)))
        self._forget(stream.number)

    def _wake(self, number: int) -> None:
        streams = self._streams.values() if number == 0 else [self._streams.get(number)]
        for stream in streams:
            if stream is not None:
                stream.writable.set()

    def _gone_away(self, said: GoAway) -> None:
        self.is_draining = True
        self._slot.set()
        for number in [each for each in self._streams if each > said.last_stream]:
            self._streams.pop(number).fail(
                NotHandledError("the peer went away before it saw the stream")
            )

    def _forget(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None and stream.is_over:
            del self._streams[number]
        self._slot.set()

    def _fail(self, error: ConnectionEndedError) -> None:
        self.is_draining = True
        if not self._settled.done():
            self._settled.set_exception(HandshakeError(str(error)))
            self._settled.exception()  # Nobody may be waiting for it.
        for stream in self._streams.values():
            stream.fail(error)
        self._streams.clear()
        self._slot.set()

    def _check(self) -> None:
        if self.is_over or self.is_draining:
            raise NotHandledError("the connection takes no new streams")

    def _flush(self) -> None:
        data = self._http.data_to_send()
        if data and not self._writer.is_closing():
            self._writer.write(data)

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError as error:
            raise ConnectionEndedError(f"nothing can be sent: {error}") from error


def _text(headers: Sequence[tuple[str | bytes, str | bytes]] | None) -> dict[str, str]:
    """Return headers by name; of several with one name the last."""
    return {str(name): str(value) for name, value in headers or ()}
