"""JSON text -> plain documents; several values may follow each other.

Python's own decoder, because it reports duplicate keys; limits are checked on the result, which
JSON cannot expand. ``reading`` makes manifests of the documents.
"""

import json
import re
from collections.abc import Generator
from typing import Any, Final, NoReturn

from controlplane.manifests.documents import Fault, Limits, PlainDocument
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
        faults: list[Fault] = []
        for _ in _walk(value, limits, faults, line):
            values += 1
            if values > limits.values:
                reason = f"more than {limits.values} values"
                raise UnreadableTextError("manifest.too-many-values", reason, line)
            if values % _VALUES_PER_STEP == 0:
                yield
        documents.append(PlainDocument(value=value, line=line, faults=tuple(faults)))
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


def _walk(root: Any, limits: Limits, faults: list[Fault], line: int) -> Generator[None, None, None]:
    """Visit every value once; collect faults; raise when nested too deep."""
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(root, ())]
    while waiting:
        value, path = waiting.pop()
        yield
        if isinstance(value, str):
            _check_text(value, path, faults, line)
            continue
        if not isinstance(value, dict | list):
            continue
        if len(path) >= limits.depth:
            raise _too_deep(limits, line)
        if isinstance(value, list):
            waiting.extend((child, (*path, index)) for index, child in enumerate(value))
            continue
        if isinstance(value, _DuplicateKeys):
            faults.extend(
                Fault(path=(*path, key), reason=f"the key {key!r} is written twice", line=line)
                for key in value.duplicates
            )
        for key, child in value.items():
            _check_text(key, path, faults, line)
            waiting.append((child, (*path, key)))


def _check_text(text: str, path: tuple[str | int, ...], faults: list[Fault], line: int) -> None:
    """Half of a surrogate pair is legal JSON and no text: protobuf could not carry it."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            faults.append(Fault(path=path, reason="text that is not Unicode", line=line))
