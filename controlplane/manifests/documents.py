"""What a text contains before anyone asks what it means: plain documents, their lines and faults.

``read_yaml`` and ``read_json`` make them; ``reading`` turns them into manifests and Problems.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_MOST_FAULTS: Final = 100

Path = tuple[str | int, ...]
"""Keys and indexes from the document's root to one value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one text may ask of the process (docs/protocol/manifests.md MF-8 to MF-11).

    ``bytes`` is the size of the text; ``values`` counts scalars, lists and objects, an alias as
    often as it is used; ``depth`` is how deep they nest.
    """

    bytes: int = 8 * 1024 * 1024
    values: int = 1_000_000
    depth: int = 64
    anchors: int = 10_000
    documents: int = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something in a document that has no single meaning; the object around it is refused."""

    path: Path
    reason: str
    line: int | None = None


class Faults:
    """The faults of one document, as many as anybody needs to see.

    Beyond that the document as a whole is at fault, so that none goes unnoticed.
    """

    def __init__(self) -> None:
        self._found: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Add one fault."""
        if len(self._found) < _MOST_FAULTS:
            self._found.append(fault)
        elif len(self._found) == _MOST_FAULTS:
            self._found.append(Fault(path=(), reason="too many faults", line=fault.line))

    def found(self) -> tuple[Fault, ...]:
        """Return what was added."""
        return tuple(self._found)


def written_twice(key: str) -> str:
    """Return the reason for a key that stands twice in one object."""
    return f"the key {key!r} is written twice"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainDocument:
    """One document: its value, where it starts (1-based) and where its parts are.

    ``lines`` maps ``id(container)`` to the lines of its children: a list for a list, a mapping by
    key for an object. Empty when the format gives none.
    """

    value: Any
    line: int
    lines: Mapping[int, Any] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def line_of(self, path: Path) -> int:
        """Return the line of the value at ``path``, or of the closest thing around it."""
        value, line = self.value, self.line
        for step in path:
            try:
                line = self.lines[id(value)][step]
                value = value[step]
            except (KeyError, IndexError, TypeError):
                break
        return line


def field_path(path: Path) -> str:
    """Return ``path`` as users write it: ``spec.ports[0].port``, ``metadata.labels["a.b"]``."""
    written = ""
    for step in path:
        if isinstance(step, int):
            written += f"[{step}]"
        elif step.replace("_", "").replace("-", "").isalnum():
            written += f".{step}" if written else step
        else:
            written += f'["{step}"]'
    return written
