"""RequestAuthentications: raw JSON shape -> ``istio.TokenIssuer``, refusing what is not understood.

A misspelt audience or a location that no client could use would let other tokens in, or none, so
the object is refused and its last good version stays in force (docs/protocol/
request-authentication.md RA-1 to RA-3).
"""

import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from controlplane.manifests import istio
from controlplane.manifests.documents import Path
from controlplane.manifests.metadata import Metadata
from controlplane.manifests.read_fields import RefusedFieldError, objects
from controlplane.manifests.read_metadata import RawObject
from controlplane.manifests.read_policies import RawAttachment, selector_of, targets_of

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_NAME: Final = re.compile(r"[!-~]{1,256}")
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,4096}")
_PREFIX: Final = re.compile(r"[ -~]{0,256}")
_DURATION: Final = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:h|m|s|ms|us|ns)){1,6}")
_PART: Final = re.compile(r"([0-9.]+)(h|ms|m|s|us|ns)")
_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_NOT_TO_WRITE: Final = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_AUTHORIZATION: Final = "authorization"


class RawTokenHeader(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``fromHeaders[]``."""

    name: str = ""
    prefix: str = ""


class RawClaimHeader(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``outputClaimToHeaders[]``."""

    header: str = ""
    claim: str = ""


class RawTokenIssuer(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``jwtRules[]``."""

    issuer: str = ""
    audiences: tuple[str, ...] = ()
    jwks: str = ""
    jwks_uri: str = ""
    from_headers: tuple[RawTokenHeader | None, ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    forward_original_token: bool = False
    output_payload_to_header: str = ""
    output_claim_to_headers: tuple[RawClaimHeader | None, ...] = ()
    space_delimited_claims: tuple[str, ...] = ()
    timeout: str = ""


class RawRequestSpec(RawAttachment, rename="camel", forbid_unknown_fields=True):
    """``spec`` of a RequestAuthentication."""

    jwt_rules: tuple[RawTokenIssuer | None, ...] | None = None


class RawRequestAuthentication(RawObject, rename="camel"):
    """A RequestAuthentication."""

    spec: RawRequestSpec | None = None


_HEADER_OF_TOKEN: Final = RawTokenHeader()
_HEADER_OF_CLAIM: Final = RawClaimHeader()
_ISSUER: Final = RawTokenIssuer()


def read_request_authentication(
    raw: RawRequestAuthentication, metadata: Metadata
) -> istio.RequestAuthentication:
    """Return the RequestAuthentication."""
    spec = raw.spec or RawRequestSpec()
    return istio.RequestAuthentication(
        metadata=metadata,
        selector=selector_of(spec),
        target_references=targets_of(spec),
        issuers=tuple(
            _issuer(issuer, ("spec", "jwtRules", index))
            for index, issuer in enumerate(objects(spec.jwt_rules, _ISSUER))
        ),
    )


def _issuer(raw: RawTokenIssuer, path: Path) -> istio.TokenIssuer:
    if raw.jwks and raw.jwks_uri:
        raise RefusedFieldError((*path, "jwksUri"), "an issuer has jwks or jwksUri, not both")
    if raw.jwks_uri:
        _require_url(raw.jwks_uri, (*path, "jwksUri"))
    issuer = istio.TokenIssuer(
        issuer=_matching(_TEXT, raw.issuer, (*path, "issuer")),
        audiences=_each(_TEXT, raw.audiences, (*path, "audiences")),
        keys=raw.jwks,
        keys_uri=raw.jwks_uri,
        headers=tuple(
            istio.TokenHeader(
                name=_matching(_HEADER, header.name, (*path, "fromHeaders", index, "name")),
                prefix=_matching(_PREFIX, header.prefix, (*path, "fromHeaders", index, "prefix")),
            )
            for index, header in enumerate(objects(raw.from_headers, _HEADER_OF_TOKEN))
        ),
        parameters=_each(_NAME, raw.from_params, (*path, "fromParams")),
        cookies=_each(_NAME, raw.from_cookies, (*path, "fromCookies")),
        forwards=raw.forward_original_token,
        payload_header=raw.output_payload_to_header,
        claim_headers=tuple(
            istio.ClaimHeader(
                header=header.header,
                claim=_matching(
                    _TEXT, header.claim, (*path, "outputClaimToHeaders", index, "claim")
                ),
            )
            for index, header in enumerate(objects(raw.output_claim_to_headers, _HEADER_OF_CLAIM))
        ),
        lists=_each(_TEXT, raw.space_delimited_claims, (*path, "spaceDelimitedClaims")),
        timeout=_timeout(raw.timeout, (*path, "timeout")),
    )
    if issuer.payload_header:
        _require_output(issuer, issuer.payload_header, (*path, "outputPayloadToHeader"))
    for index, output in enumerate(issuer.claim_headers):
        _require_output(issuer, output.header, (*path, "outputClaimToHeaders", index, "header"))
    return issuer


def _require_output(issuer: istio.TokenIssuer, header: str, path: Path) -> None:
    name = _matching(_HEADER, header, path).lower()
    read = {each.name.lower() for each in issuer.headers}
    if not (issuer.headers or issuer.parameters or issuer.cookies):
        read = {_AUTHORIZATION}
    if name in _NOT_TO_WRITE:
        raise RefusedFieldError(path, f"{header!r} is not a header to write to")
    if name in read:
        raise RefusedFieldError(path, f"{header!r} is where the token is read")


def _require_url(text: str, path: Path) -> None:
    try:
        url = urlsplit(text)
        is_usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or not _NAME.fullmatch(text[:256]) or len(text) > 2048:
        raise RefusedFieldError(path, "expected a URL that starts with https:// or http://")
    if url.username is not None or url.password is not None:
        raise RefusedFieldError(path, "a URL of keys has no user and no password")


def _each(pattern: re.Pattern[str], values: tuple[str, ...], path: Path) -> tuple[str, ...]:
    return tuple(_matching(pattern, value, (*path, index)) for index, value in enumerate(values))


def _matching(pattern: re.Pattern[str], value: str, path: Path) -> str:
    if pattern.fullmatch(value):
        return value
    reason = f"{value[:64]!r} cannot be used here" if value else "the field must not be empty"
    raise RefusedFieldError(path, reason)


def _timeout(value: str, path: Path) -> float:
    if not value:
        return 0.0
    if not _DURATION.fullmatch(value):
        raise RefusedFieldError(path, f"{value[:64]!r} is not a duration such as 5s")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
