"""How many reviews may be asked for: callers' addresses in, a place or a refusal out.

Made-up tokens cost their sender one place each and the API server nothing beyond a trickle, and
everybody else finds places free. docs/protocol/authentication.md AU-34, AU-35.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final

from controlplane.authentication.addresses import address_of
from controlplane.authentication.errors import AuthenticationLimitedError, Reason
from controlplane.clock import Clock

_HOSTS: Final = 10_000
_OWN: Final = address_of("ipv6:[::1]:1")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionSettings:
    """``waiting`` reviews asked for at the same time, ``waiting_per_host`` of them by one host.

    A host gets ``rejections_at_once`` rejected reviews, and ``rejections_per_second`` more as time
    passes. Callers on this machine share an address and are not told apart.
    """

    waiting: int = 1024
    waiting_per_host: int = 64
    rejections_at_once: int = 100
    rejections_per_second: float = 5.0


class Admission:
    """Gives out places."""

    def __init__(self, settings: AdmissionSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._waiting = 0
        self._by_host: Counter[str] = Counter()
        # Per host, the instant at which all its rejections are forgiven.
        self._forgiven: OrderedDict[str, float] = OrderedDict()

    def enter(self, host: str) -> None:
        """Take a place for one review on behalf of ``host``; ``leave`` gives it back.

        Raises:
            AuthenticationLimitedError: there is none left.
        """
        if self._is_limited(host):
            raise AuthenticationLimitedError(Reason.TOO_MANY_REVIEWS)
        self._waiting += 1
        self._by_host[host] += 1

    def leave(self, host: str) -> None:
        """Give back a place."""
        self._waiting -= 1
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]

    def rejected(self, host: str) -> None:
        """Note that a token that ``host`` sent was rejected."""
        if not host:
            return
        now = self._clock.monotonic()
        owed = max(self._forgiven.get(host, now), now) + 1 / self._settings.rejections_per_second
        self._forgiven[host] = owed
        self._forgiven.move_to_end(host)
        if len(self._forgiven) > _HOSTS:
            self._forgiven.popitem(last=False)

    def _is_limited(self, host: str) -> bool:
        settings = self._settings
        if self._waiting >= settings.waiting:
            return True
        if not host:
            return False
        owed = self._forgiven.get(host, 0.0) - self._clock.monotonic()
        return (
            self._by_host[host] >= settings.waiting_per_host
            or owed * settings.rejections_per_second > settings.rejections_at_once - 1
        )


def host_of(peer: str) -> str:
    """Return whose address ``ipv4:10.0.0.1:4711`` and the like are; "" for our own."""
    if not peer.startswith(("ipv4:", "ipv6:")):
        return ""
    address = address_of(peer)
    return "" if address.startswith("127.") or address == _OWN else address
