"""What operators can count of certificates: reviews of tokens, requests, signatures.

Names that mean the same as istiod's are istiod's.
"""

from typing import Final

from cryptography import x509

from controlplane.ca.authorities import Standing
from controlplane.ca.errors import Failure, Reply
from controlplane.ca.signer import SignerSnapshot
from controlplane.clock import Clock
from controlplane.metrics import CertificateMetrics, Metrics

_SIGNING_ERRORS: Final = {
    Failure.SIGNING_REQUEST: "CSR_ERROR",
    Failure.LIFETIME: "TTL_ERROR",
    Failure.NOT_READY: "CA_NOT_READY",
    Failure.GENERATION: "CERT_GEN_ERROR",
    Failure.UNKNOWN: "UNKNOWN",
}


class CertificateObservation:
    """Hears of requests for certificates; an ``Observer`` of ``controlplane.ca``."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics.certificates

    def requested(self) -> None:
        """Count a request."""
        self._metrics.requests.inc()

    def issued(self, seconds: float, key_type: str) -> None:
        """Count a certificate."""
        self._metrics.issued.inc()
        self._metrics.issue_seconds.labels(key_type=key_type).observe(seconds)

    def signed(self, seconds: float) -> None:
        """Time a signature."""
        self._metrics.sign_seconds.observe(seconds)

    def refused(self, reply: Reply) -> None:
        """Count a refusal, by what failed."""
        metrics = self._metrics
        metrics.refused.labels(reason=reply.reason_code).inc()
        if reply.reason_code == "unbound-credentials":
            metrics.unknown_identities.inc()
        if reply.failure is Failure.AUTHENTICATION:
            metrics.authentication_failures.inc()
        elif reply.failure is Failure.IMPERSONATION:
            metrics.impersonation_denied.labels(reason=reply.reason_code).inc()
        elif reply.failure in _SIGNING_ERRORS:
            if reply.failure is Failure.SIGNING_REQUEST:
                metrics.unreadable_requests.inc()
            metrics.signing_errors.labels(error=_SIGNING_ERRORS[reply.failure]).inc()

    def names_differed(self) -> None:
        """Count a CSR that named somebody else than its caller."""
        self._metrics.names_differed.inc()

    def signer_ignored(self) -> None:
        """Count a request for a particular signer."""
        self._metrics.signer_ignored.inc()

    def key_shared(self) -> None:
        """Count a key that was certified for two holders."""
        self._metrics.keys_shared.inc()


class ReviewObservation:
    """Hears of token reviews; a ``ReviewObserver`` of ``controlplane.authentication``."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics.certificates

    def remembered(self, *, hit: bool) -> None:
        """Count a look into the cache."""
        self._metrics.review_cache.labels(hit="true" if hit else "false").inc()

    def reviewed(self, result: str, seconds: float) -> None:
        """Time a review."""
        self._metrics.review_seconds.labels(result=result).observe(seconds)


class StandingObservation:
    """Keeps the gauges of authorities: what signs, what state each is in, what is waited for."""

    def __init__(self, metrics: CertificateMetrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._snapshot: SignerSnapshot | None = None
        self._first_root_ends = 0.0
        self._blocked_since: dict[str, float] = {}

    def signs(self, snapshot: SignerSnapshot | None) -> None:
        """Take what signs now."""
        if snapshot is None:
            return
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            roots = x509.load_pem_x509_certificates(snapshot.bundle.encode())
            self._first_root_ends = min(root.not_valid_after_utc for root in roots).timestamp()
        now, chain_ends = self._clock.now().timestamp(), snapshot.not_after.timestamp()
        self._metrics.root_expiry.set(self._first_root_ends)
        self._metrics.root_left.set(self._first_root_ends - now)
        self._metrics.chain_expiry.set(chain_ends)
        self._metrics.chain_left.set(chain_ends - now)

    def stands(self, standing: Standing) -> None:
        """Take what the last look at the authorities found."""
        if standing.kept is not None:
            authorities = standing.kept.authorities
            self._metrics.authority_state.clear()
            for each in authorities.authorities:
                self._metrics.authority_state.labels(
                    tier=each.tier.value, slot=each.slot, state=each.status.value
                ).set(1)
            version = authorities.state.bundle_version
            self._metrics.bundle_version.set(version)
        now = self._clock.monotonic()
        names = {gate.name for gate in standing.decision.gates}
        self._blocked_since = {name: self._blocked_since.get(name, now) for name in names}
        self._metrics.rotation_blocked.clear()
        for name, since in self._blocked_since.items():
            self._metrics.rotation_blocked.labels(reason=name).set(now - since)
