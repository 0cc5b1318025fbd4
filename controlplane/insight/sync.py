"""Is a client in sync: its progress comes in, a verdict with age and lag comes out.

Pure. Rules: docs/protocol/fleet.md FL-n; the words are those operators know.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from controlplane.model.connection import Connection, TypeProgress


class SyncState(StrEnum):
    """What is said of one type of one connection, or of all of its types."""

    SYNCED = "SYNCED"
    STALE = "STALE"
    NOT_SENT = "NOT SENT"
    ERROR = "ERROR"
    IGNORED = "IGNORED"


_WORST_FIRST: Final = (
    SyncState.ERROR,
    SyncState.STALE,
    SyncState.NOT_SENT,
    SyncState.SYNCED,
    SyncState.IGNORED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncVerdict:
    """A state and since when it lasts, None where that is not known.

    ``lag_commits`` is how many commits lie between what the client has and the newest that concerns
    it, commits that do not concern it among them; ``lag_seconds`` how long ago the oldest one it
    lacks was made, 0 when it lacks none and None when that is no longer known.
    """

    state: SyncState
    since: datetime | None = None
    lag_commits: int = 0
    lag_seconds: float | None = 0.0

    def text(self, now: datetime) -> str:
        """Return the state, with its age in brackets where it has one."""
        if self.since is None:
            return self.state.value
        return f"{self.state.value} ({age_text((now - self.since).total_seconds())})"


_IGNORED: Final = SyncVerdict(state=SyncState.IGNORED)


def sync_verdict(progress: TypeProgress | None, now: datetime) -> SyncVerdict:
    """Return the verdict on one type; ``progress`` is None for one the client did not ask for."""
    if progress is None or not progress.is_served:
        return _IGNORED
    commits, seconds = _lag(progress, now)
    if progress.last_error:
        state, since = SyncState.ERROR, progress.last_error_at
    elif not progress.nonce_sent:
        state, since = SyncState.NOT_SENT, None
    elif commits or progress.is_in_flight or progress.nonce_acknowledged != progress.nonce_sent:
        state = SyncState.STALE
        since = progress.behind_since or (progress.sent_at if progress.is_in_flight else None)
    else:
        state, since = SyncState.SYNCED, progress.acknowledged_at
    return SyncVerdict(state=state, since=since, lag_commits=commits, lag_seconds=seconds)


def connection_verdict(connection: Connection, now: datetime) -> SyncVerdict:
    """Return the worst verdict on any type of a connection; of equal ones that of most lag."""
    return worst(sync_verdict(progress, now) for progress in connection.types)


def worst(verdicts: Iterable[SyncVerdict]) -> SyncVerdict:
    """Return the worst verdict; IGNORED where there is none."""
    return min(
        verdicts,
        key=lambda verdict: (_WORST_FIRST.index(verdict.state), -verdict.lag_commits),
        default=_IGNORED,
    )


def age_text(seconds: float) -> str:
    """Return an age as operators are used to read it: two units while young, one when old."""
    total = max(0, int(seconds))
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    return f"{days}d"


def _lag(progress: TypeProgress, now: datetime) -> tuple[int, float | None]:
    """Return how many commits and seconds a client is behind."""
    commits = progress.commit_due - max(progress.commit_held, 0)
    if progress.commit_held >= progress.commit_due:
        return 0, 0.0
    if progress.behind_since is None:
        return commits, None
    return commits, max(0.0, (now - progress.behind_since).total_seconds())
