"""Plain objects -> raw typed structs, with the exact field in every refusal.

``convert`` is the one place where msgspec meets input; the ``read_*`` modules build manifests from
the raw structs. Raw structs mirror the JSON field by field, so that the same types also decode
JSON bytes directly.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec

from controlplane.manifests.documents import Path
from controlplane.manifests.read_scalars import type_names

T = TypeVar("T")

PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]
OptionalPort = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]

_AT: Final = re.compile(r"(?P<reason>.*?)(?: - at (?:`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP: Final = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d+)\]|(?P<any>\[\.\.\.\])")
_EXPECTED: Final = re.compile(r"Expected `(?P<expected>[^`]+)`, got `(?P<got>[^`]+)`")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>[^`]+)`")
_PLAIN: Final = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "a boolean",
    "array": "a list", "object": "an object", "null": "null", "datetime": "an RFC 3339 time",
}  # fmt: skip
_PYTHON: Final[dict[str, type]] = {
    "str": str, "int": int, "float": float, "bool": bool,
    "array": list, "object": dict, "null": type(None),
}  # fmt: skip


class RefusedFieldError(Exception):
    """Internal to this package: a field that cannot be read; ``reading`` makes it a Problem."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason


def convert(value: Any, kind: type[T]) -> T:
    """Return ``value`` as the raw struct ``kind``; raises RefusedFieldError naming the field."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), value) from error


def objects(items: Sequence[T | None] | None, empty: T) -> Iterator[T]:
    """Return every object of a list; a null list is empty, a null item is an empty object."""
    for item in items or ():
        yield empty if item is None else item


def one_of(value: str, allowed: Sequence[str], path: Path) -> str:
    """Return ``value`` if it is one of ``allowed``; raises RefusedFieldError otherwise."""
    if value not in allowed:
        raise RefusedFieldError(path, f"{value!r} is none of {', '.join(allowed)}")
    return value


def _refusal(message: str, value: Any) -> RefusedFieldError:
    match = _AT.fullmatch(message)
    if match is None:
        return RefusedFieldError((), message)
    reason = match["reason"]
    expected = _EXPECTED.match(reason)
    got = _PYTHON.get(expected["got"]) if expected else None
    path = tuple(_steps(match["path"] or "", value, got))
    if unknown := _UNKNOWN.fullmatch(reason):
        return RefusedFieldError((*path, unknown["name"]), "the field is not known here")
    if missing := _MISSING.fullmatch(reason):
        return RefusedFieldError((*path, missing["name"]), "the field is required")
    if expected:
        return RefusedFieldError(path, _sentence(expected, _at(value, path)))
    return RefusedFieldError(path, reason.replace("`", ""))


def _sentence(expected: re.Match[str], actual: Any) -> str:
    wanted = " or ".join(
        _PLAIN.get(name, name) for name in expected["expected"].split(" | ") if name != "null"
    )
    got = _PLAIN.get(expected["got"], expected["got"])
    shown = f" ({json.dumps(actual)})" if isinstance(actual, bool | int | float) else ""
    hint = ": put it in quotes" if "str" in expected["expected"] and shown else ""
    return f"expected {wanted}, got {got}{shown}{hint}"


def _at(value: Any, path: Path) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _steps(path: str, value: Any, got: type | None) -> Iterator[str | int]:
    """Return the steps of a msgspec path; ``[...]`` becomes the first key that fits the blame."""
    steps = list(_STEP.finditer(path))
    for position, match in enumerate(steps):
        step: str | int
        if match["any"]:
            found = _blamed(value, steps[position + 1 :], got)
            if found is None:
                return
            step = found
        elif match["index"]:
            step = int(match["index"])
        else:
            step = match["name"]
        yield step
        value = _at(value, (step,))


def _blamed(value: Any, rest: Sequence[re.Match[str]], got: type | None) -> str | None:
    if not isinstance(value, Mapping):
        return None
    path = [match["name"] or int(match["index"] or 0) for match in rest]
    for key, child in value.items():
        if got is None or type(_at(child, tuple(path))) is got:
            return str(key)
    return None


def type_name(value: Any) -> str:
    """Return how messages call the JSON type of ``value``."""
    return type_names.get(type(value), "something else")
