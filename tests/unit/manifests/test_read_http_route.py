"""HTTPRoutes and GRPCRoutes from YAML."""

from datetime import timedelta

import pytest

from controlplane.manifests.http_route import (
    CrossOriginFilter,
    GrpcMethod,
    MirrorFilter,
    PathModifier,
    RedirectFilter,
    RewriteFilter,
    Route,
    RouteMatch,
    RulePersistence,
    RuleRetry,
    TypedValue,
)
from controlplane.manifests.route_references import BackendTarget
from controlplane.model.http_route import HeaderChanges, HeaderValue
from controlplane.model.route_parent import ParentReference
from tests.unit.manifests.test_reading import manifest_of, problem_of

HEAD = "apiVersion: gateway.networking.k8s.io/v1\nkind: {}\nmetadata: {{name: a}}\n"


def _read(spec: str, kind: str = "HTTPRoute") -> Route:
    found = manifest_of(HEAD.format(kind) + "spec:\n" + spec)
    assert isinstance(found, Route)
    assert found.kind == kind
    return found


def test_parents_are_read_with_the_defaults_of_the_api() -> None:
    route = _read(
        """
  parentRefs:
  - {name: web, kind: Service, group: "", port: 80}
  - {name: edge, namespace: infra, sectionName: http}
"""
    )
    assert route.parents == (
        ParentReference("", "Service", "", "web", "", 80),
        ParentReference("gateway.networking.k8s.io", "Gateway", "infra", "edge", "http"),
    )


@pytest.mark.proves("HR-1")
def test_matches_backends_and_limits_are_read() -> None:
    (rule,) = _read(
        """
  rules:
  - name: first
    matches:
    - path: {type: Exact, value: /a}
      method: GET
      headers: [{name: x-a, value: "1"}]
      queryParams: [{type: RegularExpression, name: q, value: "a.*"}]
    - {}
    - {path: {}}
    backendRefs:
    - {name: v1, port: 80}
    - {name: v2, port: 81, namespace: b, weight: 0}
    timeouts: {request: 1m30s, backendRequest: 500ms}
    retry: {codes: [503], attempts: 3, backoff: 10ms}
    sessionPersistence: {sessionName: s, absoluteTimeout: 1h, cookieConfig:
      {lifetimeType: Permanent}}
"""
    ).rules
    assert rule.name == "first"
    assert rule.matches == (
        RouteMatch(
            path=TypedValue("Exact", "/a"),
            method="GET",
            headers=(TypedValue("Exact", "1", "x-a"),),
            query=(TypedValue("RegularExpression", "a.*", "q"),),
        ),
        RouteMatch(),
        RouteMatch(path=TypedValue("PathPrefix", "/")),
    )
    assert [(each.target, each.weight) for each in rule.backends] == [
        (BackendTarget("v1", port=80), 1),
        (BackendTarget("v2", port=81, namespace="b"), 0),
    ]
    assert (rule.timeout, rule.backend_timeout) == (
        timedelta(seconds=90),
        timedelta(milliseconds=500),
    )
    assert rule.retry == RuleRetry((503,), 3, timedelta(milliseconds=10))
    assert rule.persistence == RulePersistence(
        name="s", absolute_timeout=timedelta(hours=1), lifetime_type="Permanent"
    )


def test_filters_are_read() -> None:
    (rule,) = _read(
        """
  rules:
  - filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: a, value: b}], add: [{name: c, value: d}], remove: [e]}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {remove: [f]}
    - type: RequestRedirect
      requestRedirect: {scheme: https, path: {type: ReplaceFullPath, replaceFullPath: /x}}
    - type: URLRewrite
      urlRewrite: {hostname: h, path: {type: ReplacePrefixMatch, replacePrefixMatch: /y}}
    - type: RequestMirror
      requestMirror: {backendRef: {name: m, port: 80}, percent: 5}
    - type: RequestMirror
      requestMirror: {backendRef: {name: m, port: 80}, fraction: {numerator: 1, denominator: 8}}
    - type: CORS
      cors: {allowOrigins: ["*"], maxAge: 9, allowCredentials: true}
    - type: Odd
    backendRefs:
    - name: v1
      port: 80
      filters: [{type: RequestHeaderModifier}]
"""
    ).rules
    assert [each.type for each in rule.filters][-1] == "Odd"
    request, response, redirect, rewrite, mirror, fraction, cors, _ = rule.filters
    assert request.headers == HeaderChanges(
        replaced=(HeaderValue("a", "b"),), added=(HeaderValue("c", "d"),), removed=("e",)
    )
    assert response.headers == HeaderChanges(removed=("f",))
    assert redirect.redirect == RedirectFilter(
        scheme="https", path=PathModifier("ReplaceFullPath", "/x"), status=302
    )
    assert rewrite.rewrite == RewriteFilter("h", PathModifier("ReplacePrefixMatch", "/y"))
    assert mirror.mirror == MirrorFilter(BackendTarget("m", port=80), 5)
    assert fraction.mirror == MirrorFilter(BackendTarget("m", port=80), 1, 8)
    assert cors.cross_origin == CrossOriginFilter(
        allowed_origins=("*",), allows_credentials=True, max_age=9
    )
    assert rule.backends[0].filters[0].headers is None


def test_methods_of_grpc_are_read() -> None:
    (rule,) = _read(
        """
  rules:
  - matches:
    - method: {service: shop.Cart, method: Add}
      headers: [{name: a, value: b}]
    - method: {type: RegularExpression, service: "shop.*"}
    -
""",
        "GRPCRoute",
    ).rules
    assert [match.grpc for match in rule.matches] == [
        GrpcMethod("Exact", "shop.Cart", "Add"),
        GrpcMethod("RegularExpression", "shop.*"),
        None,
    ]


@pytest.mark.refutes("HR-1")
@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("rules: [{timeouts: {request: 5}}]", "spec.rules[0].timeouts.request"),
        ("rules: [{timeouts: {request: 5 s}}]", "spec.rules[0].timeouts.request"),
        ("rules: [{retry: {backoff: fast}}]", "spec.rules[0].retry.backoff"),
        ("rules: [{backendRefs: [{name: a, weight: -1}]}]", "spec.rules[0].backendRefs[0].weight"),
        ("rules: [{matches: [{headers: {a: b}}]}]", "spec.rules[0].matches[0].headers"),
        ("parentRefs: [{kind: Service}]", "spec.parentRefs[0].name"),
        ("parentRefs: [{name: a, port: 70000}]", "spec.parentRefs[0].port"),
    ],
)
def test_what_is_no_route_is_refused(spec: str, field: str) -> None:
    assert problem_of(HEAD.format("HTTPRoute") + f"spec: {{{spec}}}\n").field == field
