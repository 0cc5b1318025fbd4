import pytest

from controlplane.authentication.errors import (
    AuthenticationLimitedError,
    AuthenticationUnavailableError,
    MalformedCredentialsError,
    Reason,
    UnauthenticatedError,
)
from controlplane.ca.errors import (
    Failure,
    FaultyCertificateError,
    ImpersonationDeniedError,
    LifetimeError,
    MalformedRequestError,
    OversizedRequestError,
    RateLimitedError,
    SigningRequestError,
    TicketError,
    UnavailableError,
    UnboundCredentialsError,
    reply_for,
)

UNAUTHENTICATED = ("UNAUTHENTICATED", "request authenticate failure")
INTERNAL = ("UNAVAILABLE", "CSR signing error (internal error)")
REPLIES: list[tuple[Exception, tuple[str, str]]] = [
    (UnauthenticatedError(Reason.EXPIRED, "detail"), UNAUTHENTICATED),
    (UnboundCredentialsError("detail"), UNAUTHENTICATED),
    (
        ImpersonationDeniedError("detail"),
        ("UNAUTHENTICATED", "request impersonation authentication failure"),
    ),
    (
        MalformedCredentialsError(Reason.SEVERAL_CLUSTERS, "detail"),
        ("INVALID_ARGUMENT", "malformed request (credentials)"),
    ),
    (
        AuthenticationLimitedError(Reason.TOO_MANY_REVIEWS, "detail"),
        ("RESOURCE_EXHAUSTED", "too many requests"),
    ),
    (
        AuthenticationUnavailableError(Reason.REVIEW_FAILED, "detail"),
        ("UNAVAILABLE", "request authenticate failure (try again)"),
    ),
    (MalformedRequestError("what"), ("INVALID_ARGUMENT", "malformed request (what)")),
    (OversizedRequestError("detail"), ("RESOURCE_EXHAUSTED", "request too large")),
    (RateLimitedError("detail"), ("RESOURCE_EXHAUSTED", "too many requests")),
    (SigningRequestError("what"), ("INVALID_ARGUMENT", "CSR signing error (what)")),
    (LifetimeError("what"), ("INVALID_ARGUMENT", "CSR signing error (what)")),
    (UnavailableError("detail"), ("UNAVAILABLE", "CSR signing error (not ready)")),
    (FaultyCertificateError("detail"), INTERNAL),
    (TicketError("detail"), INTERNAL),
    (TimeoutError("detail"), ("UNAVAILABLE", "CSR signing error (timed out)")),
    (RuntimeError("detail"), ("INTERNAL", "internal error")),
    (KeyError("detail"), ("INTERNAL", "internal error")),
]


@pytest.mark.proves("CA-19", "CA-4")
@pytest.mark.parametrize(("error", "expected"), REPLIES, ids=lambda value: type(value).__name__)
def test_replies(error: Exception, expected: tuple[str, str]) -> None:
    reply = reply_for(error)
    assert (reply.status, reply.text) == expected
    assert reply.reason_code


@pytest.mark.refutes("CA-12", "CA-19")
@pytest.mark.parametrize("error", [error for error, _ in REPLIES], ids=lambda e: type(e).__name__)
def test_details_for_operators_are_not_told(error: Exception) -> None:
    assert "detail" not in reply_for(error).text


def test_reasons_are_kept_for_operators() -> None:
    assert reply_for(ImpersonationDeniedError("not-on-node")).reason_code == "not-on-node"
    assert reply_for(UnauthenticatedError(Reason.EXPIRED)).reason_code == "expired"
    assert reply_for(SigningRequestError("x")).failure is Failure.SIGNING_REQUEST
