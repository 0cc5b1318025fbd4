"""Tokens of our own: what a bound ServiceAccount token claims in, a JWT out, and its review.

Where no cluster issues tokens, ``istiod-lite token`` does; the review answers in the shape of a
TokenReview, so that everything behind it is the same path. docs/protocol/authentication.md AU-40
to AU-43.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.authentication.caller import CallerKind
from controlplane.authentication.review import (
    CREDENTIAL_ID,
    NODE_NAME,
    NODE_UID,
    POD_NAME,
    POD_UID,
    SERVICE_ACCOUNTS,
    Status,
)
from controlplane.clock import Clock
from controlplane.model.names import Name

ISSUER: Final = "https://istiod-lite.local"
_ALGORITHM: Final = "ES256"
_KUBERNETES: Final = "kubernetes.io"

PodUid = Callable[[Name], str | None]
"""Returns the uid of a pod that is there, None for one that is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What a token is to say. Without ``pod`` it is bound to nothing but the account."""

    account: Name
    audiences: tuple[str, ...]
    lifetime: timedelta
    pod: str = ""
    pod_uid: str = ""
    node: str = ""


def issue_token(key: ec.EllipticCurvePrivateKey, request: TokenRequest, clock: Clock) -> str:
    """Return a signed JWT with the claims of a bound ServiceAccount token."""
    now = clock.now()
    bound: dict[str, Any] = {
        "namespace": request.account.namespace,
        "serviceaccount": {"name": request.account.name, "uid": ""},
    }
    if request.pod:
        bound["pod"] = {"name": request.pod, "uid": request.pod_uid}
    if request.node:
        bound["node"] = {"name": request.node, "uid": ""}
    claims = {
        "iss": ISSUER,
        "sub": f"system:serviceaccount:{request.account.namespace}:{request.account.name}",
        "aud": list(request.audiences),
        "iat": now,
        "nbf": now,
        "exp": now + request.lifetime,
        "jti": str(uuid4()),
        _KUBERNETES: bound,
    }
    return jwt.encode(claims, key, algorithm=_ALGORITHM)


class LocalTokenReviews:
    """Reviews tokens signed with ``key``; ``pod_uid`` knows the pods they may be bound to."""

    kind = CallerKind.LOCAL_TOKEN

    def __init__(self, key: ec.EllipticCurvePublicKey, clock: Clock, pod_uid: PodUid) -> None:
        self._key = key
        self._clock = clock
        self._pod_uid = pod_uid

    async def review(self, token: str, audiences: Collection[str]) -> Status:
        """Return the ``status`` of a TokenReview of ``token`` for ``audiences``."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                audience=sorted(audiences),
                issuer=ISSUER,
                options={
                    "require": ["exp", "nbf", "iat", "aud", "iss", "sub", "jti"],
                    # By our own clock, below.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            now = self._clock.now().timestamp()
            if not claims["nbf"] <= now + _SKEW or not now < claims["exp"]:
                return _REJECTED
            return self._status(claims, audiences)
        # RecursionError: claims may be nested as deep as the limits of a token let them.
        except (jwt.InvalidTokenError, TypeError, ValueError, RecursionError):
            return _REJECTED

    def _status(self, claims: Mapping[str, Any], audiences: Collection[str]) -> Status:
        bound = claims.get(_KUBERNETES)
        bound = bound if isinstance(bound, Mapping) else {}
        namespace = str(claims["sub"]).split(":")[2:3]
        pod = _reference(bound, "pod")
        if pod["name"] and (
            not namespace or self._pod_uid(Name(namespace[0], pod["name"])) != pod["uid"]
        ):
            return _REJECTED
        node = _reference(bound, "node")
        extra = {
            POD_NAME: pod["name"],
            POD_UID: pod["uid"],
            NODE_NAME: node["name"],
            NODE_UID: node["uid"],
            CREDENTIAL_ID: str(claims["jti"]),
        }
        audience = claims["aud"]
        named = [audience] if isinstance(audience, str) else audience
        return {
            "authenticated": True,
            "audiences": [each for each in named if each in audiences],
            "user": {
                "username": claims["sub"],
                "groups": [SERVICE_ACCOUNTS],
                "extra": {name: [value] for name, value in extra.items() if value},
            },
        }


_SKEW: Final = 5.0
_REJECTED: Final[Status] = {"authenticated": False, "error": "the token is not valid"}


def _reference(bound: Mapping[str, Any], kind: str) -> dict[str, str]:
    found = bound.get(kind)
    found = found if isinstance(found, Mapping) else {}
    return {field: str(found.get(field, "")) for field in ("name", "uid")}
