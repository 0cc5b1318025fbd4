"""Kinds of metrics and bounds that several of them share."""

from typing import Final

from prometheus_client import Gauge

SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
CONVERGENCE_SECONDS: Final = (0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0)
BYTES: Final = (1.0, 10_000.0, 1_000_000.0, 4_000_000.0, 10_000_000.0, 40_000_000.0)
RESOURCES: Final = (0.0, 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0)

OTHER: Final = "other"
"""The value of a label for whatever is beyond the values it may have."""


class Count(Gauge):
    """A gauge that only grows.

    It is how something is counted under a name that dashboards know: a counter of the library
    would be called by another, which ends in ``_total``.
    """


class Bounded:
    """Values of a label that clients choose: the first ``limit`` are kept, all others are one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return ``value`` or, when there are too many or it is long, OTHER."""
        if value in self._known:
            return value
        if len(self._known) >= self._limit or len(value) > _LONGEST:
            return OTHER
        self._known.add(value)
        return value


_LONGEST: Final = 64
