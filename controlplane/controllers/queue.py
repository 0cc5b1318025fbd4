"""Work on objects, each at its own pace: keys in, work done or trouble shown out.

One object is worked on once at a time, several at once; one that fails waits longer and longer and
is left alone in the end, while the others go on (docs/protocol/leadership.md QU-1 to QU-5).
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from controlplane.clock import Clock
from controlplane.cluster.apply import Applied, Outcome

_log = structlog.get_logger()
_SLICE: Final = 100
"""How many keys are begun with before everybody else has a turn."""
_LEFT_ALONE: Final = frozenset(
    {Outcome.UNCHANGED, Outcome.WRITTEN, Outcome.GONE, Outcome.NOT_LEADING}
)

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """``at_once`` keys are worked on at once, each at most ``tries`` times in a row.

    ``first_pause`` and ``longest_pause`` are seconds. An API server that is away is asked until it
    is back.
    """

    at_once: int = 8
    tries: int = 5
    first_pause: float = 1.0
    longest_pause: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What came of the last of ``tries``; ``is_given_up`` until the key is added again."""

    outcome: Outcome
    message: str
    tries: int
    is_given_up: bool


class WorkQueue(Generic[K]):
    """Does ``work`` for every key that is added. ``draw`` returns numbers from 0 up to 1."""

    def __init__(
        self,
        work: Callable[[K], Awaitable[Applied]],
        *,
        name: str,
        clock: Clock,
        draw: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        self._work = work
        self._name = name
        self._clock = clock
        self._draw = draw
        self._pace = pace or Pace()
        self._places = asyncio.Semaphore(self._pace.at_once)
        self._waiting: dict[K, None] = {}
        self._busy: set[K] = set()
        self._troubles: dict[K, Trouble] = {}
        self._wake = asyncio.Event()

    @property
    def troubles(self) -> Mapping[K, Trouble]:
        """Return what is wrong, by key."""
        return self._troubles

    @property
    def is_idle(self) -> bool:
        """Return whether nothing waits and nothing is worked on."""
        return not (self._waiting or self._busy)

    def add(self, *keys: K) -> None:
        """Work on ``keys`` soon; for those that are worked on, once more."""
        self._waiting.update(dict.fromkeys(keys))
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    keys = [key for key in self._waiting if key not in self._busy]
                    for count, key in enumerate(keys, start=1):
                        del self._waiting[key]
                        self._busy.add(key)
                        group.create_task(self._see_to(key))
                        if not count % _SLICE:
                            await asyncio.sleep(0)
        finally:
            self._waiting.clear()
            self._busy.clear()

    async def _see_to(self, key: K) -> None:
        tries = 0
        while True:
            async with self._places:
                # Work that needs no answer would otherwise all be done in one turn of the loop.
                await asyncio.sleep(0)
                applied = await self._tried(key)
            tries += 1
            pause = self._pause(applied, tries)
            self._note(key, applied, tries, is_given_up=pause is None)
            if pause is None:
                break
            await self._clock.sleep(pause)
        self._busy.discard(key)
        if key in self._waiting:
            self._wake.set()

    async def _tried(self, key: K) -> Applied:
        try:
            return await self._work(key)
        except Exception as error:  # noqa: BLE001 - a fault of ours in one stops no other
            _log.error("write.failed", work=self._name, key=str(key), error=repr(error))
            return Applied(outcome=Outcome.REFUSED, message="a fault of the control plane")

    def _pause(self, applied: Applied, tries: int) -> float | None:
        """Return for how long to wait before the next try; None when there is none to come."""
        if applied.outcome in _LEFT_ALONE:
            return None
        if tries >= self._pace.tries and applied.outcome is not Outcome.UNAVAILABLE:
            return None
        pause = self._pace.first_pause * 2.0 ** min(tries - 1, 16)
        return float(min(pause, self._pace.longest_pause)) * (0.5 + self._draw() / 2)

    def _note(self, key: K, applied: Applied, tries: int, *, is_given_up: bool) -> None:
        if applied.outcome in _LEFT_ALONE:
            if self._troubles.pop(key, None) is not None:
                _log.info("write.recovered", work=self._name, key=str(key))
            return
        if key not in self._troubles:
            _log.warning(
                "write.troubled",
                work=self._name,
                key=str(key),
                outcome=applied.outcome.value,
                reason=applied.message,
            )
        self._troubles[key] = Trouble(
            outcome=applied.outcome,
            message=applied.message,
            tries=tries,
            is_given_up=is_given_up,
        )
