"""Who may act: one replica leads at a time, and proves it with a fencing token.

In: whatever elects (a row of the store, a Lease of a cluster). Out: a token that grows with every
change of leader; whoever writes on behalf of the leader sends it along, so that a leader who was
paused and came back is refused. ``Candidate`` is what all that elect have in common.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Protocol

import structlog

from controlplane.clock import Clock

_log = structlog.get_logger()


class Leadership(Protocol):
    """One replica's standing in one election."""

    @property
    def is_leader(self) -> bool:
        """Tell whether this replica leads now. False as soon as it may have been overtaken."""
        ...

    @property
    def token(self) -> int | None:
        """Return the fencing token while this replica leads, else None."""
        ...

    async def run(self) -> None:
        """Campaign until cancelled; give up the lead on the way out."""
        ...

    async def changed(self) -> None:
        """Wait until this replica has gained or lost the lead."""
        ...


class Candidate(ABC):
    """One process's standing in ``election``, where it asks every ``pause`` seconds.

    It leads up to a moment of its own clock, which each answer moves. Implements ``Leadership``.
    """

    def __init__(self, *, election: str, clock: Clock, pause: float) -> None:
        self._election = election
        self._clock = clock
        self._pause = pause
        self._token: int | None = None
        self._leads_until = clock.monotonic()
        self._led = False
        self._change = asyncio.Event()

    @property
    def is_leader(self) -> bool:
        """Tell whether this process leads now. False as soon as it may have been overtaken."""
        return self.token is not None

    @property
    def token(self) -> int | None:
        """Return the fencing token while this process leads, else None."""
        return self._token if self.seconds_left > 0 else None

    @property
    def seconds_left(self) -> float:
        """Return for how long this process leads even if it renews no more; 0.0 if it does not."""
        if self._token is None:
            return 0.0
        return max(0.0, self._leads_until - self._clock.monotonic())

    async def changed(self) -> None:
        """Wait until this process has gained or lost the lead."""
        await self._change.wait()

    async def run(self) -> None:
        """Campaign until cancelled; give up the lead on the way out."""
        try:
            while True:
                await self.campaign()
                await self._clock.sleep(self._pause)
        finally:
            await self._resign()

    @abstractmethod
    async def campaign(self) -> None:
        """Take the lead, renew it, or learn that somebody else has it; never raises."""

    @abstractmethod
    async def _resign(self) -> None:
        """Let the next one lead at once; never raises."""

    def _answered(self, token: int | None, *, until: float) -> None:
        """Lead with ``token`` up to ``until``, a moment of the own clock; None: another leads."""
        self._token = token
        if token is not None:
            self._leads_until = until

    def _note_change(self) -> None:
        """Tell whoever waits for it when the lead was gained, or lost or run out."""
        leads = self.is_leader
        if leads == self._led:
            return
        self._led = leads
        if leads:
            _log.info("leadership.gained", election=self._election, token=self._token)
        else:
            _log.info("leadership.lost", election=self._election, token=self._token)
        self._change.set()
        self._change = asyncio.Event()
