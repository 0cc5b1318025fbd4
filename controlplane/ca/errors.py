"""What ends a request for a certificate, and the gRPC status and text its caller reads.

AuthorityError
├── RefusedError              the caller's fault, or not allowed
│   ├── MalformedRequestError     INVALID_ARGUMENT     malformed request (<what>)
│   ├── OversizedRequestError     RESOURCE_EXHAUSTED   request too large
│   ├── UnboundCredentialsError   UNAUTHENTICATED      request authenticate failure
│   ├── ImpersonationDeniedError  UNAUTHENTICATED      request impersonation authentication failure
│   ├── SigningRequestError       INVALID_ARGUMENT     CSR signing error (<what>)
│   ├── LifetimeError             INVALID_ARGUMENT     CSR signing error (<what>)
│   └── RateLimitedError          RESOURCE_EXHAUSTED   too many requests
└── UnavailableError          ours: UNAVAILABLE, CSR signing error (<what>)

``reason_code`` is precise and goes to the ledger, the log and the metrics; what callers read says
no more than docs/protocol/certificates.md CA-19 lets it. No text holds bytes of a request.
"""

from dataclasses import dataclass

from controlplane.errors import IstiodLiteError


class AuthorityError(IstiodLiteError):
    """Root of this package.

    ``status`` names the gRPC status, ``reply`` is the text for the caller and ``reason_code`` why,
    for operators: a few lower-case words joined by hyphens.
    """

    code = "certificate-authority"
    status = "UNAVAILABLE"

    def __init__(self, message: str, *, reason_code: str = "") -> None:
        super().__init__(message)
        self.reason_code = reason_code or self.code

    @property
    def reply(self) -> str:
        """What the caller is told."""
        return "CSR signing error (internal error)"


class RefusedError(AuthorityError):
    """No certificate for this request, however often it is asked."""

    code = "refused"
    status = "INVALID_ARGUMENT"


class MalformedRequestError(RefusedError):
    """The request is not what the service takes, before anybody looks at its CSR."""

    code = "malformed-request"

    @property
    def reply(self) -> str:
        """What the caller is told."""
        return f"malformed request ({self})"


class OversizedRequestError(RefusedError):
    """The message is larger than any that discovery's port takes from ordinary services."""

    code = "oversized-request"
    status = "RESOURCE_EXHAUSTED"

    @property
    def reply(self) -> str:
        """What the caller is told."""
        return "request too large"


class UnboundCredentialsError(RefusedError):
    """The caller is known, but not the pod it is."""

    code = "unbound-credentials"
    status = "UNAUTHENTICATED"

    @property
    def reply(self) -> str:
        """What the caller is told: as if it were not known."""
        return "request authenticate failure"


class ImpersonationDeniedError(RefusedError):
    """The caller may not have a certificate for the identity it names."""

    code = "impersonation-denied"
    status = "UNAUTHENTICATED"

    def __init__(self, reason_code: str) -> None:
        super().__init__(f"impersonation denied: {reason_code}", reason_code=reason_code)

    @property
    def reply(self) -> str:
        """What the caller is told: never why."""
        return "request impersonation authentication failure"


class SigningRequestError(RefusedError):
    """The CSR cannot be accepted."""

    code = "signing-request"

    @property
    def reply(self) -> str:
        """What the caller is told."""
        return f"CSR signing error ({self})"


class LifetimeError(RefusedError):
    """A lifetime is asked for that nobody is given."""

    code = "lifetime"

    @property
    def reply(self) -> str:
        """What the caller is told."""
        return f"CSR signing error ({self})"


class RateLimitedError(RefusedError):
    """This caller, or everybody together, asks too often."""

    code = "rate-limited"
    status = "RESOURCE_EXHAUSTED"

    @property
    def reply(self) -> str:
        """What the caller is told."""
        return "too many requests"


class UnavailableError(AuthorityError):
    """Nothing is wrong with the request; this process cannot serve it now. Clients come back.

    The message is for operators; callers are told ``hint`` only.
    """

    code = "unavailable"

    def __init__(self, message: str, *, reason_code: str = "", hint: str = "not ready") -> None:
        super().__init__(message, reason_code=reason_code)
        self.hint = hint

    @property
    def reply(self) -> str:
        """What the caller is told."""
        return f"CSR signing error ({self.hint})"


class TicketError(AuthorityError):
    """A ticket was offered for signing that this issuance did not make, or a second time."""

    code = "ticket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a failed request ends: gRPC status name, text for the caller, reason for operators."""

    status: str
    text: str
    reason_code: str
