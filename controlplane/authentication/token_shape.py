"""Cheap rejects: request headers in, one token that is worth a review out.

Nothing is verified here: a token that could not be accepted anyway costs no call to anybody.
docs/protocol/authentication.md AU-1 to AU-6.
"""

import binascii
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection
from typing import Final

from controlplane.authentication.caller import Metadata
from controlplane.authentication.errors import (
    MalformedCredentialsError,
    Reason,
    UnauthenticatedError,
)

MAXIMUM_LENGTH: Final = 16 * 1024
LEEWAY: Final = 60.0
"""Seconds a token may have expired ago: clocks differ, and the review decides."""

_END_OF_TIME: Final = 2**53
_PREFIX: Final = "Bearer "
_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")


def bearer_token(metadata: Metadata) -> str:
    """Return the one bearer token of a request.

    Raises:
        MalformedCredentialsError: there are several authorization headers.
        UnauthenticatedError: there is none, or it holds something else.
    """
    values = header_values(metadata, "authorization")
    if not values:
        raise UnauthenticatedError(Reason.NO_CREDENTIALS)
    if len(values) > 1:
        raise MalformedCredentialsError(Reason.SEVERAL_CREDENTIALS)
    if not values[0].startswith(_PREFIX):
        raise UnauthenticatedError(Reason.NOT_BEARER)
    token = values[0].removeprefix(_PREFIX)
    if not token:
        raise UnauthenticatedError(Reason.NO_CREDENTIALS)
    return token


def header_values(metadata: Metadata, name: str) -> tuple[str, ...]:
    """Return every value of one header."""
    value = metadata.get(name, ())
    return (value,) if isinstance(value, str) else tuple(value)


def check_shape(token: str, audiences: Collection[str], now: float) -> float:
    """Return when ``token`` says it expires (Unix seconds), if it may be meant for us at ``now``.

    Raises:
        UnauthenticatedError: it is no JWT of at most 16 KiB, names none of ``audiences``, or says
            that it expired more than a minute ago.
    """
    if len(token) > MAXIMUM_LENGTH:
        raise UnauthenticatedError(Reason.TOO_LONG)
    claims = _unverified_claims(token)
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not any(each in audiences for each in map(str, named)):
        raise UnauthenticatedError(Reason.WRONG_AUDIENCE)
    expiry = claims.get("exp")
    # A text or a NaN is never later than anything.
    if not isinstance(expiry, int | float) or not expiry > now - LEEWAY:
        raise UnauthenticatedError(Reason.EXPIRED)
    return float(min(expiry, _END_OF_TIME))


def _unverified_claims(token: str) -> dict[str, object]:
    match = _JWT.fullmatch(token)
    if match is None:
        raise UnauthenticatedError(Reason.NOT_A_JWT)
    payload = match[1]
    try:
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    # From None: what cannot be read may be a secret, and these errors quote it.
    except (binascii.Error, ValueError, RecursionError):
        raise UnauthenticatedError(Reason.NOT_A_JWT) from None
    if not isinstance(claims, dict):
        raise UnauthenticatedError(Reason.NOT_A_JWT)
    return claims
