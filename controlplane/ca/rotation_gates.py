"""What a rotation waits for, by name: nothing is in the way where there are no gates.

It waits for replicas, for places the bundle is written to, and for leaves that came without the new
root (docs/protocol/authorities.md AT-15 to AT-19).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from controlplane.ca.authority_set import AuthoritySet
from controlplane.ca.rotation_policy import RotationPolicy
from controlplane.model.certificate import AuthorityRecord, BundleTarget, Replica


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One thing in the way, in words for operators; ``until`` is when time alone opens it."""

    name: str
    waits_for: str
    until: datetime | None = None


class Surroundings(Protocol):
    """What gates look at: the parts of ``rotation.Situation`` they need."""

    @property
    def authorities(self) -> AuthoritySet:
        """The authorities."""
        ...

    @property
    def now(self) -> datetime:
        """The time."""
        ...

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """What replicas reported."""
        ...

    @property
    def targets(self) -> tuple[BundleTarget, ...]:
        """What is known of the places the bundle is written to."""
        ...

    @property
    def expected_targets(self) -> frozenset[tuple[str, str, str]]:
        """Cluster, kind and name of places that have to be written to."""
        ...


def upkeep_gates(around: Surroundings, policy: RotationPolicy) -> tuple[Gate, ...]:
    """Return who has not loaded the present generation."""
    generation = around.authorities.state.generation
    present = _present(around, policy)
    if not present:
        return (_NOBODY,)
    return tuple(
        Gate(
            name="replica-behind",
            waits_for=(
                f"replica {each.replica_id} to load generation {generation}, "
                f"it has {each.generation_loaded}"
            ),
        )
        for each in present
        if each.generation_loaded < generation
    )


def root_gates(
    around: Surroundings, policy: RotationPolicy, incoming: AuthorityRecord
) -> tuple[Gate, ...]:
    """Return what keeps ``incoming``, which is published, from signing.

    Anchors reach a workload with its next certificate only, so everything that was issued without
    the new root has to end first.
    """
    version = next(
        (
            entry.added_version
            for entry in around.authorities.trusted
            if entry.certificate == incoming.certificate
        ),
        None,
    )
    if version is None:
        return (Gate(name="not-published", waits_for="the new root to be part of the bundle"),)
    gates = [*_replica_gates(around, policy, version), *_target_gates(around, policy, version)]
    ends = _last_leaf_without(around, policy, version)
    if ends is None:
        gates.append(_NOBODY)
    elif around.now < ends:
        gates.append(
            Gate(
                name="leaves-without-root",
                waits_for="certificates issued without the new root to end",
                until=ends,
            )
        )
    return tuple(gates)


_NOBODY = Gate(name="no-replica", waits_for="a replica to report what it has loaded")


def _replica_gates(around: Surroundings, policy: RotationPolicy, version: int) -> list[Gate]:
    return [
        Gate(
            name="replica-behind",
            waits_for=(
                f"replica {each.replica_id} to load bundle {version}, "
                f"it has {each.bundle_version_loaded}"
            ),
        )
        for each in _present(around, policy)
        if each.bundle_version_loaded < version
    ]


def _target_gates(around: Surroundings, policy: RotationPolicy, version: int) -> list[Gate]:
    known = {(each.cluster, each.kind, each.name): each for each in around.targets}
    gates = []
    last_written: datetime | None = None
    for place in sorted(around.expected_targets | known.keys()):
        target = known.get(place)
        words = " ".join(filter(None, place))
        if target is None or target.bundle_version_written < version:
            written = 0 if target is None else target.bundle_version_written
            because = f" ({target.error})" if target is not None and target.error else ""
            wanted = f"bundle {version} to be written to {words}"
            gates.append(
                Gate(name="target-behind", waits_for=f"{wanted}, it has {written}{because}")
            )
        elif last_written is None or target.written_at > last_written:
            last_written = target.written_at
    if last_written is not None and around.now < last_written + policy.settling:
        gates.append(
            Gate(
                name="targets-settling",
                waits_for="the written bundle to be in use",
                until=last_written + policy.settling,
            )
        )
    return gates


def _last_leaf_without(
    around: Surroundings, policy: RotationPolicy, version: int
) -> datetime | None:
    """Return when the last certificate ends that came with an older bundle; None: nobody knows.

    A replica that went silent may have signed on for as long as it is waited for.
    """
    last_signed = [
        each.bundle_loaded_at
        if each.bundle_version_loaded >= version
        else each.last_seen + policy.replica_forgotten_after
        for each in around.replicas
    ]
    if not last_signed:
        return None
    lifetime = timedelta(seconds=around.authorities.state.max_ttl_in_force)
    return max(last_signed) + lifetime + policy.settling


def _present(around: Surroundings, policy: RotationPolicy) -> list[Replica]:
    forgotten = around.now - policy.replica_forgotten_after
    return [each for each in around.replicas if each.last_seen > forgotten]
