"""The fleet in the database: this replica's connections go in, those of all replicas come out.

Every few seconds a replica writes what changed about its connections, more often that it is alive.
Rows of a replica that has not been heard of for a while are not shown, and removed later. Rules:
docs/protocol/fleet.md FL-10 to FL-15.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from controlplane.clock import Clock
from controlplane.model.connection import Connection
from controlplane.store.database import Database
from controlplane.store.errors import DatabaseError
from controlplane.store.tables import connection as rows
from controlplane.store.tables import fleet_replica

_SLICE: Final = 32
"""Connections compared, or decoded, between two chances for the event loop."""

_FORGOTTEN_AFTER: Final = 40
"""Times ``stale_after``: then the rows of a replica are removed."""

_TOLD_OF: Final = 4
"""Times ``stale_after``: so long it is said that a replica is silent."""

_log = structlog.get_logger()
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Connection).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """Seconds between things written and read, and of silence.

    ``write_every`` is for what changed, ``beat_every`` for the sign of life. A replica that gives
    none for ``silent_after`` is gone: a second or two after that every other one shows it so. While
    the database is away nobody can give any: what was read before is shown for ``stale_after``.
    """

    write_every: float = 3.0
    beat_every: float = 1.0
    silent_after: float = 3.5
    stale_after: float = 15.0
    read_every: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSeen:
    """A replica, and when it last wrote that it is alive."""

    replica: str
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """Connections of all replicas, this one's as they are now and first.

    ``replicas`` are the others that give signs of life. ``trouble`` says, in words, why connections
    of others may be missing or old; "" when they are not.
    """

    connections: tuple[Connection, ...]
    replicas: tuple[ReplicaSeen, ...] = ()
    trouble: str = ""


class ConnectionTable:
    """The connections of ``replica`` in the database, and the way to those of the others.

    Nothing here raises for a database that is away: it is logged once, and made up for later.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        replica: str,
        settings: FleetSettings | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._replica = replica
        self._settings = settings or FleetSettings()
        self._written: dict[int, Connection] | None = None
        self._written_at = 0.0
        self._is_troubled = False
        self._reading = asyncio.Lock()
        self._others = FleetView(connections=())
        self._read_at: float | None = None

    async def run(self, current: Callable[[], Iterable[Connection]]) -> None:
        """Write what ``current`` tells, every few seconds, until cancelled."""
        while True:
            await self.write(current())
            written_at = self._clock.monotonic()
            while True:
                await self._clock.sleep(self._settings.beat_every)
                if self._clock.monotonic() - written_at >= self._settings.write_every:
                    break
                await self._beat()

    async def write(self, connections: Iterable[Connection]) -> int:
        """Make the rows of this replica equal to ``connections``; return how many had to change.

        Nothing of it is written while the database is away; the next call writes everything.
        """
        now = self._clock.now()
        began = self._clock.monotonic()
        # After a long silence others may have removed our rows.
        if began - self._written_at > self._settings.stale_after:
            self._written = None
        before = self._written
        current: dict[int, Connection] = {}
        changed: list[dict[str, Any]] = []
        async for each in _in_slices(connections):
            current[each.number] = each
            if before is None or before.get(each.number) != each:
                changed.append({"number": each.number, "detail": _encode(each).decode()})
        gone = [number for number in before or () if number not in current]
        try:
            await self._store(changed, gone, now, is_first=before is None)
        except DatabaseError as error:
            self._written = None
            if not self._is_troubled:
                _log.warning("fleet.unwritten", reason=str(error))
            self._is_troubled = True
            return 0
        if self._is_troubled:
            _log.info("fleet.written", connections=len(current))
        self._is_troubled = False
        self._written, self._written_at = current, began
        return len(changed) + len(gone)

    async def _beat(self) -> None:
        """Write that this replica is alive; what a database that is away means, ``write`` says."""
        if self._written is None:
            return
        with suppress(DatabaseError):
            async with self._database.writing() as transaction:
                await transaction.execute(self._alive(self._clock.now()))

    def _alive(self, now: datetime) -> Any:
        insert: Any = sqlite.insert if self._database.is_sqlite else postgresql.insert
        alive = insert(fleet_replica).values(replica_id=self._replica, seen_at=now)
        return alive.on_conflict_do_update(
            index_elements=[fleet_replica.c.replica_id], set_={"seen_at": now}
        )

    async def everywhere(self, own: Sequence[Connection]) -> FleetView:
        """Return the connections of all replicas; ``own`` are those of this one, from memory."""
        async with self._reading:
            now = self._clock.monotonic()
            if self._read_at is None or now - self._read_at >= self._settings.read_every:
                self._others = await self._read()
                self._read_at = self._clock.monotonic()
            others = self._others
        return FleetView(
            connections=(*own, *others.connections),
            replicas=others.replicas,
            trouble=others.trouble,
        )

    async def _store(
        self, changed: list[dict[str, Any]], gone: list[int], now: datetime, *, is_first: bool
    ) -> None:
        insert: Any = sqlite.insert if self._database.is_sqlite else postgresql.insert
        ours = rows.c.replica_id == self._replica
        upsert = insert(rows).values(
            replica_id=self._replica, number=bindparam("number"), detail=bindparam("detail")
        )
        dead = fleet_replica.c.seen_at < now - timedelta(
            seconds=self._settings.stale_after * _FORGOTTEN_AFTER
        )
        async with self._database.writing() as transaction:
            if is_first:
                await transaction.execute(delete(rows).where(ours))
                forgotten = select(fleet_replica.c.replica_id).where(dead)
                await transaction.execute(delete(rows).where(rows.c.replica_id.in_(forgotten)))
                await transaction.execute(delete(fleet_replica).where(dead))
            if changed:
                await transaction.execute(
                    upsert.on_conflict_do_update(
                        index_elements=[rows.c.replica_id, rows.c.number],
                        set_={"detail": upsert.excluded.detail},
                    ),
                    changed,
                )
            if gone:
                await transaction.execute(
                    delete(rows).where(ours, rows.c.number == bindparam("gone")),
                    [{"gone": number} for number in gone],
                )
            await transaction.execute(self._alive(now))

    async def _read(self) -> FleetView:
        """Return what the others wrote; what was read before, and why, if that is not possible."""
        now = self._clock.now()
        settings = self._settings
        oldest = now - timedelta(seconds=settings.silent_after)
        told_of = now - timedelta(seconds=settings.stale_after * _TOLD_OF)
        other = fleet_replica.c.replica_id != self._replica
        alive = (other, fleet_replica.c.seen_at >= oldest)
        recent = (other, fleet_replica.c.seen_at >= told_of)
        try:
            async with self._database.reading() as transaction:
                replicas = [
                    ReplicaSeen(replica=row.replica_id, seen_at=row.seen_at)
                    for row in await transaction.execute(
                        select(fleet_replica).where(*recent).order_by(fleet_replica.c.replica_id)
                    )
                ]
                details = (
                    await transaction.execute(
                        select(rows.c.detail)
                        .join(fleet_replica, fleet_replica.c.replica_id == rows.c.replica_id)
                        .where(*alive)
                        .order_by(rows.c.replica_id, rows.c.number)
                    )
                ).all()
        except DatabaseError as error:
            shown = now - timedelta(seconds=settings.stale_after)
            return _younger(self._others, shown, str(error))
        connections = []
        async for (detail,) in _in_slices(details):
            try:
                connections.append(_decode(detail))
            except msgspec.DecodeError:
                # A replica of another version writes what this one cannot read.
                continue
        troubles = [
            f"{each.replica} has been silent for {(now - each.seen_at).total_seconds():.0f} seconds"
            for each in replicas
            if each.seen_at < oldest
        ]
        missing = len(details) - len(connections)
        if missing:
            troubles.append(f"{missing} connections of other versions are left out")
        return FleetView(
            connections=tuple(connections),
            replicas=tuple(each for each in replicas if each.seen_at >= oldest),
            trouble="; ".join(troubles),
        )


def _younger(view: FleetView, oldest: datetime, trouble: str) -> FleetView:
    """Return what is left of a view once replicas have been silent since ``oldest``."""
    replicas = tuple(each for each in view.replicas if each.seen_at >= oldest)
    names = {each.replica for each in replicas}
    return FleetView(
        connections=tuple(each for each in view.connections if each.replica in names),
        replicas=replicas,
        trouble=trouble,
    )


class _in_slices:  # noqa: N801 - reads as a word of the for statement
    """Iterates, giving way to the event loop now and then."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items: Iterator[Any] = iter(items)
        self._count = 0

    def __aiter__(self) -> "_in_slices":
        return self

    async def __anext__(self) -> Any:
        self._count += 1
        if self._count % _SLICE == 0:
            await asyncio.sleep(0)
        for item in self._items:
            return item
        raise StopAsyncIteration
