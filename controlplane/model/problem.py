"""What is wrong with an input, as a value: shown in status, admin, logs and ``snapshot``."""

from dataclasses import dataclass
from enum import StrEnum

from controlplane.model.names import ObjectReference


class Severity(StrEnum):
    """How bad: an error means something asked for is not in force."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding about one object or file.

    ``code`` is stable and dotted by topic (``manifest.invalid``, ``policy.unusable-value``).
    ``file`` and ``line`` (1-based) are set when the object came from a file. ``field`` is a path
    such as ``spec.ports[0].port``.
    """

    severity: Severity
    code: str
    message: str
    object: ObjectReference | None = None
    file: str | None = None
    line: int | None = None
    field: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One status condition wanted on one object (docs/protocol: waypoints and policies).

    ``status`` True/False is written as the strings Kubernetes uses. ``manager`` is the
    server-side-apply field manager that owns it. ``parent`` is that of a route or policy that it
    is about, as people read it.
    """

    object: ObjectReference
    type: str
    status: bool
    reason: str
    message: str
    manager: str
    observed_generation: int | None = None
    parent: str = ""
