"""A route as a waypoint applies it: which requests of a service port, and what becomes of them.

``mesh.http_routes`` makes these of HTTPRoutes and GRPCRoutes, ``encode.http_route`` turns them
into Envoy's. They are sorted: the first that matches counts. docs/protocol/http-routes.md.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from controlplane.model.names import ObjectReference


class PathKind(StrEnum):
    """How a path is compared; a prefix ends at a ``/`` or at the end of the path."""

    EXACT = "Exact"
    PREFIX = "PathPrefix"
    REGULAR_EXPRESSION = "RegularExpression"


class PathMatch(NamedTuple):
    """A condition on the path of a request, its query excepted."""

    kind: PathKind
    value: str


class NamedMatch(NamedTuple):
    """A condition on a header or a query parameter; the whole value has to match."""

    name: str
    value: str
    is_expression: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMatch:
    """Which requests a route is for; all conditions have to hold. ``method`` "" is any."""

    path: PathMatch | None = None
    method: str = ""
    headers: tuple[NamedMatch, ...] = ()
    query: tuple[NamedMatch, ...] = ()


class HeaderValue(NamedTuple):
    """A header and the literal value it gets."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderChanges:
    """What becomes of headers: some are replaced, some get one more value, some go."""

    replaced: tuple[HeaderValue, ...] = ()
    added: tuple[HeaderValue, ...] = ()
    removed: tuple[str, ...] = ()


class PathChangeKind(StrEnum):
    """How a path is changed: all of it, or the prefix that the route matched."""

    FULL = "ReplaceFullPath"
    PREFIX = "ReplacePrefixMatch"


class PathChange(NamedTuple):
    """A new path, or the new prefix of one."""

    kind: PathChangeKind
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """An answer that sends the client elsewhere. "" and 0 keep what the request had."""

    scheme: str = ""
    hostname: str = ""
    port: int = 0
    path: PathChange | None = None
    status: int = 302


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """What a backend is told that the client did not say."""

    hostname: str = ""
    path: PathChange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A port of a service that a route sends to.

    ``is_served`` says that this waypoint accepts traffic for it too; of others it knows the
    endpoints only. ``is_valid`` False stands for a backend that cannot be: its share of the
    requests is answered 500.
    """

    hostname: str = ""
    port: int = 0
    is_served: bool = True
    is_valid: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteBackend:
    """A destination with its share, and changes that are made for it alone."""

    destination: Destination
    weight: int = 1
    request_headers: HeaderChanges = field(default_factory=HeaderChanges)
    response_headers: HeaderChanges = field(default_factory=HeaderChanges)


class Mirror(NamedTuple):
    """Somebody who gets a copy of ``millionths`` of a million requests; what it answers is lost."""

    destination: Destination
    millionths: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossOrigin:
    """What browsers are told of requests from other origins; origins may hold ``*``."""

    allowed_origins: tuple[str, ...] = ()
    allows_credentials: bool = False
    allowed_methods: tuple[str, ...] = ()
    allowed_headers: tuple[str, ...] = ()
    exposed_headers: tuple[str, ...] = ()
    max_age: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a request is tried again, and after which answers. ``backoff`` None is Envoy's."""

    attempts: int = 2
    codes: tuple[int, ...] = ()
    backoff: timedelta | None = None


class PersistenceKind(StrEnum):
    """What a client carries that leads it back to its endpoint."""

    COOKIE = "Cookie"
    HEADER = "Header"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPersistence:
    """A client keeps its endpoint. ``lifetime`` None lasts as long as the client's session."""

    kind: PersistenceKind
    name: str
    lifetime: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRoute:
    """One match of one rule of a route object, for one port of one service.

    ``name`` is what logs call it. ``consumer`` is the namespace whose clients alone it is for, ""
    where it is for everybody. Exactly one of ``redirect`` and ``backends`` says what happens;
    with neither, or while every weight is 0, requests are answered 500. ``timeout`` zero is none;
    ``retry`` None is the default of the mesh.
    """

    name: str
    owner: ObjectReference
    match: RequestMatch = field(default_factory=RequestMatch)
    consumer: str = ""
    request_headers: HeaderChanges = field(default_factory=HeaderChanges)
    response_headers: HeaderChanges = field(default_factory=HeaderChanges)
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()
    cross_origin: CrossOrigin | None = None
    timeout: timedelta = timedelta(0)
    backend_timeout: timedelta = timedelta(0)
    retry: Retry | None = None
    persistence: SessionPersistence | None = None
    backends: tuple[RouteBackend, ...] = ()
