"""One type of resources of one waypoint: names asked for and versions held in, changes out.

Unlike node proxies, waypoints are few and each has little: what a client holds is kept by name, so
that removals can wait, a refused resource is known, and a stream is never too far behind.
docs/protocol/waypoint-sessions.md WS-n.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from controlplane.clock import Clock
from controlplane.encode.resource import Resource
from controlplane.snapshots.frame import build_frame
from controlplane.snapshots.table import FRESH
from controlplane.snapshots.view import View
from controlplane.xds.errors import MalformedRequestError
from controlplane.xds.response import Response
from controlplane.xds.subscription import Due, Nonces, Step, Subscription

MOST_NAMES: Final = 50_000
"""Names of one type that one stream may ask for."""

MOST_CHARACTERS: Final = 8 << 20
"""Characters that they may have together."""

EVERYTHING: Final = "*"

_SAYS_WHICH: Final = "Error adding/updating "
_WORD: Final = re.compile(r"[\w|.*-]+")

MayRemove = Callable[[str, int], bool]
"""Tells of a name and the commit that removed it whether nothing at the client needs it."""

Absent = Callable[[str], Resource | None]
"""Makes what is sent in place of a resource that is asked for and does not exist."""


class WaypointSubscription(Subscription):
    """Everything of a type (``lists``, or by ``*``), or what is asked for by name.

    ``may_start`` is set from outside: whether changes may be sent already. ``may_remove`` is asked
    for each removal, ``absent`` for each name that stands for nothing; None lists it as removed.
    ``owed_absent`` is asked instead for what is owed and has gone. With ``repeats`` a stream begins
    with what the client has already, too. ``on_sent`` hears the names of
    every response.
    """

    def __init__(  # noqa: PLR0913 - what differs between types
        self,
        type_url: str,
        view: View,
        *,
        nonces: Nonces,
        clock: Clock,
        lists: bool = False,
        may_remove: MayRemove = lambda _name, _commit: True,
        absent: Absent = lambda _: None,
        owed_absent: Absent = lambda _: None,
        repeats: bool = False,
        on_sent: Callable[[Iterable[str]], None] = lambda _: None,
    ) -> None:
        super().__init__(type_url, view, nonces=nonces, clock=clock)
        self._view = view
        self._lists = lists
        self._may_remove = may_remove
        self._absent = absent
        self._owed_absent = owed_absent
        self._repeats = repeats
        self._on_sent = on_sent
        self._is_new = True
        self._is_wildcard = False
        self._is_unread = True
        self._accepted = FRESH
        self._asked: set[str] = set()
        self._characters = 0
        self._held: dict[str, str] = {}
        self._pending: dict[str, None] = {}
        self._questions: set[str] = set()
        self._owed: set[str] = set()
        self._going: dict[str, int] = {}
        self._under_way: tuple[str, ...] = ()
        self._refused: set[str] = set()
        self._suspects: deque[tuple[str, ...]] = deque()

    @property
    def resources_held(self) -> int | None:
        """Return how many resources the client was sent and not told to drop."""
        return len(self._held)

    @property
    def reached(self) -> int:
        """Return the commit up to which everything was sent, removals included."""
        return self.trail.held.last if self._going else self.cursor

    @property
    def accepted(self) -> int:
        """Return the commit up to which the client works with what is committed.

        While a resource stays refused, that is the commit before: the client goes on with what it
        had, and with whatever that names.
        """
        is_idle = not self.is_in_flight and self.due is None
        if is_idle and not (self._refused or self._pending or self._suspects):
            self._accepted = self.cursor
        return self._accepted

    @property
    def has_sent_all(self) -> bool:
        """Return whether everything committed that is not a removal was sent. Cost: O(1)."""
        is_current = self.cursor != FRESH and not self._view.is_newer(self.cursor)
        return is_current and self.due is None and not self._pending and not self._suspects

    @property
    def has_removals(self) -> bool:
        """Return whether something is to be removed whose turn has not come."""
        return bool(self._going)

    def holds(self, name: str) -> bool:
        """Return whether the client was sent ``name``, or said it has it."""
        return name in self._held

    def owe(self, names: Iterable[str]) -> None:
        """Send ``names`` as soon as they are asked for, also unchanged."""
        names = set(names)
        self._owed |= names
        self._pending |= dict.fromkeys(names if self._is_wildcard else names & self._asked)

    def ask(
        self, subscribe: Iterable[str], unsubscribe: Iterable[str], known: Mapping[str, str]
    ) -> None:
        """Take in names to answer; one that was asked for before is answered again.

        Raises:
            MalformedRequestError: the stream asks for too many names.
        """
        is_first, self._is_new = self._is_new, False
        asked, dropped = set(subscribe), set(unsubscribe)
        names = asked - dropped - {EVERYTHING}
        if EVERYTHING in dropped:
            self._is_wildcard = False
        elif EVERYTHING in asked or (is_first and self._lists and not names):
            self._is_unread = self._is_unread or not self._is_wildcard
            self._is_wildcard = True
        for name in dropped:
            self._forget(name)
        if is_first:
            self._held = {name: version for name, version in known.items() if name not in dropped}
            self._owed |= names if self._repeats else set()
        else:
            for name in names:
                self._held.pop(name, None)
        self._characters += sum(len(name) for name in names - self._asked)
        self._asked |= names
        if len(self._asked) > MOST_NAMES or self._characters > MOST_CHARACTERS:
            raise MalformedRequestError(f"more than {MOST_NAMES} resources asked for on one stream")
        self._pending |= dict.fromkeys(sorted(names))
        self._questions |= names
        if is_first or names:
            self.due = Due(is_first=is_first or (self.due is not None and self.due.is_first))

    def follow_up(self, subscribe: Iterable[str], unsubscribe: Iterable[str]) -> None:
        """Take in the names of a later request, where it has any."""
        if subscribe or unsubscribe:
            self.ask(subscribe, unsubscribe, {})

    def acknowledge(self) -> None:
        """Note that the response in flight was accepted."""
        error = self.last_error
        super().acknowledge()
        self._under_way = ()
        if self._refused:
            # What was refused before is still not there, whatever else was accepted since.
            self.last_error, self.rejected = error, tuple(sorted(self._refused))
        elif not self._suspects:
            self._accepted = self.commit_sent

    def note_held(self) -> None:
        """Note what the client has, unless something of it is refused."""
        if not self._refused and not self._suspects:
            super().note_held()

    def reject(self, nonce: str, message: str) -> None:
        """Note what of a response was refused; the client goes on with what it had.

        Envoy refuses a response whole, without a name, unless it says which resources it could not
        add. What was in one it refused whole is sent again in halves, until one resource is left.
        """
        is_current = nonce == self.nonce_sent and self.is_in_flight
        names, self._under_way = self._under_way, ()
        super().reject(nonce, message)
        said = {word.rstrip(".") for word in _WORD.findall(message)}
        self.rejected = tuple(name for name in names if name in said) or names
        if not is_current:
            return
        if len(names) == 1 or message.startswith(_SAYS_WHICH):
            self._refused.update(self.rejected)
            return
        for name in names:
            self._held[name] = ""
        middle = len(names) // 2
        self._suspects.extend(half for half in (names[:middle], names[middle:]) if half)

    def is_settled(self, commit: int) -> bool:
        """Return whether there is nothing that may be sent up to ``commit``."""
        return (
            super().is_settled(commit)
            and not self._pending
            and not self._suspects
            and not any(self._may_remove(name, at) for name, at in self._going.items())
        )

    def next_response(self) -> Step:
        """Return what is pending, with the removals whose turn has come."""
        if self.is_in_flight or not self.may_start:
            return None
        self._read_view()
        commit, due = self._view.commit, self.due
        self.due = None
        sending, removed = self._take()
        if due is None and not sending and not removed:
            self.cursor = commit
            return None
        for resource in sending:
            self._held[resource.name] = resource.version
        for name in removed:
            self._held.pop(name, None)
        self._under_way = tuple(resource.name for resource in sending)
        self._refused.difference_update(self._under_way, removed)
        frame = yield from build_frame(commit, sending, removed)
        self.cursor = commit
        self._on_sent(self._under_way)
        return self._finish(
            self._respond(
                commit,
                pieces=frame.pieces,
                removed=removed,
                updated=frame.updated,
                is_first=due is not None and due.is_first,
            )
        )

    def _finish(self, response: Response) -> Response:
        """Return the response; here for who must not keep what was in it."""
        return response

    def _resource(self, name: str) -> Resource | None:
        """Return what ``name`` stands for now."""
        return self._view.get(name)

    def _read_view(self) -> None:
        """Note every name that changed since the cursor and concerns the client."""
        view = self._view
        if self._is_unread or not view.reaches(self.cursor):
            self._is_unread = False
            updates, _ = view.changes(FRESH)
            gone = [name for name in self._held if self._resource(name) is None]
        elif view.is_newer(self.cursor):
            updates, gone = view.changes(self.cursor)
        else:
            return
        for resource in updates:
            if self._is_wildcard or resource.name in self._asked:
                self._pending[resource.name] = None
        for name in gone:
            if name in self._held:
                self._going.setdefault(name, view.commit)

    def _take(self) -> tuple[list[Resource], tuple[str, ...]]:
        """Return what to send of the pending names, and what to list as removed."""
        if self._suspects:
            return self._take_suspects(), ()
        pending, self._pending = self._pending, {}
        questions, self._questions = self._questions, set()
        sending: list[Resource] = []
        removed: dict[str, None] = {}
        for name in pending:
            resource = self._resource(name)
            if resource is None:
                self._take_absent(name, sending, removed, is_question=name in questions)
                continue
            self._going.pop(name, None)
            if name in self._owed or self._held.get(name) != resource.version:
                sending.append(resource)
                self._owed.discard(name)
        for name, at in tuple(self._going.items()):
            if self._may_remove(name, at):
                del self._going[name]
                removed[name] = None
        return sending, tuple(removed)

    def _take_absent(
        self,
        name: str,
        sending: list[Resource],
        removed: dict[str, None],
        *,
        is_question: bool,
    ) -> None:
        """Note what to send for a pending name that stands for nothing."""
        found = None
        if name not in self._held and is_question:
            found = self._absent(name)
            if found is None:
                removed[name] = None
        elif name in self._held and name in self._owed:
            # Its turn to go comes later, and what waits for it must not wait for that.
            found = self._owed_absent(name)
        if found is not None:
            sending.append(found)
            self._owed.discard(name)

    def _take_suspects(self) -> list[Resource]:
        """Return a part of what was refused whole, as it is now."""
        names = self._suspects.popleft()
        for name in names:
            self._pending.pop(name, None)
        found = (self._resource(name) for name in names)
        return [resource for resource in found if resource is not None]

    def _forget(self, name: str) -> None:
        """Stop following a name, unless everything is followed."""
        if name in self._asked:
            self._asked.discard(name)
            self._characters -= len(name)
        self._questions.discard(name)
        if self._is_wildcard:
            return
        self._held.pop(name, None)
        self._pending.pop(name, None)
        self._going.pop(name, None)
        self._refused.discard(name)
