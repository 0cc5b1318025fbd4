"""Steps carried out on values: a set of authorities and a step in, the next set out.

Pure. Every transition moves the generation by one, every change of what is trusted moves the
bundle version by one (docs/protocol/authorities.md AT-10, AT-20).
"""

from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256

from controlplane.ca.authority import Authority, der_of, key_type_of
from controlplane.ca.authority_set import ENDED, AuthoritySet
from controlplane.ca.rotation import Step, StepKind
from controlplane.ca.rotation_policy import RotationPolicy
from controlplane.model.certificate import (
    AuthorityRecord,
    AuthorityStatus,
    AuthorityTier,
    BundleEntry,
    BundleSource,
)

_S = AuthorityStatus
_HISTORY = timedelta(days=90)


def new_record(
    made: Authority, authorities: AuthoritySet, *, root: AuthorityRecord | None, reference: str
) -> AuthorityRecord:
    """Return the record of an authority that was just made, not in use yet.

    Args:
        made: its certificate and key.
        authorities: the set it will join.
        root: what it is below; None for a root.
        reference: where its key is kept.
    """
    tier = AuthorityTier.ROOT if root is None else AuthorityTier.INTERMEDIATE
    in_force = authorities.active_root if root is None else authorities.active_intermediate
    slot = "B" if in_force is not None and in_force.slot == "A" else "A"
    return AuthorityRecord(
        trust_domain=authorities.state.trust_domain,
        tier=tier,
        slot=slot,
        authority_id=made.identifier,
        status=_S.PREPARED,
        certificate=der_of(made.certificate),
        key_reference=f"{reference}#{tier}-{slot}",
        key_type=str(key_type_of(made.key)),
        not_before=made.certificate.not_valid_before_utc,
        not_after=made.certificate.not_valid_after_utc,
        parent_authority_id="" if root is None else root.authority_id,
    )


def with_record(authorities: AuthoritySet, record: AuthorityRecord, now: datetime) -> AuthoritySet:
    """Return the set with a new authority that was prepared ``now``."""
    added = replace(record, prepared_at=now)
    return replace(_next(authorities, now), authorities=(*authorities.authorities, added))


def carried_out(
    authorities: AuthoritySet, step: Step, *, now: datetime, policy: RotationPolicy
) -> AuthoritySet:
    """Return the set after ``step``, which is not one that makes a key.

    Raises:
        ValueError: the step makes a key, or names an authority there is not.
    """
    following = _next(authorities, now)
    if step.kind is StepKind.RAISE_LIFETIME:
        lifetime = policy.max_leaf_lifetime.total_seconds()
        return replace(following, state=replace(following.state, max_ttl_in_force=lifetime))
    record = authorities.find(step.authority_id)
    if record is None:
        raise ValueError(f"no authority {step.authority_id}")
    match step.kind:
        case StepKind.PUBLISH_ROOT:
            result = _published(following, record, now)
        case StepKind.ACTIVATE_INTERMEDIATE:
            result = _with_intermediate(following, record, now, policy)
        case StepKind.ACTIVATE_ROOT:
            result = _with_root(following, record, now, policy)
        case StepKind.REMOVE:
            result = _untrusted(_moved(following, record, _S.REMOVED, removed_at=now), record)
        case StepKind.FAIL:
            result = _untrusted(_moved(following, record, _S.FAILED), record)
        case StepKind.TAINT:
            result = _tainted(following, record, now, policy)
        case _:
            raise ValueError(f"{step.kind} makes a key")
    return result


def _next(authorities: AuthoritySet, now: datetime) -> AuthoritySet:
    state = authorities.state
    return replace(
        authorities, state=replace(state, generation=state.generation + 1, updated_at=now)
    )


def _published(authorities: AuthoritySet, root: AuthorityRecord, now: datetime) -> AuthoritySet:
    version = authorities.state.bundle_version + 1
    entry = BundleEntry(
        trust_domain=root.trust_domain,
        sha256=sha256(root.certificate).hexdigest(),
        certificate=root.certificate,
        source=BundleSource.SELF,
        added_version=version,
    )
    moved = _moved(authorities, root, _S.PUBLISHED, published_at=now)
    return replace(
        moved,
        bundle=(*moved.bundle, entry),
        state=replace(moved.state, bundle_version=version),
    )


def _with_intermediate(
    authorities: AuthoritySet, record: AuthorityRecord, now: datetime, policy: RotationPolicy
) -> AuthoritySet:
    current = authorities.active_intermediate
    if current is not None:
        authorities = _stopped(authorities, current, now, policy)
    moved = _moved(authorities, record, _S.ACTIVE, activated_at=now)
    return replace(moved, state=replace(moved.state, active_intermediate=record.authority_id))


def _with_root(
    authorities: AuthoritySet, root: AuthorityRecord, now: datetime, policy: RotationPolicy
) -> AuthoritySet:
    below = next(
        each
        for each in authorities.of_tier(AuthorityTier.INTERMEDIATE, _S.PREPARED)
        if each.parent_authority_id == root.authority_id
    )
    current = authorities.active_root
    if current is not None:
        authorities = _without_waiting_below(authorities, current)
        authorities = _stopped(authorities, current, now, policy)
    authorities = _with_intermediate(authorities, below, now, policy)
    moved = _moved(authorities, root, _S.ACTIVE, activated_at=now)
    return replace(moved, state=replace(moved.state, active_root=root.authority_id))


def _without_waiting_below(authorities: AuthoritySet, root: AuthorityRecord) -> AuthoritySet:
    """Return the set in which nothing below ``root`` waits to be used: it never will be."""
    for waiting in authorities.of_tier(AuthorityTier.INTERMEDIATE, _S.PREPARED):
        if waiting.parent_authority_id == root.authority_id:
            authorities = _moved(authorities, waiting, _S.FAILED)
    return authorities


def _stopped(
    authorities: AuthoritySet, record: AuthorityRecord, now: datetime, policy: RotationPolicy
) -> AuthoritySet:
    """Return the set with ``record`` no longer in force; a tainted one stays marked as such."""
    status = _S.TAINTED if record.status is _S.TAINTED else _S.RETIRING
    return _moved(
        authorities,
        record,
        status,
        retired_at=now,
        max_leaf_not_after=_last_leaf(authorities, record, now, policy),
    )


def _last_leaf(
    authorities: AuthoritySet, record: AuthorityRecord, now: datetime, policy: RotationPolicy
) -> datetime:
    """Return when the last leaf below ``record`` ends if it stops signing ``now``.

    Replicas learn of it a little later, which the settling time covers.
    """
    lifetime = timedelta(seconds=authorities.state.max_ttl_in_force)
    return min(now + lifetime + policy.settling, record.not_after)


def _tainted(
    authorities: AuthoritySet, record: AuthorityRecord, now: datetime, policy: RotationPolicy
) -> AuthoritySet:
    """Return the set with ``record`` tainted.

    A tainted root signs no more intermediates; the one there is serves until another root is in
    force. A tainted intermediate stops at once. One that was never used can go.
    """
    state = authorities.state
    is_leaf_signer = record.authority_id == state.active_intermediate
    if record.status in {_S.PREPARED, _S.PUBLISHED}:
        ends = now
    elif record.max_leaf_not_after is not None:
        ends = record.max_leaf_not_after
    else:
        ends = _last_leaf(authorities, record, now, policy)
    moved = _moved(
        authorities,
        record,
        _S.TAINTED,
        tainted_at=now,
        max_leaf_not_after=ends if record.authority_id != state.active_root else None,
    )
    moved = _without_waiting_below(moved, record)
    if is_leaf_signer:
        moved = replace(moved, state=replace(moved.state, active_intermediate=""))
    marked = tuple(
        replace(entry, tainted=True) if entry.certificate == record.certificate else entry
        for entry in moved.bundle
    )
    return replace(moved, bundle=marked)


def _untrusted(authorities: AuthoritySet, record: AuthorityRecord) -> AuthoritySet:
    """Return the set without ``record`` among what is trusted, if it was."""
    if not any(entry.certificate == record.certificate for entry in authorities.trusted):
        return authorities
    version = authorities.state.bundle_version + 1
    return replace(
        authorities,
        bundle=tuple(
            replace(entry, removed_version=version)
            if entry.certificate == record.certificate
            else entry
            for entry in authorities.bundle
        ),
        state=replace(authorities.state, bundle_version=version),
    )


def _moved(
    authorities: AuthoritySet,
    record: AuthorityRecord,
    status: AuthorityStatus,
    **stamps: datetime | None,
) -> AuthoritySet:
    changed = replace(record, status=status, **stamps)  # type: ignore[arg-type] # names of moments
    return replace(
        authorities,
        authorities=tuple(
            changed if each.authority_id == record.authority_id else each
            for each in authorities.authorities
        ),
    )


def without_history(authorities: AuthoritySet, now: datetime) -> AuthoritySet:
    """Return the set without what ended long ago: the journal remembers it."""
    kept = tuple(
        each
        for each in authorities.authorities
        if each.status not in ENDED or (each.removed_at or each.not_after) > now - _HISTORY
    )
    known = {each.certificate for each in kept}
    return replace(
        authorities,
        authorities=kept,
        bundle=tuple(
            entry
            for entry in authorities.bundle
            if entry.removed_version is None or entry.certificate in known
        ),
    )
