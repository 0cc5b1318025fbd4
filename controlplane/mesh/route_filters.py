"""What a rule does to requests beyond sending them somewhere: filters in, changes out.

Nothing is served without a filter that was asked for: what cannot be done is a fault, and the
caller answers 500. docs/protocol/http-routes.md HR-30 to HR-37.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

from controlplane.manifests.http_route import (
    CrossOriginFilter,
    PathModifier,
    RedirectFilter,
    RewriteFilter,
    RouteFilter,
)
from controlplane.manifests.route_references import BackendTarget
from controlplane.mesh.route_matches import Fault
from controlplane.mesh.route_values import is_hostname, is_origin, is_path, is_plain, is_token
from controlplane.model.http_route import (
    CrossOrigin,
    HeaderChanges,
    HeaderValue,
    PathChange,
    PathChangeKind,
    Redirect,
    Rewrite,
)

_MILLION: Final = 1_000_000
_STATUSES: Final = frozenset({301, 302, 303, 307, 308})
_REPEATABLE: Final = "RequestMirror"
_HEADERS: Final = ("RequestHeaderModifier", "ResponseHeaderModifier")
_BY_KIND: Final = {
    "HTTPRoute": frozenset({*_HEADERS, "RequestRedirect", "URLRewrite", "RequestMirror", "CORS"}),
    "GRPCRoute": frozenset({*_HEADERS, "RequestMirror"}),
}
_OF_BACKENDS: Final = frozenset(_HEADERS)


class MirrorTarget(NamedTuple):
    """Who gets copies, and of how many of a million requests; ``field`` is where it is written."""

    target: BackendTarget
    millionths: int
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """All that the filters of one rule or backend do."""

    request_headers: HeaderChanges = HeaderChanges()  # noqa: RUF009 - frozen
    response_headers: HeaderChanges = HeaderChanges()  # noqa: RUF009 - frozen
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[MirrorTarget, ...] = ()
    cross_origin: CrossOrigin | None = None


class JudgedFilters(NamedTuple):
    """What filters do, and what they would do but cannot."""

    changes: Changes
    faults: tuple[Fault, ...] = ()


def judge_filters(
    route_kind: str, filters: tuple[RouteFilter, ...], *, has_prefixes: bool
) -> JudgedFilters:
    """Return what the filters of a rule do.

    ``has_prefixes`` says that every match of the rule is on a prefix of the path.
    """
    reader = _Reader(has_prefixes=has_prefixes)
    reader.read(filters, _BY_KIND[route_kind])
    return reader.judged()


def judge_backend_filters(filters: tuple[RouteFilter, ...]) -> JudgedFilters:
    """Return what the filters of a backend do: they may change headers, nothing else."""
    reader = _Reader(has_prefixes=False, may_change_host=False)
    reader.read(filters, _OF_BACKENDS)
    return reader.judged()


class _Reader:
    """Gathers what one list of filters does."""

    def __init__(self, *, has_prefixes: bool, may_change_host: bool = True) -> None:
        self._has_prefixes = has_prefixes
        self._may_change_host = may_change_host
        self._faults: list[Fault] = []
        self._headers = dict.fromkeys(_HEADERS, HeaderChanges())
        self._redirect: Redirect | None = None
        self._rewrite: Rewrite | None = None
        self._host = ""
        self._mirrors: list[MirrorTarget] = []
        self._cross_origin: CrossOrigin | None = None

    def read(self, filters: tuple[RouteFilter, ...], allowed: frozenset[str]) -> None:
        seen: set[str] = set()
        for index, each in enumerate(filters):
            field = f"filters[{index}]"
            if each.type not in allowed:
                self._faults.append(Fault(field, f"{each.type} is not supported here"))
            elif each.type in seen and each.type != _REPEATABLE:
                self._faults.append(Fault(field, f"there is a {each.type} already"))
            else:
                self._read(each, field)
            seen.add(each.type)
        if "RequestRedirect" in seen and seen & {"URLRewrite", "RequestMirror"}:
            message = "a request that is redirected is neither rewritten nor mirrored"
            self._faults.append(Fault("filters", message))

    def judged(self) -> JudgedFilters:
        rewrite = self._rewrite
        if self._host and rewrite is not None and rewrite.hostname:
            self._faults.append(Fault("filters", "URLRewrite and a header both change the host"))
        elif self._host:
            rewrite = Rewrite(hostname=self._host, path=rewrite.path if rewrite else None)
        request, response = (self._headers[name] for name in _HEADERS)
        changes = Changes(
            request_headers=request,
            response_headers=response,
            redirect=self._redirect,
            rewrite=rewrite,
            mirrors=tuple(self._mirrors),
            cross_origin=self._cross_origin,
        )
        return JudgedFilters(changes, tuple(self._faults))

    def _read(self, each: RouteFilter, field: str) -> None:
        match each:
            case RouteFilter(type=name, headers=HeaderChanges() as headers) if name in _HEADERS:
                self._headers[name] = self._header_changes(name, headers, field)
            case RouteFilter(type="RequestRedirect", redirect=RedirectFilter() as redirect):
                self._redirect = self._redirected(redirect, f"{field}.requestRedirect")
            case RouteFilter(type="URLRewrite", rewrite=RewriteFilter() as rewrite):
                self._rewrite = self._rewritten(rewrite, f"{field}.urlRewrite")
            case RouteFilter(type="RequestMirror", mirror=mirror) if mirror is not None:
                share = mirror.numerator * _MILLION // mirror.denominator
                if mirror.numerator > mirror.denominator:
                    self._faults.append(Fault(f"{field}.requestMirror", "more than all requests"))
                elif share:
                    place = f"{field}.requestMirror.backendRef"
                    self._mirrors.append(MirrorTarget(mirror.target, share, place))
            case RouteFilter(type="CORS", cross_origin=CrossOriginFilter() as cross_origin):
                self._cross_origin = self._shared(cross_origin, f"{field}.cors")
            case _:
                self._faults.append(Fault(field, f"{each.type} says nothing"))

    def _header_changes(self, name: str, headers: HeaderChanges, field: str) -> HeaderChanges:
        field = f"{field}.{name[0].lower()}{name[1:]}"
        replaced = list(_first_of_each(headers.replaced))
        may_change_host = self._may_change_host and name == "RequestHeaderModifier"
        hosts = [value for key, value in replaced if key.lower() == "host" and may_change_host]
        if hosts and is_hostname(hosts[0].partition(":")[0]) and is_plain(hosts[0]):
            self._host = hosts[0]
            replaced = [each for each in replaced if each.name.lower() != "host"]
        added = tuple(_first_of_each(headers.added))
        names = [*(each.name for each in (*replaced, *added)), *headers.removed]
        for text in names:
            if not is_token(text) or text.lower() == "host":
                self._faults.append(Fault(field, f"{text!r} is no header that may be changed"))
        for each in (*replaced, *added):
            if not is_plain(each.value):
                message = f"{each.name}: the value is too long or has control characters"
                self._faults.append(Fault(field, message))
        return HeaderChanges(replaced=tuple(replaced), added=added, removed=headers.removed)

    def _redirected(self, written: RedirectFilter, field: str) -> Redirect:
        if written.scheme not in ("", "http", "https"):
            self._faults.append(Fault(f"{field}.scheme", f"{written.scheme!r} is not known"))
        if written.status not in _STATUSES:
            self._faults.append(Fault(f"{field}.statusCode", f"{written.status} is no redirect"))
        self._check_hostname(written.hostname, field)
        return Redirect(
            scheme=written.scheme,
            hostname=written.hostname,
            port=written.port,
            path=self._changed_path(written.path, field),
            status=written.status,
        )

    def _rewritten(self, written: RewriteFilter, field: str) -> Rewrite:
        self._check_hostname(written.hostname, field)
        return Rewrite(hostname=written.hostname, path=self._changed_path(written.path, field))

    def _check_hostname(self, hostname: str, field: str) -> None:
        if hostname and not is_hostname(hostname):
            self._faults.append(Fault(f"{field}.hostname", f"{hostname!r} is no hostname"))

    def _changed_path(self, written: PathModifier | None, field: str) -> PathChange | None:
        if written is None:
            return None
        try:
            kind = PathChangeKind(written.type)
        except ValueError:
            self._faults.append(Fault(f"{field}.path.type", f"{written.type!r} is not known"))
            return None
        value = written.value or "/"
        if not is_path(value):
            self._faults.append(Fault(f"{field}.path", f"{value!r} is no path"))
        if kind is PathChangeKind.PREFIX and not self._has_prefixes:
            message = "a prefix can only be replaced where every match is on a prefix"
            self._faults.append(Fault(f"{field}.path", message))
        return PathChange(kind, value)

    def _shared(self, written: CrossOriginFilter, field: str) -> CrossOrigin:
        for text in written.allowed_origins:
            if not is_origin(text):
                self._faults.append(Fault(f"{field}.allowOrigins", f"{text!r} is no origin"))
        lists = (
            ("allowMethods", written.allowed_methods),
            ("allowHeaders", written.allowed_headers),
            ("exposeHeaders", written.exposed_headers),
        )
        for name, texts in lists:
            for text in texts:
                if not is_token(text):
                    self._faults.append(Fault(f"{field}.{name}", f"{text!r} is no name"))
        return CrossOrigin(
            allowed_origins=written.allowed_origins,
            allows_credentials=written.allows_credentials,
            allowed_methods=written.allowed_methods,
            allowed_headers=written.allowed_headers,
            exposed_headers=written.exposed_headers,
            max_age=timedelta(seconds=written.max_age),
        )


def _first_of_each(values: Iterable[HeaderValue]) -> Iterator[HeaderValue]:
    seen: set[str] = set()
    for each in values:
        if each.name.lower() not in seen:
            seen.add(each.name.lower())
            yield each
