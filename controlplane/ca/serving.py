"""Our own serving certificate: names in, a chain and key for the TLS port out, renewed in time.

It is issued like any other certificate, by the authority that clients trust, and handed to the
port without dropping a stream (docs/protocol/certificates.md CA-40 to CA-42).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog

from controlplane.ca.errors import AuthorityError
from controlplane.ca.issuance import Issuance
from controlplane.ca.keyed_identity import new_key
from controlplane.ca.profile import Profile
from controlplane.ca.signer import SignerSource
from controlplane.ca.ttl import LifetimePolicy
from controlplane.clock import Clock

LIFETIME: Final = 7 * 86_400
"""Seconds a serving certificate lives at most."""

_LIFETIMES: Final = LifetimePolicy(default=LIFETIME, maximum=LIFETIME, cap=LIFETIME, jitter=0)

_log = structlog.get_logger("ca")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the port serves: PEM of the chain (roots left out) and of its key."""

    chain: bytes
    key: bytes = field(repr=False)
    authority_id: str
    renew_at: datetime


def istiod_names(
    namespace: str, *, revision: str = "", custom: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return the host names clients know the control plane by, sorted, and localhost."""
    names = {f"{host}.{namespace}.svc" for host in ("istiod", "istiod-remote", "istio-pilot")}
    if revision and revision != "default":
        names.add(f"istiod-{revision}.{namespace}.svc")
    return tuple(sorted({*names, *custom, "localhost"}))


class ServingCertificate:
    """Keeps the port's certificate fresh.

    Args of construction: ``poll`` is how often, in seconds, the authority and the clock are looked
    at.
    """

    def __init__(
        self,
        issuance: Issuance,
        signers: SignerSource,
        names: tuple[str, ...],
        clock: Clock,
        *,
        poll: float = 5.0,
    ) -> None:
        self._issuance = issuance
        self._signers = signers
        self._profile = Profile.for_serving(names)
        self._clock = clock
        self._poll = poll
        self._served: Served | None = None
        self._failure = ""

    async def issue(self) -> Served:
        """Return a new certificate for the port.

        Raises:
            AuthorityError: there is no authority fit to sign.
        """
        key, request = new_key()
        ticket = self._issuance.prepare(self._profile, request, lifetimes=_LIFETIMES)
        chain = await self._issuance.sign(ticket)
        valid = chain.validity
        served = Served(
            chain="".join(chain.certificates[:-1]).encode(),
            key=key,
            authority_id=chain.authority_id,
            renew_at=valid.not_before + (valid.not_after - valid.not_before) / 2,
        )
        self._served = served
        _log.info(
            "serving-certificate.issued",
            serial=format(chain.serial, "x"),
            authority=chain.authority_id,
            not_after=valid.not_after.isoformat(),
        )
        return served

    async def run(self, install: Callable[[bytes, bytes], None]) -> None:
        """Replace the certificate at half its life, or once another authority signs.

        Args:
            install: takes the chain and the key of every new certificate.
        """
        while True:
            await self._clock.sleep(self._poll)
            if not self._is_due():
                continue
            try:
                served = await self.issue()
            except AuthorityError as error:
                if error.reason_code != self._failure:
                    _log.warning("serving-certificate.failed", reason=error.reason_code)
                self._failure = error.reason_code
                continue
            self._failure = ""
            install(served.chain, served.key)

    def _is_due(self) -> bool:
        served = self._served
        if served is None or self._clock.now() >= served.renew_at:
            return True
        snapshot = self._signers.current()
        return snapshot is not None and snapshot.authority_id != served.authority_id
