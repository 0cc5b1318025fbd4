"""Time that passes whenever somebody waits for it, and tasks that run until something is so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from tests.support.authority_stores import ToldClock

_TURNS = 5000


class PassingClock(ToldClock):
    """``slept`` are the pauses that were asked for; everybody else gets a turn in each."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def settled(
    running: Coroutine[Any, Any, None],
) -> AsyncIterator[Callable[[Callable[[], bool]], Awaitable[None]]]:
    """Run a task; what is given waits until its argument holds, and fails after many turns."""
    task = asyncio.create_task(running)

    async def until(holds: Callable[[], bool]) -> None:
        for _ in range(_TURNS):
            if task.done():
                task.result()
            if holds():
                return
            await asyncio.sleep(0)
        raise AssertionError("it never came to that")

    try:
        yield until
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
