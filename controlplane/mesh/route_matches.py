"""Which requests a rule is for: matches as they are written come in, conditions go out.

What cannot be compared leaves its condition out: the match is for more requests then, and the rule
answers all of them 500. docs/protocol/http-routes.md HR-10 to HR-15.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from controlplane.manifests.http_route import GrpcMethod, RouteMatch, TypedValue
from controlplane.mesh.route_values import is_path, is_plain, is_token
from controlplane.model.http_route import NamedMatch, PathKind, PathMatch, RequestMatch
from controlplane.model.regular_expression import expression_fault

CLAIMS_PREFIX: Final = "@request.auth.claims"

_EXACT: Final = "Exact"
_EXPRESSION: Final = "RegularExpression"
_NOT_IN_PATHS: Final = ("//", "/./", "/../", "%2f", "%2F")
_PATH_ENDS: Final = ("/..", "/.")
_CLAIM: Final = re.compile(
    r"@request\.auth\.claims(?:\.[^\x00-\x20\[\]]+|(?:\[[^\x00-\x1f\[\]]+\])+)"
)
_SERVICE: Final = re.compile(r"\.?[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_METHOD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Fault(NamedTuple):
    """What is wrong at ``field``, a path below the object that was judged."""

    field: str
    message: str


class JudgedMatch(NamedTuple):
    """A match, wider than written where ``faults`` say so."""

    match: RequestMatch
    faults: tuple[Fault, ...] = ()


def judge_match(written: RouteMatch) -> JudgedMatch:
    """Return the conditions that ``written`` has, and what is wrong with it."""
    faults: list[Fault] = []
    path = _path(written.path, faults)
    if written.grpc is not None:
        path = _grpc_path(written.grpc, faults)
    method = written.method
    if method and not is_token(method):
        faults.append(Fault("method", f"{method!r} is no method"))
        method = ""
    headers = _headers(written.headers, faults)
    query = _named("queryParams", written.query, faults)
    match = RequestMatch(path=path, method=method, headers=headers, query=query)
    return JudgedMatch(match, tuple(faults))


def claimed_match(written: RouteMatch) -> RequestMatch:
    """Return the conditions of ``written`` with those that cannot be compared.

    By these a match is ranked: one that lost a condition is tried where it would have been.
    """
    path = None if written.path is None else _claimed_path(written.path)
    if written.grpc is not None:
        call = written.grpc
        make = _exact_call if call.type == _EXACT else _call
        path = make(call.service, call.method) if call.service or call.method else None
    return RequestMatch(
        path=path,
        method=written.method,
        headers=_claimed({_header_name(each.name): each for each in written.headers}),
        query=_claimed({each.name: each for each in written.query}),
    )


def _claimed_path(written: TypedValue) -> PathMatch | None:
    if (written.type, written.value) == (PathKind.PREFIX, "/"):
        return None
    is_known = written.type in tuple(PathKind)
    kind = PathKind(written.type) if is_known else PathKind.REGULAR_EXPRESSION
    return PathMatch(kind, written.value)


def _claimed(by_name: Mapping[str, TypedValue]) -> tuple[NamedMatch, ...]:
    return tuple(NamedMatch(name, each.value) for name, each in by_name.items())


def _path(written: TypedValue | None, faults: list[Fault]) -> PathMatch | None:
    if written is None or (written.type, written.value) == (PathKind.PREFIX, "/"):
        return None
    try:
        kind = PathKind(written.type)
    except ValueError:
        faults.append(Fault("path.type", f"{written.type!r} is not known"))
        return None
    fault = path_fault(written.value)
    if kind is PathKind.REGULAR_EXPRESSION:
        fault = expression_fault(written.value)
    if fault:
        faults.append(Fault("path.value", f"{written.value!r}: {fault}"))
        return None
    return PathMatch(kind, written.value)


def path_fault(text: str) -> str:
    """Return why ``text`` is no path that a request may have, "" when it is."""
    if not is_path(text):
        return "a path starts with / and has no query, spaces or unescaped characters"
    if any(part in text for part in _NOT_IN_PATHS) or text.endswith(_PATH_ENDS):
        return "paths are normalised: no request has this one"
    return ""


def _grpc_path(written: GrpcMethod, faults: list[Fault]) -> PathMatch | None:
    """Return the path of calls to a service, a method or both."""
    if written.type not in (_EXACT, _EXPRESSION):
        faults.append(Fault("method.type", f"{written.type!r} is not known"))
        return None
    service, method = written.service, written.method
    if written.type == _EXPRESSION:
        found = [("service", text) for text in [service] if text and expression_fault(text)]
        found += [("method", text) for text in [method] if text and expression_fault(text)]
        reasons = [
            Fault(f"method.{name}", f"{text!r}: {expression_fault(text)}") for name, text in found
        ]
    else:
        reasons = [
            Fault(f"method.{name}", f"{text!r} is no name")
            for name, text, shape in (("service", service, _SERVICE), ("method", method, _METHOD))
            if text and not shape.fullmatch(text)
        ]
    faults.extend(reasons)
    if reasons or not (service or method):
        return None
    if written.type == _EXACT:
        return _exact_call(service, method)
    path = _call(service, method)
    if together := expression_fault(path.value):
        faults.append(Fault("method", f"service and method together: {together}"))
        return None
    return path


def _exact_call(service: str, method: str) -> PathMatch:
    if service and method:
        return PathMatch(PathKind.EXACT, f"/{service}/{method}")
    if service:
        return PathMatch(PathKind.PREFIX, f"/{service}")
    return PathMatch(PathKind.REGULAR_EXPRESSION, f"/[^/]+/{method}")


def _call(service: str, method: str) -> PathMatch:
    service = f"(?:{service})" if service else "[^/]+"
    method = f"(?:{method})" if method else ".+"
    return PathMatch(PathKind.REGULAR_EXPRESSION, f"/{service}/{method}")


def _headers(written: Iterable[TypedValue], faults: list[Fault]) -> tuple[NamedMatch, ...]:
    found = _named("headers", written, faults)
    return tuple(
        match._replace(name=":authority") if match.name == "host" else match for match in found
    )


def _named(
    field: str, written: Iterable[TypedValue], faults: list[Fault]
) -> tuple[NamedMatch, ...]:
    """Return the conditions on headers or parameters; of equal names only the first counts."""
    kept: dict[str, NamedMatch | None] = {}
    for index, each in enumerate(written):
        name = each.name if field != "headers" else _header_name(each.name)
        if name in kept:
            continue
        reasons = tuple(_reasons(field, each))
        faults.extend(Fault(f"{field}[{index}].{part}", text) for part, text in reasons)
        is_expression = each.type == _EXPRESSION
        kept[name] = None if reasons else NamedMatch(name, each.value, is_expression)
    return tuple(match for match in kept.values() if match is not None)


def _header_name(name: str) -> str:
    return name if name.startswith(CLAIMS_PREFIX) else name.lower()


def _reasons(field: str, written: TypedValue) -> Iterator[tuple[str, str]]:
    is_claim = field == "headers" and _CLAIM.fullmatch(written.name) is not None
    is_name = is_plain(written.name) if field != "headers" else is_token(written.name)
    if not written.name or not (is_claim or is_name):
        yield "name", f"{written.name!r} is no name"
    if written.type == _EXPRESSION:
        fault = expression_fault(written.value)
        if fault:
            yield "value", f"{written.value!r}: {fault}"
    elif written.type != _EXACT:
        yield "type", f"{written.type!r} is not known"
    elif not written.value or not is_plain(written.value):
        yield "value", f"{written.value!r} is no value: it is empty or has control characters"
