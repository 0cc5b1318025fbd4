"""Verdicts on tokens that were reviewed lately: digests in, callers or refusals out.

Only digests of tokens are kept, never tokens. Accepted and rejected ones live apart, so that a
flood of made-up tokens cannot push out the good ones.
"""

from collections import OrderedDict
from hashlib import sha256
from typing import Generic, TypeVar

from controlplane.authentication.caller import Caller
from controlplane.authentication.errors import Reason
from controlplane.clock import Clock

V = TypeVar("V")

Verdict = Caller | Reason
"""Who a token belongs to, or why it was rejected."""


def digest_of(token: str) -> bytes:
    """Return what a token is remembered by."""
    return sha256(token.encode()).digest()


class _Recent(Generic[V]):
    """At most ``size`` values by digest, each until a time; the least recently used goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[bytes, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: bytes, now: float) -> V | None:
        found = self._values.get(key)
        if found is None:
            return None
        until, value = found
        # An outdated one stays: it is about to be replaced, or goes when its turn comes.
        if now >= until:
            return None
        self._values.move_to_end(key)
        return value

    def put(self, key: bytes, value: V, until: float) -> bytes | None:
        """Keep a value; return the key that had to go for it."""
        self._values[key] = (until, value)
        self._values.move_to_end(key)
        return self._values.popitem(last=False)[0] if len(self._values) > self._size else None

    def drop(self, key: bytes) -> None:
        self._values.pop(key, None)


class Verdicts:
    """What reviews said, for ``accepted_for`` or ``rejected_for`` seconds.

    An accepted token is never remembered longer than it is valid.
    """

    def __init__(
        self, clock: Clock, *, accepted_for: float, rejected_for: float, size: int
    ) -> None:
        self._clock = clock
        self._accepted_for = accepted_for
        self._rejected_for = rejected_for
        self._accepted: _Recent[Caller] = _Recent(size)
        self._rejected: _Recent[Reason] = _Recent(size)
        # A token stands under one pod at most, so this is no larger than what was accepted.
        self._by_pod: dict[str, set[bytes]] = {}
        self._pods: dict[bytes, str] = {}

    def __len__(self) -> int:
        """Return how many verdicts are kept, the outdated ones that nobody asked for included."""
        return len(self._accepted) + len(self._rejected)

    def get(self, key: bytes) -> Verdict | None:
        """Return the verdict on a token, None when it has to be reviewed."""
        now = self._clock.monotonic()
        return self._accepted.get(key, now) or self._rejected.get(key, now)

    def accept(self, key: bytes, caller: Caller) -> None:
        """Remember an accepted token."""
        life = self._accepted_for
        if caller.expires_at is not None:
            life = min(life, caller.expires_at - self._clock.now().timestamp())
        if life <= 0:
            return
        evicted = self._accepted.put(key, caller, self._clock.monotonic() + life)
        if evicted is not None:
            self._unlink(evicted)
        if caller.pod_uid:
            self._pods[key] = caller.pod_uid
            self._by_pod.setdefault(caller.pod_uid, set()).add(key)

    def reject(self, key: bytes, reason: Reason) -> None:
        """Remember a rejected token."""
        self._rejected.put(key, reason, self._clock.monotonic() + self._rejected_for)

    def forget_pod(self, uid: str) -> None:
        """Forget every token that is bound to a pod."""
        for key in tuple(self._by_pod.get(uid, ())):
            self._accepted.drop(key)
            self._unlink(key)

    def _unlink(self, key: bytes) -> None:
        uid = self._pods.pop(key, None)
        if uid is not None:
            keys = self._by_pod[uid]
            keys.discard(key)
            if not keys:
                del self._by_pod[uid]
