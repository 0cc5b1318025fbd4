"""Virtual time for what waits: nothing sleeps, `advance` says when it is."""

import asyncio
from datetime import UTC, datetime, timedelta

TURNS = 200
"""Turns the event loop gets after every step of time, more than any chain of wake-ups takes."""


class VirtualClock:
    """A `Clock` that stands still until it is advanced."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """The beginning of 2026 plus what was advanced."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._now)

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until time was advanced by `seconds`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, waking everyone in order."""
        await let_run()
        end = self._now + seconds
        while due := [entry for entry in self._sleepers if entry[0] <= end + 1e-9]:
            first = min(due, key=lambda entry: entry[0])
            self._sleepers.remove(first)
            self._now = max(self._now, first[0])
            if not first[1].done():
                first[1].set_result(None)
            await let_run()
        self._now = end
        await let_run()


async def let_run() -> None:
    """Give every other task the chance to come to rest, without time passing."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
