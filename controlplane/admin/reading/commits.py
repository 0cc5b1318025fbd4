"""Commits: what changed, why, and who has it; and waiting until everybody does.

Told are those that this process remembers, and behind them those that the database keeps, of this
and other replicas (docs/protocol/admin.md AM-27).
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from controlplane.admin.errors import (
    BadCursorError,
    EndingError,
    NotAllowedError,
    NotFoundError,
    NotKnownHereError,
)
from controlplane.admin.queries import CommitQuery
from controlplane.admin.reading.connections import Connections
from controlplane.admin.reading.cursor import read_cursor, write_cursor
from controlplane.admin.reading.ground import Ground, told, visible_object
from controlplane.admin.reading.texts import short_type
from controlplane.admin.values.common import Reference
from controlplane.admin.values.fleet import (
    CauseValue,
    CommitPage,
    CommitValue,
    LatencyValue,
    ProgressValue,
    RefusalValue,
    TypeChangeValue,
    WaitAnswer,
    WaitingValue,
    WaitRequest,
)
from controlplane.admin.viewer import Viewer
from controlplane.insight.commits import Waited
from controlplane.insight.trail import Follower
from controlplane.model.commit import CommitProgress, CommitRecord
from controlplane.model.names import ObjectReference
from controlplane.store.commits import CommitPlace, KeptCommit
from controlplane.store.errors import DatabaseError

_MOST: Final = 2**53
_UNOPENED: Final = "the database, which keeps older commits and those of others, is not open"

Who = Callable[[Follower], bool]


class CommitReader(Protocol):
    """Follows commits (``insight.commits.CommitLog``)."""

    def get(self, number: int) -> CommitRecord | None:
        """Return one commit."""
        ...

    def knows(self, reference: ObjectReference) -> bool:
        """Return whether an object has come or gone not long ago."""
        ...

    async def recent(self, limit: int, before: int | None = None) -> tuple[CommitRecord, ...]:
        """Return the newest commits, newest first."""
        ...

    async def wait_for(self, number: int, *, seconds: float, who: Who | None = None) -> Waited:
        """Wait until every connection that it concerns has a commit."""
        ...

    async def wait_for_object(
        self, reference: ObjectReference, *, seconds: float, who: Who | None = None
    ) -> Waited:
        """Wait until every connection that it concerns has an object's current version."""
        ...


class KeptCommitReader(Protocol):
    """Knows commits for longer, and those of others (``store.commits.CommitTable``)."""

    async def kept(
        self, limit: int, before: CommitPlace | None = None, *, replica: str = ""
    ) -> Sequence[KeptCommit]:
        """Return the newest commits older than a place, newest first."""
        ...


class Commits:
    """The commits that are remembered, and behind them those that ``kept`` knows."""

    def __init__(
        self,
        ground: Ground,
        connections: Connections,
        reader: Callable[[], CommitReader | None],
        *,
        replica: str,
        kept: Callable[[], KeptCommitReader | None] = lambda: None,
    ) -> None:
        self._ground = ground
        self._connections = connections
        self._reader = reader
        self._replica = replica
        self._kept = kept
        self._waits: set[asyncio.Task[Waited]] = set()
        self._is_ending = False

    async def page(self, viewer: Viewer, query: CommitQuery) -> CommitPage:
        """Return commits, newest first: those remembered, then those kept that are older.

        Of those that do not concern the viewer's namespace there is nothing to see.

        Raises:
            BadCursorError: no page gave out ``query.after``.
            NotKnownHereError: nobody follows commits here.
        """
        reader = self._known()
        number, place = _read(query.after) if query.after else (None, None)
        remembered: Sequence[CommitRecord] = ()
        if query.replica in {"", self._replica} and (number is not None or place is None):
            remembered = await reader.recent(query.limit, number)
            if remembered:
                place = CommitPlace(remembered[-1].committed_at)
        shown = [each for each in remembered if self._concerns(viewer, each)]
        values = await told(self._value(viewer, record) for record in shown)
        commit = self._ground.catalog.commit
        left = query.limit - len(remembered)
        if not left and place is not None:
            following = (remembered[-1].number, place.committed_at.isoformat())
            return CommitPage(items=values, next=write_cursor(following), commit=commit)
        try:
            kept = await self._older(left, place, query.replica)
        except DatabaseError as error:
            return CommitPage(items=values, commit=commit, trouble=str(error))
        older = [each.record for each in kept if each.record is not None]
        shown = [each for each in older if self._concerns(viewer, each)]
        values += await told(self._value(viewer, each, is_stored=True) for each in shown)
        is_last = len(kept) < left
        return CommitPage(
            items=values, next=None if is_last else _written(kept[-1].place), commit=commit
        )

    async def recent(self, viewer: Viewer, limit: int) -> tuple[CommitValue, ...]:
        """Return the newest of the commits that this process remembers.

        Raises:
            NotKnownHereError: nobody follows commits here.
        """
        records = await self._known().recent(limit)
        shown = [record for record in records if self._concerns(viewer, record)]
        return await told(self._value(viewer, record) for record in shown)

    def one(self, viewer: Viewer, number: int) -> CommitValue:
        """Return one commit.

        Raises:
            NotFoundError: it is not, or no longer, remembered, or does not concern the viewer.
            NotKnownHereError: nobody follows commits here.
        """
        record = self._known().get(number)
        if record is None or not self._concerns(viewer, record):
            raise NotFoundError(f"commit {number} is not, or no longer, remembered")
        return self._value(viewer, record)

    async def wait(self, viewer: Viewer, request: WaitRequest) -> WaitAnswer:
        """Wait until a commit, or an object's current version, is acknowledged.

        Raises:
            NotAllowedError: the object is of a namespace that the viewer may not see.
            NotFoundError: there is no such object: of one that never was everybody has everything.
            NotKnownHereError: nobody follows commits here.
            EndingError: this process ends before that.
        """
        reader = self._known()
        nodes = frozenset(request.nodes)
        who: Who | None = (lambda follower: follower.node in nodes) if nodes else None
        if request.object is not None:
            wanted = request.object
            reference = ObjectReference(wanted.kind, wanted.namespace, wanted.name)
            if not visible_object(viewer, reference):
                raise NotAllowedError(
                    f"{reference} is not of the namespace {viewer.namespace}, which is all that "
                    f"{viewer.name} may see"
                )
            if self._ground.origins(reference) is None and not reader.knows(reference):
                raise NotFoundError(f"there is no {reference}, and none went lately")
            until = reader.wait_for_object(reference, seconds=request.seconds, who=who)
        else:
            number = self._ground.catalog.commit if request.commit is None else request.commit
            until = reader.wait_for(number, seconds=request.seconds, who=who)
        waited = await self._wait(until)
        return WaitAnswer(
            is_converged=waited.is_converged,
            commit=waited.number,
            reason="" if waited.is_converged else _why_not(waited, self._ground.catalog.commit),
            progress=self._progress(viewer, waited.progress),
        )

    def end(self) -> None:
        """Let go of whoever waits, for good: servers wait for open answers before they stop."""
        self._is_ending = True
        for wait in self._waits:
            wait.cancel()

    async def _wait(self, until: Coroutine[Any, Any, Waited]) -> Waited:
        wait = asyncio.create_task(until)
        self._waits.add(wait)
        try:
            if not self._is_ending:
                await asyncio.wait({wait})
        finally:
            wait.cancel()
            self._waits.discard(wait)
        if not wait.done() or wait.cancelled():
            raise EndingError("This process is ending: ask again, or another replica.")
        return wait.result()

    async def _older(
        self, limit: int, before: CommitPlace | None, replica: str
    ) -> Sequence[KeptCommit]:
        reader = self._kept()
        if reader is None:
            raise DatabaseError(_UNOPENED)
        return await reader.kept(limit, before, replica=replica)

    def _known(self) -> CommitReader:
        reader = self._reader()
        if reader is None:
            raise NotKnownHereError("this process does not follow commits")
        return reader

    def _concerns(self, viewer: Viewer, record: CommitRecord) -> bool:
        return (
            viewer.sees_all
            or any(visible_object(viewer, cause.object) for cause in record.causes)
            or any(self._names(viewer, each.type_url, each.names) for each in record.types)
        )

    def _names(self, viewer: Viewer, type_url: str, names: tuple[str, ...]) -> tuple[str, ...]:
        if viewer.sees_all:
            return names
        return tuple(
            name for name in names if visible_object(viewer, self._ground.object_of(type_url, name))
        )

    def _value(
        self, viewer: Viewer, record: CommitRecord, *, is_stored: bool = False
    ) -> CommitValue:
        causes = [each for each in record.causes if visible_object(viewer, each.object)]
        return CommitValue(
            replica=record.replica,
            number=record.number,
            received_at=record.received_at,
            committed_at=record.committed_at,
            causes=tuple(
                CauseValue(
                    object=Reference.of(cause.object),
                    is_removal=cause.is_removal,
                    happened_at=cause.happened_at,
                )
                for cause in causes
            ),
            cause_count=record.cause_count if viewer.sees_all else len(causes),
            types=tuple(
                TypeChangeValue(
                    type_url=each.type_url,
                    short=short_type(each.type_url),
                    updated=each.updated,
                    removed=each.removed,
                    names=self._names(viewer, each.type_url, each.names),
                )
                for each in record.types
            ),
            progress=self._progress(viewer, record.progress),
            is_stored=is_stored,
        )

    def _progress(self, viewer: Viewer, progress: CommitProgress) -> ProgressValue:
        """Return the counts, and the names of connections for whoever may see them."""

        def may_see(name: str) -> bool:
            return viewer.may_see(name.rpartition(".")[2])

        return ProgressValue(
            concerned=progress.concerned,
            sent=progress.sent,
            acknowledged=progress.acknowledged,
            refused=progress.refused,
            is_converged=progress.is_converged,
            first_sent_at=progress.first_sent_at,
            last_sent_at=progress.last_sent_at,
            last_acknowledged_at=progress.last_acknowledged_at,
            median_seconds=progress.median_seconds,
            p99_seconds=progress.p99_seconds,
            slowest=tuple(
                LatencyValue(
                    connection=each.connection,
                    name=each.name,
                    node=each.node,
                    seconds=each.seconds,
                )
                for each in progress.slowest
                if may_see(each.name)
            ),
            waiting=tuple(
                WaitingValue(
                    connection=each.connection,
                    name=each.name,
                    node=each.node,
                    is_sent=each.is_sent,
                )
                for each in progress.waiting
                if may_see(each.name)
            ),
            refusals=tuple(
                RefusalValue(
                    connection=each.connection,
                    name=each.name,
                    node=each.node,
                    type_url=each.type_url,
                    rejected=self._connections.rejected(viewer, each.type_url, each.names),
                    message=each.message if viewer.sees_all else "",
                    at=each.at,
                )
                for each in progress.refusals
                if may_see(each.name)
            ),
        )


def _why_not(waited: Waited, current: int) -> str:
    progress = waited.progress
    if waited.number is None:
        return "the current version of the object is not committed yet"
    if waited.number > current:
        return f"commit {waited.number} has not been made yet: the newest is {current}"
    if progress.refused:
        return f"{progress.refused} of {progress.concerned} connections refused it"
    missing = progress.concerned - progress.acknowledged
    return f"{missing} of {progress.concerned} connections have not acknowledged it in time"


def _written(place: CommitPlace) -> str:
    return write_cursor((place.committed_at.isoformat(), *place[1:]))


def _read(text: str) -> tuple[int | None, CommitPlace | None]:
    """Return where a page ended: at a commit that was remembered then, or at one that is kept."""
    match read_cursor(text):
        case (int(number), str(moment)) if 0 <= number < _MOST:
            return number, CommitPlace(_moment(moment))
        case (str(moment), str(replica), str(instance), int(number)) if (
            0 <= number < _MOST
            and f"{replica}{instance}".isascii()
            and "\0" not in replica + instance
        ):
            return None, CommitPlace(_moment(moment), replica, instance, number)
    raise BadCursorError("the cursor is none that this list gave out")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadCursorError("the cursor is none that this list gave out")
    return moment
