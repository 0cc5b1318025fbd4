"""What a running server finds wrong: its documents in, problems and what they mean out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from controlplane.cli.errors import CommandError
from controlplane.cli.proxy_connections import Reference
from controlplane.cli.server import Server
from controlplane.insight.explanations import Explanation, explanation_of
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Problem, Severity


class _Source(msgspec.Struct):
    object: Reference | None = None
    file: str = ""
    line: int | None = None


class _Problem(msgspec.Struct):
    severity: Severity
    code: str
    short: str = ""
    message: str = ""
    advice: str = ""
    field: str = ""
    source: _Source = msgspec.field(default_factory=_Source)


class Found(NamedTuple):
    """Problems, and what explains their codes: a server may know other ones."""

    problems: tuple[Problem, ...]
    explain: Callable[[str], Explanation] = explanation_of


def server_problems(server: Server) -> Found:
    """Return every problem the server tells of, explained in its words.

    Raises:
        CommandError: the server cannot tell.
    """
    explanations: dict[str, Explanation] = {}
    problems: list[Problem] = []
    for document in server.pages("/api/v1/problems"):
        told = _read(document)
        if told.short:
            explanations[told.code] = Explanation(told.short, told.advice)
        problems.append(_problem(told))

    def explain(code: str) -> Explanation:
        return explanations.get(code) or explanation_of(code)

    return Found(tuple(problems), explain)


def _read(document: dict[str, Any]) -> _Problem:
    try:
        return msgspec.convert(document, _Problem)
    except msgspec.ValidationError as error:
        raise CommandError(f"the server tells of a problem in another way: {error}") from error


def _problem(told: _Problem) -> Problem:
    held = told.source.object
    reference = None
    if held is not None:
        reference = ObjectReference(held.kind, held.namespace, held.name)
    return Problem(
        severity=told.severity,
        code=told.code,
        message=told.message,
        object=reference,
        file=told.source.file or None,
        line=told.source.line,
        field=told.field or None,
    )
