"""One condition as it stands in a status: what is to be said and what is there in, an entry out.

The time of a condition is the time at which its status, true or false, became what it is: it stays
when only reason or message change (docs/protocol/gateway-status.md GS-4, statuses.md SS-4 and
route-status.md RT-5).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol


class Said(Protocol):
    """What a condition says."""

    @property
    def type(self) -> str:
        """Return what it is about."""
        ...

    @property
    def status(self) -> bool:
        """Return whether it is so."""
        ...

    @property
    def reason(self) -> str:
        """Return why, for programs."""
        ...

    @property
    def message(self) -> str:
        """Return why, for people."""
        ...


def status_text(condition: Said) -> str:
    """Return the status the way Kubernetes writes it."""
    return "True" if condition.status else "False"


def condition_entry(
    condition: Said, before: Mapping[str, Any] | None, now: datetime, *, generation: int | None
) -> dict[str, Any]:
    """Return what to write, given the entry of this type that is there (None: there is none).

    ``generation`` is that of the object as it was seen; None says nothing of it. ``now`` stamps a
    status that changes.
    """
    status = status_text(condition)
    since = (before or {}).get("lastTransitionTime")
    if before is None or before.get("status") != status or not since:
        since = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    entry: dict[str, Any] = {
        "type": condition.type,
        "status": status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": since,
    }
    if generation is not None:
        entry["observedGeneration"] = generation
    return entry
