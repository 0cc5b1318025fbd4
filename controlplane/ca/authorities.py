"""The authorities of one trust domain, run: what signs now, kept up to date on every replica.

In: a key store, a journal, who leads, and the time. Out: the snapshot issuance signs with, and the
state for whoever looks. Followers load and report; the leader also moves on (``leading``). A
database that is away stops nobody from signing, a replica that has fallen behind stops itself
(docs/protocol/authorities.md AT-30 to AT-37).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from controlplane.ca.authority_set import KeptAuthorities
from controlplane.ca.bundle import FILE_KIND, BundleFile
from controlplane.ca.errors import AuthoritySourceError, KeysLostError, KeyStoreError
from controlplane.ca.journal import AuthoritiesJournal, JournalView
from controlplane.ca.key_store import Kept, KeyStore
from controlplane.ca.leading import Leading
from controlplane.ca.rotation import Decision, Situation, next_step
from controlplane.ca.rotation_policy import RotationPolicy
from controlplane.ca.signer import SignerSnapshot
from controlplane.ca.signing import snapshot_of
from controlplane.clock import Clock
from controlplane.leadership import Leadership
from controlplane.model.certificate import BundleTarget, Replica
from controlplane.store.errors import DatabaseError, StoreError

_log = structlog.get_logger()
_STEPS_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Memories:
    """Where authorities are remembered, and who may change that."""

    keys: KeyStore
    journal: AuthoritiesJournal
    leadership: Leadership


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What an operator sees. ``problem`` is empty when all is well."""

    kept: KeptAuthorities | None
    decision: Decision
    is_journal_away: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds: between two looks, until a replica that is behind stops, between two reports."""

    look: float = 5.0
    behind: float = 30.0
    report: float = 20.0


@dataclass(slots=True, kw_only=True)
class Authorities:
    """Keeps one replica's authorities. Implements ``SignerSource``.

    ``bundle_file`` is where this replica writes the roots to. ``expected_targets`` returns
    cluster, kind and name of further places somebody writes them to and reports.
    """

    trust_domain: str
    replica_id: str
    memories: Memories
    clock: Clock
    policy: RotationPolicy = field(default_factory=RotationPolicy)
    bundle_file: BundleFile | None = None
    expected_targets: Callable[[], frozenset[tuple[str, str, str]]] = frozenset
    pace: Pace = field(default_factory=Pace)
    _snapshot: SignerSnapshot | None = field(default=None, init=False, repr=False)
    _reason: str = field(default="the authorities are not loaded yet", init=False)
    _standing: Standing = field(
        default_factory=lambda: Standing(kept=None, decision=Decision()), init=False, repr=False
    )
    _known_generation: int = field(default=-1, init=False)
    _behind_since: float | None = field(default=None, init=False)
    _loaded: KeptAuthorities | None = field(default=None, init=False, repr=False)
    _reported: Replica | None = field(default=None, init=False)
    _written: BundleTarget | None = field(default=None, init=False)
    _told: BundleTarget | None = field(default=None, init=False)

    def current(self) -> SignerSnapshot | None:
        """Return what signs now; None when nothing does, or when this replica has fallen behind."""
        snapshot = self._snapshot
        if snapshot is None or self._is_too_far_behind or snapshot.not_after <= self.clock.now():
            return None
        return snapshot

    def unfit_reason(self) -> str:
        """Return why ``current`` returns None."""
        if self._snapshot is None:
            return self._reason
        if self._is_too_far_behind:
            return "this replica has not loaded the present generation of the authorities"
        return "the authority in force has expired"

    @property
    def standing(self) -> Standing:
        """What the last look found."""
        return self._standing

    async def run(self) -> None:
        """Look, act and report until cancelled; what goes wrong is tried again at the next look.

        Raises:
            KeysLostError: at the first look: there are authorities, and no key of any.
        """
        while True:
            await self.look()
            await self.clock.sleep(self.pace.look)

    async def look(self) -> Standing:
        """Load what is kept, act if this replica leads, and report.

        Raises:
            KeysLostError: before anything was loaded.
        """
        problem = ""
        is_away = False
        decision = Decision()
        try:
            kept = await self.memories.keys.load()
            self._require_own(kept)
            self._take_up(kept)
            # Whoever connects needs the roots, whether or not they can be reported now.
            await self._write_bundle()
            view = await self.memories.journal.read()
            self._compare(view)
            decision = await self._lead(kept, view)
        except KeysLostError as error:
            if self._loaded is None:
                raise
            problem = str(error)
        except DatabaseError as error:
            is_away, problem = True, str(error)
        except (StoreError, KeyStoreError) as error:
            problem = str(error)
        if problem and problem != self._standing.problem:
            _log.warning("authorities.troubled", reason=problem)
        self._standing = Standing(
            kept=self._loaded, decision=decision, is_journal_away=is_away, problem=problem
        )
        return self._standing

    async def _lead(self, kept: Kept | None, view: JournalView) -> Decision:
        """Report, and while this replica leads, step on until there is nothing to do."""
        token = self.memories.leadership.token
        if token is None:
            await self._report(view)
            return Decision()
        leading = Leading(
            trust_domain=self.trust_domain,
            replica_id=self.replica_id,
            keys=self.memories.keys,
            journal=self.memories.journal,
            clock=self.clock,
            policy=self.policy,
        )
        agreed = await leading.agree(kept, view, token=token)
        self._take_up(agreed)
        decision = Decision()
        for _ in range(_STEPS_AT_ONCE):
            await self._report(view)
            view = await self.memories.journal.read()
            self._compare(view)
            decision = next_step(self._situation(agreed.content, view))
            token = self.memories.leadership.token
            if decision.step is None or token is None:
                break
            agreed = await leading.carry_out(decision.step, agreed, token=token)
            self._take_up(agreed)
        await self._forget_gone(view)
        return decision

    def _situation(self, content: KeptAuthorities, view: JournalView) -> Situation:
        own = frozenset() if self.bundle_file is None else frozenset({self.bundle_file.place})
        return Situation(
            authorities=content.authorities,
            policy=self.policy,
            now=self.clock.now(),
            orders=content.orders,
            replicas=view.replicas,
            targets=view.targets,
            expected_targets=own | self.expected_targets(),
        )

    def _require_own(self, kept: Kept | None) -> None:
        if kept is None:
            return
        domain = kept.content.authorities.state.trust_domain
        if domain != self.trust_domain:
            raise KeyStoreError(
                f"the key store is of trust domain {domain}, not of {self.trust_domain}"
            )

    def _take_up(self, kept: Kept | None) -> None:
        """Sign with what is kept from now on, if it works; else go on with what there is.

        What is in force is compared, not the generation alone: a try costs two signatures.
        """
        if kept is None:
            return
        if self._loaded is not None and self._loaded.authorities == kept.content.authorities:
            return
        try:
            self._snapshot = snapshot_of(kept.content, now=self.clock.now(), policy=self.policy)
        except AuthoritySourceError as error:
            is_told = error.reason_code == "signer-none" or self._reason == str(error)
            self._reason = str(error)
            if not is_told:
                _log.warning("authorities.unfit", reason=self._reason)
            if error.reason_code in {"signer-none", "signer-expired"}:
                # No fault of what is kept: it says that nothing can sign, and that is so.
                self._snapshot = None
                self._loaded = kept.content
            return
        self._loaded = kept.content

    def _compare(self, view: JournalView) -> None:
        """Note since when the journal is ahead of what this replica signs with."""
        known = -1 if view.authorities is None else view.authorities.state.generation
        self._known_generation = known
        if self._has_caught_up:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = self.clock.monotonic()

    @property
    def _has_caught_up(self) -> bool:
        loaded = -1 if self._loaded is None else self._loaded.authorities.state.generation
        return loaded >= self._known_generation

    @property
    def _is_too_far_behind(self) -> bool:
        since = self._behind_since
        if since is None or self._has_caught_up:
            return False
        return self.clock.monotonic() - since > self.pace.behind

    async def _report(self, view: JournalView) -> None:
        """Tell the journal what this replica has loaded and written, where that is news."""
        if self._loaded is None:
            return
        await self._write_bundle()
        if self._written is not None and self._told != self._written:
            await self.memories.journal.report_target(self._written)
            self._told = self._written
        state, now = self._loaded.authorities.state, self.clock.now()
        last = self._reported or next(
            (each for each in view.replicas if each.replica_id == self.replica_id), None
        )
        loaded_at = now
        if last is not None and last.bundle_version_loaded == state.bundle_version:
            loaded_at = last.bundle_loaded_at
        report = Replica(
            replica_id=self.replica_id,
            generation_loaded=state.generation,
            bundle_version_loaded=state.bundle_version,
            bundle_loaded_at=loaded_at,
            last_seen=now,
        )
        if self._reported is None or not self._is_news_too_small(report, self._reported):
            await self.memories.journal.report_replica(report)
            self._reported = report

    def _is_news_too_small(self, report: Replica, last: Replica) -> bool:
        return (
            report.generation_loaded == last.generation_loaded
            and report.bundle_version_loaded == last.bundle_version_loaded
            and report.last_seen - last.last_seen < timedelta(seconds=self.pace.report)
        )

    async def _write_bundle(self) -> None:
        """Write the roots to this replica's file when they have changed."""
        if self.bundle_file is None or self._loaded is None:
            return
        authorities = self._loaded.authorities
        version = authorities.state.bundle_version
        if not authorities.trusted:
            return
        if self._written is None or self._written.bundle_version_written != version:
            self._written = await self.bundle_file.write(authorities, self.clock.now())

    async def _forget_gone(self, view: JournalView) -> None:
        """Forget replicas whose last certificate has ended, and the files of silent ones."""
        now = self.clock.now()
        silent = now - self.policy.replica_forgotten_after
        gone = silent - self.policy.settling
        if self._loaded is not None:
            gone -= timedelta(seconds=self._loaded.authorities.state.max_ttl_in_force)
        present = {each.replica_id for each in view.replicas if each.last_seen > silent}
        for each in view.replicas:
            if each.last_seen < gone:
                await self.memories.journal.forget_replica(each.replica_id)
        for target in view.targets:
            owner = target.name.partition("/")[0]
            if target.kind == FILE_KIND and owner not in present | {self.replica_id}:
                await self.memories.journal.forget_target(
                    cluster=target.cluster, kind=target.kind, name=target.name
                )
