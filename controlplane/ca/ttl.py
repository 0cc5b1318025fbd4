"""How long a certificate lives: seconds asked for and the signer's own end in, two instants out.

Rules CA-20 to CA-23 of docs/protocol/certificates.md. Clients renew halfway between the two
instants, so shortening a lifetime is always safe, and drawing it a little apart spreads renewals.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from controlplane.ca.errors import LifetimeError, UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class LifetimePolicy:
    """Lifetimes in seconds. ``jitter`` is the largest share a lifetime is shortened by."""

    default: int = 86_400
    maximum: int = 7_776_000
    cap: int = 86_400
    jitter: float = 0.05
    backdate: int = 120

    def __post_init__(self) -> None:
        if not 0 < self.default <= self.maximum or self.cap <= 0:
            raise ValueError("lifetimes are positive, and the default is at most the maximum")
        if not 0 <= self.jitter < 1 or self.backdate < 0:
            raise ValueError("jitter is a share of a lifetime, backdating is not negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """From when to when a certificate is valid; whole seconds, UTC."""

    not_before: datetime
    not_after: datetime


def lifetime(
    requested: int, policy: LifetimePolicy, *, draw: float, narrowed: float | None = None
) -> int:
    """Return the lifetime in seconds for a request of ``requested`` seconds.

    ``draw`` in [0, 1) says how much of the jitter applies, ``narrowed`` is a further cap of the
    moment.

    Raises:
        LifetimeError: more is asked for than anybody is given.
    """
    if requested > policy.maximum:
        raise LifetimeError(
            f"requested TTL {requested}s is greater than the max allowed TTL {policy.maximum}s",
            reason_code="lifetime-above-maximum",
        )
    wanted: float = min(requested if requested > 0 else policy.default, policy.cap)
    if narrowed is not None:
        wanted = min(wanted, narrowed)
    return max(1, int(wanted * (1 - policy.jitter * draw)))


def validity(
    now: datetime,
    seconds: int,
    *,
    backdate: int,
    signer_not_before: datetime,
    signer_not_after: datetime,
) -> Validity:
    """Return the validity of a certificate of ``seconds``, within that of its signer.

    Raises:
        UnavailableError: the signer's is not begun or over.
    """
    start = now.replace(microsecond=0)
    if not signer_not_before <= start < signer_not_after:
        raise UnavailableError(
            "the signing certificate is not valid now", reason_code="signer-expired"
        )
    return Validity(
        not_before=max(start - timedelta(seconds=backdate), signer_not_before),
        not_after=min(start + timedelta(seconds=seconds), signer_not_after),
    )
