"""HTTPRoute and GRPCRoute: raw JSON shape -> ``http_route`` manifests.

Defaults are those of the API, so that a file means what the same object in a cluster means.
docs/protocol/http-routes.md HR-1.
"""

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from controlplane.manifests import http_route as manifests
from controlplane.manifests import raw_http_route as raws
from controlplane.manifests.documents import Path
from controlplane.manifests.metadata import Metadata
from controlplane.manifests.read_fields import RefusedFieldError, objects
from controlplane.manifests.read_route_references import read_parents, read_target, read_weight
from controlplane.model.http_route import HeaderChanges, HeaderValue

_DURATION: Final = re.compile(r"(?:[0-9]{1,5}(?:h|m|s|ms)){1,4}")
_PART: Final = re.compile(r"([0-9]+)(ms|h|m|s)")
_MILLISECONDS: Final = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_MATCH: Final = raws.RawMatch()
_GRPC_MATCH: Final = raws.RawGrpcMatch()
_RULE: Final = raws.RawRule()
_GRPC_RULE: Final = raws.RawGrpcRule()


def read_http_route(raw: raws.RawHttpRoute, metadata: Metadata) -> manifests.Route:
    """Return the HTTPRoute; raises RefusedFieldError."""
    spec = raw.spec or raws.RawRouteSpec()
    rules = [_RULE] if spec.rules is None else spec.rules
    return manifests.Route(
        metadata=metadata,
        route_kind="HTTPRoute",
        parents=read_parents(spec.parent_refs),
        rules=tuple(
            _rule(rule, tuple(_match(each) for each in objects(rule.matches, _MATCH)), index)
            for index, rule in enumerate(objects(rules, _RULE))
        ),
    )


def read_grpc_route(raw: raws.RawGrpcRoute, metadata: Metadata) -> manifests.Route:
    """Return the GRPCRoute; raises RefusedFieldError."""
    spec = raw.spec or raws.RawGrpcRouteSpec()
    return manifests.Route(
        metadata=metadata,
        route_kind="GRPCRoute",
        parents=read_parents(spec.parent_refs),
        rules=tuple(
            _rule(
                rule, tuple(_grpc_match(each) for each in objects(rule.matches, _GRPC_MATCH)), index
            )
            for index, rule in enumerate(objects(spec.rules, _GRPC_RULE))
        ),
    )


def read_duration(text: str | None, path: Path) -> timedelta | None:
    """Return a duration of the Gateway API (``1h30m``), None for none; raises RefusedFieldError."""
    if text is None:
        return None
    if not _DURATION.fullmatch(text):
        raise RefusedFieldError(path, f"{text!r} is no duration such as 10s or 1h30m")
    parts = (int(number) * _MILLISECONDS[unit] for number, unit in _PART.findall(text))
    return timedelta(milliseconds=sum(parts))


def _rule(
    raw: raws.RawRuleEnd, matches: tuple[manifests.RouteMatch, ...], index: int
) -> manifests.RouteRule:
    path: Path = ("spec", "rules", index)
    timeouts = raw.timeouts or raws.RawTimeouts()
    request = read_duration(timeouts.request, (*path, "timeouts", "request"))
    backend = read_duration(timeouts.backend_request, (*path, "timeouts", "backendRequest"))
    return manifests.RouteRule(
        name=raw.name or "",
        matches=matches,
        filters=_filters(raw.filters),
        backends=tuple(_backend(each) for each in raw.backend_refs or ()),
        timeout=request or timedelta(0),
        backend_timeout=backend or timedelta(0),
        retry=_retry(raw.retry, (*path, "retry")),
        persistence=_persistence(raw.session_persistence, (*path, "sessionPersistence")),
    )


def _match(raw: raws.RawMatch) -> manifests.RouteMatch:
    path = raw.path
    return manifests.RouteMatch(
        path=None
        if path is None
        else manifests.TypedValue(path.type or "PathPrefix", "/" if not path.value else path.value),
        method=raw.method or "",
        headers=_typed(raw.headers),
        query=_typed(raw.query_params),
    )


def _grpc_match(raw: raws.RawGrpcMatch) -> manifests.RouteMatch:
    method = raw.method
    return manifests.RouteMatch(
        headers=_typed(raw.headers),
        grpc=None
        if method is None
        else manifests.GrpcMethod(
            method.type or "Exact", method.service or "", method.method or ""
        ),
    )


def _typed(raw: list[raws.RawTypedValue] | None) -> tuple[manifests.TypedValue, ...]:
    return tuple(
        manifests.TypedValue(each.type or "Exact", each.value or "", each.name or "")
        for each in raw or ()
    )


def _filters(raw: list[raws.RawFilter] | None) -> tuple[manifests.RouteFilter, ...]:
    return tuple(_filter(each) for each in raw or ())


def _filter(raw: raws.RawFilter) -> manifests.RouteFilter:
    headers = raw.request_header_modifier
    if raw.type == "ResponseHeaderModifier":
        headers = raw.response_header_modifier
    return manifests.RouteFilter(
        raw.type,
        headers=_headers(headers),
        redirect=_redirect(raw.request_redirect),
        rewrite=_rewrite(raw.url_rewrite),
        mirror=_mirror(raw.request_mirror),
        cross_origin=_cross_origin(raw.cors),
    )


def _headers(raw: raws.RawHeaderModifier | None) -> HeaderChanges | None:
    if raw is None:
        return None
    return HeaderChanges(
        replaced=_values(raw.replaced or ()),
        added=_values(raw.add or ()),
        removed=tuple(raw.remove or ()),
    )


def _values(raw: Iterable[raws.RawHeader]) -> tuple[HeaderValue, ...]:
    return tuple(HeaderValue(header.name, header.value) for header in raw)


def _path(raw: raws.RawPathModifier | None) -> manifests.PathModifier | None:
    if raw is None:
        return None
    full = raw.type == "ReplaceFullPath"
    value = raw.replace_full_path if full else raw.replace_prefix_match
    return manifests.PathModifier(raw.type, value or "")


def _redirect(raw: raws.RawRedirect | None) -> manifests.RedirectFilter | None:
    if raw is None:
        return None
    return manifests.RedirectFilter(
        scheme=raw.scheme or "",
        hostname=raw.hostname or "",
        path=_path(raw.path),
        port=raw.port or 0,
        status=raw.status_code or 302,
    )


def _rewrite(raw: raws.RawRewrite | None) -> manifests.RewriteFilter | None:
    if raw is None:
        return None
    return manifests.RewriteFilter(hostname=raw.hostname or "", path=_path(raw.path))


def _mirror(raw: raws.RawMirror | None) -> manifests.MirrorFilter | None:
    if raw is None:
        return None
    target = read_target(raw.backend_ref)
    if raw.fraction is not None:
        denominator = raw.fraction.denominator or 100
        return manifests.MirrorFilter(target, raw.fraction.numerator, denominator)
    return manifests.MirrorFilter(target, 100 if raw.percent is None else raw.percent)


def _cross_origin(raw: raws.RawCrossOrigin | None) -> manifests.CrossOriginFilter | None:
    if raw is None:
        return None
    return manifests.CrossOriginFilter(
        allowed_origins=tuple(raw.allow_origins or ()),
        allows_credentials=bool(raw.allow_credentials),
        allowed_methods=tuple(raw.allow_methods or ()),
        allowed_headers=tuple(raw.allow_headers or ()),
        exposed_headers=tuple(raw.expose_headers or ()),
        max_age=5 if raw.max_age is None else raw.max_age,
    )


def _backend(raw: raws.RawFilteredBackend) -> manifests.WeightedBackend:
    return manifests.WeightedBackend(
        target=read_target(raw),
        weight=read_weight(raw),
        filters=_filters(raw.filters),
    )


def _retry(raw: raws.RawRetry | None, path: Path) -> manifests.RuleRetry | None:
    if raw is None:
        return None
    return manifests.RuleRetry(
        codes=tuple(raw.codes or ()),
        attempts=raw.attempts,
        backoff=read_duration(raw.backoff, (*path, "backoff")),
    )


def _persistence(raw: raws.RawPersistence | None, path: Path) -> manifests.RulePersistence | None:
    if raw is None:
        return None
    cookie = raw.cookie_config or raws.RawCookie()
    return manifests.RulePersistence(
        name=raw.session_name or "",
        type=raw.type or "Cookie",
        absolute_timeout=read_duration(raw.absolute_timeout, (*path, "absoluteTimeout")),
        idle_timeout=read_duration(raw.idle_timeout, (*path, "idleTimeout")),
        lifetime_type=cookie.lifetime_type or "Session",
    )
