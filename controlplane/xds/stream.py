"""One stream at work: a transport and a session in, both driven until one of them ends.

Reading and writing are separate tasks, so that a client that does not read is still heard, and
never more than one message per client waits to be written.
"""

import asyncio
from typing import Any

from controlplane.snapshots.frame import finished
from controlplane.xds.request import LARGE, parse_request
from controlplane.xds.session import Session
from controlplane.xds.transport import Transport


class Stream:
    """Drives ``session`` over ``transport``. ``wake`` it after a commit, ``end`` it to close it.

    ``first_syncs`` bounds how many large first responses are in the making or on their way, each
    for at most ``hold`` seconds: a slow reader must not keep the others out.
    ``large_requests`` is held while one that lists many versions is parsed.
    """

    def __init__(
        self,
        transport: Transport,
        session: Session,
        *,
        first_syncs: asyncio.Semaphore,
        large_requests: asyncio.Lock,
        hold: float,
    ) -> None:
        self.session = session
        self._transport = transport
        self._first_syncs = first_syncs
        self._large_requests = large_requests
        self._hold = hold
        self._wake = asyncio.Event()
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
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            self._ended.cancel()

    async def _read(self) -> str:
        while (data := await self._transport.receive()) is not None:
            request = await self._parsed(data)
            self.session.receive(request)
            if self.session.has_work():
                self._wake.set()
        return "the client ended the stream"

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
