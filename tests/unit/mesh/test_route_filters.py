"""What filters do, and which cannot be done."""

from datetime import timedelta
from typing import Any

import pytest
import yaml

from controlplane.mesh.route_filters import (
    Changes,
    JudgedFilters,
    MirrorTarget,
    judge_backend_filters,
    judge_filters,
)
from controlplane.model.http_route import (
    CrossOrigin,
    HeaderChanges,
    HeaderValue,
    PathChange,
    PathChangeKind,
    Redirect,
    Rewrite,
)
from tests.support.routes import a_route

REQUEST = "RequestHeaderModifier, requestHeaderModifier"
RESPONSE = "ResponseHeaderModifier, responseHeaderModifier"
REDIRECT = "RequestRedirect, requestRedirect"
REWRITE = "URLRewrite, urlRewrite"
MIRROR = "RequestMirror, requestMirror"


def _judge(text: str, *, kind: str = "HTTPRoute", has_prefixes: bool = True) -> JudgedFilters:
    filters: list[dict[str, Any]] = yaml.safe_load(text)
    (rule,) = a_route([{"filters": filters}], kind=kind).rules
    return judge_filters(kind, rule.filters, has_prefixes=has_prefixes)


def _changes(text: str, **rest: Any) -> Changes:
    judged = _judge(text, **rest)
    assert judged.faults == ()
    return judged.changes


@pytest.mark.proves("HR-30")
def test_headers_are_changed() -> None:
    changes = _changes(
        f"- {{type: {REQUEST}: {{set: [{{name: A, value: b}}, {{name: a, value: c}}],"
        " add: [{name: d, value: 100%}], remove: [e]}}\n"
        f"- {{type: {RESPONSE}: {{remove: [f]}}}}"
    )
    assert changes == Changes(
        request_headers=HeaderChanges(
            replaced=(HeaderValue("A", "b"),), added=(HeaderValue("d", "100%"),), removed=("e",)
        ),
        response_headers=HeaderChanges(removed=("f",)),
    )


@pytest.mark.proves("HR-30")
def test_the_host_is_rewritten() -> None:
    changes = _changes(f"- {{type: {REQUEST}: {{set: [{{name: Host, value: 'a.b:80'}}]}}}}")
    assert changes == Changes(rewrite=Rewrite(hostname="a.b:80"))


@pytest.mark.refutes("HR-30")
@pytest.mark.parametrize(
    "text",
    [
        f"- {{type: {REQUEST}: {{add: [{{name: Host, value: a}}]}}}}",
        f"- {{type: {REQUEST}: {{set: [{{name: Host, value: 'a b'}}]}}}}",
        f"- {{type: {REQUEST}: {{remove: [host]}}}}",
        f"- {{type: {RESPONSE}: {{set: [{{name: host, value: a}}]}}}}",
        f"- {{type: {REQUEST}: {{set: [{{name: ':path', value: a}}]}}}}",
        f'- {{type: {REQUEST}: {{set: [{{name: a, value: "b\\r\\nc"}}]}}}}',
        f"- {{type: {REQUEST}: {{set: [{{name: 'a b', value: c}}]}}}}",
        (
            f"- {{type: {REQUEST}: {{set: [{{name: host, value: a}}]}}}}\n"
            f"- {{type: {REWRITE}: {{hostname: b}}}}"
        ),
    ],
)
def test_headers_that_cannot_be_changed(text: str) -> None:
    assert len(_judge(text).faults) == 1


@pytest.mark.proves("HR-31")
def test_redirects() -> None:
    assert _changes(f"- {{type: {REDIRECT}: {{}}}}").redirect == Redirect(status=302)
    assert _changes(
        f"- {{type: {REDIRECT}: {{scheme: https, hostname: a.b, port: 8443, statusCode: 308, "
        "path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}"
    ).redirect == Redirect(
        scheme="https",
        hostname="a.b",
        port=8443,
        path=PathChange(PathChangeKind.PREFIX, "/x"),
        status=308,
    )


@pytest.mark.refutes("HR-31")
@pytest.mark.parametrize(
    "text",
    [
        f"- {{type: {REDIRECT}: {{scheme: ftp}}}}",
        f"- {{type: {REDIRECT}: {{statusCode: 305}}}}",
        f"- {{type: {REDIRECT}: {{hostname: '*.b'}}}}",
        f"- {{type: {REDIRECT}: {{path: {{type: Odd}}}}}}",
        f"- {{type: {REDIRECT}: {{path: {{type: ReplaceFullPath, replaceFullPath: x}}}}}}",
        f"- {{type: {REDIRECT}: {{}}}}\n- {{type: {REWRITE}: {{hostname: a}}}}",
        f"- {{type: {REDIRECT}: {{}}}}\n- {{type: {MIRROR}: {{backendRef: {{name: a}}}}}}",
        "- {type: RequestRedirect}",
    ],
)
def test_what_is_no_redirect(text: str) -> None:
    assert len(_judge(text).faults) == 1


@pytest.mark.proves("HR-32")
def test_rewrites() -> None:
    full = "path: {type: ReplaceFullPath, replaceFullPath: /x}"
    assert _changes(
        f"- {{type: {REWRITE}: {{hostname: a.b, {full}}}}}", has_prefixes=False
    ).rewrite == Rewrite(hostname="a.b", path=PathChange(PathChangeKind.FULL, "/x"))
    prefix = "path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}"
    assert _changes(f"- {{type: {REWRITE}: {{{prefix}}}}}").rewrite == Rewrite(
        path=PathChange(PathChangeKind.PREFIX, "/")
    )


@pytest.mark.refutes("HR-32")
def test_a_prefix_that_was_not_matched_cannot_be_replaced() -> None:
    prefix = "path: {type: ReplacePrefixMatch, replacePrefixMatch: /}"
    (fault,) = _judge(f"- {{type: {REWRITE}: {{{prefix}}}}}", has_prefixes=False).faults
    assert fault.field == "filters[0].urlRewrite.path"


@pytest.mark.proves("HR-33")
def test_mirrors() -> None:
    mirrors = _changes(
        f"- {{type: {MIRROR}: {{backendRef: {{name: a, port: 1}}}}}}\n"
        f"- {{type: {MIRROR}: {{backendRef: {{name: b, port: 1}}, percent: 5}}}}\n"
        f"- {{type: {MIRROR}: {{backendRef: {{name: c, port: 1}}, fraction: "
        "{numerator: 1, denominator: 8}}}\n"
        f"- {{type: {MIRROR}: {{backendRef: {{name: d, port: 1}}, percent: 0}}}}"
    ).mirrors
    assert [(each.target.name, each.millionths) for each in mirrors] == [
        ("a", 1_000_000),
        ("b", 50_000),
        ("c", 125_000),
    ]
    assert isinstance(mirrors[0], MirrorTarget)
    assert mirrors[1].field == "filters[1].requestMirror.backendRef"


@pytest.mark.refutes("HR-33")
def test_more_than_everything_cannot_be_mirrored() -> None:
    judged = _judge(
        f"- {{type: {MIRROR}: {{backendRef: {{name: a}}, fraction: "
        "{numerator: 3, denominator: 2}}}"
    )
    assert judged.changes.mirrors == ()
    assert len(judged.faults) == 1


@pytest.mark.proves("HR-34")
def test_origins() -> None:
    changes = _changes(
        "- {type: CORS, cors: {allowOrigins: ['*', 'https://*.a.b:8080'], allowMethods: ['*', GET],"
        " allowHeaders: [x-a], exposeHeaders: [x-b], allowCredentials: true, maxAge: 60}}"
    )
    assert changes.cross_origin == CrossOrigin(
        allowed_origins=("*", "https://*.a.b:8080"),
        allows_credentials=True,
        allowed_methods=("*", "GET"),
        allowed_headers=("x-a",),
        exposed_headers=("x-b",),
        max_age=timedelta(seconds=60),
    )


@pytest.mark.refutes("HR-34")
@pytest.mark.parametrize(
    "cors", ["allowOrigins: [a.b]", "allowOrigins: ['https://a/b']", "allowHeaders: ['a, b']"]
)
def test_what_is_no_origin(cors: str) -> None:
    assert len(_judge(f"- {{type: CORS, cors: {{{cors}}}}}").faults) == 1


@pytest.mark.proves("HR-35")
@pytest.mark.parametrize(
    "text",
    [
        "- {type: ExtensionRef, extensionRef: {group: a, kind: B, name: c}}",
        "- {type: ExternalAuth}",
        "- {type: CORS}",
        f"- {{type: {REWRITE}: {{}}}}\n- {{type: {REWRITE}: {{}}}}",
    ],
)
def test_filters_that_cannot_be_done(text: str) -> None:
    assert len(_judge(text).faults) == 1


@pytest.mark.refutes("HR-35", "HR-36")
@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_filters_of_both_kinds_go_together(kind: str) -> None:
    text = (
        f"- {{type: {REQUEST}: {{remove: [a]}}}}\n- {{type: {RESPONSE}: {{remove: [a]}}}}\n"
        f"- {{type: {MIRROR}: {{backendRef: {{name: a}}}}}}"
    )
    assert _judge(text, kind=kind).faults == ()


@pytest.mark.proves("HR-36")
@pytest.mark.parametrize("filter_type", [REDIRECT, REWRITE, "CORS, cors"])
def test_calls_are_not_redirected_or_rewritten(filter_type: str) -> None:
    text = f"- {{type: {filter_type}: {{}}}}"
    assert len(_judge(text, kind="GRPCRoute").faults) == 1
    assert _judge(text).faults == ()


@pytest.mark.proves("HR-37")
def test_backends_change_headers() -> None:
    (rule,) = a_route(f"- filters: [{{type: {REQUEST}: {{remove: [a]}}}}]").rules
    assert judge_backend_filters(rule.filters) == (
        Changes(request_headers=HeaderChanges(removed=("a",))),
        (),
    )


@pytest.mark.refutes("HR-37")
@pytest.mark.parametrize(
    "text",
    [
        f"{{type: {REWRITE}: {{}}}}",
        f"{{type: {MIRROR}: {{backendRef: {{name: a}}}}}}",
        f"{{type: {REQUEST}: {{set: [{{name: host, value: a}}]}}}}",
    ],
)
def test_backends_change_nothing_else(text: str) -> None:
    (rule,) = a_route(f"- filters: [{text}]").rules
    assert len(judge_backend_filters(rule.filters).faults) == 1
