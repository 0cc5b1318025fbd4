"""What operators can count of certificates: reviews of tokens, requests, signatures.

Names that mean the same as istiod's are istiod's.
"""

from typing import Final

from controlplane.ca.errors import Failure, Reply
from controlplane.metrics import Metrics

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
