"""How long a stream lasts: who opened it comes in, when it has to end and why goes out."""

import random
from typing import Final

from controlplane.authentication.caller import Caller
from controlplane.clock import Clock

_SHORTEST: Final = 1.0
"""A token that was taken in its last second must not bring its client back at once."""


def last_moment(caller: Caller | None, clock: Clock, *, age: float) -> tuple[float, str]:
    """Return when a stream that opens now has to end, and why, in words.

    That is between ``age`` seconds and four thirds of it, or with the token that opened it
    (docs/protocol/waypoint-sessions.md WS-30). The time is that of ``clock.monotonic``.
    """
    now = clock.monotonic()
    spread = random.uniform(1, 4 / 3)  # noqa: S311 - spreads reconnects, no secret
    aged = now + age * spread, "connection age reached"
    if caller is None or caller.expires_at is None:
        return aged
    left = max(caller.expires_at - clock.now().timestamp(), _SHORTEST)
    return min(aged, (now + left, "the token it was opened with expired"))
