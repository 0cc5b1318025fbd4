"""Subscriptions: what one stream has been sent of one type, and what it is owed next.

Requests arrive through ``session``; each kind of subscription (also ``wildcard``, ``on_demand``)
answers ``next_response``, a generator that yields where the caller may breathe and returns a
response or None.
"""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

from controlplane.clock import Clock
from controlplane.insight.trail import Trail
from controlplane.snapshots.frame import Frame
from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE, TableKey
from controlplane.snapshots.table import FRESH
from controlplane.snapshots.view import View
from controlplane.xds.response import Response, own_body, shared_body

Step = Generator[None, None, Response | None]

# Shared responses of different types on one stream need different nonces.
_SHARED_SUFFIX = {ADDRESS_TYPE: "", AUTHORIZATION_TYPE: ".0"}


class Nonces:
    """Nonces of one stream; none is used twice (docs/protocol/discovery.md XDS-9)."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._shared: dict[str, int] = {}

    def own(self, commit: int) -> str:
        """Return a nonce for a response that only this stream is sent."""
        return f"{commit}.{next(self._numbers)}"

    def shared(self, type_url: str, commit: int) -> str | None:
        """Return the nonce everybody's response of a commit has; None if it is used up."""
        suffix = _SHARED_SUFFIX.get(type_url)
        if suffix is None or self._shared.get(type_url, FRESH) >= commit:
            return None
        self._shared[type_url] = commit
        return f"{commit}{suffix}"


@dataclass(slots=True, kw_only=True)
class Due:
    """A request that must be answered, even by an empty response.

    ``known`` is what the client holds, name -> version; ``asked`` are names it wants to hear of.
    """

    known: Mapping[str, str] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    is_first: bool = False


class Subscription:
    """What all subscriptions share: one response in flight, its nonce and its fate.

    ``cursor`` is the commit the client has been sent up to, FRESH before the first response.
    ``may_start`` is set by the session: whether what is committed may be sent already.
    ``trail`` keeps what was sent and accepted; times are monotonic seconds, None before the first.
    """

    def __init__(
        self, type_url: str, view: View | None = None, *, nonces: Nonces, clock: Clock
    ) -> None:
        self.type_url = type_url
        self.trail = Trail(clock.monotonic())
        self.cursor = FRESH
        self.due: Due | None = None
        self.is_in_flight = False
        self.sent_at = 0.0
        self.acknowledged_at: float | None = None
        self.last_error_at: float | None = None
        self.nonce_sent = ""
        self.nonce_acknowledged = ""
        self.commit_sent = FRESH
        self.commit_acknowledged = FRESH
        self.may_start = True
        self.last_error = ""
        self.rejected: tuple[str, ...] = ()
        self.is_lost = False
        self._looks_at = view
        self._nonces = nonces
        self._clock = clock

    @property
    def keys(self) -> tuple[TableKey, ...]:
        """Return the tables whose changes may concern the client."""
        return self._looks_at.keys if self._looks_at is not None else ()

    @property
    def reached(self) -> int:
        """Return the commit up to which everything was sent, or did not concern the client."""
        return self.cursor

    @property
    def commit_due(self) -> int:
        """Return the newest commit that changed something where the client looks."""
        return self._looks_at.changed_at if self._looks_at is not None else 0

    @property
    def commit_held(self) -> int:
        """Return the commit up to which the client has everything that concerns it."""
        held = self.trail.held.last
        if not self.is_in_flight and not self.last_error:
            held = max(held, self.reached)
        view = self._looks_at
        if view is None or held == FRESH or held >= view.commit or view.changed_at > held:
            return held
        return view.commit

    @property
    def resources_held(self) -> int | None:
        """Return how many resources the client keeps, None where that is not counted."""
        return None

    def note_held(self) -> None:
        """Note what the client has, now that nothing of it is under way. Cost: O(1)."""
        if self.is_in_flight or self.last_error:
            return
        reached = self.reached
        if reached > self.trail.held.last:
            accepted = self.acknowledged_at
            self.trail.held.note(reached, self.trail.began_at if accepted is None else accepted)

    def ask(
        self, subscribe: Iterable[str], unsubscribe: Iterable[str], known: Mapping[str, str]
    ) -> None:
        """Take in names and versions of a request; what it owes is in ``due`` afterwards."""
        asked = set(subscribe)
        dropped = set(unsubscribe)
        if not asked and not dropped and not known and self.due is None and self.cursor != FRESH:
            return
        if dropped and known:
            known = {name: version for name, version in known.items() if name not in dropped}
        due = self.due or Due(is_first=self.cursor == FRESH)
        due.asked = (due.asked | asked) - dropped - {"*"}
        due.known = known or due.known
        self.due = due

    def acknowledge(self) -> None:
        """Note that the response in flight was accepted."""
        self.is_in_flight = False
        self.nonce_acknowledged = self.nonce_sent
        self.commit_acknowledged = self.commit_sent
        self.last_error = ""
        self.rejected = ()
        self.acknowledged_at = self._clock.monotonic()
        self.note_held()

    def reject(self, nonce: str, message: str) -> None:
        """Note that resources of a response were refused; they are not sent again by itself."""
        self.rejected = rejected_names(message)
        self.last_error = message or "refused without a word"
        self.last_error_at = self._clock.monotonic()
        if nonce == self.nonce_sent and self.is_in_flight:
            self.is_in_flight = False
            self.trail.refused(self.cursor, self.last_error_at, self.rejected, self.last_error)

    def next_response(self) -> Step:
        """Return the next response, or None when nothing may be sent now."""
        raise NotImplementedError

    def owes_everything(self) -> bool:
        """Return whether the next response may hold the whole state of the type."""
        return False

    def is_settled(self, commit: int) -> bool:
        """Return whether there is nothing to send up to ``commit``. Cost: O(1)."""
        return self.due is None and self.cursor >= commit

    def _sent(self, response: Response) -> Response:
        self.is_in_flight = True
        self.sent_at = self._clock.monotonic()
        self.nonce_sent = response.nonce
        self.commit_sent = response.commit
        return response

    def _respond(
        self,
        commit: int,
        *,
        pieces: tuple[bytes, ...] = (),
        removed: tuple[str, ...] = (),
        updated: int = 0,
        is_first: bool = False,
    ) -> Response:
        """Return a response that only this stream is sent."""
        nonce = self._nonces.own(commit)
        return self._sent(
            Response(
                type_url=self.type_url,
                nonce=nonce,
                body=own_body(pieces, removed, self.type_url, nonce),
                commit=commit,
                updated=updated,
                removed=len(removed),
                is_first=is_first,
            )
        )

    def _share(self, frame: Frame, *, is_first: bool = False) -> Response:
        """Return the response of a whole frame, shared if its nonce is not used up."""
        nonce = self._nonces.shared(self.type_url, frame.commit)
        if nonce is None:
            return self._respond(
                frame.commit,
                pieces=frame.pieces,
                removed=frame.removed,
                updated=frame.updated,
                is_first=is_first,
            )
        return self._sent(
            Response(
                type_url=self.type_url,
                nonce=nonce,
                body=shared_body(frame, self.type_url, nonce),
                commit=frame.commit,
                updated=frame.updated,
                removed=len(frame.removed),
                is_first=is_first,
            )
        )


class UnservedSubscription(Subscription):
    """A type we serve nothing of: every request is answered that nothing exists."""

    def is_settled(self, commit: int) -> bool:  # noqa: ARG002 - no commit brings anything
        """Return whether every request is answered."""
        return self.due is None

    def next_response(self) -> Step:
        """Return an empty response that lists the names asked for as removed."""
        yield from ()
        if self.due is None or self.is_in_flight:
            return None
        due, self.due = self.due, None
        self.cursor = 0
        return self._respond(0, removed=tuple(sorted(due.asked)), is_first=due.is_first)


def rejected_names(message: str) -> tuple[str, ...]:
    """Return the resource names of a rejection: ``<name>: <reason>; <name>: <reason>``."""
    found = []
    for part in message.split("; "):
        name, separator, _ = part.partition(": ")
        if separator and "/" in name and " " not in name:
            found.append(name)
    return tuple(found)
