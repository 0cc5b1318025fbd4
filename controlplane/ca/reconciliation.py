"""Which of two memories is right after a crash or a restore: key store and journal in, one set out.

A transition is written to the journal first, where the leader's token is checked, and to the key
store second, which is what replicas sign by. The higher generation is the later one, but only as
far as a leader can have written it (``journal_belief``): whoever writes to the database has no
keys. An authority without its key never signs again, whatever either says
(docs/protocol/authorities.md AT-25 to AT-29).
"""

from dataclasses import dataclass, replace

from controlplane.ca.authority_set import AuthoritySet, KeptAuthorities, Orders
from controlplane.ca.errors import KeysLostError
from controlplane.ca.journal_belief import believed
from controlplane.model.certificate import AuthorityRecord, AuthorityStatus, AuthorityTier


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What holds from now on. ``notes`` say, for operators, what was found to differ.

    ``writes_journal`` and ``writes_keys`` tell which of the two has to be brought up to it.
    """

    content: KeptAuthorities | None
    writes_journal: bool = False
    writes_keys: bool = False
    notes: tuple[str, ...] = ()


def reconciled(kept: KeptAuthorities | None, journal: AuthoritySet | None) -> Reconciled:
    """Return what holds, given what the key store and the journal hold (None: nothing).

    Raises:
        KeysLostError: the journal knows authorities and there is no key store. A new root would
            split the mesh without anybody having decided so.
    """
    if kept is None:
        if journal is not None and journal.living:
            raise KeysLostError(
                "the database knows authorities, but the key store is empty: bring the key store "
                "back, or start with an empty database to give the mesh a new root"
            )
        return Reconciled(content=None)
    ours = kept.authorities
    generation = 0 if journal is None else journal.state.generation
    later, doubts = (ours, ()) if journal is None else believed(journal, kept)
    settled, notes = _settled(later, kept)
    if generation < ours.state.generation:
        behind = f"the journal was at generation {generation}, the keys at {ours.state.generation}"
        notes = (behind, *notes)
    elif doubts and settled.state.generation == generation:
        # Both memories are brought to what is believed.
        settled = replace(settled, state=replace(settled.state, generation=generation + 1))
    notes = (*doubts, *notes)
    orders = _open_orders(kept.orders, ours, settled)
    content = _with_needed_keys(replace(kept, authorities=settled, orders=orders))
    return Reconciled(
        content=content,
        writes_journal=bool(notes),
        writes_keys=(
            settled.state.generation != ours.state.generation
            or content.keys.keys() != kept.keys.keys()
        ),
        notes=notes,
    )


def _settled(
    authorities: AuthoritySet, kept: KeptAuthorities
) -> tuple[AuthoritySet, tuple[str, ...]]:
    """Return the set without promises that no key stands behind, at the next generation if any.

    What was made but never in force fails. What was in force no longer is; its root stays trusted
    for as long as anything it signed is still out there.
    """
    in_force = {authorities.state.active_root, authorities.state.active_intermediate}
    lost = {
        each.authority_id
        for each in authorities.living
        # Who is tainted and out of force has nothing left to lose.
        if each.status is not AuthorityStatus.TAINTED or each.authority_id in in_force
    } - kept.keys.keys()
    if not lost:
        return authorities, ()
    records = tuple(
        _keyless(each, authorities) if each.authority_id in lost else each
        for each in authorities.authorities
    )
    state = authorities.state
    failed = {each.certificate for each in records if each.status is AuthorityStatus.FAILED}
    is_withdrawn = any(entry.certificate in failed for entry in authorities.trusted)
    version = state.bundle_version + is_withdrawn
    settled = AuthoritySet(
        state=replace(
            state,
            generation=state.generation + 1,
            bundle_version=version,
            active_root="" if state.active_root in lost else state.active_root,
            active_intermediate=(
                "" if state.active_intermediate in lost else state.active_intermediate
            ),
        ),
        authorities=records,
        bundle=tuple(
            replace(entry, removed_version=version)
            if entry.certificate in failed and entry.removed_version is None
            else entry
            for entry in authorities.bundle
        ),
    )
    notes = tuple(
        f"the key of {each.tier} {each.authority_id[:8]} is gone"
        for each in authorities.authorities
        if each.authority_id in lost
    )
    return settled, notes


def _keyless(record: AuthorityRecord, authorities: AuthoritySet) -> AuthorityRecord:
    if record.status in {AuthorityStatus.PREPARED, AuthorityStatus.PUBLISHED}:
        return replace(record, status=AuthorityStatus.FAILED)
    below = [
        each.not_after
        for each in authorities.authorities
        if each.parent_authority_id == record.authority_id
    ]
    ends = record.max_leaf_not_after or max(below, default=record.not_after)
    return replace(record, status=AuthorityStatus.TAINTED, max_leaf_not_after=ends)


def _open_orders(orders: Orders, before: AuthoritySet, after: AuthoritySet) -> Orders:
    """Return the orders that a step nobody could finish has not carried out already."""
    done = {each.tier for each in after.authorities if before.find(each.authority_id) is None}
    tainted = {
        each.authority_id for each in after.authorities if each.status is AuthorityStatus.TAINTED
    }
    has_new_root = after.state.active_root not in {"", before.state.active_root}
    if has_new_root:
        done.add(AuthorityTier.ROOT)
    if after.state.active_intermediate not in {"", before.state.active_intermediate}:
        done.add(AuthorityTier.INTERMEDIATE)
    return replace(
        orders,
        rotates=orders.rotates - done,
        tainted=orders.tainted - tainted,
        is_hard=orders.is_hard and not has_new_root,
    )


def _with_needed_keys(content: KeptAuthorities) -> KeptAuthorities:
    """Return ``content`` without keys that nothing refers to any longer."""
    living = {each.authority_id for each in content.authorities.living}
    return replace(
        content, keys={name: key for name, key in content.keys.items() if name in living}
    )
