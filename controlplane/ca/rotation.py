"""What the authorities do next: one step, or the gates it waits for.

In: where they stand, the time, and who has confirmed what. Pure: no clock, no keys, no store.
``transitions`` carries a step out on the values, ``leading`` on the stores
(docs/protocol/authorities.md AT-10 to AT-24).
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from controlplane.ca.authority_set import ENDED, AuthoritySet, Orders
from controlplane.ca.rotation_gates import Gate, root_gates, upkeep_gates
from controlplane.ca.rotation_policy import RotationPolicy
from controlplane.model.certificate import (
    AuthorityRecord,
    AuthorityStatus,
    AuthorityTier,
    BundleTarget,
    Replica,
)

_ROOT, _INTERMEDIATE = AuthorityTier.ROOT, AuthorityTier.INTERMEDIATE
_REMOVAL_MARGIN = timedelta(hours=1)


class StepKind(StrEnum):
    """One thing at a time: each of these is one transition."""

    MAKE_ROOT = "make-root"
    PUBLISH_ROOT = "publish-root"
    ACTIVATE_ROOT = "activate-root"
    MAKE_INTERMEDIATE = "make-intermediate"
    ACTIVATE_INTERMEDIATE = "activate-intermediate"
    REMOVE = "remove"
    TAINT = "taint"
    FAIL = "fail"
    RAISE_LIFETIME = "raise-lifetime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do now. ``authority_id`` is whom it is done to; for a new intermediate, its root."""

    kind: StepKind
    authority_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The next step, or none and what is waited for."""

    step: Step | None = None
    gates: tuple[Gate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything a decision rests on. ``expected_targets`` have to be written to, known or not."""

    authorities: AuthoritySet
    policy: RotationPolicy
    now: datetime
    orders: Orders = field(default_factory=Orders)
    replicas: tuple[Replica, ...] = ()
    targets: tuple[BundleTarget, ...] = ()
    expected_targets: frozenset[tuple[str, str, str]] = frozenset()


def next_step(situation: Situation) -> Decision:
    """Return what to do now. Called again after every step until there is none."""
    urgent = _urgent(situation)
    if urgent is not None:
        return Decision(step=urgent)
    gates: list[Gate] = []
    for decide in (_intermediate, _root, _removal):
        decision = decide(situation)
        if decision.step is not None:
            return decision
        gates.extend(decision.gates)
    return Decision(gates=tuple(gates))


def _urgent(situation: Situation) -> Step | None:
    """Return what nothing keeps waiting: orders to taint, longer lifetimes, hopeless beginnings."""
    authorities = situation.authorities
    for authority_id in sorted(situation.orders.tainted):
        found = authorities.find(authority_id)
        if found is not None and found.status not in ENDED | {AuthorityStatus.TAINTED}:
            return Step(kind=StepKind.TAINT, authority_id=authority_id, reason="ordered")
    if situation.policy.max_leaf_lifetime.total_seconds() > authorities.state.max_ttl_in_force:
        return Step(kind=StepKind.RAISE_LIFETIME, reason="longer leaf lifetimes are allowed")
    for record in authorities.authorities:
        waits = record.status in {AuthorityStatus.PREPARED, AuthorityStatus.PUBLISHED}
        if waits and record.not_after <= situation.now:
            return Step(
                kind=StepKind.FAIL,
                authority_id=record.authority_id,
                reason="it expired before it was used",
            )
    return None


def _intermediate(situation: Situation) -> Decision:
    """Decide on the intermediate below the root in force: renewed at half its life, unnoticed."""
    authorities, policy = situation.authorities, situation.policy
    root = _usable(authorities.active_root, situation.now)
    if root is None:
        # What is expired or tainted signs nothing any more: its successor brings its own.
        return Decision()
    current = _usable(authorities.active_intermediate, situation.now)
    prepared = _prepared_below(authorities, root)
    if prepared is not None:
        gates = () if current is None else upkeep_gates(situation, policy)
        if gates:
            return Decision(gates=gates)
        return Decision(
            step=Step(
                kind=StepKind.ACTIVATE_INTERMEDIATE,
                authority_id=prepared.authority_id,
                reason="every replica has it" if current else "nothing else can sign",
            )
        )
    reason = _why_renew(situation, current)
    if not reason:
        return Decision()
    return Decision(
        step=Step(kind=StepKind.MAKE_INTERMEDIATE, authority_id=root.authority_id, reason=reason)
    )


def _why_renew(situation: Situation, current: AuthorityRecord | None) -> str:
    if current is None:
        return "nothing can sign"
    if _INTERMEDIATE in situation.orders.rotates:
        return "ordered"
    if situation.now >= _halfway(current) and _outlived(situation, current):
        return "half its life is over"
    return ""


def _outlived(situation: Situation, current: AuthorityRecord) -> bool:
    """Tell whether a new intermediate would live longer: near its root's end it would not."""
    root = situation.authorities.active_root
    return root is not None and root.not_after > current.not_after


def _root(situation: Situation) -> Decision:
    """Decide on the root: made, published, and put in force once everybody trusts it."""
    authorities, orders = situation.authorities, situation.orders
    incoming = next(
        iter(
            authorities.of_tier(_ROOT, AuthorityStatus.PREPARED, AuthorityStatus.PUBLISHED),
        ),
        None,
    )
    reason = _why_new_root(situation) if incoming is None else "in progress"
    if not reason:
        return Decision()
    is_first = not _is_anything_trusted(situation, incoming)
    if orders.is_paused and not is_first:
        return Decision(gates=(Gate(name="paused", waits_for="an operator to resume it"),))
    if incoming is None:
        return Decision(step=Step(kind=StepKind.MAKE_ROOT, reason=reason))
    if incoming.status is AuthorityStatus.PREPARED:
        return Decision(
            step=Step(
                kind=StepKind.PUBLISH_ROOT,
                authority_id=incoming.authority_id,
                reason="it is ready to be trusted",
            )
        )
    return _activation(situation, incoming, waits=not (is_first or orders.is_hard))


def _activation(situation: Situation, incoming: AuthorityRecord, *, waits: bool) -> Decision:
    """Decide on a published root: its intermediate is made when the gate opens, then it acts."""
    authorities = situation.authorities
    if waits:
        gates = root_gates(situation, situation.policy, incoming)
        if gates:
            return Decision(gates=gates)
    below = _prepared_below(authorities, incoming)
    if below is None:
        return Decision(
            step=Step(
                kind=StepKind.MAKE_INTERMEDIATE,
                authority_id=incoming.authority_id,
                reason="its root is about to act",
            )
        )
    if waits:
        gates = upkeep_gates(situation, situation.policy)
        if gates:
            return Decision(gates=gates)
    return Decision(
        step=Step(
            kind=StepKind.ACTIVATE_ROOT,
            authority_id=incoming.authority_id,
            reason="everybody trusts it" if waits else "nobody is waited for",
        )
    )


def _why_new_root(situation: Situation) -> str:
    current = situation.authorities.active_root
    if current is None:
        return "there is none"
    if current.status is AuthorityStatus.TAINTED:
        return "the root in force is tainted"
    if _ROOT in situation.orders.rotates:
        return "ordered"
    remaining = current.not_after - situation.now
    lifetime = current.not_after - current.not_before
    if remaining <= min(lifetime / 2, situation.policy.root_overlap):
        return "the root in force nears its end"
    return ""


def _removal(situation: Situation) -> Decision:
    """Decide on who has stopped signing: it goes when everything it signed has ended."""
    gates: list[Gate] = []
    for record in situation.authorities.authorities:
        if not _has_stopped(situation.authorities, record):
            continue
        ends = record.max_leaf_not_after or record.not_after
        if record.tier is _ROOT:
            ends += _REMOVAL_MARGIN
        if situation.now <= ends:
            gates.append(
                Gate(
                    name="leaves-alive",
                    waits_for=f"everything {record.authority_id[:8]} signed to end",
                    until=ends,
                )
            )
            continue
        if record.tier is _ROOT:
            if situation.orders.is_paused:
                gates.append(Gate(name="paused", waits_for="an operator to resume it"))
                continue
            behind = upkeep_gates(situation, situation.policy)
            if behind:
                gates.extend(behind)
                continue
        return Decision(
            step=Step(
                kind=StepKind.REMOVE,
                authority_id=record.authority_id,
                reason="everything it signed has ended",
            )
        )
    return Decision(gates=tuple(gates))


def _has_stopped(authorities: AuthoritySet, record: AuthorityRecord) -> bool:
    """Tell whether ``record`` has been in force, or was tainted, and is no longer."""
    if record.status is AuthorityStatus.RETIRING:
        return True
    in_force = {authorities.state.active_root, authorities.state.active_intermediate}
    return record.status is AuthorityStatus.TAINTED and record.authority_id not in in_force


def _prepared_below(authorities: AuthoritySet, root: AuthorityRecord) -> AuthorityRecord | None:
    found = authorities.of_tier(_INTERMEDIATE, AuthorityStatus.PREPARED)
    return next((each for each in found if each.parent_authority_id == root.authority_id), None)


def _usable(record: AuthorityRecord | None, now: datetime) -> AuthorityRecord | None:
    """Return ``record`` if it may sign."""
    if record is None or record.status is not AuthorityStatus.ACTIVE or record.not_after <= now:
        return None
    return record


def _halfway(record: AuthorityRecord) -> datetime:
    return record.not_before + (record.not_after - record.not_before) / 2


def _is_anything_trusted(situation: Situation, incoming: AuthorityRecord | None) -> bool:
    """Tell whether somebody may hold a valid certificate of another root than ``incoming``."""
    trusted = {entry.certificate for entry in situation.authorities.trusted}
    return any(
        root.certificate in trusted and root.not_after > situation.now and root != incoming
        for root in situation.authorities.of_tier(_ROOT)
    )
