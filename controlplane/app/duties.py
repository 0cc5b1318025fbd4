"""The tasks of one process, told apart by when they have to end.

Whoever writes to the cluster ends before the lead is given up, and that before the rest: nobody
else leads while we still write (docs/protocol/replicas.md RP-12).
"""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any


class Duties:
    """Tasks of ``group``: of writing, of leading, and of keeping everything going."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._writing: list[asyncio.Task[None]] = []
        self._leading: list[asyncio.Task[None]] = []
        self._keeping: list[asyncio.Task[None]] = []

    def write(self, works: Mapping[str, Coroutine[Any, Any, None]]) -> None:
        """Start works that write to the cluster; each ends only after those started later."""
        self._start(self._writing, works)

    def lead(self, works: Mapping[str, Coroutine[Any, Any, None]]) -> None:
        """Start the elections; likewise."""
        self._start(self._leading, works)

    def keep(self, works: Mapping[str, Coroutine[Any, Any, None]]) -> None:
        """Start everything else."""
        self._start(self._keeping, works)

    async def resign(self) -> None:
        """End the writing, then the leading."""
        for task in (*reversed(self._writing), *reversed(self._leading)):
            await _end((task,))

    async def end(self) -> None:
        """End everything that is left."""
        await self.resign()
        await _end(self._keeping)

    def _start(
        self, tasks: list[asyncio.Task[None]], works: Mapping[str, Coroutine[Any, Any, None]]
    ) -> None:
        tasks += [self._group.create_task(work, name=name) for name, work in works.items()]


async def _end(tasks: "list[asyncio.Task[None]] | tuple[asyncio.Task[None], ...]") -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
