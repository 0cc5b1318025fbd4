"""The certificates of a node: identities come in, held certificates go out, always fresh enough."""

import asyncio
from collections.abc import Awaitable, Callable

from controlplane.clock import Clock
from controlplane.lab.certificates import HeldCertificate, fetch_certificate
from controlplane.lab.ztunnel.client import Target

Fetch = Callable[[Target, str, Callable[[], str]], Awaitable[HeldCertificate]]
"""Asks an authority for the certificate of an identity, showing a token."""


class NodeCertificates:
    """One certificate per identity, asked for once and again after half of its life.

    While the authority cannot be reached, what is held is used until it ends.
    """

    def __init__(
        self,
        target: Target,
        token: Callable[[], str],
        clock: Clock,
        *,
        fetch: Fetch = fetch_certificate,
    ) -> None:
        self._fetch = fetch
        self._target = target
        self._token = token
        self._clock = clock
        self._held: dict[str, HeldCertificate] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    @property
    def held(self) -> tuple[HeldCertificate, ...]:
        """Return what is held now, by identity."""
        return tuple(self._held[identity] for identity in sorted(self._held))

    async def of(self, identity: str) -> HeldCertificate:
        """Return the certificate of ``identity`` (a SPIFFE id).

        Raises:
            LabError: there is none, and the authority gives none.
        """
        async with self._locks.setdefault(identity, asyncio.Lock()):
            current = self._held.get(identity)
            if current is None or self._is_old(current):
                try:
                    current = await self._fetch(self._target, identity, self._token)
                except Exception:
                    if current is None or current.not_after <= self._clock.now():
                        raise
                else:
                    self._held[identity] = current
            return current

    def forget(self) -> None:
        """Let go of everything, so that new certificates are asked for."""
        self._held.clear()

    def _is_old(self, held: HeldCertificate) -> bool:
        begins = held.chain[0].not_valid_before_utc
        return self._clock.now() >= begins + (held.not_after - begins) / 2
