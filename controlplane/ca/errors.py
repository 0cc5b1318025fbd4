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
├── UnavailableError          UNAVAILABLE  CSR signing error (not ready)
├── FaultyCertificateError    UNAVAILABLE  CSR signing error (internal error)
├── TicketError               not on the wire: a fault in the code that signs
└── AuthoritySourceError      not on the wire: what signs cannot be used
    ├── KeyStoreError             a key store cannot be read or written
    │   └── KeyStoreConflictError     somebody else wrote it since it was read
    ├── KeysLostError             the journal knows authorities, no key store has their keys
    └── GivenAuthorityError       files that were given do not make an authority

``reason_code`` is precise and goes to the ledger, the log and the metrics; what callers read says
no more than docs/protocol/certificates.md CA-19 lets it. No text holds bytes of a request.
"""

from dataclasses import dataclass
from enum import StrEnum

from controlplane.authentication.errors import (
    AuthenticationError,
    AuthenticationLimitedError,
    MalformedCredentialsError,
    UnauthenticatedError,
)
from controlplane.errors import IstiodLiteError

UNAUTHENTICATED = "request authenticate failure"


class Failure(StrEnum):
    """Which part of issuance a request failed in, for counting."""

    AUTHENTICATION = "authentication"
    IMPERSONATION = "impersonation"
    MALFORMED = "malformed"
    SIGNING_REQUEST = "signing-request"
    LIFETIME = "lifetime"
    LIMITED = "limited"
    NOT_READY = "not-ready"
    GENERATION = "generation"
    UNKNOWN = "unknown"


class AuthorityError(IstiodLiteError):
    """Root of this package.

    ``status`` names the gRPC status, ``reply`` is the text for the caller and ``reason_code`` why,
    for operators: a few lower-case words joined by hyphens.
    """

    code = "certificate-authority"
    status = "UNAVAILABLE"
    failure = Failure.GENERATION

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
    failure = Failure.MALFORMED

    @property
    def reply(self) -> str:
        """What the caller is told."""
        return f"malformed request ({self})"


class OversizedRequestError(RefusedError):
    """The message is larger than any that discovery's port takes from ordinary services."""

    code = "oversized-request"
    failure = Failure.MALFORMED
    status = "RESOURCE_EXHAUSTED"

    @property
    def reply(self) -> str:
        """What the caller is told."""
        return "request too large"


class UnboundCredentialsError(RefusedError):
    """The caller is known, but not the pod it is."""

    code = "unbound-credentials"
    failure = Failure.AUTHENTICATION
    status = "UNAUTHENTICATED"

    @property
    def reply(self) -> str:
        """What the caller is told: as if it were not known."""
        return UNAUTHENTICATED


class ImpersonationDeniedError(RefusedError):
    """The caller may not have a certificate for the identity it names."""

    code = "impersonation-denied"
    failure = Failure.IMPERSONATION
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
    failure = Failure.SIGNING_REQUEST

    @property
    def reply(self) -> str:
        """What the caller is told."""
        return f"CSR signing error ({self})"


class LifetimeError(RefusedError):
    """A lifetime is asked for that nobody is given."""

    code = "lifetime"
    failure = Failure.LIFETIME

    @property
    def reply(self) -> str:
        """What the caller is told."""
        return f"CSR signing error ({self})"


class RateLimitedError(RefusedError):
    """This caller, or everybody together, asks too often."""

    code = "rate-limited"
    failure = Failure.LIMITED
    status = "RESOURCE_EXHAUSTED"

    @property
    def reply(self) -> str:
        """What the caller is told."""
        return "too many requests"


class UnavailableError(AuthorityError):
    """Nothing is wrong with the request; this process cannot serve it now. Clients come back.

    The message is for operators; callers are only told to come back.
    """

    code = "unavailable"
    failure = Failure.NOT_READY

    def __init__(self, message: str, *, reason_code: str = "") -> None:
        super().__init__(message, reason_code=reason_code)

    @property
    def reply(self) -> str:
        """What the caller is told."""
        return "CSR signing error (not ready)"


class FaultyCertificateError(AuthorityError):
    """A certificate was not made, or not as it should be: a fault of ours or of the key's."""

    code = "certificate-generation"


class TicketError(AuthorityError):
    """A ticket was offered for signing that this issuance did not make, or a second time."""

    code = "ticket"


class AuthoritySourceError(AuthorityError):
    """What signs cannot be used: at start-up it ends the process, later the old one stays."""

    code = "authority-source"


class KeyStoreError(AuthoritySourceError):
    """A key store cannot be read or written, or what it holds is not ours or not whole."""

    code = "key-store"


class KeyStoreConflictError(KeyStoreError):
    """Somebody else wrote the key store since it was read; nothing was written."""

    code = "key-store-conflict"


class KeysLostError(AuthoritySourceError):
    """The journal knows authorities, and no key of any of them is left."""

    code = "keys-lost"


class GivenAuthorityError(AuthoritySourceError):
    """Files that were given do not make an authority; the text names the file."""

    code = "given-authority"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a failed request ends: gRPC status name, text for the caller, reasons for operators."""

    status: str
    text: str
    reason_code: str
    failure: Failure


def reply_for(error: BaseException) -> Reply:
    """Return how a request that failed with ``error`` ends, whatever it is."""
    match error:
        case AuthorityError():
            return Reply(
                status=error.status,
                text=error.reply,
                reason_code=error.reason_code,
                failure=error.failure,
            )
        case AuthenticationError():
            status, text = _authentication_reply(error)
            return Reply(
                status=status,
                text=text,
                reason_code=error.reason,
                failure=Failure.AUTHENTICATION,
            )
        case TimeoutError():
            return Reply(
                status="UNAVAILABLE",
                text="CSR signing error (timed out)",
                reason_code="timed-out",
                failure=Failure.NOT_READY,
            )
    # A fault of ours. Clients come back from this status as they do from UNAVAILABLE.
    return Reply(
        status="INTERNAL",
        text="internal error",
        reason_code="internal",
        failure=Failure.UNKNOWN,
    )


def _authentication_reply(error: AuthenticationError) -> tuple[str, str]:
    match error:
        case MalformedCredentialsError():
            return "INVALID_ARGUMENT", "malformed request (credentials)"
        case UnauthenticatedError():
            return "UNAUTHENTICATED", UNAUTHENTICATED
        case AuthenticationLimitedError():
            return "RESOURCE_EXHAUSTED", "too many requests"
    return "UNAVAILABLE", "request authenticate failure (try again)"
