"""HTTPRoute and GRPCRoute: what requests are for whom, as it is written.

``mesh.http_routes`` judges what is written and makes values for waypoints of it. Words that a
later version of the API may add (kinds of matches and filters) are kept as they are.
"""

from datetime import timedelta

import msgspec

from controlplane.manifests.metadata import Manifest
from controlplane.manifests.route_references import BackendTarget
from controlplane.model.http_route import HeaderChanges
from controlplane.model.route_parent import ParentReference


class TypedValue(msgspec.Struct, frozen=True, gc=False):
    """A path, header or query parameter and how it is compared; ``name`` is "" for paths."""

    type: str
    value: str
    name: str = ""


class GrpcMethod(msgspec.Struct, frozen=True, gc=False):
    """``method`` of a GRPCRoute's match."""

    type: str = "Exact"
    service: str = ""
    method: str = ""


class RouteMatch(msgspec.Struct, frozen=True):
    """One match; HTTPRoutes have paths, methods and queries, GRPCRoutes ``grpc``."""

    path: TypedValue | None = None
    method: str = ""
    headers: tuple[TypedValue, ...] = ()
    query: tuple[TypedValue, ...] = ()
    grpc: GrpcMethod | None = None


class PathModifier(msgspec.Struct, frozen=True, gc=False):
    """A new path or prefix, by ``type``."""

    type: str
    value: str


class RedirectFilter(msgspec.Struct, frozen=True):
    """``requestRedirect``: "", None and 0 where nothing is written."""

    scheme: str = ""
    hostname: str = ""
    path: PathModifier | None = None
    port: int = 0
    status: int = 0


class RewriteFilter(msgspec.Struct, frozen=True):
    """``urlRewrite``."""

    hostname: str = ""
    path: PathModifier | None = None


class MirrorFilter(msgspec.Struct, frozen=True):
    """``requestMirror``: ``numerator`` of ``denominator`` requests are copied."""

    target: BackendTarget
    numerator: int = 100
    denominator: int = 100


class CrossOriginFilter(msgspec.Struct, frozen=True):
    """``cors``."""

    allowed_origins: tuple[str, ...] = ()
    allows_credentials: bool = False
    allowed_methods: tuple[str, ...] = ()
    allowed_headers: tuple[str, ...] = ()
    exposed_headers: tuple[str, ...] = ()
    max_age: int = 5


class RouteFilter(msgspec.Struct, frozen=True):
    """One filter: ``type`` says which field counts."""

    type: str
    headers: HeaderChanges | None = None
    redirect: RedirectFilter | None = None
    rewrite: RewriteFilter | None = None
    mirror: MirrorFilter | None = None
    cross_origin: CrossOriginFilter | None = None


class WeightedBackend(msgspec.Struct, frozen=True):
    """``backendRefs[]`` of a rule."""

    target: BackendTarget
    weight: int = 1
    filters: tuple[RouteFilter, ...] = ()


class RuleRetry(msgspec.Struct, frozen=True):
    """``retry`` of a rule; None where nothing is written."""

    codes: tuple[int, ...] = ()
    attempts: int | None = None
    backoff: timedelta | None = None


class RulePersistence(msgspec.Struct, frozen=True):
    """``sessionPersistence`` of a rule."""

    name: str = ""
    type: str = "Cookie"
    absolute_timeout: timedelta | None = None
    idle_timeout: timedelta | None = None
    lifetime_type: str = "Session"


class RouteRule(msgspec.Struct, frozen=True):
    """One rule of a route; time limits are zero where nothing is written."""

    name: str = ""
    matches: tuple[RouteMatch, ...] = ()
    filters: tuple[RouteFilter, ...] = ()
    backends: tuple[WeightedBackend, ...] = ()
    timeout: timedelta = timedelta(0)
    backend_timeout: timedelta = timedelta(0)
    retry: RuleRetry | None = None
    persistence: RulePersistence | None = None


class Route(Manifest, frozen=True, kw_only=True):
    """An HTTPRoute or GRPCRoute. Hostnames are left out: they mean nothing to services."""

    route_kind: str
    parents: tuple[ParentReference, ...] = ()
    rules: tuple[RouteRule, ...] = ()

    @property
    def kind(self) -> str:
        """Return HTTPRoute or GRPCRoute."""
        return self.route_kind
