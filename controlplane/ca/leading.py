"""What the leader does: memories brought into agreement, then one step after the other.

In: what key store and journal hold, and a fencing token. Out: both, further on. The order of
writes is what makes a crash at any point harmless: a new key into the key store first, then the
transition into the journal, which checks the token, then the result into the key store
(docs/protocol/authorities.md AT-25).
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

import structlog
from cryptography import x509

from controlplane.ca.authority import Authority, make_intermediate, make_root
from controlplane.ca.authority_set import AuthoritySet, KeptAuthorities, Orders
from controlplane.ca.errors import KeyStoreError
from controlplane.ca.journal import AuthoritiesJournal, JournalView
from controlplane.ca.key_store import Kept, KeyStore
from controlplane.ca.reconciliation import reconciled
from controlplane.ca.rotation import Step, StepKind
from controlplane.ca.rotation_policy import RotationPolicy
from controlplane.ca.transitions import carried_out, new_record, with_record, without_history
from controlplane.clock import Clock
from controlplane.model.certificate import AuthorityRecord, AuthorityState, AuthorityTier

_log = structlog.get_logger()
_MAKES: Final = {StepKind.MAKE_ROOT, StepKind.MAKE_INTERMEDIATE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leading:
    """Carries out steps on a key store and a journal."""

    trust_domain: str
    replica_id: str
    keys: KeyStore
    journal: AuthoritiesJournal
    clock: Clock
    policy: RotationPolicy

    async def agree(self, kept: Kept | None, view: JournalView, *, token: int) -> Kept:
        """Return what holds, written wherever it was not; the very first time, an empty beginning.

        Raises:
            KeysLostError: there are authorities, and no key of any.
            StaleLeaderError, JournalError, DatabaseError, KeyStoreError: it could not be written.
        """
        result = reconciled(None if kept is None else kept.content, view.authorities)
        for note in result.notes:
            _log.warning("authorities.differed", note=note)
        if result.content is None:
            generation = 0 if view.authorities is None else view.authorities.state.generation
            beginning = KeptAuthorities(authorities=self._beginning(generation))
            revision = await self.keys.save(beginning, expected=None)
            return Kept(content=beginning, revision=revision)
        if kept is None:  # content is only there when something was kept
            raise KeyStoreError("the key store is empty")
        if result.writes_journal:
            behind = 0 if view.authorities is None else view.authorities.state.generation
            await self.journal.write(
                result.content.authorities,
                after=behind,
                reason="memories were brought into agreement",
                fencing_token=token,
            )
        if not result.writes_keys:
            return Kept(content=result.content, revision=kept.revision)
        revision = await self.keys.save(result.content, expected=kept.revision)
        return Kept(content=result.content, revision=revision)

    async def carry_out(self, step: Step, kept: Kept, *, token: int) -> Kept:
        """Return what is kept after ``step``.

        Raises:
            StaleLeaderError, JournalError, DatabaseError, KeyStoreError: it could not be written;
                the next ``agree`` finds out how far it came.
        """
        now = self.clock.now()
        if step.kind in _MAKES:
            kept, target = await self._with_new_key(step, kept)
        else:
            target = carried_out(kept.content.authorities, step, now=now, policy=self.policy)
        target = replace(
            target,
            state=replace(target.state, fencing_token=token, leader_id=self.replica_id),
        )
        await self.journal.write(
            target,
            after=kept.content.authorities.state.generation,
            reason=step.reason,
            fencing_token=token,
        )
        living = {each.authority_id for each in target.living}
        content = replace(
            kept.content,
            authorities=without_history(target, now),
            keys={name: key for name, key in kept.content.keys.items() if name in living},
            orders=_remaining(kept.content, step),
        )
        revision = await self.keys.save(content, expected=kept.revision)
        _log.info(
            "authorities.moved",
            step=step.kind.value,
            authority=step.authority_id[:8],
            reason=step.reason,
            generation=target.state.generation,
        )
        return Kept(content=content, revision=revision)

    async def _with_new_key(self, step: Step, kept: Kept) -> tuple[Kept, AuthoritySet]:
        """Keep a new key, which nothing refers to yet; return what is kept and what it becomes."""
        now = self.clock.now()
        authorities = kept.content.authorities
        root: AuthorityRecord | None = None
        if step.kind is StepKind.MAKE_INTERMEDIATE:
            root = authorities.find(step.authority_id)
            if root is None or root.authority_id not in kept.content.keys:
                raise KeyStoreError("the key of the root is not kept")
        # RSA keys take a while.
        made = await asyncio.to_thread(self._make, root, kept.content)
        record = new_record(made, authorities, root=root, reference=self.keys.reference)
        record = replace(record, created_by_replica=self.replica_id)
        content = replace(kept.content, keys={**kept.content.keys, record.authority_id: made.key})
        revision = await self.keys.save(content, expected=kept.revision)
        return Kept(content=content, revision=revision), with_record(authorities, record, now)

    def _make(self, root: AuthorityRecord | None, content: KeptAuthorities) -> Authority:
        now, policy = self.clock.now(), self.policy
        if root is None:
            return make_root(
                self.trust_domain,
                key_type=policy.key_type,
                now=now,
                lifetime=policy.root_lifetime,
            )
        above = Authority(
            certificate=x509.load_der_x509_certificate(root.certificate),
            key=content.keys[root.authority_id],
        )
        return make_intermediate(
            above,
            self.trust_domain,
            key_type=policy.key_type,
            now=now,
            lifetime=policy.intermediate_lifetime,
        )

    def _beginning(self, generation: int) -> AuthoritySet:
        return AuthoritySet(
            state=AuthorityState(
                trust_domain=self.trust_domain,
                generation=generation,
                bundle_version=0,
                fencing_token=0,
                leader_id=self.replica_id,
                updated_at=self.clock.now(),
            )
        )


def _remaining(content: KeptAuthorities, step: Step) -> Orders:
    """Return the orders that are still open once ``step`` is done."""
    orders = content.orders
    match step.kind:
        case StepKind.TAINT:
            return replace(orders, tainted=orders.tainted - {step.authority_id})
        case StepKind.MAKE_ROOT:
            return replace(orders, rotates=orders.rotates - {AuthorityTier.ROOT})
        case StepKind.MAKE_INTERMEDIATE:
            return replace(orders, rotates=orders.rotates - {AuthorityTier.INTERMEDIATE})
        case StepKind.ACTIVATE_ROOT:
            # An intermediate comes into force with it; both are what was ordered meanwhile.
            tiers = {AuthorityTier.ROOT, AuthorityTier.INTERMEDIATE}
            return replace(orders, rotates=orders.rotates - tiers, is_hard=False)
        case StepKind.ACTIVATE_INTERMEDIATE:
            return replace(orders, rotates=orders.rotates - {AuthorityTier.INTERMEDIATE})
    return orders
