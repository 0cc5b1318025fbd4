"""Why nobody can be told to be calling.

AuthenticationError
├── MalformedCredentialsError         the headers contradict themselves
├── UnauthenticatedError              the credentials are missing or not valid
├── AuthenticationLimitedError        too many credentials are being verified
└── AuthenticationUnavailableError    whoever verifies credentials does not answer

``reason`` is stable and machine readable: it goes to logs, metrics and the ledger, while callers
are told no more than the class. No message ever holds a part of a credential.
"""

from enum import StrEnum

from controlplane.errors import IstiodLiteError


class Reason(StrEnum):
    """What exactly is wrong (docs/protocol/authentication.md)."""

    NO_CREDENTIALS = "no-credentials"
    SEVERAL_CREDENTIALS = "several-credentials"
    SEVERAL_CLUSTERS = "several-clusters"
    NOT_BEARER = "not-a-bearer-token"
    NOT_A_JWT = "not-a-jwt"
    TOO_LONG = "too-long"
    WRONG_AUDIENCE = "wrong-audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    UNKNOWN_CLUSTER = "unknown-cluster"
    REJECTED = "rejected"
    AUDIENCE_NOT_CONFIRMED = "audience-not-confirmed"
    NOT_A_SERVICE_ACCOUNT = "not-a-service-account"
    BOUND_POD_GONE = "bound-pod-gone"
    TOO_MANY_REVIEWS = "too-many-reviews"
    REVIEW_FAILED = "review-failed"
    REVIEW_TIMED_OUT = "review-timed-out"


class AuthenticationError(IstiodLiteError):
    """Root of this package."""

    code = "authentication"

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason


class MalformedCredentialsError(AuthenticationError):
    """The request says who is calling in two ways at once."""

    code = "malformed-credentials"


class UnauthenticatedError(AuthenticationError):
    """The credentials are missing or not valid."""

    code = "unauthenticated"


class AuthenticationLimitedError(AuthenticationError):
    """More credentials wait to be verified than are let in."""

    code = "authentication-limited"


class AuthenticationUnavailableError(AuthenticationError):
    """Whether the credentials are valid cannot be found out now; trying again may help."""

    code = "authentication-unavailable"


class KeySetError(IstiodLiteError):
    """A set of keys cannot be had, or cannot be used; ``reason`` is why, in words."""

    code = "key-set"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
