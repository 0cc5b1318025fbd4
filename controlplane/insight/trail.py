"""Trails: what one stream was sent and has accepted of one type, moment by moment.

The discovery server writes them on its hottest path, so noting something appends two numbers and
nothing else. Who wants to know how a commit fared reads them afterwards (``progress``).
Times are monotonic seconds.
"""

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from controlplane.model.connection import NOTHING
from controlplane.snapshots.scope import TableKey

LONG_AGO: Final = float("-inf")
"""The time of a step that is known to have happened and no longer known when."""

STEPS: Final = 128
"""Steps that are always remembered; up to twice as many are."""

_REFUSALS: Final = 8


class TrailRefusal(NamedTuple):
    """A refused response: it would have brought the commits after ``after`` up to ``until``."""

    after: int
    until: int
    at: float
    names: tuple[str, ...]
    message: str


class Steps:
    """Growing commits and when each was reached; the oldest half is forgotten now and then.

    ``last`` is the newest commit that was reached, NOTHING before the first.
    """

    __slots__ = ("_commits", "_is_cut", "_times", "last")

    def __init__(self) -> None:
        self.last = NOTHING
        self._commits = array("q")
        self._times = array("d")
        self._is_cut = False

    def note(self, commit: int, at: float) -> None:
        """Note that ``commit`` was reached; one that is not newer changes nothing."""
        if commit <= self.last:
            return
        self.last = commit
        commits = self._commits
        commits.append(commit)
        self._times.append(at)
        if len(commits) > 2 * STEPS:
            del commits[:STEPS]
            del self._times[:STEPS]
            self._is_cut = True

    def reached_at(self, commit: int) -> float | None:
        """Return when ``commit`` or a newer one was first reached; None when none was."""
        if commit > self.last:
            return None
        place = bisect_left(self._commits, commit)
        return LONG_AGO if place == 0 and self._is_cut else self._times[place]


class Trail:
    """One type on one stream: commits it was sent up to, has all of, and refused.

    ``began_at`` is when the client asked for the type: it is not told apart what it was sent of
    older commits.
    """

    __slots__ = ("began_at", "held", "refusals", "sent")

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.sent = Steps()
        self.held = Steps()
        self.refusals: deque[TrailRefusal] = deque(maxlen=_REFUSALS)

    def refused(self, until: int, at: float, names: tuple[str, ...], message: str) -> None:
        """Note that the response which would have brought ``until`` was refused."""
        self.refusals.append(TrailRefusal(self.held.last, until, at, names, message))

    def refusal_of(self, commit: int) -> TrailRefusal | None:
        """Return the newest refusal of what ``commit`` brought."""
        for refusal in reversed(self.refusals):
            if refusal.after < commit <= refusal.until:
                return refusal
        return None


class FollowedType(NamedTuple):
    """One type of one stream as it is now: where it looks, its trail, and what it has all of."""

    type_url: str
    keys: tuple[TableKey, ...]
    trail: Trail
    held: int


class Follower(NamedTuple):
    """One open stream of a client that has introduced itself."""

    number: int
    name: str
    node: str
    types: tuple[FollowedType, ...]


Followers = Callable[[], Iterable[Follower]]
"""Tells every open stream of this process."""
