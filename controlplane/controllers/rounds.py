"""When everything is to be gone over: a lead and a mesh in, "now" out.

Whoever follows changes misses what happened while it did not lead, and what others did to what it
wrote: it goes over everything when it gains the lead, and now and then afterwards
(docs/protocol/statuses.md SS-7, SS-8).
"""

from collections.abc import Callable

from controlplane.clock import Clock
from controlplane.cluster.apply import Lead


class Rounds:
    """``is_ready`` tells whether the whole mesh is known; ``every`` is seconds between rounds."""

    def __init__(
        self, *, lead: Lead, clock: Clock, is_ready: Callable[[], bool], every: float
    ) -> None:
        self._lead = lead
        self._clock = clock
        self._is_ready = is_ready
        self._every = every
        self._began: float | None = None

    @property
    def is_begun(self) -> bool:
        """Return whether a round was begun under this lead: changes are worth following."""
        if not self._is_on():
            self._began = None
        return self._began is not None

    def is_due(self) -> bool:
        """Tell whether to begin a round now; it counts as begun then."""
        now = self._clock.monotonic()
        if self.is_begun and self._began is not None and now - self._began < self._every:
            return False
        if not self._is_on():
            return False
        self._began = now
        return True

    def start_over(self) -> None:
        """Have the next round begin as soon as there is a lead."""
        self._began = None

    def _is_on(self) -> bool:
        return self._lead.seconds_left > 0 and self._is_ready()
