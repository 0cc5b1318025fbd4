"""Whose tokens a waypoint takes, and the sets of keys that tell them from forged ones.

``mesh.token_rules`` makes rules of RequestAuthentications, ``encode.token_filter`` filters of
rules. docs/protocol/request-authentication.md RA-n.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

REFUSING_KEYS: Final = (
    '{"keys":[{"alg":"ES256","crv":"P-256","kty":"EC",'
    '"x":"dVtiyM-bZQBywJKXHiY7Yt1eWw0ycBrHPewmbXM0yZ0",'
    '"y":"C4-iRweST0aBWRkztjtCYVb_KkTDoka_e_eJo_tw8K8"}]}'
)
"""A set of one key that nobody has: its point is made of the hash of a sentence (RA-9)."""


class TokenHeader(NamedTuple):
    """A header that tokens come in, behind ``prefix``."""

    name: str
    prefix: str = ""


class ClaimHeader(NamedTuple):
    """A header that is given the value of a claim."""

    header: str
    claim: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRule:
    """The tokens of one issuer: a request that brings one brings one that is good.

    ``keys`` is a key set that every Envoy takes. Without headers, parameters and cookies tokens
    are read where they usually are. ``lists`` are claims whose text is a list with spaces.
    """

    issuer: str
    keys: str
    audiences: tuple[str, ...] = ()
    headers: tuple[TokenHeader, ...] = ()
    parameters: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    forwards: bool = False
    payload_header: str = ""
    claim_headers: tuple[ClaimHeader, ...] = ()
    lists: tuple[str, ...] = ()


class KeySetRequest(NamedTuple):
    """A key set that rules need; ``seconds`` is how long fetching it may take, 0.0 for as usual."""

    uri: str
    seconds: float = 0.0


class FetchedKeySet(NamedTuple):
    """What came of fetching a key set.

    ``keys`` is the last good one, "" without; ``failure`` is why there is none, or why it is old.
    """

    uri: str
    keys: str
    failure: str = ""
