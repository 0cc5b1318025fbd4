"""One stream at work: a transport and a session in, both driven until one of them ends.

Reading and writing are separate tasks, so that a client that does not read is still heard, and
never more than one message per client waits to be written.
"""

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from controlplane.snapshots.frame import finished
from controlplane.xds.request import LARGE, parse_request
from controlplane.xds.session import Session
from controlplane.xds.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from controlplane.xds.secret_keeper import SecretKeeper

_log = structlog.get_logger("xds")


class Stream:
    """Drives ``session`` over ``transport``. ``wake`` it after a commit, ``end`` it to close it.

    ``first_syncs`` bounds how many large first responses are in the making or on their way, each
    for at most ``hold`` seconds: a slow reader must not keep the others out.
    ``large_requests`` is held while one that lists many versions is parsed. ``keeper`` makes who
    keeps the secrets of a waypoint, for as long as the stream runs.
    """

    def __init__(
        self,
        transport: Transport,
        session: Session,
        *,
        first_syncs: asyncio.Semaphore,
        large_requests: asyncio.Lock,
        hold: float,
        keeper: "Callable[[Stream], SecretKeeper] | None" = None,
    ) -> None:
        self.session = session
        self._transport = transport
        self._first_syncs = first_syncs
        self._large_requests = large_requests
        self._hold = hold
        self._wake = asyncio.Event()
        self._keeper = None if keeper is None else keeper(self)
        self._keeping: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """Look for something to send."""
        self._wake.set()

    def end(self, reason: str) -> None:
        """End the stream cleanly: the client comes back and resumes where it was."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def run(self) -> str:
        """Serve until the client leaves or ``end`` is called; return why it ended, in words.

        Raises:
            DiscoveryError: the client broke the protocol.
        """
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        waits: list[asyncio.Future[str]] = [reader, writer, self._ended]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for finished in (self._ended, reader, writer):
                if finished.done():
                    return finished.result()
            raise AssertionError("nothing finished")
        finally:
            tasks = [task for task in (reader, writer, self._keeping) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._ended.cancel()

    async def _read(self) -> str:
        while (data := await self._transport.receive()) is not None:
            request = await self._parsed(data)
            self.session.receive(request)
            self._keep_secrets()
            if self.session.has_work():
                self._wake.set()
        return "the client ended the stream"

    def _keep_secrets(self) -> None:
        """Start to keep secrets with the first request for some; only waypoints ask."""
        if self._keeper is None or self.session.secrets is None:
            return
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keeper.run(), name="secrets")
            self._keeping.add_done_callback(self._kept)
        self._keeper.asked()

    def _kept(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.error("waypoint-key.stopped", error=type(task.exception()).__name__)
            self.end("its secrets are not kept any more")

    async def _parsed(self, data: bytes) -> Any:
        parsing = parse_request(data)
        if len(data) <= LARGE:
            return finished(parsing)
        # In turn: when many clients return together, their slices would add up to a long stall.
        async with self._large_requests:
            while True:
                try:
                    next(parsing)
                except StopIteration as stop:
                    return stop.value
                await asyncio.sleep(0)

    async def _write(self) -> str:
        while (reason := self.session.ending()) is None:
            await self._wake.wait()
            self._wake.clear()
            if self.session.owes_first_sync():
                await self._send_in_turn()
            else:
                await self._send_all()
        return reason

    async def _send_all(self) -> None:
        for response in self.session.responses():
            if response is None:
                await asyncio.sleep(0)
            else:
                await self._transport.send(response.body)

    async def _send_in_turn(self) -> None:
        """Send with one of the places of large first responses, given back after ``hold``."""
        await self._first_syncs.acquire()
        sending = asyncio.create_task(self._send_all())
        try:
            try:
                await asyncio.wait({sending}, timeout=self._hold)
            finally:
                self._first_syncs.release()
            await sending
        finally:
            sending.cancel()
