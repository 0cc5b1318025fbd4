"""Limits: how often one peer may ask, and how much it may send."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from controlplane.clock import Clock

_PEERS: Final = 4096
"""Peers told apart; the one heard of the longest ago is forgotten first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminLimits:
    """``requests_at_once`` by one peer, and ``requests_per_second`` more as time passes.

    ``body_bytes`` is the longest request, ``waiting`` how many may wait for commits at a time.
    """

    requests_per_second: float = 100.0
    requests_at_once: int = 500
    body_bytes: int = 64 * 1024
    waiting: int = 64


class PeerBuckets:
    """A token bucket for each peer; remembered is when a bucket will be full again."""

    def __init__(self, limits: AdminLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def seconds_until_allowed(self, peer: str) -> float:
        """Take a place for one request of ``peer``; return how long it should wait instead.

        0.0 means that it may go on.
        """
        now = self._clock.monotonic()
        cost = 1 / self._limits.requests_per_second
        full_at = max(self._full_at.get(peer, now), now) + cost
        excess = full_at - now - cost * self._limits.requests_at_once
        if excess > 0:
            return excess
        self._full_at[peer] = full_at
        self._full_at.move_to_end(peer)
        if len(self._full_at) > _PEERS:
            self._full_at.popitem(last=False)
        return 0.0
