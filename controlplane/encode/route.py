"""Routes of waypoints: the name of an HTTP chain comes in, its route configuration goes out.

A route configuration carries the L7 policies too, so that an edit reaches the next request of
connections that are open. docs/protocol/waypoint-config.md WC-31, WC-33, WC-34.
"""

from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2

from controlplane.encode.envelope import ROUTE_TYPE, resource
from controlplane.encode.errors import EncodeError
from controlplane.encode.override import Overrides
from controlplane.encode.resource import Resource
from controlplane.encode.typed import encoded, packed, seconds
from controlplane.encode.waypoint_names import ENCAPSULATE, direct_name, service_name
from controlplane.model.waypoint_traffic import Layer, ServedPort, ServedService

_RETRY_ON: Final = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
_MOST_DIRECT_RESPONSE: Final = 1 << 20


def encode_service_routes(
    service: ServedService, port: ServedPort, overrides: Overrides
) -> Resource:
    """Return the routes of one HTTP port of ``service``: everything goes to the service.

    ``overrides`` are its policies; without any nobody is let in. Raises EncodeError for values an
    Envoy would reject.
    """
    name = service_name(port.number, Layer.HTTP, service.hostname)
    try:
        return _resource(name, f"inbound|http|{port.number}", name, overrides)
    except (ValueError, TypeError) as error:
        raise EncodeError(name, str(error)) from error


def encode_direct_routes(overrides: Overrides) -> Resource:
    """Return the routes of workloads reached by address: everything goes where it was sent."""
    return _resource(direct_name(Layer.HTTP), "direct", ENCAPSULATE, overrides)


def _resource(name: str, host: str, cluster: str, overrides: Overrides) -> Resource:
    message = route_pb2.RouteConfiguration(
        name=name,
        max_direct_response_body_size_bytes={"value": _MOST_DIRECT_RESPONSE},
        virtual_hosts=[_virtual_host(host, [_default_route(cluster)], overrides)],
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


def _default_route(cluster: str) -> Any:
    action = route_components_pb2.RouteAction(
        cluster=cluster,
        # Envoy's own limit of 15 seconds is not ours to impose.
        timeout=seconds(0),
        max_stream_duration={
            "max_stream_duration": seconds(0),
            "grpc_timeout_header_max": seconds(0),
        },
        retry_policy=_retries(),
    )
    return route_components_pb2.Route(name="default", match={"prefix": "/"}, route=action)


def _retries() -> Any:
    elsewhere = {
        "name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": packed(previous_hosts_pb2.PreviousHostsPredicate()),
    }
    return route_components_pb2.RetryPolicy(
        retry_on=_RETRY_ON,
        num_retries={"value": 2},
        host_selection_retry_max_attempts=5,
        retry_host_predicate=[elsewhere],
    )


def _unrouted() -> Any:
    """Return the last route: without a route a request would be told 403, not 404."""
    return route_components_pb2.Route(
        name="unrouted", match={"prefix": ""}, direct_response={"status": 404}
    )
