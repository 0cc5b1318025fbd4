"""Stores of authorities in memory, a clock that is told the time, and failures at chosen writes."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from controlplane.ca.authorities import Authorities, Memories
from controlplane.ca.authority_set import AuthoritySet, KeptAuthorities
from controlplane.ca.bundle import BundleFile
from controlplane.ca.errors import KeyStoreConflictError
from controlplane.ca.journal import JournalView
from controlplane.ca.key_store import Kept
from controlplane.ca.rotation_policy import RotationPolicy
from controlplane.model.certificate import BundleTarget, Replica
from controlplane.store.errors import DatabaseError, JournalError, StaleLeaderError

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class ToldClock:
    """Stands still until told."""

    def __init__(self, now: datetime = START) -> None:
        self._start = now
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return (self.time - self._start).total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def advance(self, **parts: float) -> None:
        self.time += timedelta(**parts)


class CrashError(Exception):
    """The process ends here."""


@dataclass
class KillPoint:
    """Ends the process after the write that brings ``remaining`` to zero."""

    remaining: int = -1

    def passed(self) -> None:
        self.remaining -= 1
        if self.remaining == 0:
            raise CrashError


@dataclass
class MemoryKeyStore:
    kept: Kept | None = None
    kill: KillPoint = field(default_factory=KillPoint)
    saves: int = 0
    reference: str = "memory"

    async def load(self) -> Kept | None:
        return self.kept

    async def save(self, content: KeptAuthorities, *, expected: str | None) -> str:
        if (None if self.kept is None else self.kept.revision) != expected:
            raise KeyStoreConflictError("changed")
        self.saves += 1
        self.kept = Kept(content=content, revision=str(self.saves))
        self.kill.passed()
        return self.kept.revision


@dataclass
class MemoryJournal:
    """Keeps the same promises as the one in the database."""

    authorities: AuthoritySet | None = None
    replicas: dict[str, Replica] = field(default_factory=dict)
    targets: dict[tuple[str, str, str], BundleTarget] = field(default_factory=dict)
    token: int = 0
    is_away: bool = False
    kill: KillPoint = field(default_factory=KillPoint)
    reasons: list[str] = field(default_factory=list)

    async def read(self) -> JournalView:
        self._require()
        return JournalView(
            authorities=self.authorities,
            replicas=tuple(self.replicas.values()),
            targets=tuple(self.targets.values()),
        )

    async def write(
        self, target: AuthoritySet, *, after: int, reason: str, fencing_token: int
    ) -> None:
        self._require()
        if self.token > fencing_token:
            raise StaleLeaderError(token=fencing_token, seen=self.token)
        found = 0 if self.authorities is None else self.authorities.state.generation
        if found != after or target.state.generation <= found:
            raise JournalError(f"at {found}, not at {after}")
        self.token = fencing_token
        self.authorities = target
        self.reasons.append(reason)
        self.kill.passed()

    async def report_replica(self, report: Replica) -> None:
        self._require()
        self.replicas[report.replica_id] = report

    async def report_target(self, report: BundleTarget) -> None:
        self._require()
        self.targets[report.cluster, report.kind, report.name] = report

    async def forget_replica(self, replica_id: str) -> None:
        del self.replicas[replica_id]

    async def forget_target(self, *, cluster: str, kind: str, name: str) -> None:
        del self.targets[cluster, kind, name]

    def _require(self) -> None:
        if self.is_away:
            raise DatabaseError("away")


@dataclass
class ToldLeadership:
    token: int | None = 1

    @property
    def is_leader(self) -> bool:
        return self.token is not None

    async def run(self) -> None:
        return None

    async def changed(self) -> None:
        return None


@dataclass
class World:
    """One key store and one journal, shared by every replica made here."""

    keys: MemoryKeyStore = field(default_factory=MemoryKeyStore)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    clock: ToldClock = field(default_factory=ToldClock)
    policy: RotationPolicy = field(default_factory=RotationPolicy)
    expected: frozenset[tuple[str, str, str]] = frozenset()

    def __post_init__(self) -> None:
        self.journal.kill = self.keys.kill

    @property
    def kept(self) -> KeptAuthorities:
        assert self.keys.kept is not None
        return self.keys.kept.content

    @property
    def set(self) -> AuthoritySet:
        return self.kept.authorities

    def replica(
        self,
        name: str = "r1",
        *,
        token: int | None = 1,
        bundle_file: BundleFile | None = None,
    ) -> Authorities:
        return Authorities(
            trust_domain="cluster.local",
            replica_id=name,
            memories=Memories(
                keys=self.keys, journal=self.journal, leadership=ToldLeadership(token)
            ),
            clock=self.clock,
            policy=self.policy,
            bundle_file=bundle_file,
            expected_targets=lambda: self.expected,
        )

    def order(self, **orders: Any) -> None:
        self.keep(replace(self.kept, orders=replace(self.kept.orders, **orders)))

    def keep(self, content: KeptAuthorities) -> None:
        """Put ``content`` into the key store as if somebody else had written it."""
        self.keys.saves += 1
        self.keys.kept = Kept(content=content, revision=str(self.keys.saves))

    def written(self, place: tuple[str, str, str], version: int) -> None:
        cluster, kind, name = place
        self.journal.targets[place] = BundleTarget(
            cluster=cluster,
            kind=kind,
            name=name,
            bundle_version_written=version,
            written_at=self.clock.now(),
        )


async def a_world(*replicas: str) -> World:
    """Return a world that each of ``replicas`` has looked at, "r1" as the leader and if none."""
    world = World()
    for name in replicas or ("r1",):
        await world.replica(name, token=1 if name == "r1" else None).look()
    return world
