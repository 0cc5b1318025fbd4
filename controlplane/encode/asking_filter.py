"""Asking somebody else: the provider of a chain comes in, the filters that ask it go out.

docs/protocol/authorization-providers.md EA-2, EA-3, EA-7 to EA-9.
"""

from collections.abc import Iterable
from typing import Any, Final

from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import duration_pb2

from controlplane.encode.rbac import CUSTOM_PREFIX, asked_prefix
from controlplane.encode.waypoint_names import ASKED, outbound_name, service_name
from controlplane.model.authorization_provider import (
    AuthorizationProvider,
    ProviderProtocol,
    ReachableProvider,
)
from controlplane.model.waypoint_traffic import Layer

_POLICIES: Final = "envoy.filters.http.rbac"
_NANOSECONDS: Final = 10**9
_ANY: Final = "*"


def encode_asked_mark(provider: AuthorizationProvider) -> set_filter_state_pb2.Config:
    """Return the filter that tells policies whom the chain asks.

    Routes change at once and chains do not: by this the policies in the routes know whether what
    they leave to the provider will be asked at all.
    """
    mark = value_pb2.FilterStateValue(
        object_key=ASKED,
        factory_key="envoy.string",
        format_string={"text_format_source": {"inline_string": _literal(provider.name)}},
    )
    return set_filter_state_pb2.Config(on_request_headers=[mark])


def encode_asking(reachable: ReachableProvider) -> ext_authz_pb2.ExtAuthz:
    """Return the filter that asks about what policies of action CUSTOM matched, no more."""
    provider = reachable.provider
    message = ext_authz_pb2.ExtAuthz(
        transport_api_version="V3",
        failure_mode_allow=provider.fails_open,
        status_on_error={"code": provider.error_status},
        clear_route_cache=provider.clears_routes,
        filter_enabled_metadata={
            "filter": _POLICIES,
            "path": [{"key": f"{CUSTOM_PREFIX}shadow_effective_policy_id"}],
            "value": {"string_match": {"prefix": asked_prefix(provider.name)}},
        },
    )
    if provider.body is not None:
        message.with_request_body.max_request_bytes = provider.body.most
        message.with_request_body.allow_partial_message = provider.body.is_partial_enough
        message.with_request_body.pack_as_bytes = provider.body.is_binary
    naming = service_name if reachable.is_served else outbound_name
    cluster = naming(provider.port, Layer.HTTP, provider.hostname)
    if provider.protocol is ProviderProtocol.GRPC:
        message.grpc_service.envoy_grpc.cluster_name = cluster
        message.grpc_service.envoy_grpc.authority = provider.hostname
        message.grpc_service.timeout.CopyFrom(_duration(provider.seconds))
    else:
        _set_http_service(message, provider, cluster)
    return message


def _set_http_service(message: Any, provider: AuthorizationProvider, cluster: str) -> None:
    service = message.http_service
    service.server_uri.uri = f"http://{provider.hostname}"
    service.server_uri.cluster = cluster
    service.server_uri.timeout.CopyFrom(_duration(provider.seconds))
    service.path_prefix = provider.path_prefix
    if provider.asked_headers:
        message.allowed_headers.patterns.extend(_matchers(provider.asked_headers))
    for name, value in provider.extra_headers:
        service.authorization_request.headers_to_add.add(key=name, value=_literal(value))
    answer = service.authorization_response
    for patterns, matcher in (
        (provider.allowed_upstream, answer.allowed_upstream_headers),
        (provider.denied_downstream, answer.allowed_client_headers),
        (provider.allowed_downstream, answer.allowed_client_headers_on_success),
    ):
        if patterns:
            matcher.patterns.extend(_matchers(patterns))


def _matchers(patterns: Iterable[str]) -> Iterable[Any]:
    for pattern in patterns:
        if pattern == _ANY:
            yield string_pb2.StringMatcher(safe_regex={"regex": ".*"})
        elif pattern.startswith(_ANY):
            yield string_pb2.StringMatcher(suffix=pattern[1:], ignore_case=True)
        elif pattern.endswith(_ANY):
            yield string_pb2.StringMatcher(prefix=pattern[:-1], ignore_case=True)
        else:
            yield string_pb2.StringMatcher(exact=pattern, ignore_case=True)


def _duration(seconds: float) -> Any:
    whole, rest = divmod(round(seconds * _NANOSECONDS), _NANOSECONDS)
    return duration_pb2.Duration(seconds=whole, nanos=rest)


def _literal(text: str) -> str:
    """Return ``text`` as a format that gives it back."""
    return text.replace("%", "%%")
