"""Token buckets: one, or one for each key."""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from controlplane.clock import Clock

_REMEMBERED: Final = 10_000

K = TypeVar("K")


class TokenBucket:
    """Holds up to ``burst`` tokens and gains ``rate`` of them per second."""

    def __init__(self, *, rate: float, burst: int, clock: Clock) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at = clock.monotonic()

    def take(self) -> bool:
        """Take one token; return whether there was one."""
        self._fill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def charge(self, cost: int) -> None:
        """Take ``cost`` tokens whether or not they are there: what is missing is owed."""
        self._fill()
        self._tokens -= cost

    def _fill(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now


class TokenBuckets(Generic[K]):
    """A bucket for each key; of more than ``remembered`` the one used longest ago is forgotten."""

    def __init__(
        self, *, rate: float, burst: int, clock: Clock, remembered: int = _REMEMBERED
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._remembered = remembered
        self._buckets: OrderedDict[K, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._buckets)

    def take(self, key: K) -> bool:
        """Take one token of ``key``; return whether it had one."""
        return self._bucket(key).take()

    def charge(self, key: K, cost: int) -> None:
        """Take ``cost`` tokens of ``key`` whether or not they are there."""
        self._bucket(key).charge(cost)

    def _bucket(self, key: K) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = TokenBucket(rate=self._rate, burst=self._burst, clock=self._clock)
            self._buckets[key] = bucket
            if len(self._buckets) > self._remembered:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket
