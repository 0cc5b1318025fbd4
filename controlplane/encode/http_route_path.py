"""New paths, hosts and answers that lead elsewhere: what a rule says comes in, Envoy's goes out.

docs/protocol/http-route-config.md EH-14 to EH-16.
"""

import re
from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import regex_pb2

from controlplane.encode.http_route_match import trimmed
from controlplane.encode.http_route_values import hostname, path
from controlplane.model.http_route import (
    PathChange,
    PathChangeKind,
    PathKind,
    PathMatch,
    Redirect,
)

_CODES: Final = {
    301: route_components_pb2.RedirectAction.MOVED_PERMANENTLY,
    302: route_components_pb2.RedirectAction.FOUND,
    303: route_components_pb2.RedirectAction.SEE_OTHER,
    307: route_components_pb2.RedirectAction.TEMPORARY_REDIRECT,
    308: route_components_pb2.RedirectAction.PERMANENT_REDIRECT,
}
_WELL_KNOWN: Final = {"http": 80, "https": 443}
_MOST_PORT: Final = 65_535


def redirect_action(redirect: Redirect, matched: PathMatch | None, port: int) -> Any:
    """Return the answer of a route; ``port`` is the one of the service.

    Raises ValueError for what Envoy would reject.
    """
    if redirect.status not in _CODES:
        raise ValueError(f"{redirect.status} is no redirect")
    if redirect.scheme not in ("", *_WELL_KNOWN):
        raise ValueError(f"{redirect.scheme[:64]!a} is no scheme of HTTP")
    message = route_components_pb2.RedirectAction(
        response_code=_CODES[redirect.status], scheme_redirect=redirect.scheme
    )
    if redirect.hostname:
        message.host_redirect = hostname(redirect.hostname)
    message.port_redirect = _told_port(redirect, port)
    match redirect.path:
        case (PathChangeKind.FULL, value):
            message.path_redirect = path(value)
        case (PathChangeKind.PREFIX, value):
            _set_prefix(message, value, matched)
    return message


def set_new_path(action: Any, change: PathChange, matched: PathMatch | None) -> None:
    """Tell ``action`` what the backend gets for a path; the query stays.

    Raises ValueError for what Envoy would reject.
    """
    if change.kind is PathChangeKind.FULL:
        action.regex_rewrite.CopyFrom(_rewrite("/.*", _literal(path(change.value))))
    else:
        _set_prefix(action, change.value, matched)


def _set_prefix(message: Any, value: str, matched: PathMatch | None) -> None:
    if matched is not None and matched.kind is not PathKind.PREFIX:
        raise ValueError("a prefix is replaced of routes that match a prefix")
    old = trimmed(matched.value) if matched is not None else ""
    new = trimmed(path(value)) if value else ""
    if old == new:
        return
    if not old:
        # What is replaced is the slash itself: it has to come again.
        message.prefix_rewrite = f"{new}/"
    elif new:
        message.prefix_rewrite = new
    else:
        # As a prefix it would leave two slashes, or none.
        message.regex_rewrite.CopyFrom(_rewrite(f"^{re.escape(old)}(/?)(.*)", r"/\2"))


def _rewrite(expression: str, substitution: str) -> Any:
    return regex_pb2.RegexMatchAndSubstitute(
        pattern={"regex": expression}, substitution=substitution
    )


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\")


def _told_port(redirect: Redirect, port: int) -> int:
    """Return the port of the answer, 0 to say none.

    Where none is said, Envoy repeats the one that the client gave with the host.
    """
    scheme = redirect.scheme or "http"
    usual = _WELL_KNOWN[scheme]
    wanted = redirect.port or (usual if redirect.scheme else port)
    if not 1 <= wanted <= _MOST_PORT:
        raise ValueError(f"{wanted} is no port")
    client_says_one = not redirect.hostname and port != _WELL_KNOWN["http"]
    return 0 if wanted == usual and not client_says_one else wanted
