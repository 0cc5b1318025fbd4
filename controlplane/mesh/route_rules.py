"""One HTTPRoute or GRPCRoute judged by itself: its rules, ready but for where they lead.

Manifests come in; templates of routes with references to backends go out, with everything that is
wrong. A rule with a fault is kept as one that answers 500. docs/protocol/http-routes.md HR-2 to
HR-4, HR-40, HR-41.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, NamedTuple

from controlplane.manifests.http_route import (
    Route,
    RouteMatch,
    RouteRule,
    RulePersistence,
    RuleRetry,
)
from controlplane.manifests.route_references import BackendTarget
from controlplane.mesh.route_filters import (
    Changes,
    JudgedFilters,
    MirrorTarget,
    judge_backend_filters,
    judge_filters,
)
from controlplane.mesh.route_matches import Fault, claimed_match, judge_match
from controlplane.mesh.route_values import is_plain, is_token
from controlplane.model.http_route import (
    HeaderChanges,
    HttpRoute,
    PathKind,
    PersistenceKind,
    RequestMatch,
    Retry,
    SessionPersistence,
)
from controlplane.model.names import ObjectReference
from controlplane.model.route_parent import ParentReference

INVALID_FILTER: Final = "InvalidFilter"
INVALID_CONFIGURATION: Final = "InvalidConfiguration"

SESSION: Final = "istiod-lite-session"
"""The cookie or header of sessions that were given no name."""

_DEFAULT_ATTEMPTS: Final = 2


class RouteFault(NamedTuple):
    """What is wrong with a route: a condition's reason, a Problem's code, and where.

    ``is_served`` says that the rule works for all that.
    """

    reason: str
    code: str
    field: str
    message: str
    is_served: bool = False


class WantedBackend(NamedTuple):
    """A backend of a rule before it is known where it leads."""

    target: BackendTarget
    weight: int
    field: str
    request_headers: HeaderChanges = HeaderChanges()
    response_headers: HeaderChanges = HeaderChanges()
    is_usable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRule:
    """One rule: ``template`` is what its routes have in common, one for each of ``matches``.

    ``ranks`` are the matches with the conditions that cannot be compared: they are tried in that
    order. Without backends, mirrors and a redirect it answers 500.
    """

    template: HttpRoute
    matches: tuple[RequestMatch, ...]
    ranks: tuple[RequestMatch, ...]
    backends: tuple[WantedBackend, ...] = ()
    mirrors: tuple[MirrorTarget, ...] = ()

    @property
    def sent_to(self) -> tuple[WantedBackend | MirrorTarget, ...]:
        """Return everything that requests are sent or copied to."""
        return (*self.backends, *self.mirrors)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRoute:
    """A route with everything that it alone says. ``created`` is Unix seconds."""

    reference: ObjectReference
    created: float
    generation: int
    parents: tuple[ParentReference, ...]
    rules: tuple[JudgedRule, ...]
    faults: tuple[RouteFault, ...] = ()

    @property
    def age(self) -> tuple[float, str, str, str]:
        """Return the sort key of "oldest first"; equal ages go by namespace and name."""
        kind, namespace, name = self.reference
        return (self.created, namespace, name, kind)


def judge_route(manifest: Route) -> JudgedRoute:
    """Return what ``manifest`` says."""
    faults: list[RouteFault] = []
    rules = tuple(_rule(manifest, index, rule, faults) for index, rule in enumerate(manifest.rules))
    metadata = manifest.metadata
    return JudgedRoute(
        reference=manifest.reference,
        created=metadata.created,
        generation=metadata.generation or 0,
        parents=manifest.parents,
        rules=rules,
        faults=tuple(faults),
    )


def _rule(manifest: Route, index: int, rule: RouteRule, told: list[RouteFault]) -> JudgedRule:
    place = f"spec.rules[{index}]"
    written = rule.matches or (RouteMatch(),)
    judged = [judge_match(match) for match in written]
    has_prefixes = all(
        match.path is None or match.path.kind is PathKind.PREFIX for match, _ in judged
    )
    filters = judge_filters(manifest.kind, rule.filters, has_prefixes=has_prefixes)
    persistence, session_faults = _persistence(rule.persistence, place)
    faults = [
        *_match_faults(place, (found for _, found in judged)),
        *_filter_faults(place, filters),
        *session_faults,
    ]
    if filters.changes.redirect is not None and rule.backends:
        message = "a rule that redirects has no backends"
        faults.append(RouteFault(INVALID_FILTER, "route.unusable-filter", place, message))
    told += faults
    template = HttpRoute(
        name=rule.name if rule.name and is_plain(rule.name) else _name(manifest, index),
        owner=manifest.reference,
    )
    pairs = zip((match for match, _ in judged), map(claimed_match, written), strict=True)
    matches, ranks = zip(*dict.fromkeys(pairs), strict=True)
    if not all(fault.is_served for fault in faults):
        return JudgedRule(template=template, matches=matches, ranks=ranks)
    changes = filters.changes
    return JudgedRule(
        template=replace(
            template,
            request_headers=changes.request_headers,
            response_headers=changes.response_headers,
            redirect=changes.redirect,
            rewrite=changes.rewrite,
            cross_origin=changes.cross_origin,
            timeout=rule.timeout,
            backend_timeout=rule.backend_timeout,
            retry=_retry(rule.retry),
            persistence=persistence,
        ),
        matches=matches,
        ranks=ranks,
        backends=tuple(_backends(rule, place, told)),
        mirrors=_mirrors(changes, place),
    )


def _name(manifest: Route, index: int) -> str:
    return f"{manifest.metadata.namespace}.{manifest.metadata.name}.{index}"


def _match_faults(place: str, found: Iterable[tuple[Fault, ...]]) -> Iterator[RouteFault]:
    for index, faults in enumerate(found):
        for fault in faults:
            field = f"{place}.matches[{index}].{fault.field}"
            yield RouteFault(INVALID_CONFIGURATION, "route.unusable-match", field, fault.message)


def _filter_faults(place: str, filters: JudgedFilters) -> Iterator[RouteFault]:
    for fault in filters.faults:
        field = f"{place}.{fault.field}"
        yield RouteFault(INVALID_FILTER, "route.unusable-filter", field, fault.message)


def _backends(rule: RouteRule, place: str, told: list[RouteFault]) -> Iterator[WantedBackend]:
    for index, backend in enumerate(rule.backends):
        field = f"{place}.backendRefs[{index}]"
        filters = judge_backend_filters(backend.filters)
        told.extend(_filter_faults(field, filters))
        yield WantedBackend(
            target=backend.target,
            weight=backend.weight,
            field=field,
            request_headers=filters.changes.request_headers,
            response_headers=filters.changes.response_headers,
            is_usable=not filters.faults,
        )


def _mirrors(changes: Changes, place: str) -> tuple[MirrorTarget, ...]:
    return tuple(each._replace(field=f"{place}.{each.field}") for each in changes.mirrors)


def _retry(written: RuleRetry | None) -> Retry | None:
    if written is None:
        return None
    return Retry(
        attempts=_DEFAULT_ATTEMPTS if written.attempts is None else written.attempts,
        codes=tuple(sorted(set(written.codes))),
        backoff=written.backoff or None,
    )


def _persistence(
    written: RulePersistence | None, place: str
) -> tuple[SessionPersistence | None, tuple[RouteFault, ...]]:
    if written is None:
        return None, ()
    field = f"{place}.sessionPersistence"
    code = "route.unusable-session"
    name = written.name or SESSION
    if written.type not in tuple(PersistenceKind) or not is_token(name):
        message = f"{written.type} {name!r} cannot carry a session"
        return None, (RouteFault(INVALID_CONFIGURATION, code, field, message),)
    is_kept = written.lifetime_type == "Permanent"
    limits = (written.idle_timeout, None if is_kept else written.absolute_timeout)
    faults: tuple[RouteFault, ...] = ()
    if any(limits):
        message = "nothing ends a session but the lifetime of its permanent cookie"
        faults = (RouteFault(INVALID_CONFIGURATION, code, field, message, is_served=True),)
    lifetime = (written.absolute_timeout or timedelta(0)) if is_kept else None
    kept = SessionPersistence(
        kind=PersistenceKind(written.type), name=name, lifetime=lifetime or None
    )
    return kept, faults
