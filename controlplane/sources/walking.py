"""A folder -> the manifest files under it, with what tells one version of a file from the next.

Follows symbolic links (mounted ConfigMaps are made of them), each folder once. ``files`` compares
the signatures; ``texts`` reads the files.
"""

import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from controlplane.model.problem import Problem, Severity

SUFFIXES: Final = (".yaml", ".yml", ".json")
_DEEPEST: Final = 32


class Signature(NamedTuple):
    """What changes when a file does; times in nanoseconds."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


@dataclass(slots=True, kw_only=True)
class Walk:
    """What a walk found: files by path, folders that could not be listed, Problems of those."""

    files: dict[str, Signature] = field(default_factory=dict)
    unlisted: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def covers(self, file: str) -> bool:
        """Return whether ``file`` would have been found if it existed."""
        return not any(file.startswith(f"{folder}{os.sep}") for folder in self.unlisted)


def signature_of(status: os.stat_result) -> Signature:
    """Return what tells this version of a file from the next."""
    return Signature(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


def walk(root: Path) -> Generator[None, None, Walk]:
    """Find the manifest files under ``root`` (or ``root`` itself), yielding per folder.

    Raises OSError when ``root`` itself cannot be read.
    """
    found = Walk()
    status = root.stat()
    if not stat.S_ISDIR(status.st_mode):
        found.files[str(root)] = signature_of(status)
        return found
    with os.scandir(root):
        pass
    seen: set[tuple[int, int]] = set()
    waiting: list[tuple[str, int]] = [(str(root), 0)]
    while waiting:
        folder, depth = waiting.pop()
        folders = list(_list(folder, depth, found, seen))
        waiting.extend((name, depth + 1) for name in sorted(folders, reverse=True))
        yield
    return found


def _list(folder: str, depth: int, found: Walk, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Record the files of one folder; return the folders in it."""
    try:
        status = os.stat(folder)  # noqa: PTH116 - see _status
        if (status.st_dev, status.st_ino) in seen or depth > _DEEPEST:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except FileNotFoundError:
        return
    except OSError as error:
        found.unlisted.append(folder)
        reason = f"the folder cannot be listed ({error.strerror}); its last objects are kept"
        found.problems.append(
            Problem(
                severity=Severity.ERROR,
                code="files.unreadable-folder",
                message=reason,
                file=folder,
            )
        )
        return
    for name in names:
        path = f"{folder}{os.sep}{name}"
        if not _is_text(name):
            found.problems.append(_unnameable(path))
            continue
        entry_status = _status(path)
        if entry_status is None:
            continue
        if stat.S_ISDIR(entry_status.st_mode):
            yield path
        elif name.endswith(SUFFIXES):
            found.files[path] = signature_of(entry_status)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unnameable(path: str) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        code="files.unreadable-name",
        message="the name is not UTF-8; the file or folder is not read",
        file=os.fsencode(path).decode("utf-8", "replace"),
    )


def _status(path: str) -> os.stat_result | None:
    """Return the status of ``path``, of the link itself where it leads nowhere, None when gone."""
    try:
        return os.stat(path)  # noqa: PTH116 - a Path per file doubles the cost of a walk
    except OSError:
        pass
    try:
        return os.lstat(path)
    except OSError:
        return None
