"""How long to wait before the next stream: how the last one ended in, seconds out."""

from dataclasses import dataclass

import grpc

FIRST_WAIT = 0.010
LONGEST_WAIT = 15.0
_ROUTINE_CODES = frozenset(
    {grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}
)
_ROUTINE_DETAILS = ("transport is closing", "received prior goaway")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnd:
    """How a stream ended: ``code`` None for a clean end; whether it was ever established."""

    was_established: bool
    code: grpc.StatusCode | None = None
    details: str = ""

    @property
    def is_routine(self) -> bool:
        """Return whether this is what happens to any long stream, not a sign of trouble (ZT-8)."""
        if not self.was_established:
            return False
        return (
            self.code is None
            or self.code in _ROUTINE_CODES
            or (
                self.code is grpc.StatusCode.UNAVAILABLE
                and any(text in self.details.lower() for text in _ROUTINE_DETAILS)
            )
        )


class Backoff:
    """Doubles the wait while streams fail and starts again once one ended in a routine way."""

    def __init__(self) -> None:
        self._next = FIRST_WAIT

    def wait_after(self, end: StreamEnd) -> float:
        """Return the seconds to wait after a stream that ended so."""
        if end.is_routine:
            self._next = FIRST_WAIT
            return 0.0 if end.code is None else FIRST_WAIT
        wait = self._next
        self._next = min(wait * 2, LONGEST_WAIT)
        return wait
