"""Why the API server did not do what it was asked for: an answer in, a refusal or nothing out."""

import json
from dataclasses import dataclass
from typing import Any, Final

from controlplane.cluster.client import Answer
from controlplane.cluster.errors import ClusterRefusedError

_LARGEST: Final = 64 * 1024
_LONGEST: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """``reason`` is a word of the API server's, ``message`` its sentence, cut short.

    ``causes`` are the reasons of its details, such as ``FieldManagerConflict``.
    """

    status: int
    reason: str = ""
    message: str = ""
    causes: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"HTTP status {self.status}" + (f", {self.reason}" if self.reason else "")


def refusal_in(answer: Answer) -> Refusal | None:
    """Return why ``answer`` is no success; None where it is one."""
    if 200 <= answer.status < 300:
        return None
    try:
        found: Any = json.loads(answer.body) if len(answer.body) <= _LARGEST else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return Refusal(status=answer.status)
    details = found.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return Refusal(
        status=answer.status,
        reason=str(found.get("reason") or ""),
        message=str(found.get("message") or "")[:_LONGEST],
        causes=frozenset(
            str(cause.get("reason") or "")
            for cause in (causes if isinstance(causes, list) else ())
            if isinstance(cause, dict)
        ),
    )


def require_success(answer: Answer) -> None:
    """Return where ``answer`` is a success.

    Raises:
        ClusterRefusedError: it is none. The text holds no message, which may quote what was sent.
    """
    refusal = refusal_in(answer)
    if refusal is not None:
        raise ClusterRefusedError(refusal.status, refusal.reason)
