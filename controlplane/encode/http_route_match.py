"""Which requests a route is for: conditions come in, Envoy's go out.

docs/protocol/http-route-config.md EH-4 to EH-8.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import string_pb2, value_pb2

from controlplane.encode.http_route_values import header_value, path, query_name, token
from controlplane.encode.waypoint_names import PEER_PRINCIPAL
from controlplane.model.http_route import HttpRoute, NamedMatch, PathKind, PathMatch
from controlplane.model.regular_expression import expression_fault

_TOKEN_FILTER: Final = "envoy.filters.http.jwt_authn"  # noqa: S105 - the name of a filter
_CLAIMS: Final = "@request.auth.claims"
_BRACKETS: Final = re.compile(r"(?:\[[^\[\]]+\])+")
_AUTHORITY: Final = ":authority"
_METHOD: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_|~`-]{1,64}")


def route_match(route: HttpRoute, trust_domains: Sequence[str]) -> Any:
    """Return the conditions of ``route``.

    ``trust_domains`` are those whose certificates clients may have. Raises ValueError for what
    Envoy would reject.
    """
    conditions = route.match
    message = route_components_pb2.RouteMatch()
    _set_path(message, conditions.path)
    if conditions.method:
        if not _METHOD.fullmatch(conditions.method):
            raise ValueError(f"{conditions.method[:64]!a} is no method")
        message.headers.add(name=":method", string_match={"exact": conditions.method})
    for condition in _first_of_each(conditions.headers, is_header=True):
        if condition.name.lower().startswith(_CLAIMS):
            message.dynamic_metadata.add(**_claim(condition))
        else:
            message.headers.add(name=_header_name(condition.name), string_match=_string(condition))
    for condition in _first_of_each(conditions.query, is_header=False):
        message.query_parameters.add(
            name=query_name(condition.name), string_match=_string(condition)
        )
    if route.consumer:
        identity = _identity_in(route.consumer, trust_domains)
        message.filter_state.add(key=PEER_PRINCIPAL, string_match=identity)
    return message


def trimmed(prefix: str) -> str:
    """Return a prefix without the slash it may end with: "" is the prefix of everything."""
    return prefix.removesuffix("/")


def _set_path(message: Any, condition: PathMatch | None) -> None:
    match condition:
        case None:
            message.prefix = "/"
        case (PathKind.EXACT, value):
            message.path = path(value)
        case (PathKind.REGULAR_EXPRESSION, value):
            message.safe_regex.regex = _expression(value)
        case (_, value):
            prefix = trimmed(path(value))
            if prefix.endswith("/"):
                raise ValueError(f"the prefix {value[:64]!a} ends with empty segments")
            if prefix:
                message.path_separated_prefix = prefix
            else:
                message.prefix = "/"


def _first_of_each(conditions: Sequence[NamedMatch], *, is_header: bool) -> Iterator[NamedMatch]:
    """Yield the conditions that count: of several on one name the first."""
    seen = set()
    for condition in conditions:
        name = condition.name
        if is_header and not name.lower().startswith(_CLAIMS):
            name = _header_name(name)
        if name not in seen:
            seen.add(name)
            yield condition


def _header_name(name: str) -> str:
    lower = name.lower()
    return _AUTHORITY if lower in ("host", _AUTHORITY) else token(lower)


def _string(condition: NamedMatch) -> Any:
    if condition.is_expression:
        expression = _expression(condition.value)
        return string_pb2.StringMatcher(safe_regex={"regex": expression})
    return string_pb2.StringMatcher(exact=header_value(condition.value))


def _expression(text: str) -> str:
    if fault := expression_fault(text):
        raise ValueError(f"the regular expression {text[:64]!a}: {fault}")
    return text


def _claim(condition: NamedMatch) -> Any:
    """Return a condition on a claim of a checked token: its text, or one of its texts."""
    names = ["payload", *_claim_names(condition.name)]
    text = value_pb2.ValueMatcher(string_match=_string(condition))
    either = [value_pb2.ValueMatcher(list_match={"one_of": text}), text]
    return {
        "filter": _TOKEN_FILTER,
        "path": [{"key": name} for name in names],
        "value": value_pb2.ValueMatcher(or_match={"value_matchers": either}),
    }


def _claim_names(name: str) -> list[str]:
    """Return ``a``, ``b`` of ``@request.auth.claims.a.b`` and of ``@request.auth.claims[a][b]``."""
    rest = name[len(_CLAIMS) :]
    if _BRACKETS.fullmatch(rest):
        return rest[1:-1].split("][")
    names = rest.removeprefix(".").split(".")
    if not rest.startswith(".") or not all(names):
        raise ValueError(f"{name[:64]!a} names no claim")
    return names


def _identity_in(namespace: str, trust_domains: Sequence[str]) -> Any:
    """Return who is a client of ``namespace``: the whole identity is compared."""
    if not trust_domains:
        raise ValueError("no trust domain is known")
    domains = "|".join(re.escape(domain) for domain in trust_domains)
    expression = f"spiffe://(?:{domains})/ns/{re.escape(namespace)}/sa/[^/]+"
    return string_pb2.StringMatcher(safe_regex={"regex": _expression(expression)})
