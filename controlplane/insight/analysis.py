"""Analysis: problems come in, what is worth telling goes out, worst first.

Pure: where problems come from (a folder, a server) and how they are printed is the caller's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from controlplane.insight.explanations import Explanation, explanation_of
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Problem, Severity


class Level(StrEnum):
    """How bad, as users of analysis commands write it."""

    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"

    @property
    def rank(self) -> int:
        """Return a number that grows with the level."""
        return _RANKS[self]


_RANKS: Final = {Level.INFO: 0, Level.WARNING: 1, Level.ERROR: 2}
_LEVELS: Final = {
    Severity.INFO: Level.INFO,
    Severity.WARNING: Level.WARNING,
    Severity.ERROR: Level.ERROR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of an analysis. ``place`` is ``file`` or ``file:line``, "" when unknown."""

    level: Level
    short: str
    code: str
    object: ObjectReference | None
    place: str
    field: str
    message: str
    advice: str

    def __str__(self) -> str:
        origin = " ".join(filter(None, (_named(self.object), self.place)))
        where = f" ({origin})" if origin else ""
        field = f"{self.field}: " if self.field else ""
        return f"{self.level} [{self.short}]{where} {field}{self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """Findings not to tell: ``code`` and ``name`` are patterns with ``*`` and ``?``.

    ``code`` is matched with the short and the long code, ``name`` with ``Kind name.namespace``.
    """

    code: str
    name: str

    def covers(self, finding: Finding) -> bool:
        """Return whether ``finding`` is not to be told."""
        if not any(fnmatchcase(code, self.code) for code in (finding.short, finding.code)):
            return False
        return fnmatchcase(_suppressible(finding.object), self.name)


def read_suppression(text: str) -> Suppression:
    """Return what ``CODE=Kind name.namespace`` says.

    Raises:
        ValueError: there is no code, or no name behind an equals sign.
    """
    code, equals, name = text.partition("=")
    if not (code and equals and name):
        raise ValueError(f"{text!r} is not CODE=Kind name.namespace, such as IL0502=*")
    return Suppression(code=code, name=name)


def analyse(
    problems: Iterable[Problem],
    *,
    suppressions: Iterable[Suppression] = (),
    explain: Callable[[str], Explanation] = explanation_of,
) -> tuple[Finding, ...]:
    """Return the findings, the worst first, then by object and place.

    ``explain`` says what a code means; a server of another version may know more of them.
    """
    held = tuple(suppressions)
    found = {_finding(problem, explain(problem.code)) for problem in problems}
    told = (each for each in found if not any(rule.covers(each) for rule in held))
    return tuple(sorted(told, key=_order))


def is_in_namespace(problem: Problem, namespace: str) -> bool:
    """Return whether the problem is about an object of ``namespace``, or about no object."""
    if problem.object is None:
        return True
    held = problem.object.namespace
    if problem.object.kind == "Namespace":
        held = problem.object.name
    return held == namespace


def _finding(problem: Problem, explanation: Explanation) -> Finding:
    place = problem.file or ""
    return Finding(
        level=_LEVELS[problem.severity],
        short=explanation.short,
        code=problem.code,
        object=problem.object,
        place=place if problem.line is None else f"{place}:{problem.line}",
        field=problem.field or "",
        message=problem.message,
        advice=explanation.advice,
    )


def _order(finding: Finding) -> tuple[int, str, str, str, str, str]:
    return (
        -finding.level.rank,
        _named(finding.object),
        finding.place,
        finding.short,
        finding.field,
        finding.message,
    )


def _named(reference: ObjectReference | None) -> str:
    return "" if reference is None else str(reference)


def _suppressible(reference: ObjectReference | None) -> str:
    if reference is None:
        return ""
    namespace = f".{reference.namespace}" if reference.namespace else ""
    return f"{reference.kind} {reference.name}{namespace}"
