"""Files and folders -> manifests, once: for commands that work offline.

The same walking, reading and choosing as the watched folder, without watching.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from controlplane.manifests.documents import Limits
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import SYSTEM_NAMESPACE, read_documents
from controlplane.model.problem import Problem, Severity
from controlplane.sources.holdings import Holdings
from controlplane.sources.source import Origin
from controlplane.sources.texts import read_text
from controlplane.sources.walking import walk

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Everything the paths gave, sorted by kind and key, and everything wrong with them."""

    objects: tuple[tuple[Manifest | MeshConfig, Origin], ...]
    problems: tuple[Problem, ...]


def read_paths(
    paths: Iterable[str | Path],
    *,
    limits: Limits | None = None,
    system_namespace: str = SYSTEM_NAMESPACE,
) -> Loaded:
    """Return the manifests of files and folders; a path that is not there is a Problem."""
    limits = limits or Limits()
    holdings = Holdings("")
    missing: list[Problem] = []
    for path in paths:
        try:
            found = _exhausted(walk(Path(path)))
        except OSError as error:
            missing.append(missing_path(str(path), error))
            continue
        missing.extend(found.problems)
        for file in found.files:
            content = read_text(file, limits.bytes)
            if isinstance(content, Problem):
                holdings.keep(file, content)
                continue
            reading = read_documents(
                content[0], file, limits=limits, system_namespace=system_namespace
            )
            holdings.take(file, reading)
    holdings.report(tuple(missing))
    changes = holdings.changes()
    problems = tuple(problem for _, found in changes.problems for problem in found)
    return Loaded(objects=changes.puts, problems=problems)


def missing_path(path: str, error: OSError) -> Problem:
    """Return the Problem of a folder or file that cannot be read at all."""
    return Problem(
        severity=Severity.ERROR,
        code="files.missing",
        message=f"the path cannot be read ({error.strerror})",
        file=path,
    )


def _exhausted(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            return finished.value  # type: ignore[no-any-return] # a T by the generator's type
