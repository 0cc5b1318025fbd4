"""What filters are told by a route: origins of browsers, and clients that keep their endpoint.

docs/protocol/http-route-config.md EH-20, EH-21.
"""

import re
from typing import Any, Final

from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2
from envoy.extensions.http.stateful_session.cookie.v3 import cookie_pb2
from envoy.extensions.http.stateful_session.header.v3 import header_pb2
from envoy.type.matcher.v3 import string_pb2

from controlplane.encode.http_route_match import trimmed
from controlplane.encode.http_route_values import duration, header_value, path, token
from controlplane.encode.typed import packed
from controlplane.model.http_route import (
    CrossOrigin,
    HttpRoute,
    PathKind,
    PersistenceKind,
    SessionPersistence,
)

CORS: Final = "envoy.filters.http.cors"
STATEFUL_SESSION: Final = "envoy.filters.http.stateful_session"

_ANY_ORIGIN: Final = r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s?#]+$"
_PART: Final = r"[^/\s?#]*"


def set_filters(message: Any, route: HttpRoute) -> None:
    """Tell ``message`` what the filters are to do for requests on ``route``.

    Raises ValueError for what Envoy would reject.
    """
    if route.cross_origin is not None:
        policy = packed(_cross_origin(route.cross_origin))
        message.typed_per_filter_config[CORS].CopyFrom(policy)
    if route.persistence is not None:
        state = packed(_persistence(route.persistence, _cookie_path(route)))
        message.typed_per_filter_config[STATEFUL_SESSION].CopyFrom(state)


def _cross_origin(value: CrossOrigin) -> Any:
    return cors_pb2.CorsPolicy(
        filter_enabled={"default_value": {"numerator": 100}},
        allow_origin_string_match=[_origin(origin) for origin in value.allowed_origins],
        allow_methods=_listed(value.allowed_methods),
        allow_headers=_listed(value.allowed_headers),
        expose_headers=_listed(value.exposed_headers),
        max_age=str(duration(value.max_age).seconds),
        allow_credentials={"value": value.allows_credentials},
        forward_not_matching_preflights={"value": False},
    )


def _listed(names: tuple[str, ...]) -> str:
    return ",".join(token(name) for name in names)


def _origin(origin: str) -> Any:
    """Return what origins are compared with: a ``*`` never goes beyond the host and its port."""
    header_value(origin)
    if origin == "*":
        return string_pb2.StringMatcher(safe_regex={"regex": _ANY_ORIGIN})
    if "*" in origin:
        expression = _PART.join(re.escape(part) for part in origin.split("*"))
        return string_pb2.StringMatcher(safe_regex={"regex": expression})
    return string_pb2.StringMatcher(exact=origin)


def _persistence(value: SessionPersistence, cookie_path: str) -> Any:
    if value.kind is PersistenceKind.HEADER:
        state = header_pb2.HeaderBasedSessionState(name=token(value.name))
        name = "envoy.http.stateful_session.header"
    else:
        cookie = {"name": token(value.name), "path": cookie_path}
        if value.lifetime is not None:
            cookie["ttl"] = duration(value.lifetime)
        state = cookie_pb2.CookieBasedSessionState(cookie=cookie)
        name = "envoy.http.stateful_session.cookie"
    return stateful_session_pb2.StatefulSessionPerRoute(
        stateful_session={"session_state": {"name": name, "typed_config": packed(state)}}
    )


def _cookie_path(route: HttpRoute) -> str:
    """Return what a cookie is good for: the route's path where that is one, else everything."""
    matched = route.match.path
    if matched is None or matched.kind is PathKind.REGULAR_EXPRESSION:
        return "/"
    found = path(matched.value)
    return found if matched.kind is PathKind.EXACT else trimmed(found) or "/"
