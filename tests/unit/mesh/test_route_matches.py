"""What matches are for, and what cannot be compared."""

import pytest

from controlplane.manifests.http_route import GrpcMethod, RouteMatch, TypedValue
from controlplane.mesh.route_matches import judge_match
from controlplane.model.http_route import NamedMatch, PathKind, PathMatch, RequestMatch


def _path(kind: str, value: str) -> RouteMatch:
    return RouteMatch(path=TypedValue(kind, value))


@pytest.mark.proves("HR-10")
@pytest.mark.parametrize("kind", list(PathKind))
def test_paths(kind: PathKind) -> None:
    judged = judge_match(_path(kind.value, "/a/b"))
    assert judged == (RequestMatch(path=PathMatch(kind, "/a/b")), ())


@pytest.mark.proves("HR-14")
@pytest.mark.refutes("HR-10")
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("Exact", "a"),
        ("Exact", "/a?b=c"),
        ("Exact", "/a b"),
        ("Exact", "/a%zz"),
        ("PathPrefix", "//a"),
        ("PathPrefix", "/a/../b"),
        ("Exact", "/a/.."),
        ("Exact", "/a%2Fb"),
        ("RegularExpression", "("),
        ("Odd", "/a"),
    ],
)
def test_paths_that_no_request_has_are_left_out(kind: str, value: str) -> None:
    judged = judge_match(_path(kind, value))
    assert judged.match == RequestMatch()
    assert judged.faults[0].field.startswith("path.")


@pytest.mark.refutes("HR-14")
def test_other_conditions_stay_where_one_is_left_out() -> None:
    judged = judge_match(
        RouteMatch(path=TypedValue("Exact", "/a"), headers=(TypedValue("Exact", "", "x"),))
    )
    assert judged.match == RequestMatch(path=PathMatch(PathKind.EXACT, "/a"))
    assert [fault.field for fault in judged.faults] == ["headers[0].value"]


@pytest.mark.proves("HR-11", "HR-15")
def test_names_of_headers_and_parameters() -> None:
    judged = judge_match(
        RouteMatch(
            method="GET",
            headers=(
                TypedValue("Exact", "1", "X-A"),
                TypedValue("Exact", "2", "x-a"),
                TypedValue("Exact", "shop", "Host"),
                TypedValue("RegularExpression", "b+", "@request.auth.claims.Sub"),
                TypedValue("Exact", "c", "@request.auth.claims[a][b]"),
            ),
            query=(TypedValue("Exact", "1", "Q"), TypedValue("Exact", "2", "q")),
        )
    )
    assert judged == (
        RequestMatch(
            method="GET",
            headers=(
                NamedMatch("x-a", "1"),
                NamedMatch(":authority", "shop"),
                NamedMatch("@request.auth.claims.Sub", "b+", is_expression=True),
                NamedMatch("@request.auth.claims[a][b]", "c"),
            ),
            query=(NamedMatch("Q", "1"), NamedMatch("q", "2")),
        ),
        (),
    )


@pytest.mark.refutes("HR-11", "HR-15")
@pytest.mark.parametrize(
    "written",
    [
        RouteMatch(method="GET IT"),
        RouteMatch(headers=(TypedValue("Exact", "1", "a b"),)),
        RouteMatch(headers=(TypedValue("Exact", "1", ""),)),
        RouteMatch(headers=(TypedValue("Exact", "1", ":path"),)),
        RouteMatch(headers=(TypedValue("Exact", "1\n", "a"),)),
        RouteMatch(headers=(TypedValue("Odd", "1", "a"),)),
        RouteMatch(headers=(TypedValue("RegularExpression", "(", "a"),)),
        RouteMatch(headers=(TypedValue("Exact", "1", "@request.auth.claims"),)),
        RouteMatch(headers=(TypedValue("Exact", "1", "@request.auth.claims[a"),)),
        RouteMatch(query=(TypedValue("Exact", "\ud800", "a"),)),
        RouteMatch(query=(TypedValue("Exact", "1", "a\x00"),)),
    ],
)
def test_what_cannot_be_compared(written: RouteMatch) -> None:
    judged = judge_match(written)
    assert judged.match == RequestMatch()
    assert len(judged.faults) == 1


@pytest.mark.proves("HR-12")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        (GrpcMethod("Exact", "a.B", "C"), PathMatch(PathKind.EXACT, "/a.B/C")),
        (GrpcMethod("Exact", "a.B"), PathMatch(PathKind.PREFIX, "/a.B")),
        (GrpcMethod("Exact", "", "C"), PathMatch(PathKind.REGULAR_EXPRESSION, "/[^/]+/C")),
        (
            GrpcMethod("RegularExpression", "a|b", "C.*"),
            PathMatch(PathKind.REGULAR_EXPRESSION, "/(?:a|b)/(?:C.*)"),
        ),
        (
            GrpcMethod("RegularExpression", "a.*"),
            PathMatch(PathKind.REGULAR_EXPRESSION, "/(?:a.*)/.+"),
        ),
        (GrpcMethod(), None),
    ],
)
def test_calls_are_paths(method: GrpcMethod, path: PathMatch | None) -> None:
    assert judge_match(RouteMatch(grpc=method)) == (RequestMatch(path=path), ())


@pytest.mark.refutes("HR-12")
@pytest.mark.parametrize(
    "method",
    [
        GrpcMethod("Exact", "a/b", "C"),
        GrpcMethod("Exact", "a", "C D"),
        GrpcMethod("RegularExpression", "(", "C"),
        GrpcMethod("RegularExpression", "a", ")"),
        GrpcMethod("RegularExpression", "(?P<x>a)", "(?P<x>a)"),
        GrpcMethod("Odd", "a", "b"),
    ],
)
def test_what_is_no_call(method: GrpcMethod) -> None:
    judged = judge_match(RouteMatch(grpc=method))
    assert judged.match == RequestMatch()
    assert judged.faults[0].field.startswith("method")


@pytest.mark.proves("HR-13")
@pytest.mark.parametrize("text", ["/v[0-9]+/.*", "/(?i)a{1,3}(?:b|c)?", "/[[:alpha:]]+\\.html"])
def test_expressions_that_are_surely_valid(text: str) -> None:
    assert judge_match(_path("RegularExpression", text)).faults == ()


@pytest.mark.refutes("HR-13")
@pytest.mark.parametrize("text", ["/(?=a)", "/(a)\\1", "/a{1001}", "/(a{100}){100}", "a" * 1025])
def test_expressions_that_may_not_be(text: str) -> None:
    assert len(judge_match(_path("RegularExpression", text)).faults) == 1
