"""One route judged by itself."""

from datetime import timedelta

import pytest

from controlplane.mesh.route_rules import SESSION, JudgedRoute, judge_route
from controlplane.model.http_route import (
    NamedMatch,
    PathKind,
    PathMatch,
    PersistenceKind,
    RequestMatch,
    Retry,
    SessionPersistence,
)
from tests.support.routes import a_route


def _judge(rules: str, kind: str = "HTTPRoute") -> JudgedRoute:
    return judge_route(a_route(rules, kind=kind))


def _said(route: JudgedRoute) -> list[tuple[str, str, str]]:
    return [(fault.reason, fault.code, fault.field) for fault in route.faults]


A = PathMatch(PathKind.PREFIX, "/a")


@pytest.mark.proves("HR-2")
def test_each_match_once() -> None:
    route = _judge(
        """
        - matches: [{path: {value: /a}}, {path: {value: /a}}, {method: GET, path: {value: /}}]
        - {}
        """
    )
    assert [rule.matches for rule in route.rules] == [
        (RequestMatch(path=A), RequestMatch(method="GET")),
        (RequestMatch(),),
    ]


@pytest.mark.refutes("HR-2")
def test_an_exact_root_is_a_condition() -> None:
    (rule,) = _judge("- matches: [{path: {type: Exact, value: /}}]").rules
    assert rule.matches == (RequestMatch(path=PathMatch(PathKind.EXACT, "/")),)


@pytest.mark.proves("HR-3")
def test_names() -> None:
    names = [rule.template.name for rule in _judge("[{name: first}, {}, {}]").rules]
    assert names == ["first", "shop.route.1", "shop.route.2"]


@pytest.mark.refutes("HR-3")
def test_a_name_that_cannot_be_written_is_none() -> None:
    (rule,) = _judge('- name: "a\\nb"').rules
    assert rule.template.name == "shop.route.0"


@pytest.mark.proves("HR-4")
@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            "filters: [{type: Odd}]",
            ("InvalidFilter", "route.unusable-filter", "spec.rules[0].filters[0]"),
        ),
        (
            "matches: [{path: {type: RegularExpression, value: (}}]",
            (
                "InvalidConfiguration",
                "route.unusable-match",
                "spec.rules[0].matches[0].path.value",
            ),
        ),
        (
            "filters: [{type: RequestRedirect, requestRedirect: {}}]",
            ("InvalidFilter", "route.unusable-filter", "spec.rules[0]"),
        ),
        (
            "sessionPersistence: {sessionName: a b}",
            (
                "InvalidConfiguration",
                "route.unusable-session",
                "spec.rules[0].sessionPersistence",
            ),
        ),
        (
            "sessionPersistence: {type: Odd}",
            (
                "InvalidConfiguration",
                "route.unusable-session",
                "spec.rules[0].sessionPersistence",
            ),
        ),
    ],
)
def test_a_rule_that_cannot_be_done_does_nothing(rule: str, said: tuple[str, str, str]) -> None:
    route = _judge(f"- {{{rule}, backendRefs: [{{name: web, port: 80}}]}}\n- {{}}")
    assert _said(route) == [said]
    first = route.rules[0]
    assert (first.backends, first.mirrors, first.template.redirect) == ((), (), None)
    assert first.matches == (RequestMatch(),)


@pytest.mark.proves("HR-14")
@pytest.mark.parametrize(
    ("match", "rank"),
    [
        (
            "path: {type: RegularExpression, value: (}",
            RequestMatch(path=PathMatch(PathKind.REGULAR_EXPRESSION, "(")),
        ),
        (
            "path: {type: Odd, value: /a}",
            RequestMatch(path=PathMatch(PathKind.REGULAR_EXPRESSION, "/a")),
        ),
        ('headers: [{name: X, value: ""}]', RequestMatch(headers=(NamedMatch("x", ""),))),
        ("method: a b", RequestMatch(method="a b")),
    ],
)
def test_a_match_keeps_its_place_without_its_condition(match: str, rank: RequestMatch) -> None:
    (rule,) = _judge(f"- matches: [{{{match}}}]").rules
    assert (rule.matches, rule.ranks) == ((RequestMatch(),), (rank,))


@pytest.mark.refutes("HR-4")
def test_another_rule_is_not_touched() -> None:
    route = _judge(
        "- {filters: [{type: Odd}]}\n"
        "- {matches: [{path: {value: /a}}], backendRefs: [{name: web, port: 80}]}"
    )
    second = route.rules[1]
    assert (second.matches, len(second.backends)) == ((RequestMatch(path=A),), 1)


@pytest.mark.proves("HR-40")
def test_limits_and_retries() -> None:
    (rule,) = _judge(
        "- {timeouts: {request: 2s, backendRequest: 1s}, retry: {codes: [503, 500, 503]}}"
    ).rules
    assert rule.template.timeout == timedelta(seconds=2)
    assert rule.template.backend_timeout == timedelta(seconds=1)
    assert rule.template.retry == Retry(attempts=2, codes=(500, 503))
    (rule,) = _judge("- {retry: {attempts: 0, backoff: 25ms}}").rules
    assert rule.template.retry == Retry(attempts=0, backoff=timedelta(milliseconds=25))


@pytest.mark.refutes("HR-40")
def test_nothing_is_limited_unless_written() -> None:
    (rule,) = _judge("- {timeouts: {request: 0s}, retry: {backoff: 0s}}").rules
    assert (rule.template.timeout, rule.template.backend_timeout) == (timedelta(0), timedelta(0))
    assert rule.template.retry == Retry()
    (rule,) = _judge("- {}").rules
    assert rule.template.retry is None


@pytest.mark.proves("HR-41")
def test_sessions() -> None:
    permanent = "absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}"
    (rule,) = _judge(f"- {{sessionPersistence: {{sessionName: s, {permanent}}}}}").rules
    assert rule.template.persistence == SessionPersistence(
        kind=PersistenceKind.COOKIE, name="s", lifetime=timedelta(hours=1)
    )
    (rule,) = _judge("- {sessionPersistence: {type: Header}}").rules
    assert rule.template.persistence == SessionPersistence(
        kind=PersistenceKind.HEADER, name=SESSION
    )


@pytest.mark.refutes("HR-41")
@pytest.mark.parametrize("limit", ["idleTimeout: 1m", "absoluteTimeout: 1h"])
def test_a_session_without_its_limit_is_a_problem_and_kept(limit: str) -> None:
    route = _judge(f"- {{sessionPersistence: {{{limit}}}, backendRefs: [{{name: web, port: 80}}]}}")
    assert [fault.is_served for fault in route.faults] == [True]
    (rule,) = route.rules
    assert rule.backends
    assert rule.template.persistence == SessionPersistence(
        kind=PersistenceKind.COOKIE, name=SESSION
    )


def test_a_backend_with_a_filter_that_cannot_be_is_not_usable() -> None:
    route = _judge(
        """
        - backendRefs:
          - {name: a, port: 80, weight: 9, filters: [{type: URLRewrite, urlRewrite: {}}]}
          - {name: b, port: 80}
        """
    )
    assert _said(route) == [
        ("InvalidFilter", "route.unusable-filter", "spec.rules[0].backendRefs[0].filters[0]")
    ]
    (rule,) = route.rules
    assert [(each.is_usable, each.weight) for each in rule.backends] == [(False, 9), (True, 1)]
