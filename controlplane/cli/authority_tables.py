"""How authorities look on a terminal and in JSON: what was found in, lines and documents out."""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from controlplane.ca.authority_set import KeptAuthorities, Orders
from controlplane.ca.journal import JournalView
from controlplane.ca.rotation import Decision, Situation, next_step
from controlplane.ca.rotation_policy import RotationPolicy
from controlplane.cli.tables import aligned
from controlplane.model.certificate import AuthorityRecord, AuthorityStatus, AuthorityTier

_HEADER: Final = ("TIER", "ID", "STATUS", "KEY", "AGE", "NOT AFTER", "LAST CERTIFICATE ENDS")
_ON_THEIR_WAY: Final = (AuthorityStatus.PREPARED, AuthorityStatus.PUBLISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a command looks at. ``problem`` says why the journal is not part of it."""

    kept: KeptAuthorities
    view: JournalView
    problem: str


def decision_on(found: Found, now: datetime) -> Decision:
    """Return what comes next or what is waited for; nothing where the journal is not known."""
    return Decision() if found.problem else next_step(_situation(found, now))


def status_text(found: Found, now: datetime) -> str:
    """Return authorities as a table, then everything else there is to say."""
    authorities = found.kept.authorities
    state = authorities.state
    summary = (
        f"trust domain {state.trust_domain}, generation {state.generation}, "
        f"bundle {state.bundle_version} ({len(authorities.trusted)} roots)"
    )
    lines = [
        aligned(_HEADER, [_cells(each, now) for each in authorities.authorities]),
        "",
        summary,
        *_order_lines(found.kept.orders),
        *_waiting_lines(decision_on(found, now)),
    ]
    if found.problem:
        lines.append(f"what is waited for is not known: {found.problem}")
    return "\n".join(lines)


def _situation(found: Found, now: datetime) -> Situation:
    lifetime = found.kept.authorities.state.max_ttl_in_force
    policy = RotationPolicy()
    longest = min(timedelta(seconds=lifetime or 86_400), policy.intermediate_lifetime / 2)
    return Situation(
        authorities=found.kept.authorities,
        policy=replace(policy, max_leaf_lifetime=longest),
        now=now,
        orders=found.kept.orders,
        replicas=found.view.replicas,
        targets=found.view.targets,
    )


def rehearsal(found: Found, tier: AuthorityTier, now: datetime, *, is_hard: bool) -> list[str]:
    """Return what would happen if a rotation of ``tier`` were ordered ``now``."""
    situation = _situation(found, now)
    orders = situation.orders
    ordered = replace(orders, rotates=orders.rotates | {tier}, is_hard=orders.is_hard or is_hard)
    decision = next_step(replace(situation, orders=ordered))
    lines = [
        f"{tier} {each.authority_id[:8]} is on its way already: it is the new one"
        for each in situation.authorities.of_tier(tier, *_ON_THEIR_WAY)
    ]
    if decision.step is not None:
        lines.append(f"next: {decision.step.kind} ({decision.step.reason})")
    if tier is AuthorityTier.INTERMEDIATE:
        lines.append("then: put in force once every replica has loaded it; nobody notices")
    elif is_hard or orders.is_hard:
        lines.append(
            "then: published and put in force at once; workloads that have not fetched a "
            "certificate since do not trust those that have"
        )
    else:
        policy = situation.policy
        earliest = now + policy.max_leaf_lifetime + policy.settling
        lines.append("then: published with the old root; every replica and place loads the bundle")
        lines.append(
            f"then: put in force, {_shown(earliest)} at the earliest, when every certificate "
            "without the new root has ended"
        )
        lines.append("then: the old root is removed when everything below it has ended")
    lines.extend(_waiting_lines(Decision(gates=decision.gates)))
    lines.append("nothing was changed")
    return lines


def _order_lines(orders: Orders) -> list[str]:
    lines = [f"ordered: a new {tier}" for tier in sorted(orders.rotates)]
    lines += [f"ordered: to taint {each[:8]}" for each in sorted(orders.tainted)]
    if orders.is_hard:
        lines.append("ordered: the new root acts at once")
    if orders.is_paused:
        lines.append("rotation of roots is paused")
    return lines


def _waiting_lines(decision: Decision) -> list[str]:
    lines = []
    if decision.step is not None:
        lines.append(f"next: {decision.step.kind} ({decision.step.reason})")
    for gate in decision.gates:
        until = f" (until {_shown(gate.until)})" if gate.until else ""
        lines.append(f"waits: {gate.name}: for {gate.waits_for}{until}")
    return lines


def _cells(record: AuthorityRecord, now: datetime) -> tuple[str, ...]:
    return (
        record.tier.value,
        record.authority_id[:16],
        record.status.value,
        record.key_type,
        _age(now - record.not_before),
        _shown(record.not_after),
        "" if record.max_leaf_not_after is None else _shown(record.max_leaf_not_after),
    )


def status_document(found: Found, now: datetime) -> dict[str, Any]:
    """Return the same as one JSON document."""
    decision = decision_on(found, now)
    authorities = found.kept.authorities
    hidden = {"certificate", "chain"}
    return {
        "state": _plain(asdict(authorities.state)),
        "authorities": [
            _plain({name: value for name, value in asdict(each).items() if name not in hidden})
            for each in authorities.authorities
        ],
        "bundle": [
            _plain({name: value for name, value in asdict(each).items() if name not in hidden})
            for each in authorities.trusted
        ],
        "orders": {
            "rotate": sorted(found.kept.orders.rotates),
            "taint": sorted(found.kept.orders.tainted),
            "paused": found.kept.orders.is_paused,
            "hard": found.kept.orders.is_hard,
        },
        "next": None if decision.step is None else decision.step.kind,
        "gates": [_plain(asdict(gate)) for gate in decision.gates],
        "problem": found.problem,
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
    }


def _age(age: timedelta) -> str:
    hours = int(age.total_seconds() // 3600)
    return f"{hours // 24}d" if hours >= 48 else f"{hours}h"


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
