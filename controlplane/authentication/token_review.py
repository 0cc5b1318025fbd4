"""Reviews of tokens, asked for as rarely as can be: a token in, its ``Caller`` out.

Verdicts are remembered for a short time, equal tokens share one review, and only so many run at
once. docs/protocol/authentication.md AU-30 to AU-36.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from controlplane.authentication.admission import Admission, AdmissionSettings, host_of
from controlplane.authentication.caller import Caller
from controlplane.authentication.errors import (
    AuthenticationLimitedError,
    AuthenticationUnavailableError,
    Reason,
    UnauthenticatedError,
)
from controlplane.authentication.review import ReviewError, TokenReviews, caller_of
from controlplane.authentication.verdicts import Verdict, Verdicts, digest_of
from controlplane.clock import Clock

_Failure = AuthenticationUnavailableError | AuthenticationLimitedError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewSettings:
    """Times are seconds.

    ``accepted_for`` and ``rejected_for``: how long a verdict stands; ``remembered``: how many of
    each kind. ``at_once``: reviews running; ``timeout``: how long one may take; ``patience``: how
    long it may wait for others before it runs.
    """

    accepted_for: float = 20.0
    rejected_for: float = 2.0
    remembered: int = 10_000
    at_once: int = 32
    timeout: float = 3.0
    patience: float = 5.0
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)


class ReviewObserver(Protocol):
    """Heard synchronously, on the loop: be quick and do not raise."""

    def remembered(self, *, hit: bool) -> None:
        """Hear whether the verdict on a token was remembered."""
        ...

    def reviewed(self, result: str, seconds: float) -> None:
        """Hear that a review ended: ``accepted``, or the reason it did not."""
        ...


class SilentReviewObserver:
    """Hears nothing."""

    def remembered(self, *, hit: bool) -> None:
        """Ignore it."""

    def reviewed(self, result: str, seconds: float) -> None:
        """Ignore it."""


class TokenReviewer:
    """Tells who the tokens of one cluster belong to."""

    def __init__(
        self,
        reviews: TokenReviews,
        *,
        cluster: str,
        audiences: Collection[str],
        clock: Clock,
        settings: ReviewSettings | None = None,
        observer: ReviewObserver | None = None,
    ) -> None:
        self._reviews = reviews
        self._cluster = cluster
        self._audiences = frozenset(audiences)
        self._clock = clock
        self._settings = settings or ReviewSettings()
        self._observer: ReviewObserver = observer or SilentReviewObserver()
        self._admission = Admission(self._settings.admission, clock)
        self._running = asyncio.Semaphore(self._settings.at_once)
        self._verdicts = Verdicts(
            clock,
            accepted_for=self._settings.accepted_for,
            rejected_for=self._settings.rejected_for,
            size=self._settings.remembered,
        )
        self._flights: dict[bytes, asyncio.Task[Verdict | _Failure]] = {}
        self._gone: set[str] = set()

    async def caller(self, token: str, *, peer: str, expires_at: float | None) -> Caller:
        """Return who ``token`` belongs to; ``expires_at`` is what the token itself says.

        Raises:
            UnauthenticatedError: nobody, as far as this cluster is concerned.
            AuthenticationLimitedError: too many tokens are being reviewed.
            AuthenticationUnavailableError: the review came to no answer.
        """
        key = digest_of(token)
        verdict: Verdict | _Failure | None = self._verdicts.get(key)
        self._observer.remembered(hit=verdict is not None)
        if verdict is None:
            verdict = await self._reviewed(key, token, host_of(peer), expires_at)
        if isinstance(verdict, Caller):
            return verdict
        if isinstance(verdict, Reason):
            raise UnauthenticatedError(verdict)
        # A new one: those who share a review must not share a traceback.
        raise type(verdict)(verdict.reason)

    def forget_pod(self, uid: str) -> None:
        """Forget what is known of tokens bound to a pod, because it is gone."""
        self._verdicts.forget_pod(uid)
        if self._flights:
            self._gone.add(uid)

    async def _reviewed(
        self, key: bytes, token: str, host: str, expires_at: float | None
    ) -> Verdict | _Failure:
        flight = self._flights.get(key)
        if flight is not None:
            return await asyncio.shield(flight)
        self._admission.enter(host)
        flight = asyncio.create_task(self._fly(key, token, host, expires_at))
        self._flights[key] = flight
        # A caller that gives up leaves the review to those who share it, and its place taken.
        return await asyncio.shield(flight)

    async def _fly(
        self, key: bytes, token: str, host: str, expires_at: float | None
    ) -> Verdict | _Failure:
        started = self._clock.monotonic()
        verdict: Verdict | _Failure = AuthenticationUnavailableError(Reason.REVIEW_FAILED)
        try:
            verdict = await self._verdict(token, expires_at)
            if isinstance(verdict, Reason):
                self._verdicts.reject(key, verdict)
                self._admission.rejected(host)
            elif isinstance(verdict, Caller) and verdict.pod_uid not in self._gone:
                self._verdicts.accept(key, verdict)
            return verdict
        finally:
            del self._flights[key]
            self._admission.leave(host)
            if not self._flights:
                self._gone.clear()
            self._observer.reviewed(_result(verdict), self._clock.monotonic() - started)

    async def _verdict(self, token: str, expires_at: float | None) -> Verdict | _Failure:
        try:
            async with asyncio.timeout(self._settings.patience):
                await self._running.acquire()
        except TimeoutError:
            return AuthenticationLimitedError(Reason.TOO_MANY_REVIEWS)
        try:
            async with asyncio.timeout(self._settings.timeout):
                status = await self._reviews.review(token, self._audiences)
        except TimeoutError:
            return AuthenticationUnavailableError(Reason.REVIEW_TIMED_OUT)
        except ReviewError:
            return AuthenticationUnavailableError(Reason.REVIEW_FAILED)
        finally:
            self._running.release()
        try:
            return caller_of(
                status,
                self._audiences,
                cluster=self._cluster,
                kind=self._reviews.kind,
                expires_at=expires_at,
            )
        except UnauthenticatedError as error:
            return error.reason


def _result(verdict: Verdict | _Failure) -> str:
    if isinstance(verdict, Caller):
        return "accepted"
    return (verdict if isinstance(verdict, Reason) else verdict.reason).value
