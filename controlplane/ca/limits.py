"""How often certificates are asked for: one caller at a time, and everybody together.

A caller is the pod its credentials are bound to; where they are bound to none, the service account
(docs/protocol/certificates.md CA-6).
"""

from collections import OrderedDict
from dataclasses import dataclass

from controlplane.authentication.caller import Caller
from controlplane.ca.errors import RateLimitedError
from controlplane.clock import Clock

_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Requests per second that are served for long, and how many may come at once.

    ``callers`` is how many callers are remembered; the one that asked longest ago is forgotten.
    """

    rate_per_caller: float = 50
    burst_per_caller: int = 400
    rate: float = 2_000
    burst: int = 20_000
    callers: int = 20_000

    def __post_init__(self) -> None:
        if min(self.rate_per_caller, self.rate) <= 0:
            raise ValueError("rates are positive")
        if min(self.burst_per_caller, self.burst, self.callers) < 1:
            raise ValueError("at least one request and one caller fit")


class Limits:
    """Admits requests or refuses them; never waits."""

    def __init__(self, limits: RateLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        # The instant at which everything a caller took is paid back: one number per caller.
        self._even_at: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._all_even_at = 0.0

    def admit(self, caller: Caller) -> None:
        """Count one request of ``caller``.

        Raises:
            RateLimitedError: it is one too many, for the caller or altogether; it does not count.
        """
        limits = self._limits
        now = self._clock.monotonic()
        key = _key(caller)
        own = max(self._even_at.get(key, 0.0), now) + 1 / limits.rate_per_caller
        if own - now > limits.burst_per_caller / limits.rate_per_caller + _ROUNDING:
            self._even_at.move_to_end(key)
            raise RateLimitedError("the caller asks too often", reason_code="caller-rate")
        everybody = max(self._all_even_at, now) + 1 / limits.rate
        if everybody - now > limits.burst / limits.rate + _ROUNDING:
            raise RateLimitedError("too much is asked altogether", reason_code="overall-rate")
        self._all_even_at = everybody
        self._even_at[key] = own
        self._even_at.move_to_end(key)
        if len(self._even_at) > limits.callers:
            self._even_at.popitem(last=False)


def _key(caller: Caller) -> tuple[str, ...]:
    if caller.pod_uid:
        return (caller.cluster, caller.pod_uid)
    return (caller.cluster, caller.namespace, caller.service_account)
