"""Where a route sends requests: backends, copies and limits come in, Envoy's action goes out.

docs/protocol/http-route-config.md EH-9 to EH-13, EH-17, EH-18.
"""

from datetime import timedelta
from typing import Any, Final, NamedTuple

from envoy.config.route.v3 import route_components_pb2

from controlplane.encode.http_route_headers import Headers, request_headers, response_headers
from controlplane.encode.http_route_path import set_new_path
from controlplane.encode.http_route_retry import retry_policy
from controlplane.encode.http_route_values import duration, hostname
from controlplane.encode.typed import seconds
from controlplane.encode.waypoint_names import outbound_name, service_name
from controlplane.model.http_route import (
    Destination,
    HttpRoute,
    Mirror,
    Retry,
    RouteBackend,
)
from controlplane.model.waypoint_traffic import Layer

NOWHERE: Final = "invalid-backend"
"""The name of no cluster: who is sent there is answered 500."""

_INTERNAL_ERROR: Final = route_components_pb2.RouteAction.INTERNAL_SERVER_ERROR
_MILLION: Final = 1_000_000
_MOST_WEIGHT: Final = 2**32 - 1


class _Share(NamedTuple):
    """A backend that gets requests, and everything that is changed for it."""

    backend: RouteBackend
    request: Headers
    response: Headers


def backends_of(route: HttpRoute) -> tuple[RouteBackend, ...]:
    """Return the backends that get requests; none of them means that nobody does."""
    found = tuple(backend for backend in route.backends if backend.weight > 0)
    return found if any(backend.destination.is_valid for backend in found) else ()


def set_action(message: Any, route: HttpRoute) -> None:
    """Tell ``message`` where requests on ``route`` go; some backend has to be valid.

    Raises ValueError for what Envoy would reject.
    """
    shares = [_share(route, backend) for backend in backends_of(route)]
    action = plain_action(route.timeout)
    if len(shares) == 1:
        action.cluster = _cluster(shares[0].backend.destination)
        _set_headers(message, shares[0])
    else:
        _set_weights(action, shares)
    _set_hosts(action, route, shares)
    if route.rewrite is not None and route.rewrite.path is not None:
        set_new_path(action, route.rewrite.path, route.match.path)
    action.request_mirror_policies.extend(
        _mirror(mirror)
        for mirror in route.mirrors
        if mirror.millionths > 0 and mirror.destination.is_valid
    )
    policy = retry_policy(route.retry or Retry(), route.backend_timeout)
    if policy is not None:
        action.retry_policy.CopyFrom(policy)
    message.route.CopyFrom(action)


def plain_action(timeout: timedelta = timedelta(0)) -> Any:
    """Return an action that lacks nothing but where to; zero is no limit.

    Raises ValueError for a time that is none.
    """
    # Envoy's own limit of 15 seconds is not ours to impose.
    action = route_components_pb2.RouteAction(timeout=duration(timeout))
    if not timeout:
        # What clients of gRPC ask for counts. With a limit this would take its place.
        action.max_stream_duration.max_stream_duration.CopyFrom(seconds(0))
        action.max_stream_duration.grpc_timeout_header_max.CopyFrom(seconds(0))
    return action


def _share(route: HttpRoute, backend: RouteBackend) -> _Share:
    return _Share(
        backend,
        request_headers(route.request_headers, backend.request_headers),
        response_headers(route.response_headers, backend.response_headers),
    )


def _set_weights(action: Any, shares: list[_Share]) -> None:
    if sum(share.backend.weight for share in shares) > _MOST_WEIGHT:
        raise ValueError("the weights are too large together")
    action.cluster_not_found_response_code = _INTERNAL_ERROR
    for share in shares:
        entry = action.weighted_clusters.clusters.add(name=_cluster(share.backend.destination))
        entry.weight.value = share.backend.weight
        _set_headers(entry, share)


def _set_headers(message: Any, share: _Share) -> None:
    message.request_headers_to_add.extend(share.request.options)
    message.request_headers_to_remove.extend(share.request.removed)
    message.response_headers_to_add.extend(share.response.options)
    message.response_headers_to_remove.extend(share.response.removed)


def _set_hosts(action: Any, route: HttpRoute, shares: list[_Share]) -> None:
    """Set the host that backends see: the one of the rule, unless a backend is told another."""
    rewritten = route.rewrite.hostname if route.rewrite is not None else ""
    if rewritten:
        hostname(rewritten)
        action.append_x_forwarded_host = True
    hosts = [
        request_headers(share.backend.request_headers).host or rewritten or share.request.host
        for share in shares
    ]
    if len(set(hosts)) == 1:
        # What a route says wins over what its weights say, so it is said there only if all agree.
        if hosts[0]:
            action.host_rewrite_literal = hosts[0]
        return
    for entry, host in zip(action.weighted_clusters.clusters, hosts, strict=True):
        entry.host_rewrite_literal = host


def _mirror(mirror: Mirror) -> Any:
    fraction = {"numerator": min(mirror.millionths, _MILLION), "denominator": "MILLION"}
    return route_components_pb2.RouteAction.RequestMirrorPolicy(
        cluster=_cluster(mirror.destination),
        runtime_fraction={"default_value": fraction},
        trace_sampled={"value": False},
        disable_shadow_host_suffix_append=True,
    )


def _cluster(destination: Destination) -> str:
    if not destination.is_valid:
        return NOWHERE
    name = service_name if destination.is_served else outbound_name
    return name(destination.port, Layer.HTTP, destination.hostname)
