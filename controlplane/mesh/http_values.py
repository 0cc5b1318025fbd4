"""Single values of a policy for waypoints: text as users write it in, model values out.

Every reader takes the text and the policy's namespace and returns None for a value that cannot be
used: it is no value of its attribute, or nothing could ever have it. What follows is decided by
``controlplane.mesh.http_translation``. docs/protocol/http-policies.md HP-4 to HP-8.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from controlplane.mesh.authorization_values import (
    address_match,
    port_match,
    service_account_match,
    string_match,
)
from controlplane.model.http_policy import (
    Attribute,
    HostInAnyForm,
    ListItem,
    PathTemplate,
    TokenPrincipal,
    Value,
    Wildcard,
)
from controlplane.model.policy import MatchType, StringMatch

ReadHttpValue = Callable[[str, str], Value | None]

_SCHEME: Final = "spiffe://"
_ANY: Final = StringMatch(MatchType.PRESENCE)
_SEGMENT: Final = re.compile(r"[A-Za-z0-9\-._~%!$&'()+,;:@=]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST: Final = 4096
_MOST_HOLES: Final = 5
_LONGEST_TEMPLATE: Final = 256
"""What an Envoy takes, in characters without braces."""


def text(value: str, namespace: str) -> StringMatch | None:
    """Return how text compares; None for nothing, and for what no request can contain."""
    return string_match(value, namespace) if _is_possible(value) else None


def identity(value: str, namespace: str) -> StringMatch | None:
    """Return how a SPIFFE identity without its scheme compares."""
    match = text(value, namespace)
    if match is None or "*" in match.value or value.startswith(_SCHEME):
        return None
    return match


def wildcard(value: str, _namespace: str) -> Wildcard | None:
    """Return a part of an identity in which every ``*`` is a hole."""
    if not value or "/" in value or not _is_possible(value):
        return None
    return Wildcard(tuple(value.split("*")))


def token_principal(value: str, _namespace: str) -> TokenPrincipal | None:
    """Return issuer and subject, which the last slash divides.

    A slash of ``://`` divides nothing. A wildcard at either end belongs to what is there, and what
    is not written may be anything.
    """
    if not value or not _is_possible(value):
        return None
    if value == "*":
        return TokenPrincipal(_ANY, _ANY)
    issuer, slash, subject = value.rpartition("/")
    if not slash or issuer.endswith(":/"):
        if value.endswith("*"):
            return TokenPrincipal(_compared(value), _ANY)
        return TokenPrincipal(_ANY, _compared(value)) if value.startswith("*") else None
    if not issuer or not subject:
        return None
    # Only the ends of the whole text can be wildcards.
    first = _compared(issuer) if issuer.startswith("*") else StringMatch(MatchType.EXACT, issuer)
    last = _compared(subject) if subject.endswith("*") else StringMatch(MatchType.EXACT, subject)
    return TokenPrincipal(first, last)


def path(value: str, namespace: str) -> Value | None:
    """Return how a path compares; braces make it a template (HP-6)."""
    if "{" not in value and "}" not in value:
        return text(value, namespace)
    if not value.startswith("/") or not _is_possible(value):
        return None
    segments = value[1:].split("/")
    has_rest = segments[-1] == "{**}"
    holes = segments.count("{*}") + has_rest
    literal = [each for each in (segments[:-1] if has_rest else segments) if each != "{*}"]
    if not 0 < holes <= _MOST_HOLES or not all(_SEGMENT.fullmatch(each) for each in literal):
        return None
    template = value.replace("{", "").replace("}", "")
    if "" in literal or len(template) > _LONGEST_TEMPLATE:
        return None
    return PathTemplate(template)


def host_in_any_form(value: Value | None) -> Value | None:
    """Return how a host compares that must not be missed because of how it is written (HP-27)."""
    if isinstance(value, StringMatch) and value != _ANY:
        return HostInAnyForm(value)
    return value


def metadata(value: str, namespace: str) -> Value | None:
    """Return how a value of a filter compares; in brackets it is an item of a list."""
    if value.startswith("[") and value.endswith("]"):
        match = text(value[1:-1], namespace)
        return None if match is None else ListItem(match)
    return text(value, namespace)


def _is_possible(value: str) -> bool:
    """Return whether a request could contain it, and a regular expression hold it."""
    return len(value) <= _LONGEST and not _CONTROL.search(value)


def _compared(value: str) -> StringMatch:
    return string_match(value, "") or _ANY


READERS: Final[Mapping[Attribute, ReadHttpValue]] = {
    Attribute.PRINCIPAL: identity,
    Attribute.NAMESPACE: wildcard,
    Attribute.SERVICE_ACCOUNT: service_account_match,
    Attribute.TRUST_DOMAIN: wildcard,
    Attribute.SOURCE_IP: address_match,
    Attribute.REMOTE_IP: address_match,
    Attribute.TOKEN_PRINCIPAL: token_principal,
    Attribute.AUDIENCE: text,
    Attribute.PRESENTER: text,
    Attribute.CLAIM: text,
    Attribute.HEADER: text,
    Attribute.HOST: text,
    Attribute.METHOD: text,
    Attribute.PATH: path,
    Attribute.DESTINATION_PORT: port_match,
    Attribute.DESTINATION_IP: address_match,
    Attribute.SERVER_NAME: text,
    Attribute.METADATA: metadata,
}
"""How the values of each attribute are read."""

_HEADER_KEY: Final = re.compile(r"request\.headers\[(:?[A-Za-z0-9!#$%&'*+\-.^_`|~]+)\]")
_CLAIM_KEY: Final = re.compile(r"request\.auth\.claims((?:\[[^\[\]]+\])+)")
_METADATA_KEY: Final = re.compile(r"experimental\.(envoy\.filters\.[^\[\]]+)\[([^\[\]]+)\]")
_PLAIN_KEYS: Final = {
    attribute.value: attribute
    for attribute in (
        Attribute.PRINCIPAL,
        Attribute.NAMESPACE,
        Attribute.SERVICE_ACCOUNT,
        Attribute.TRUST_DOMAIN,
        Attribute.SOURCE_IP,
        Attribute.REMOTE_IP,
        Attribute.TOKEN_PRINCIPAL,
        Attribute.AUDIENCE,
        Attribute.PRESENTER,
        Attribute.DESTINATION_PORT,
        Attribute.DESTINATION_IP,
        Attribute.SERVER_NAME,
    )
}


def attribute_of(key: str) -> tuple[Attribute, tuple[str, ...]] | None:
    """Return the attribute of a condition's key and the way to it; None for any other key."""
    plain = _PLAIN_KEYS.get(key)
    if plain is not None:
        return plain, ()
    if found := _HEADER_KEY.fullmatch(key):
        return Attribute.HEADER, (found[1].lower(),)
    if found := _CLAIM_KEY.fullmatch(key):
        return Attribute.CLAIM, tuple(found[1][1:-1].split("]["))
    if found := _METADATA_KEY.fullmatch(key):
        return Attribute.METADATA, (found[1], found[2])
    return None
