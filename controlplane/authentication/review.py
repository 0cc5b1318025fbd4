"""What a TokenReview answers: its status in, a ``Caller`` or a refusal out.

Whoever verifies tokens implements ``TokenReviews``: a cluster's API server over HTTP
(``review_client``, ``cluster_reviews``) or this process's own issuer (``local_issuer``); all answer
in the shape of ``authentication.k8s.io/v1`` and everything behind the answer is the same.
docs/protocol/authentication.md AU-20 to AU-24.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

from controlplane.authentication.caller import Caller, CallerKind
from controlplane.authentication.errors import Reason, UnauthenticatedError

PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
SERVICE_ACCOUNTS: Final = "system:serviceaccounts"
POD_NAME: Final = "authentication.kubernetes.io/pod-name"
POD_UID: Final = "authentication.kubernetes.io/pod-uid"
NODE_NAME: Final = "authentication.kubernetes.io/node-name"
NODE_UID: Final = "authentication.kubernetes.io/node-uid"
CREDENTIAL_ID: Final = "authentication.kubernetes.io/credential-id"

_LARGEST: Final = 256 * 1024

Status = Mapping[str, Any]
"""``status`` of a TokenReview, as JSON has it."""


class TokenReviews(Protocol):
    """Verifies tokens."""

    kind: CallerKind

    async def review(self, token: str, audiences: Collection[str]) -> Status:
        """Return the ``status`` of a TokenReview of ``token`` for ``audiences``.

        Raises:
            ReviewError: it cannot be found out whether the token is valid.
        """
        ...


class ReviewError(Exception):
    """Internal to this package: a review came to no answer; ``token_review`` translates it."""


def review_of(token: str, audiences: Collection[str]) -> bytes:
    """Return the TokenReview that asks about ``token``."""
    return json.dumps(
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": sorted(audiences)},
        }
    ).encode()


def status_in(code: int, body: bytes) -> Status:
    """Return the ``status`` of the TokenReview in an answer with HTTP status ``code``.

    Raises:
        ReviewError: there is none.
    """
    if not 200 <= code < 300 or len(body) > _LARGEST:
        raise ReviewError(f"HTTP status {code}")
    try:
        status = json.loads(body)["status"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ReviewError("the answer is not a TokenReview") from None
    if not isinstance(status, dict):
        raise ReviewError("the answer is not a TokenReview")
    return status


def caller_of(
    status: Status,
    audiences: Collection[str],
    *,
    cluster: str,
    kind: CallerKind,
    expires_at: float | None,
) -> Caller:
    """Return who a token belongs to.

    Raises:
        UnauthenticatedError: the review rejected it, or answered for other audiences, or for
            somebody who is not a service account.
    """
    if status.get("error") or status.get("authenticated") is not True:
        raise UnauthenticatedError(Reason.REJECTED)
    # A verifier that knows nothing of audiences accepts tokens that were meant for others.
    if not set(_texts(status.get("audiences"))) & set(audiences):
        raise UnauthenticatedError(Reason.AUDIENCE_NOT_CONFIRMED)
    user = status.get("user")
    if not isinstance(user, Mapping) or SERVICE_ACCOUNTS not in _texts(user.get("groups")):
        raise UnauthenticatedError(Reason.NOT_A_SERVICE_ACCOUNT)
    parts = str(user.get("username", "")).split(":")
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"] or not all(parts):
        raise UnauthenticatedError(Reason.NOT_A_SERVICE_ACCOUNT)
    extra = user.get("extra")
    known = extra if isinstance(extra, Mapping) else {}
    return Caller(
        namespace=parts[2],
        service_account=parts[3],
        cluster=cluster,
        pod_name=_first(known, POD_NAME),
        pod_uid=_first(known, POD_UID),
        node_name=_first(known, NODE_NAME),
        node_uid=_first(known, NODE_UID),
        credential_id=_first(known, CREDENTIAL_ID),
        expires_at=expires_at,
        kind=kind,
    )


def _first(extra: Mapping[str, Any], key: str) -> str:
    values = _texts(extra.get(key))
    return values[0] if values else ""


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
