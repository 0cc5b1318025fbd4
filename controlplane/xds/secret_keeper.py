"""The key of one stream: made when it is asked for, replaced in time, gone with the stream.

Who makes it is ``SecretIssuer``, which the process fills with its certificate authority. Nothing
here keeps a key: it is handed to the stream's subscription, which sends it once.
docs/protocol/waypoint-sessions.md WS-20 to WS-25.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import structlog

from controlplane.authentication.caller import Caller
from controlplane.clock import Clock
from controlplane.encode.secret import encode_identity, encode_roots
from controlplane.errors import IstiodLiteError
from controlplane.xds.secret_subscription import SecretSubscription

LOOK: Final = 1.0
"""Seconds between two looks at the clock, the roots and the authority."""

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_PATIENCE: Final = 15.0

_log = structlog.get_logger("xds")


class IssuedIdentity(Protocol):
    """A certificate and its key as PEM, leaf first and roots left out; the key is never shown."""

    @property
    def chain(self) -> bytes:
        """Return the certificates."""
        ...

    @property
    def key(self) -> bytes:
        """Return the private key."""
        ...

    @property
    def not_after(self) -> datetime:
        """Return when the leaf ends."""
        ...

    @property
    def authority_id(self) -> str:
        """Return which authority signed."""
        ...


class SecretIssuer(Protocol):
    """Makes keys and certificates for callers, and knows whom the mesh trusts."""

    async def issue_identity(self, caller: Caller, peer: str) -> IssuedIdentity:
        """Return a new key and its certificate for the account that ``caller`` is.

        Raises:
            IstiodLiteError: it may not have one, or there is none to be had now.
        """
        ...

    def trusted_roots(self) -> bytes | None:
        """Return every trusted root as PEM; None when they are not known yet."""
        ...

    def authority_id(self) -> str:
        """Return which authority signs now; "" when none does."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whose secrets are kept: ``caller`` is None where nobody was authenticated.

    Nobody gets a key who was not; roots are public. ``peer`` is the client's address.
    """

    caller: Caller | None
    peer: str


class SecretKeeper:
    """Keeps the secrets of one stream fresh while ``run`` runs.

    ``subscription`` tells where they go, None before they are asked for; ``wake`` has the stream
    look for something to send. ``draw`` returns a random number in [0, 1).
    """

    def __init__(
        self,
        issuer: SecretIssuer,
        holder: Holder,
        *,
        subscription: Callable[[], SecretSubscription | None],
        wake: Callable[[], None],
        clock: Clock,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._issuer = issuer
        self._holder = holder
        self._subscription = subscription
        self._wake = wake
        self._clock = clock
        self._draw = draw
        self._asked = asyncio.Event()
        self._roots: bytes | None = None
        self._authority = ""
        self._renew_at: datetime | None = None
        self._retry_at = 0.0
        self._pause = 0.0

    def asked(self) -> None:
        """Look at once: the client may have asked for secrets."""
        self._asked.set()

    async def run(self) -> None:
        """Keep them until cancelled."""
        while True:
            self._asked.clear()
            subscription = self._subscription()
            if subscription is not None:
                self._keep_roots(subscription)
                await self._keep_identity(subscription)
            await self._rest()

    def _keep_roots(self, subscription: SecretSubscription) -> None:
        roots = self._issuer.trusted_roots()
        if roots and roots != self._roots:
            self._roots = roots
            subscription.offer(encode_roots(roots))
            self._wake()

    async def _keep_identity(self, subscription: SecretSubscription) -> None:
        """Make a key where one is due; the client goes on with what it has where that fails."""
        caller = self._holder.caller
        if caller is None or not self._is_due(subscription):
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                issued = await self._issuer.issue_identity(caller, self._holder.peer)
        except (IstiodLiteError, TimeoutError) as error:
            self._put_off(caller, error)
            return
        now = self._clock.now()
        # About half of its life, not all at the same time.
        self._renew_at = now + (issued.not_after - now) * (0.45 + 0.1 * self._draw())
        self._authority = issued.authority_id
        self._retry_at = self._pause = 0.0
        subscription.offer(encode_identity(issued.chain, issued.key))
        self._wake()

    def _is_due(self, subscription: SecretSubscription) -> bool:
        if self._clock.monotonic() < self._retry_at:
            return False
        if subscription.wants_identity:
            return True
        if self._renew_at is None or not subscription.asks_for_identity:
            return False
        signing = self._issuer.authority_id()
        has_changed = signing not in {"", self._authority}
        return has_changed or self._clock.now() >= self._renew_at

    def _put_off(self, caller: Caller, error: Exception) -> None:
        self._pause = min(max(_FIRST_PAUSE, 2 * self._pause), _LONGEST_PAUSE)
        pause = self._pause * (0.5 + 0.5 * self._draw())
        self._retry_at = self._clock.monotonic() + pause
        reason = error.code if isinstance(error, IstiodLiteError) else "timeout"
        _log.warning(
            "waypoint-key.failed",
            caller=str(caller.account),
            pod=caller.pod_name,
            reason=reason,
            retry_seconds=round(pause, 3),
        )

    async def _rest(self) -> None:
        """Wait until something is asked for, or it is time to look."""
        asked = asyncio.ensure_future(self._asked.wait())
        alarm = asyncio.ensure_future(self._clock.sleep(LOOK))
        try:
            await asyncio.wait((asked, alarm), return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            alarm.cancel()
