"""Wildcard subscriptions: everything of a type, kept as a commit number and never as names.

Addresses keep no order of their own; policies send removals apart from what was added or changed
(docs/protocol/discovery.md OR-n).
"""

from collections import deque

from controlplane.clock import Clock
from controlplane.snapshots.frame import Frame
from controlplane.snapshots.table import FRESH
from controlplane.snapshots.view import View
from controlplane.xds.response import Response
from controlplane.xds.subscription import Due, Nonces, Step, Subscription


class WildcardSubscription(Subscription):
    """Everything of a type that keeps no order of its own: addresses and legacy workloads."""

    def __init__(self, type_url: str, view: View, *, nonces: Nonces, clock: Clock) -> None:
        super().__init__(type_url, view, nonces=nonces, clock=clock)
        self._view = view
        self._pieces: deque[bytes] = deque()
        self._frame: Frame | None = None

    @property
    def resources_held(self) -> int | None:
        """Return the size of the mesh while the client is up to date with it."""
        is_current = not self._view.hides and self.commit_held >= self.commit_due
        return len(self._view) if is_current else None

    def owes_everything(self) -> bool:
        """Return whether the next response may hold the whole state of the type."""
        return self.due is not None

    def next_response(self) -> Step:
        """Return a piece of a large frame, an answer, or what is newer than the cursor."""
        if self.due is None and not self._pieces and not self._view.is_newer(self.cursor):
            if self.may_start:
                self.cursor = self._view.commit
            return None
        if self.is_in_flight:
            return None
        if self._pieces and self.due is None:
            return self._next_piece()
        if not self.may_start:
            return None
        return (yield from self._begin(self.due))

    def _begin(self, due: Due | None) -> Step:
        if self.cursor != FRESH and not self._view.reaches(self.cursor):
            self.is_lost = True
            return None
        if due is not None:
            return (yield from self._answer(due))
        frame = yield from self._view.frame_slices(self.cursor)
        return self._push(frame)

    def _answer(self, due: Due) -> Step:
        self.due = None
        self._pieces.clear()
        if due.is_first and not due.known and not due.asked:
            frame = yield from self._view.frame_slices(FRESH)
            response = self._share(frame, is_first=True)
        else:
            frame = yield from self._view.difference(due.known, due.asked, self.cursor)
            response = self._respond(
                frame.commit,
                pieces=frame.pieces,
                removed=frame.removed,
                updated=frame.updated,
                is_first=due.is_first,
            )
        self.cursor = frame.commit
        return response

    def _push(self, frame: Frame) -> Response | None:
        if len(frame.pieces) > 1:
            self._frame = frame
            self._pieces.extend(frame.pieces)
            return self._next_piece()
        self.cursor = frame.commit
        return None if frame.is_empty else self._share(frame)

    def _next_piece(self) -> Response:
        """Return the next piece of a large frame; the last one carries the removals."""
        if self._frame is None:
            raise AssertionError("pieces without their frame")
        frame = self._frame
        piece = self._pieces.popleft()
        removed: tuple[str, ...] = ()
        updated = 0
        if not self._pieces:
            self.cursor = frame.commit
            self._frame = None
            removed, updated = frame.removed, frame.updated
        return self._respond(frame.commit, pieces=(piece,), removed=removed, updated=updated)


class PolicySubscription(WildcardSubscription):
    """Authorization: ``cursor`` counts what was added or changed, ``removals_sent`` what is gone.

    ``removable_until`` is set by the session: the commit up to which no workload that the client
    has been sent can still list a removed policy.
    """

    def __init__(self, type_url: str, view: View, *, nonces: Nonces, clock: Clock) -> None:
        super().__init__(type_url, view, nonces=nonces, clock=clock)
        self.removable_until = FRESH
        self.removals_sent = FRESH
        self._owed: dict[str, None] = {}
        self._owed_at = FRESH

    @property
    def reached(self) -> int:
        """Return the commit up to which additions, changes and removals were sent."""
        return self.trail.held.last if self._owed else min(self.cursor, self.removals_sent)

    @property
    def is_ahead(self) -> bool:
        """Return whether everything committed that is not a removal has been sent."""
        return self.due is None and not self._pieces and self.cursor >= self._view.commit

    def next_response(self) -> Step:
        """Return what was added or changed, with the removals whose turn has come."""
        if self.due is None and not self._pieces and not self._view.is_newer(self.cursor):
            self.cursor = self._view.commit
        if self.is_in_flight:
            return None
        if self._pieces and self.due is None:
            return self._next_piece()
        if self.due is None and self._has_nothing_to_remove():
            self.removals_sent = max(self.removals_sent, self.removable_until)
            if self.cursor >= self._view.commit:
                return None
        return (yield from self._begin(self.due))

    def _has_nothing_to_remove(self) -> bool:
        """Return whether nothing at all changed since removals were last sent. Cost: O(1)."""
        return not self._owed and not self._view.is_newer(self.removals_sent)

    def _begin(self, due: Due | None) -> Step:
        if due is not None:
            return (yield from self._answer(due))
        if not self._view.reaches(min(self.cursor, self.removals_sent)):
            self.is_lost = True
            return None
        if self.cursor < self._view.commit:
            frame = yield from self._view.frame_slices(self.cursor)
            return self._push(frame)
        removed = self._take_removals()
        return self._respond(self.cursor, removed=removed) if removed else None

    def is_settled(self, commit: int) -> bool:
        """Return whether there is nothing to send up to ``commit``, removals included."""
        return super().is_settled(commit) and self.removals_sent >= commit and not self._owed

    def _answer(self, due: Due) -> Step:
        """Answer with what exists; what the client must drop is owed until its turn comes."""
        self.due = None
        self._pieces.clear()
        if due.known or due.asked:
            frame = yield from self._view.difference(due.known, due.asked, FRESH)
            self._owed |= dict.fromkeys(frame.removed)
            self._owed_at = frame.commit
            response = self._respond(
                frame.commit, pieces=frame.pieces, updated=frame.updated, is_first=due.is_first
            )
        else:
            frame = yield from self._view.frame_slices(FRESH)
            response = self._share(frame, is_first=due.is_first)
        self.cursor = frame.commit
        if self.removals_sent == FRESH:
            self.removals_sent = frame.commit
        return response

    def _push(self, frame: Frame) -> Response | None:
        if len(frame.pieces) > 1:
            self._frame = Frame(
                commit=frame.commit, pieces=frame.pieces, removed=(), updated=frame.updated
            )
            self._pieces.extend(frame.pieces)
            return self._next_piece()
        self.cursor = frame.commit
        removed = self._take_removals()
        if not frame.updated and not removed:
            return None
        if frame.updated and not removed and not frame.removed:
            return self._share(frame)
        return self._respond(
            frame.commit, pieces=frame.pieces, removed=removed, updated=frame.updated
        )

    def _take_removals(self) -> tuple[str, ...]:
        until = self.removable_until
        removed = dict.fromkeys(self._view.removed(self.removals_sent, until))
        self.removals_sent = max(self.removals_sent, until)
        if self._owed and until >= self._owed_at:
            removed |= {name: None for name in self._owed if self._view.get(name) is None}
            self._owed = {}
        return tuple(removed)
