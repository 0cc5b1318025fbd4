"""YAML text -> plain documents (dict, list, str, int, float, bool, None) with their lines.

Works on libyaml's events with a stack of its own, so that nesting, aliases and size are limited
while reading and nothing is expanded first. ``reading`` makes manifests of the documents.
"""

import math
from collections.abc import Generator
from typing import Any, Final

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined] # the stubs forget the export

from controlplane.manifests.documents import (
    Fault,
    Faults,
    Limits,
    PlainDocument,
    written_twice,
)
from controlplane.manifests.errors import UnreadableTextError
from controlplane.manifests.read_scalars import resolve

_EVENTS_PER_STEP: Final = 500
_TAGS: Final = "tag:yaml.org,2002:"
_MERGE: Final = object()
_NO_KEY: Final = object()


class _Frame:
    """One container being filled."""

    __slots__ = ("anchor", "depth", "key", "line", "lines", "merges", "size", "value")

    def __init__(self, value: Any, anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: Any = _NO_KEY
        self.line = 0
        self.lines: Any = {} if isinstance(value, dict) else []
        self.merges: list[Any] = []
        self.size = 1
        self.depth = 1


def read_yaml(text: str, limits: Limits) -> Generator[None, None, tuple[PlainDocument, ...]]:
    """Return the documents of ``text``, yielding every few hundred events.

    Duplicate keys, unknown tags and the like are ``Fault`` values of their document. Raises
    UnreadableTextError for a syntax error or an exceeded limit: then the text has no documents.
    """
    reader = _Reader(limits)
    try:
        parser = CParser(text)
        try:
            seen = 0
            while parser.check_event():
                reader.receive(parser.get_event())
                seen += 1
                if seen % _EVENTS_PER_STEP == 0:
                    yield
        finally:
            parser.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or "not YAML"
        line = None if mark is None else mark.line + 1
        raise UnreadableTextError("manifest.syntax", f"not valid YAML: {reason}", line) from error
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        reason = f"not valid YAML: {' '.join(str(error).split())}"
        raise UnreadableTextError("manifest.syntax", reason) from error
    return tuple(reader.documents)


class _Reader:
    """Folds events into documents."""

    def __init__(self, limits: Limits) -> None:
        self.documents: list[PlainDocument] = []
        self._limits = limits
        self._values = 0
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._lines: dict[int, Any] = {}
        self._faults = Faults()

    def receive(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._count(1, event)
            self._scalar(event)
        elif kind is yaml.MappingStartEvent:
            self._open({}, event)
        elif kind is yaml.SequenceStartEvent:
            self._open([], event)
        elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
            self._close()
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.DocumentStartEvent:
            self._anchors, self._lines, self._faults = {}, {}, Faults()

    def _count(self, values: int, event: Any) -> None:
        self._values += values
        if self._values > self._limits.values:
            raise UnreadableTextError(
                "manifest.too-many-values",
                f"more than {self._limits.values} values, aliases counted as often as used",
                event.start_mark.line + 1,
            )

    def _scalar(self, event: Any) -> None:
        line = event.start_mark.line + 1
        text = event.value
        value: Any = text
        tag = event.tag
        if tag is None:
            if event.implicit[0]:
                value = _MERGE if text == "<<" else resolve(text)
        elif tag not in ("!", _TAGS + "str"):
            value = self._tagged(tag, text, line)
        if type(value) is float and not math.isfinite(value):
            self._fault("a number that JSON cannot carry", line)
            value = 0
        if event.anchor is not None:
            self._anchor(event, value, 1, 0)
        self._add(value, line, 1, 0)

    def _tagged(self, tag: str, text: str, line: int) -> Any:
        value = resolve(text) if text else None
        expected: dict[str, type | tuple[type, ...]] = {
            _TAGS + "int": int,
            _TAGS + "float": (int, float),
            _TAGS + "bool": bool,
            _TAGS + "null": type(None),
        }
        if tag == _TAGS + "timestamp":
            return text
        if tag not in expected or not isinstance(value, expected[tag]):
            self._fault(f"the tag {tag.removeprefix(_TAGS)!r} is not supported here", line)
        return value

    def _open(self, value: Any, event: Any) -> None:
        self._count(1, event)
        if len(self._stack) >= self._limits.depth:
            self._too_deep(event)
        tag = event.tag
        if tag is not None and tag not in ("!", _TAGS + "map", _TAGS + "seq"):
            self._fault(
                f"the tag {tag.removeprefix(_TAGS)!r} is not supported here",
                event.start_mark.line + 1,
            )
        frame = _Frame(value, event.anchor)
        if event.anchor is not None:
            self._anchor(event, _NO_KEY, 0, 0)  # until it is closed it cannot be referred to
        if self._stack and isinstance(self._stack[-1].value, dict):
            parent = self._stack[-1]
            if parent.key is _NO_KEY:
                self._fault("a key that is a list or an object", event.start_mark.line + 1)
        frame.line = event.start_mark.line + 1
        self._stack.append(frame)

    def _close(self) -> None:
        frame = self._stack.pop()
        for merged in frame.merges:
            for key, value in merged.items():
                frame.value.setdefault(key, value)
        self._lines[id(frame.value)] = frame.lines
        if frame.anchor is not None:
            self._anchors[frame.anchor] = (frame.value, frame.size, frame.depth)
        self._add(frame.value, frame.line, frame.size, frame.depth)

    def _anchor(self, event: Any, value: Any, size: int, depth: int) -> None:
        if len(self._anchors) >= self._limits.anchors:
            raise UnreadableTextError(
                "manifest.too-many-anchors",
                f"more than {self._limits.anchors} anchors in one document",
                event.start_mark.line + 1,
            )
        self._anchors[event.anchor] = (value, size, depth)

    def _alias(self, event: Any) -> None:
        line = event.start_mark.line + 1
        value, size, depth = self._anchors.get(event.anchor, (_NO_KEY, 0, 0))
        if value is _NO_KEY:
            raise UnreadableTextError(
                "manifest.syntax", f"the alias *{event.anchor} refers to nothing finished", line
            )
        self._count(size, event)
        if len(self._stack) + depth > self._limits.depth:
            self._too_deep(event)
        self._add(value, line, size, depth)

    def _too_deep(self, event: Any) -> None:
        raise UnreadableTextError(
            "manifest.too-deep",
            f"nested more than {self._limits.depth} levels",
            event.start_mark.line + 1,
        )

    def _add(self, value: Any, line: int, size: int, depth: int) -> None:
        if not self._stack:
            self._finish(None if value is _MERGE else value, line)
            return
        frame = self._stack[-1]
        frame.size += size
        frame.depth = max(frame.depth, depth + 1)
        container = frame.value
        if isinstance(container, list):
            container.append("<<" if value is _MERGE else value)
            frame.lines.append(line)
        elif frame.key is _NO_KEY:
            frame.key = self._key(frame, value)
            if frame.key in frame.value:
                self._fault(written_twice(frame.key), line)
            frame.lines.setdefault(frame.key, line)
        else:
            self._set(frame, value, line)

    def _key(self, frame: _Frame, value: Any) -> Any:
        if value is _MERGE or type(value) is str:
            key = value
        elif value is None:
            key = "null"
        elif isinstance(value, bool):
            key = "true" if value else "false"
        elif isinstance(value, int | float):
            key = str(value)
        else:  # already a fault
            key = f"?{len(frame.value)}"
        return key

    def _set(self, frame: _Frame, value: Any, line: int) -> None:
        key, frame.key = frame.key, _NO_KEY
        if key is not _MERGE:
            frame.value.setdefault(key, "<<" if value is _MERGE else value)
            return
        merged = value if isinstance(value, list) else [value]
        if all(isinstance(one, dict) for one in merged):
            frame.merges.extend(merged)
        else:
            self._fault("a merge key takes an object or a list of objects", line)

    def _fault(self, reason: str, line: int) -> None:
        path: list[str | int] = []
        for frame in self._stack:
            if isinstance(frame.value, list):
                path.append(len(frame.value))
            elif frame.key is not _NO_KEY and frame.key is not _MERGE:
                path.append(frame.key)
        self._faults.add(Fault(path=tuple(path), reason=reason, line=line))

    def _finish(self, value: Any, line: int) -> None:
        if len(self.documents) >= self._limits.documents:
            raise UnreadableTextError(
                "manifest.too-many-documents",
                f"more than {self._limits.documents} documents",
                line,
            )
        self.documents.append(
            PlainDocument(value=value, line=line, lines=self._lines, faults=self._faults.found())
        )
