"""Routes of a service port: what applies comes in, Envoy's routes go out, each for itself.

Envoy takes all routes of a service or none, so a route it would reject is told apart here: it
answers 500, or is left out where nobody can say which requests it is for.
docs/protocol/http-route-config.md EH-1, EH-2.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from envoy.config.route.v3 import route_components_pb2

from controlplane.encode.http_route_action import backends_of, set_action
from controlplane.encode.http_route_filters import set_filters
from controlplane.encode.http_route_headers import response_headers
from controlplane.encode.http_route_match import route_match
from controlplane.encode.http_route_path import redirect_action
from controlplane.encode.typed import encoded
from controlplane.model.http_route import HttpRoute
from controlplane.model.names import ObjectReference

_FAILED: Final = 500


class RouteFault(NamedTuple):
    """A route that is not sent as written: of which object, its name and why."""

    object: ObjectReference
    name: str
    reason: str


class EncodedRoutes(NamedTuple):
    """The routes of one port as serialized Route messages, in order, and what is wrong."""

    messages: tuple[bytes, ...] = ()
    faults: tuple[RouteFault, ...] = ()


def encode_http_routes(
    routes: Sequence[HttpRoute], port: int, trust_domains: Sequence[str]
) -> EncodedRoutes:
    """Return ``routes`` of a service's ``port`` for a waypoint that trusts ``trust_domains``."""
    messages, faults = [], []
    for route in routes:
        message, reason = _encoded(route, port, trust_domains)
        if message is not None:
            messages.append(encoded(message))
        if reason:
            faults.append(RouteFault(route.owner, route.name, reason))
    return EncodedRoutes(tuple(messages), tuple(faults))


def _encoded(route: HttpRoute, port: int, trust_domains: Sequence[str]) -> tuple[Any | None, str]:
    try:
        match = route_match(route, trust_domains)
        message = route_components_pb2.Route(name=route.name, match=match)
    except (ValueError, TypeError) as error:
        return None, str(error)
    bare = route_components_pb2.Route()
    bare.CopyFrom(message)
    try:
        _set_outcome(message, route, port)
    except (ValueError, TypeError) as error:
        bare.direct_response.status = _FAILED
        return bare, str(error)
    return message, ""


def _set_outcome(message: Any, route: HttpRoute, port: int) -> None:
    set_filters(message, route)
    if route.redirect is None and backends_of(route):
        set_action(message, route)
        return
    headers = response_headers(route.response_headers)
    message.response_headers_to_add.extend(headers.options)
    message.response_headers_to_remove.extend(headers.removed)
    if route.redirect is not None:
        message.redirect.CopyFrom(redirect_action(route.redirect, route.match.path, port))
    else:
        message.direct_response.status = _FAILED
