"""The locks under which an istiod writes: held by us while we write, so that it waits, or not us.

An istiod elects a leader for each of its writers. Beside one that is still installed this process
writes only while it holds every lock of a writer that does what we do; it keeps none as long as
somebody else holds one, so that the other does its work whole (docs/protocol/leadership.md LK-1 to
LK-9).
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from controlplane.clock import Clock
from controlplane.cluster.client import Answer, ClusterClient
from controlplane.cluster.errors import ClusterError
from controlplane.cluster.istiod_locks import (
    CONFIG_MAP_LOCKS,
    DEFAULT_REVISION,
    lease_locks,
    leases_path,
)
from controlplane.cluster.lock_record import (
    ElectionLock,
    LockRecord,
    absent_lock,
    read_leases,
    read_lock,
)
from controlplane.cluster.refusal import require_success

_log = structlog.get_logger()
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_REMOTE: Final = "^"
"""How the key of an istiod begins that leads a cluster from outside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockSettings:
    """Seconds: how long others wait, how long we write unrenewed, renewals, between two looks.

    Raises:
        ValueError: they are not in that order, so that two could write, or nobody for long.
    """

    duration: float = 30.0
    deadline: float = 15.0
    renewal: float = 5.0
    retry: float = 2.5

    def __post_init__(self) -> None:
        if not self.duration > self.deadline > self.renewal >= self.retry > 0:
            raise ValueError("a lock must outlast its deadline, and that its renewals and looks")


@dataclass(slots=True)
class _Standing:
    """How we stand with one lock. ``renewed_at`` is None unless it is ours."""

    record: LockRecord
    seen_at: float
    renewed_at: float | None = None


class ElectionLocks:
    """Our hold on istiod's locks in ``namespace``, for a mesh of ``revision`` ("": of all).

    ``identity`` is the same for all replicas of an installation, and nobody else's: which of them
    may touch the locks, their own election decides. Only the one that leads calls ``campaign``.
    """

    def __init__(
        self,
        client: ClusterClient,
        *,
        namespace: str,
        identity: str,
        revision: str,
        clock: Clock,
        settings: LockSettings | None = None,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._identity = identity
        self._clock = clock
        self._settings = settings or LockSettings()
        self._revision = revision or DEFAULT_REVISION
        # Whose revision held a lock last. The default one takes a lock from every key but its own.
        self._key = self._revision
        self._standings: dict[ElectionLock, _Standing] = {}
        self._others: dict[str, str] = {}
        self._trouble = ""
        self._led = False

    @property
    def settings(self) -> LockSettings:
        """Return its times."""
        return self._settings

    @property
    def held_by_others(self) -> Mapping[str, str]:
        """Return who holds what, by lock, as it was seen last."""
        return self._others

    @property
    def trouble(self) -> str:
        """Return why the last look found nothing out, or a write did not succeed; else ""."""
        return self._trouble

    @property
    def seconds_left(self) -> float:
        """Return for how long all locks are surely ours; 0.0 if one is not."""
        if not self._standings:
            return 0.0
        renewals = [standing.renewed_at for standing in self._standings.values()]
        held = [renewed_at for renewed_at in renewals if renewed_at is not None]
        if len(held) < len(renewals):
            return 0.0
        return max(0.0, min(held) + self._settings.deadline - self._clock.monotonic())

    @property
    def reason(self) -> str:
        """Return why not all locks are ours, in words; "" while they are."""
        if self.seconds_left > 0:
            return ""
        if self._others:
            holds = sorted(f"{holder} holds {lock}" for lock, holder in self._others.items())
            return f"istiod {', '.join(holds)}"
        return f"the election locks of istiod are not ours: {self._trouble or 'not asked yet'}"

    async def campaign(self) -> None:
        """Take or renew every lock, or learn that somebody else has one; never raises."""
        try:
            records = await self._look()
        except ClusterError as error:
            self._note_trouble(str(error))
        else:
            self._note_trouble("")
            for record in records:
                self._see(record)
            # A lock of another revision that was deleted is nothing to hold.
            for gone in self._standings.keys() - {record.lock for record in records}:
                del self._standings[gone]
            self._note_others()
            if self._others:
                await self.release()
            else:
                await self._hold()
        self._note_change()

    async def release(self) -> None:
        """Stop holding; what was ours is free for others at once, where the write succeeds."""
        ours = [
            standing
            for standing in self._standings.values()
            if standing.record.holder == self._identity
        ]
        self.stop()
        # At the revision we know: what another replica has renewed meanwhile stays held.
        await self._write_all(
            self._write(standing, standing.record.given_up(now=self._clock.now()))
            for standing in ours
        )

    def stop(self) -> None:
        """Stop holding, and leave the locks to whichever replica leads now."""
        for standing in self._standings.values():
            standing.renewed_at = None
        self._note_change()

    async def _look(self) -> list[LockRecord]:
        """Return the record of every lock, those of other revisions that exist included."""
        listed, *answers = await self._ask_all(
            [
                leases_path(self._namespace),
                *(lock.path(self._namespace) for lock in CONFIG_MAP_LOCKS),
            ]
        )
        require_success(listed)
        leases = read_leases(listed.body)
        records = []
        for lock, answer in zip(CONFIG_MAP_LOCKS, answers, strict=True):
            if answer.status == _NOT_FOUND:
                records.append(absent_lock(lock, self._namespace))
                continue
            require_success(answer)
            records.append(read_lock(lock, answer.body))
        for lock in lease_locks(self._revision, leases):
            found = leases.get(lock.name)
            records.append(
                absent_lock(lock, self._namespace) if found is None else read_lock(lock, found)
            )
        return records

    def _see(self, record: LockRecord) -> None:
        standing = self._standings.get(record.lock)
        if standing is None or standing.record.revision != record.revision:
            renewed_at = None if standing is None else standing.renewed_at
            standing = _Standing(record, self._clock.monotonic(), renewed_at)
            self._standings[record.lock] = standing
            self._key = record.key.removeprefix(_REMOTE) or self._key
        if record.holder != self._identity:
            standing.renewed_at = None

    def _may_take(self, standing: _Standing) -> bool:
        record = standing.record
        if record.holder in {"", self._identity}:
            return True
        unchanged = self._clock.monotonic() - standing.seen_at
        return unchanged > max(record.seconds, self._settings.duration)

    async def _hold(self) -> None:
        now = self._clock.monotonic()
        await self._write_all(
            self._write(
                standing,
                standing.record.held_by(
                    self._identity,
                    key=self._key,
                    seconds=self._settings.duration,
                    now=self._clock.now(),
                ),
                holds=True,
            )
            for standing in self._standings.values()
            if standing.renewed_at is None or now - standing.renewed_at >= self._settings.renewal
        )

    async def _write(self, standing: _Standing, body: bytes, *, holds: bool = False) -> None:
        """Write a lock at the revision it was seen at.

        Raises:
            ClusterError: it could not be found out whether it is written.
        """
        record = standing.record
        path = record.lock.path(self._namespace)
        # From before the question: others count from when it arrived, which is later.
        asked_at = self._clock.monotonic()
        if record.revision:
            answer = await self._request("PUT", path, body)
        else:
            answer = await self._request("POST", path.rpartition("/")[0], body)
        if answer.status in {_CONFLICT, _NOT_FOUND}:
            standing.renewed_at = None
            return
        require_success(answer)
        standing.record = read_lock(record.lock, answer.body)
        standing.seen_at = asked_at
        standing.renewed_at = asked_at if holds else None

    async def _write_all(self, writes: Iterable[Awaitable[None]]) -> None:
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(outcome, ClusterError):
                self._note_trouble(str(outcome))
            elif isinstance(outcome, BaseException):
                raise outcome

    async def _ask_all(self, paths: Iterable[str]) -> list[Answer]:
        answers: list[Answer] = []
        for outcome in await asyncio.gather(
            *(self._request("GET", path) for path in paths), return_exceptions=True
        ):
            if isinstance(outcome, BaseException):
                raise outcome
            answers.append(outcome)
        return answers

    async def _request(self, method: str, path: str, body: bytes | None = None) -> Answer:
        # A look and a write, and once more, fit before a deadline that began with a renewal.
        patience = (self._settings.deadline - self._settings.renewal) / 4
        return await self._client.request(method, path, body=body, timeout=patience)

    def _note_others(self) -> None:
        before = self._others
        self._others = {
            str(lock): standing.record.holder
            for lock, standing in self._standings.items()
            if not self._may_take(standing)
        }
        if self._others and self._others != before:
            _log.warning("election_locks.waiting", reason=self.reason)

    def _note_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            _log.warning("election_locks.unknown", reason=trouble)
        self._trouble = trouble

    def _note_change(self) -> None:
        holds = self.seconds_left > 0
        if holds == self._led:
            return
        self._led = holds
        if holds:
            _log.info("election_locks.gained", locks=sorted(map(str, self._standings)))
        else:
            _log.info("election_locks.lost")
