"""What a waypoint does with a request: it and the policies that apply come in, a verdict goes out.

Read from the values alone, not from what Envoy is sent: the two are compared in tests.
docs/protocol/http-policies.md HP-20, HP-21.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from controlplane.model.http_policy import (
    Attribute,
    Criteria,
    Criterion,
    HostInAnyForm,
    HttpAction,
    HttpPolicy,
    HttpRule,
    ListItem,
    PathTemplate,
    TokenPrincipal,
    Value,
    Wildcard,
)
from controlplane.model.names import Name
from controlplane.model.network import masked
from controlplane.model.policy import AddressMatch, MatchType, ServiceAccountMatch, StringMatch

_SCHEME: Final = "spiffe://"
_IDENTITY: Final = re.compile(
    r"spiffe://(?P<domain>[^/]+)/ns/(?P<namespace>[^/]*)/sa/(?P<account>.*)"
)
_BETWEEN_HOSTS: Final = "@,"
_BEHIND_HOST: Final = ":,"
_TEMPLATE_CHARACTERS: Final = r"[A-Za-z0-9\-._~%!$&'()+,;:@=]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. ``remote`` is what X-Forwarded-For claims, ``source`` is known; both packed.

    ``claims`` is the payload of the token, None without a valid one.
    """

    identity: str
    source: bytes = b"\x7f\0\0\1"
    remote: bytes = b"\x7f\0\0\1"
    claims: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """What is asked, as Envoy sees it after normalizing the path.

    ``destination`` is packed; it is b"", and ``port`` 0, where the client came by hostname. Names
    of headers are lower case, each has one line: Envoy looks at several one by one. ``metadata`` is
    that of filters, by filter and key.
    """

    caller: Caller
    destination: bytes = b"\x0a\x60\0\x0a"
    port: int = 80
    server_name: str = ""
    method: str = "GET"
    authority: str = ""
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A rule of a policy that matched."""

    policy: Name
    rule: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows.

    ``because`` is the rule that denied or allowed: None where no rule had to allow, or none did.
    ``asked`` is the provider that decides first if the verdict is to allow, "" for nobody.
    ``audited`` and ``tried`` are the matches of AUDIT policies and of dry runs, as far as the
    request came: CUSTOM is asked first, then AUDIT, DENY and ALLOW.
    """

    is_allowed: bool
    because: Matched | None = None
    asked: str = ""
    audited: tuple[Matched, ...] = ()
    tried: tuple[Matched, ...] = ()


def decide(request: HttpRequest, policies: Iterable[HttpPolicy], *, asked: str = "") -> Verdict:
    """Return the verdict on ``request``; ``asked`` is the provider that the waypoint can ask."""
    ordered = sorted(policies, key=lambda policy: policy.key)
    enforced = [policy for policy in ordered if not policy.is_dry_run]
    matches = {policy.key: matched(request, policy) for policy in ordered}

    def first(action: HttpAction, *, known: bool | None = None) -> Matched | None:
        for policy in enforced:
            is_known = bool(asked) and policy.provider == asked
            if policy.action is action and known in (None, is_known) and matches[policy.key]:
                return matches[policy.key]
        return None

    undecided = first(HttpAction.CUSTOM, known=False)
    if undecided is not None:
        return Verdict(is_allowed=False, because=undecided)
    tried = [each for each in ordered if each.is_dry_run]
    verdict = Verdict(
        is_allowed=False,
        audited=_all(matches, [each for each in enforced if each.action is HttpAction.AUDIT]),
        tried=_all(matches, tried),
    )
    denied = first(HttpAction.DENY)
    if denied is not None:
        reached = [each for each in tried if each.action is not HttpAction.ALLOW]
        return replace(verdict, because=denied, tried=_all(matches, reached))
    allowed = first(HttpAction.ALLOW)
    has_to_be_allowed = any(policy.action is HttpAction.ALLOW for policy in enforced)
    if has_to_be_allowed and allowed is None:
        return verdict
    who = asked if first(HttpAction.CUSTOM, known=True) else ""
    return replace(verdict, is_allowed=True, because=allowed, asked=who)


def matched(request: HttpRequest, policy: HttpPolicy) -> Matched | None:
    """Return the first rule of ``policy`` that ``request`` meets, if any does."""
    for rule in policy.rules:
        if _meets_rule(request, rule):
            return Matched(policy=policy.key, rule=rule.place)
    return None


def _all(
    matches: Mapping[Name, Matched | None], policies: Iterable[HttpPolicy]
) -> tuple[Matched, ...]:
    found = (matches[policy.key] for policy in policies)
    return tuple(each for each in found if each is not None)


def _meets_rule(request: HttpRequest, rule: HttpRule) -> bool:
    return (
        any(_meets_all(request, each) for each in rule.sources or ((),))
        and any(_meets_all(request, each) for each in rule.operations or ((),))
        and _meets_all(request, rule.conditions)
    )


def _meets_all(request: HttpRequest, criteria: Criteria) -> bool:
    return all(meets(request, criterion) for criterion in criteria)


def meets(request: HttpRequest, criterion: Criterion) -> bool:
    """Return whether ``request`` meets one criterion."""
    found = any(_is(request, criterion, value) for value in criterion.values)
    return found is not criterion.is_negated


def _is(  # noqa: PLR0911 - one for each kind of value
    request: HttpRequest, criterion: Criterion, value: Value
) -> bool:
    attribute = criterion.attribute
    match value:
        case AddressMatch():
            return _within(_ADDRESSES[attribute](request), value)
        case int():
            return request.port == value
        case PathTemplate(text):
            return _template(text).fullmatch(_path(request)) is not None
        case TokenPrincipal(issuer, subject):
            claims = request.caller.claims
            return _holds(_dig(claims, ("iss",)), issuer) and _holds(
                _dig(claims, ("sub",)), subject
            )
        case HostInAnyForm(match):
            return _names(_lower(request.authority), match.type, _lower(match.value))
        case StringMatch() if attribute in _TEXTS:
            return _compares(_TEXTS[attribute](request), value)
        case StringMatch() | ListItem():
            return _is_of_request(request, criterion, value)
    return _is_identity(request.caller.identity, attribute, value)


def _is_of_request(
    request: HttpRequest, criterion: Criterion, value: StringMatch | ListItem
) -> bool:
    attribute, path = criterion.attribute, criterion.path
    if attribute is Attribute.METADATA:
        return _holds(_dig(request.metadata, path), value)
    if isinstance(value, ListItem):
        raise TypeError(f"{attribute} cannot be {value!r}")
    if attribute is Attribute.HOST:
        lower = StringMatch(value.type, _lower(value.value))
        return _compares(_lower(request.authority), lower)
    if attribute is Attribute.HEADER:
        header = _header(request, path[0])
        is_any = value.type is MatchType.PRESENCE
        return header is not None and (is_any or _compares(header, value))
    if attribute in _CLAIMS or attribute is Attribute.CLAIM:
        found = _dig(request.caller.claims, _CLAIMS.get(attribute, path))
        return _holds(found, value) or _holds(found, ListItem(value))
    return _is_identity(request.caller.identity, attribute, value)


def _is_identity(identity: str, attribute: Attribute, value: Value) -> bool:
    if not identity.startswith(_SCHEME):
        return False
    rest = identity.removeprefix(_SCHEME)
    domain, slash, _ = rest.partition("/")
    parts = _IDENTITY.fullmatch(identity)
    match attribute, value:
        case Attribute.PRINCIPAL, StringMatch(MatchType.PRESENCE, _):
            return True
        case Attribute.PRINCIPAL, StringMatch() as match:
            return _compares(rest, match)
        case Attribute.TRUST_DOMAIN, Wildcard() as wildcard:
            return bool(slash) and _fills(domain, wildcard)
        case Attribute.NAMESPACE, Wildcard() as wildcard:
            return parts is not None and _fills(parts["namespace"], wildcard)
        case Attribute.SERVICE_ACCOUNT, ServiceAccountMatch(namespace, account):
            return parts is not None and (namespace, account) == (
                parts["namespace"],
                parts["account"],
            )
    raise TypeError(f"{attribute} cannot be {value!r}")


def _compares(text: str, match: StringMatch) -> bool:
    match match:
        case (MatchType.EXACT, value):
            return text == value
        case (MatchType.PREFIX, value):
            return text.startswith(value)
        case (MatchType.SUFFIX, value):
            return text.endswith(value)
    return text != ""


def _fills(text: str, wildcard: Wildcard) -> bool:
    return re.fullmatch("[^/]*".join(map(re.escape, wildcard.parts)), text) is not None


def _within(address: bytes, block: AddressMatch) -> bool:
    if len(address) != len(block.address):
        return False
    return masked(address, block.length) == masked(block.address, block.length)


def _lower(text: str) -> str:
    """Return ``text`` in lower case as far as hostnames have cases."""
    return text.encode().lower().decode()


def _names(authority: str, kind: MatchType, host: str) -> bool:
    """Return whether ``authority`` names ``host``, whatever else is in it."""
    for text in (authority, authority.replace(".:", ":")):
        for start in range(len(text)):
            is_start = start == 0 or text[start - 1] in _BETWEEN_HOSTS
            if (is_start or kind is MatchType.SUFFIX) and text.startswith(host, start):
                end = start + len(host)
                if kind is MatchType.PREFIX or _ends(text, end):
                    return True
    return False


def _ends(text: str, place: int) -> bool:
    return any(
        rest == "" or rest[0] in _BEHIND_HOST
        for rest in (text[place:], text[place:].removeprefix("."))
    )


def _path(request: HttpRequest) -> str:
    return re.split("[?#]", request.path, maxsplit=1)[0]


def _header(request: HttpRequest, name: str) -> str | None:
    own = {
        "host": request.authority,
        ":authority": request.authority,
        ":method": request.method,
        ":path": request.path,
    }
    return own.get(name) or request.headers.get(name)


def _template(text: str) -> re.Pattern[str]:
    pattern = re.escape(text).replace(r"\*\*", "(.*)").replace(r"\*", f"{_TEMPLATE_CHARACTERS}+")
    # What is left over may have slashes, and stars, which no other hole takes.
    rest = f"(?:{_TEMPLATE_CHARACTERS}|[/*])*"
    return re.compile(pattern.replace("(.*)", rest))


def _dig(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _holds(found: Any, value: StringMatch | ListItem) -> bool:
    if isinstance(value, ListItem):
        return isinstance(found, list) and any(_holds(each, value.match) for each in found)
    return isinstance(found, str) and _compares(found, value)


_ADDRESSES: Final[Mapping[Attribute, Callable[[HttpRequest], bytes]]] = {
    Attribute.SOURCE_IP: lambda request: request.caller.source,
    Attribute.REMOTE_IP: lambda request: request.caller.remote,
    Attribute.DESTINATION_IP: lambda request: request.destination,
}
_TEXTS: Final[Mapping[Attribute, Callable[[HttpRequest], str]]] = {
    Attribute.SERVER_NAME: lambda request: request.server_name,
    Attribute.METHOD: lambda request: request.method,
    Attribute.PATH: _path,
}
_CLAIMS: Final = {Attribute.AUDIENCE: ("aud",), Attribute.PRESENTER: ("azp",)}
