"""JSON text -> plain documents; several values may follow each other.

Python's own decoder, because it reports duplicate keys; limits are checked on the result, which
JSON cannot expand. ``reading`` makes manifests of the documents.
"""

import json
import re
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Final, NoReturn

from controlplane.manifests.documents import (
    Fault,
    Faults,
    Limits,
    Path,
    PlainDocument,
    written_twice,
)
from controlplane.manifests.errors import UnreadableTextError

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_VALUES_PER_STEP: Final = 2000


class _DuplicateKeys(dict[str, Any]):
    """An object that was written with a key twice."""

    __slots__ = ("duplicates",)

    duplicates: list[str]


def read_json(text: str, limits: Limits) -> Generator[None, None, tuple[PlainDocument, ...]]:
    """Return the documents of ``text``, yielding between them and while checking them.

    Raises UnreadableTextError for a syntax error or an exceeded limit.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)
    documents: list[PlainDocument] = []
    position = _end(_SPACE, text, 0)
    values = 0
    line = 1
    counted = 0
    while position < len(text):
        line += text.count("\n", counted, position)
        counted = position
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            reason = f"not valid JSON: {error.msg}"
            raise UnreadableTextError("manifest.syntax", reason, error.lineno) from error
        except RecursionError as error:
            raise _too_deep(limits, line) from error
        except ValueError as error:
            raise UnreadableTextError(
                "manifest.syntax", f"not valid JSON: {error}", line
            ) from error
        if len(documents) >= limits.documents:
            reason = f"more than {limits.documents} documents"
            raise UnreadableTextError("manifest.too-many-documents", reason, line)
        faults = Faults()
        for count in _walk(value, limits, faults, line):
            values += count
            if values > limits.values:
                reason = f"more than {limits.values} values"
                raise UnreadableTextError("manifest.too-many-values", reason, line)
            yield
        documents.append(PlainDocument(value=value, line=line, faults=faults.found()))
        position = _end(_SPACE, text, position)
        yield
    return tuple(documents)


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return position if match is None else match.end()


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    seen: set[str] = set()
    marked = _DuplicateKeys(value)
    marked.duplicates = [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
    return marked


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _too_deep(limits: Limits, line: int) -> UnreadableTextError:
    return UnreadableTextError("manifest.too-deep", f"nested more than {limits.depth} levels", line)


def _walk(root: Any, limits: Limits, faults: Faults, line: int) -> Generator[int, None, None]:
    """Visit every value, saying how many came up; collect faults; raise when nested too deep.

    A container is counted, with all its children, before they are looked at.
    """
    if isinstance(root, str):
        _check_text(root, (), faults, line)
    waiting: list[tuple[Any, Path]] = [(root, ())] if isinstance(root, dict | list) else []
    seen = 1
    while waiting:
        container, place = waiting.pop()
        if len(place) >= limits.depth:
            raise _too_deep(limits, line)
        seen += len(container)
        if seen > _VALUES_PER_STEP:
            yield seen
            seen = 0
        waiting.extend(_inside(container, place, faults, line))
    yield seen


def _inside(
    container: dict[str, Any] | list[Any], place: Path, faults: Faults, line: int
) -> Iterator[tuple[Any, Path]]:
    """Check the keys and texts of one container; return the containers in it."""
    if isinstance(container, _DuplicateKeys):
        for key in container.duplicates:
            faults.add(Fault(path=(*place, key), reason=written_twice(key), line=line))
    children: Iterable[tuple[str | int, Any]] = enumerate(container)
    if isinstance(container, dict):
        children = container.items()
        for key in container:
            _check_text(key, place, faults, line)
    for step, child in children:
        if isinstance(child, str):
            _check_text(child, (*place, step), faults, line)
        elif isinstance(child, dict | list):
            yield child, (*place, step)


def _check_text(text: str, path: Path, faults: Faults, line: int) -> None:
    """Half of a surrogate pair is legal JSON and no text: protobuf could not carry it."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            faults.add(Fault(path=path, reason="text that is not Unicode", line=line))
