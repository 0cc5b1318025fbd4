"""The JSON shape of HTTPRoute and GRPCRoute, field by field."""

from typing import Annotated

import msgspec

from controlplane.manifests.read_fields import OptionalPort
from controlplane.manifests.read_metadata import RawObject
from controlplane.manifests.read_route_references import RawBackend, RawBackendTarget, RawParent

Share = Annotated[int, msgspec.Meta(ge=0, le=100)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Status = Annotated[int, msgspec.Meta(ge=100, le=599)]


class RawTypedValue(msgspec.Struct, rename="camel"):
    """A path, a header or a query parameter to match."""

    type: str | None = None
    name: str | None = None
    value: str | None = None


class RawGrpcMethod(msgspec.Struct, rename="camel"):
    """``method`` of a GRPCRoute's match."""

    type: str | None = None
    service: str | None = None
    method: str | None = None


class RawMatch(msgspec.Struct, rename="camel"):
    """``matches[]`` of an HTTPRoute."""

    path: RawTypedValue | None = None
    headers: list[RawTypedValue] | None = None
    query_params: list[RawTypedValue] | None = None
    method: str | None = None


class RawGrpcMatch(msgspec.Struct, rename="camel"):
    """``matches[]`` of a GRPCRoute."""

    method: RawGrpcMethod | None = None
    headers: list[RawTypedValue] | None = None


class RawHeader(msgspec.Struct, rename="camel"):
    """A header to write."""

    name: str
    value: str = ""


class RawHeaderModifier(msgspec.Struct, rename="camel"):
    """``requestHeaderModifier`` and ``responseHeaderModifier``."""

    replaced: list[RawHeader] | None = msgspec.field(default=None, name="set")
    add: list[RawHeader] | None = None
    remove: list[str] | None = None


class RawPathModifier(msgspec.Struct, rename="camel"):
    """``path`` of a redirect or rewrite."""

    type: str
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class RawRedirect(msgspec.Struct, rename="camel"):
    """``requestRedirect``."""

    scheme: str | None = None
    hostname: str | None = None
    path: RawPathModifier | None = None
    port: OptionalPort | None = None
    status_code: Status | None = None


class RawRewrite(msgspec.Struct, rename="camel"):
    """``urlRewrite``."""

    hostname: str | None = None
    path: RawPathModifier | None = None


class RawFraction(msgspec.Struct, rename="camel"):
    """``fraction`` of a mirror."""

    numerator: Count
    denominator: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None


class RawMirror(msgspec.Struct, rename="camel"):
    """``requestMirror``."""

    backend_ref: RawBackendTarget
    percent: Share | None = None
    fraction: RawFraction | None = None


class RawCrossOrigin(msgspec.Struct, rename="camel"):
    """``cors``."""

    allow_origins: list[str] | None = None
    allow_credentials: bool | None = None
    allow_methods: list[str] | None = None
    allow_headers: list[str] | None = None
    expose_headers: list[str] | None = None
    max_age: Count | None = None


class RawFilter(msgspec.Struct, rename="camel"):
    """``filters[]`` of a rule or of a backend."""

    type: str
    request_header_modifier: RawHeaderModifier | None = None
    response_header_modifier: RawHeaderModifier | None = None
    request_redirect: RawRedirect | None = None
    url_rewrite: RawRewrite | None = None
    request_mirror: RawMirror | None = None
    cors: RawCrossOrigin | None = None


class RawFilteredBackend(RawBackend, rename="camel"):
    """``backendRefs[]``, which have filters of their own."""

    filters: list[RawFilter] | None = None


class RawTimeouts(msgspec.Struct, rename="camel"):
    """``timeouts``."""

    request: str | None = None
    backend_request: str | None = None


class RawRetry(msgspec.Struct, rename="camel"):
    """``retry``."""

    codes: list[Status] | None = None
    attempts: Count | None = None
    backoff: str | None = None


class RawCookie(msgspec.Struct, rename="camel"):
    """``cookieConfig`` of a session."""

    lifetime_type: str | None = None


class RawPersistence(msgspec.Struct, rename="camel"):
    """``sessionPersistence``."""

    session_name: str | None = None
    type: str | None = None
    absolute_timeout: str | None = None
    idle_timeout: str | None = None
    cookie_config: RawCookie | None = None


class RawRuleEnd(msgspec.Struct, rename="camel"):
    """What the rules of both kinds have."""

    name: str | None = None
    filters: list[RawFilter] | None = None
    backend_refs: list[RawFilteredBackend] | None = None
    timeouts: RawTimeouts | None = None
    retry: RawRetry | None = None
    session_persistence: RawPersistence | None = None


class RawRule(RawRuleEnd, rename="camel"):
    """``rules[]`` of an HTTPRoute."""

    matches: list[RawMatch | None] | None = None


class RawGrpcRule(RawRuleEnd, rename="camel"):
    """``rules[]`` of a GRPCRoute."""

    matches: list[RawGrpcMatch | None] | None = None


class RawRouteSpec(msgspec.Struct, rename="camel"):
    """``spec`` of an HTTPRoute."""

    parent_refs: list[RawParent] | None = None
    rules: list[RawRule | None] | None = None


class RawGrpcRouteSpec(msgspec.Struct, rename="camel"):
    """``spec`` of a GRPCRoute."""

    parent_refs: list[RawParent] | None = None
    rules: list[RawGrpcRule | None] | None = None


class RawHttpRoute(RawObject, rename="camel"):
    """An HTTPRoute."""

    spec: RawRouteSpec | None = None


class RawGrpcRoute(RawObject, rename="camel"):
    """A GRPCRoute."""

    spec: RawGrpcRouteSpec | None = None
