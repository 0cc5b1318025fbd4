"""Routes of waypoints: the name of an HTTP chain comes in, its route configuration goes out.

A route configuration carries the L7 policies too, so that an edit reaches the next request of
connections that are open. docs/protocol/waypoint-config.md WC-31, WC-33, WC-34;
docs/protocol/http-route-config.md.
"""

from collections.abc import Sequence
from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2, route_pb2

from controlplane.encode.envelope import ROUTE_TYPE, resource
from controlplane.encode.errors import EncodeError
from controlplane.encode.http_route_action import plain_action
from controlplane.encode.http_route_retry import retry_policy
from controlplane.encode.override import Overrides
from controlplane.encode.resource import Resource
from controlplane.encode.typed import encoded
from controlplane.encode.waypoint_names import ENCAPSULATE, direct_name, service_name
from controlplane.model.http_route import Retry
from controlplane.model.waypoint_traffic import Layer, ServedPort, ServedService

_MOST_DIRECT_RESPONSE: Final = 1 << 20


def encode_service_routes(
    service: ServedService,
    port: ServedPort,
    overrides: Overrides,
    routes: Sequence[bytes] | None = None,
) -> Resource:
    """Return the routes of one HTTP port of ``service``.

    ``routes`` are serialized ones that apply to it, none of which may be left; None says that no
    object has routes for it: everything goes to the service then. ``overrides`` are its policies;
    without any nobody is let in. Raises EncodeError for values an Envoy would reject.
    """
    name = service_name(port.number, Layer.HTTP, service.hostname)
    try:
        applied = [_default_route(name)] if routes is None else [_read(each) for each in routes]
        return _resource(name, f"inbound|http|{port.number}", applied, overrides)
    except (ValueError, TypeError) as error:
        raise EncodeError(name, str(error)) from error


def encode_direct_routes(overrides: Overrides) -> Resource:
    """Return the routes of workloads reached by address: everything goes where it was sent."""
    routes = [_default_route(ENCAPSULATE)]
    return _resource(direct_name(Layer.HTTP), "direct", routes, overrides)


def _resource(name: str, host: str, routes: list[Any], overrides: Overrides) -> Resource:
    message = route_pb2.RouteConfiguration(
        name=name,
        max_direct_response_body_size_bytes={"value": _MOST_DIRECT_RESPONSE},
        virtual_hosts=[_virtual_host(host, routes, overrides)],
    )
    return resource(name, encoded(message), ROUTE_TYPE)


def _virtual_host(name: str, routes: list[Any], overrides: Overrides) -> Any:
    message = route_components_pb2.VirtualHost(
        name=name, domains=["*"], routes=[*routes, _unrouted()]
    )
    # The chain denies everything by itself: what nobody restricts is opened here, by name.
    for override in overrides:
        message.typed_per_filter_config[override.name].ParseFromString(override.message)
    return message


def _read(route: bytes) -> Any:
    return route_components_pb2.Route.FromString(route)


def _default_route(cluster: str) -> Any:
    action = plain_action()
    action.cluster = cluster
    action.retry_policy.CopyFrom(retry_policy(Retry()))
    return route_components_pb2.Route(name="default", match={"prefix": "/"}, route=action)


def _unrouted() -> Any:
    """Return the last route: without a route a request would be told 403, not 404."""
    return route_components_pb2.Route(
        name="unrouted", match={"prefix": ""}, direct_response={"status": 404}
    )
