"""How long to wait before asking again: failures in, seconds with jitter out."""

import random
from dataclasses import dataclass
from typing import Final

_CHANCE: Final = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Seconds between tries: doubling from ``first`` to ``most``, less up to half of each."""

    first: float
    most: float


class Backoff:
    """Counts failures in a row."""

    def __init__(self, chance: random.Random = _CHANCE) -> None:
        self._failures = 0
        self._chance = chance

    def succeeded(self) -> None:
        """Start again from the shortest wait."""
        self._failures = 0

    def failed(self, waits: Waits) -> float:
        """Return how many seconds to wait after one more failure."""
        # The exponent is bounded, because an outage may last for days.
        wait = min(waits.most, waits.first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return wait * self._chance.uniform(0.5, 1.0)
