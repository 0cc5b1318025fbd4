"""The authorities' journal as the authorities use it: whole sets in, whole sets out.

``controlplane.store`` keeps rows and checks the leader's token; here a set is read from rows and
the difference to another set is written as one transition.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from controlplane.ca.authority_set import ENDED, AuthoritySet
from controlplane.model.certificate import (
    AuthorityEvent,
    AuthorityRecord,
    AuthorityStatus,
    BundleTarget,
    Replica,
)
from controlplane.store.errors import JournalError
from controlplane.store.journal import Journal
from controlplane.store.transition import NEXT_STATUSES, Transition

_READS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalView:
    """What the journal holds. ``authorities`` is None before the first transition."""

    authorities: AuthoritySet | None = None
    replicas: tuple[Replica, ...] = ()
    targets: tuple[BundleTarget, ...] = ()


class AuthoritiesJournal(Protocol):
    """The journal of one trust domain. Every method raises ``DatabaseError`` when it is away."""

    async def read(self) -> JournalView:
        """Return everything it holds."""
        ...

    async def write(
        self, target: AuthoritySet, *, after: int, reason: str, fencing_token: int
    ) -> None:
        """Bring it to ``target`` if it is at generation ``after``; all or nothing.

        Raises:
            StaleLeaderError: somebody with a larger token has led since.
            JournalError: it is at another generation, or cannot get to ``target``.
        """
        ...

    async def report_replica(self, report: Replica) -> None:
        """Replace what is known of one replica."""
        ...

    async def report_target(self, report: BundleTarget) -> None:
        """Replace what is known of one place the bundle is written to."""
        ...

    async def forget_replica(self, replica_id: str) -> None:
        """Forget a replica."""
        ...

    async def forget_target(self, *, cluster: str, kind: str, name: str) -> None:
        """Forget a place the bundle is written to."""
        ...


class StoreJournal:
    """The journal in the database."""

    def __init__(self, journal: Journal, *, trust_domain: str, replica_id: str) -> None:
        self._journal = journal
        self._trust_domain = trust_domain
        self._replica_id = replica_id

    async def read(self) -> JournalView:
        """Return everything it holds, all of one generation."""
        for _ in range(_READS):
            state = await self._journal.state(self._trust_domain)
            authorities = await self._journal.authorities(self._trust_domain)
            bundle = await self._journal.bundle(self._trust_domain)
            replicas = await self._journal.replicas()
            targets = await self._journal.targets()
            if state == await self._journal.state(self._trust_domain):
                return JournalView(
                    authorities=None
                    if state is None
                    else AuthoritySet(state=state, authorities=authorities, bundle=bundle),
                    replicas=replicas,
                    targets=targets,
                )
        raise JournalError("the journal changes faster than it can be read")

    async def events(self, *, limit: int = 20) -> tuple[AuthorityEvent, ...]:
        """Return the latest steps authorities took, newest first."""
        return await self._journal.events(self._trust_domain, limit=limit)

    async def write(
        self, target: AuthoritySet, *, after: int, reason: str, fencing_token: int
    ) -> None:
        """Bring it to ``target`` in one transaction.

        Raises:
            StaleLeaderError: somebody with a larger token has led since.
            JournalError: it is at another generation, or cannot get to ``target``.
        """
        async with self._journal.transition(
            self._trust_domain, fencing_token=fencing_token, leader_id=self._replica_id
        ) as transition:
            found = transition.state.generation - 1
            if found != after:
                raise JournalError(f"the journal is at generation {found}, not at {after}")
            await _write_authorities(transition, target, reason)
            await _write_bundle(transition, target)
            state = target.state
            transition.set_state(
                generation=state.generation,
                bundle_version=max(state.bundle_version, transition.state.bundle_version),
                active_root=state.active_root,
                active_intermediate=state.active_intermediate,
                max_ttl_in_force=state.max_ttl_in_force,
            )

    async def report_replica(self, report: Replica) -> None:
        """Replace what is known of one replica."""
        await self._journal.report_replica(report)

    async def report_target(self, report: BundleTarget) -> None:
        """Replace what is known of one place the bundle is written to."""
        await self._journal.report_target(report)

    async def forget_replica(self, replica_id: str) -> None:
        """Forget a replica."""
        await self._journal.forget_replica(replica_id)

    async def forget_target(self, *, cluster: str, kind: str, name: str) -> None:
        """Forget a place the bundle is written to."""
        await self._journal.forget_target(cluster=cluster, kind=kind, name=name)


async def _write_authorities(transition: Transition, target: AuthoritySet, reason: str) -> None:
    present = {each.authority_id: each for each in await transition.authorities()}
    for authority_id in present.keys() - {each.authority_id for each in target.authorities}:
        if present[authority_id].status in ENDED:
            continue  # History: only the journal keeps it for good.
        await transition.forget(authority_id, reason="no key of it is kept")
    # Whoever stops being active goes first: there is never more than one of a tier.
    for record in sorted(target.authorities, key=_is_active):
        before = present.get(record.authority_id)
        if before is None:
            await transition.add(record, reason=reason)
            continue
        if before.status is not record.status:
            await _change_status(transition, before, record, reason)
        if record.max_leaf_not_after is not None:
            await transition.raise_max_leaf_not_after(
                record.authority_id, record.max_leaf_not_after
            )


async def _change_status(
    transition: Transition, before: AuthorityRecord, record: AuthorityRecord, reason: str
) -> None:
    if record.status in NEXT_STATUSES[before.status]:
        await transition.move(record.authority_id, record.status, reason=reason)
    else:
        # A journal that was restored has missed steps in between.
        await transition.forget(record.authority_id, reason="the journal was behind")
        await transition.add(record, reason=reason)


async def _write_bundle(transition: Transition, target: AuthoritySet) -> None:
    present = {each.sha256: each for each in await transition.bundle()}
    wanted = {each.sha256: each for each in target.bundle}
    for digest, entry in wanted.items():
        before = present.get(digest)
        if before is None:
            await transition.add_root(entry)
        elif (before.tainted, before.removed_version) != (entry.tainted, entry.removed_version):
            await transition.change_root(
                digest, tainted=entry.tainted, removed_version=entry.removed_version
            )
    for digest in present.keys() - wanted.keys():
        if present[digest].removed_version is None:
            await transition.change_root(digest, removed_version=target.state.bundle_version)


def _is_active(record: AuthorityRecord) -> bool:
    return record.status is AuthorityStatus.ACTIVE
