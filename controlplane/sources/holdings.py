"""What each file gave last, and which file an object is taken from.

Readings of files come in one by one; ``changes`` says what a receiver must be told since it was
last asked. Pure: no files, no clock. ``files`` and ``paths`` continue (docs/protocol/files.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import Identity, Reading, unknown_kind_note
from controlplane.model.problem import Problem, Severity
from controlplane.sources.source import Origin


class Held(NamedTuple):
    """One object as its file gave it last."""

    manifest: Manifest | MeshConfig
    line: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What changed since the last time; sorted, so that equal histories tell equal stories."""

    puts: tuple[tuple[Manifest | MeshConfig, Origin], ...]
    removals: tuple[Identity, ...]
    problems: tuple[tuple[Origin, tuple[Problem, ...]], ...]


class Holdings:
    """The objects of many files; each identity is taken from the smallest path that gives it.

    ``place`` is what findings about no single file are reported under.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._files: dict[str, dict[Identity, Held]] = {}
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._skipped: dict[str, tuple[str, ...]] = {}
        self._claims: dict[Identity, set[str]] = {}
        self._published: dict[Identity, tuple[Manifest | MeshConfig, Origin]] = {}
        self._reported: dict[str, tuple[Problem, ...]] = {}
        self._touched: set[Identity] = set()
        self._touched_files: set[str] = set()
        self._place_problems: tuple[Problem, ...] = ()

    @property
    def files(self) -> frozenset[str]:
        """Return the files that are known, whether they gave objects or only problems."""
        return frozenset(self._files)

    def take(self, file: str, reading: Reading) -> None:
        """Take what ``file`` says now, keeping the last good version of what it says badly."""
        last = self._files.get(file, {})
        if not reading.readable:
            self._hold(file, last, tuple(_kept(one, held=bool(last)) for one in reading.problems))
            return
        if reading.empty and last:
            self._hold(file, last, (_emptied(file),))
            return
        fresh, problems = _fresh(file, reading)
        refused = set(reading.refused)
        for identity, held in last.items():
            if identity not in fresh and (identity in refused or None in refused):
                fresh[identity] = held
        problems = tuple(
            _kept(one, held=any(one.object == identity.reference for identity in fresh))
            if one.code == "manifest.invalid"
            else one
            for one in problems
        )
        self._skipped[file] = reading.skipped
        self._hold(file, fresh, problems)

    def keep(self, file: str, problem: Problem) -> None:
        """Record that ``file`` could not be read: its last objects stay."""
        last = self._files.get(file, {})
        self._hold(file, last, (_kept(problem, held=bool(last)),))

    def forget(self, file: str) -> None:
        """Record that ``file`` is gone, and its objects with it."""
        self._hold(file, {}, ())
        self._files.pop(file, None)
        self._problems.pop(file, None)
        self._skipped.pop(file, None)

    def report(self, problems: tuple[Problem, ...]) -> None:
        """Record what is wrong with the place as a whole; replaces what was said before."""
        self._place_problems = problems

    def changes(self) -> Changes:
        """Return what a receiver must be told since the last call."""
        puts: list[tuple[Manifest | MeshConfig, Origin]] = []
        removals: list[Identity] = []
        for identity in sorted(self._touched):
            claims = self._claims.get(identity)
            if not claims:
                self._claims.pop(identity, None)
                if self._published.pop(identity, None) is not None:
                    removals.append(identity)
                continue
            file = min(claims)
            held = self._files[file][identity]
            current = (held.manifest, Origin(file=file, line=held.line))
            if self._published.get(identity) != current:
                self._published[identity] = current
                puts.append(current)
        problems = tuple(self._changed_problems())
        self._touched.clear()
        self._touched_files.clear()
        return Changes(puts=tuple(puts), removals=tuple(removals), problems=problems)

    def _hold(
        self, file: str, objects: dict[Identity, Held], problems: tuple[Problem, ...]
    ) -> None:
        last = self._files.get(file, {})
        for identity in last.keys() | objects.keys():
            if last.get(identity) == objects.get(identity):
                continue
            claims = self._claims.setdefault(identity, set())
            self._touched_files |= claims
            if identity in objects:
                claims.add(file)
            else:
                claims.discard(file)
            self._touched.add(identity)
        self._files[file] = objects
        self._problems[file] = problems
        self._touched_files.add(file)

    def _changed_problems(self) -> Iterator[tuple[Origin, tuple[Problem, ...]]]:
        found = {file: self._problems_of(file) for file in self._touched_files}
        skipped = sorted({kind for kinds in self._skipped.values() for kind in kinds})
        notes = tuple(unknown_kind_note(kind) for kind in skipped)
        found[self._place] = (*found.get(self._place, ()), *self._place_problems, *notes)
        for file in sorted(found):
            problems = found[file]
            if self._reported.get(file, ()) == problems:
                continue
            if problems:
                self._reported[file] = problems
            else:
                self._reported.pop(file, None)
            yield Origin(file=file), problems

    def _problems_of(self, file: str) -> tuple[Problem, ...]:
        shadowed = (
            _duplicate(identity, file, held.line, min(claims))
            for identity, held in self._files.get(file, {}).items()
            if min(claims := self._claims[identity]) != file
        )
        return (*self._problems.get(file, ()), *shadowed)


def _fresh(file: str, reading: Reading) -> tuple[dict[Identity, Held], tuple[Problem, ...]]:
    """Return the objects of a reading, the first of each identity, and the problems."""
    fresh: dict[Identity, Held] = {}
    problems = list(reading.problems)
    for document in reading.documents:
        identity = document.identity
        if identity in fresh:
            problems.append(_duplicate(identity, file, document.line, file))
        else:
            fresh[identity] = Held(document.manifest, document.line)
    return fresh, tuple(problems)


def _duplicate(identity: Identity, file: str, line: int | None, winner: str) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        code="files.duplicate-object",
        message=f"the object is already given by {winner}, which is used",
        object=identity.reference,
        file=file,
        line=line,
    )


def _emptied(file: str) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        code="files.empty-file",
        message="the file is empty: its last objects are kept; delete it to remove them",
        file=file,
    )


def _kept(problem: Problem, *, held: bool) -> Problem:
    """Return the problem, saying so where a last good version stays in force."""
    if not held:
        return problem
    return replace(problem, message=f"{problem.message}; the last good version stays in force")
