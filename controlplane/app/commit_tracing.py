"""Traces of commits: the commit log is looked at now and then, what is over is sent.

Nothing here runs when something is committed, sent or acknowledged.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from controlplane import __version__
from controlplane.app.errors import StartupError
from controlplane.clock import Clock
from controlplane.insight.commit_trace import commit_span, is_over
from controlplane.model.commit import CommitRecord
from controlplane.settings import Settings
from controlplane.tracing import Span, Tracing, TracingUnavailableError

_LOOKED_EVERY: Final = 1.0
_LOOKED_AT: Final = 64
"""Commits looked at each time, the newest."""

_GIVEN_UP_AFTER: Final = timedelta(seconds=60)

Recent = Callable[[int], Awaitable[Sequence[CommitRecord]]]


class CommitTracing:
    """Sends one trace for each commit that ``recent`` tells, newest first, to ``export``.

    A commit is sent when everybody it concerns has answered, or a minute after it was made.
    """

    def __init__(self, recent: Recent, export: Callable[[Span], None], clock: Clock) -> None:
        self._recent = recent
        self._export = export
        self._clock = clock
        self._sent: set[int] = set()

    async def run(self) -> None:
        """Look and send until cancelled."""
        while True:
            await self._clock.sleep(_LOOKED_EVERY)
            await self.look()

    async def look(self) -> int:
        """Send what is over and was not sent yet; return how many commits that were."""
        records = await self._recent(_LOOKED_AT)
        oldest = self._clock.now() - _GIVEN_UP_AFTER
        self._sent &= {record.number for record in records}
        before = len(self._sent)
        for record in reversed(records):
            if record.number in self._sent:
                continue
            if is_over(record) or record.committed_at <= oldest:
                self._sent.add(record.number)
                self._export(commit_span(record))
                await asyncio.sleep(0)
        return len(self._sent) - before


def opened_tracing(settings: Settings, stack: AsyncExitStack) -> Tracing | None:
    """Return where traces go, closed with ``stack``; None where nobody wants any.

    Raises:
        StartupError: they are wanted, and what sends them is not installed.
    """
    if settings.otlp_endpoint is None:
        return None
    try:
        tracing = Tracing(settings.otlp_endpoint, version=__version__, replica=settings.replica_id)
    except TracingUnavailableError as error:
        raise StartupError(str(error)) from error
    stack.push_async_callback(tracing.close)
    return tracing
