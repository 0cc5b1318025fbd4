"""Whether the targets that a policy names have a waypoint to enforce it.

An AuthorizationPolicy or RequestAuthentication with target references comes in; its
``WaypointAccepted`` condition and the problem of each target that is not bound go out. ztunnel is
never sent such a policy.
docs/protocol/policies.md ST-n.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch
from controlplane.manifests.gateway import GATEWAY_GROUP, GatewayClass
from controlplane.manifests.istio import (
    AuthorizationPolicy,
    RequestAuthentication,
    TargetReference,
)
from controlplane.mesh.binding import ServiceSubject, bind_service
from controlplane.mesh.http_translation import is_without_effect
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.visibility import EntryVisibilities, EntryVisibility
from controlplane.mesh.waypoint_gateways import MESH_CONTROLLER
from controlplane.mesh.waypoints import Waypoints
from controlplane.model.names import Name
from controlplane.model.problem import Condition, Problem, Severity

WAYPOINT_ACCEPTED: Final = "WaypointAccepted"
WAYPOINT_MANAGER: Final = "istio-ambient-waypoint-policy"

ACCEPTED: Final = "Accepted"

GROUPS: Final = {
    "Service": ("", "core"),
    "ServiceEntry": ("", "networking.istio.io"),
    "Gateway": ("", GATEWAY_GROUP),
    "GatewayClass": ("", GATEWAY_GROUP),
}
"""What can be a target, by kind the groups that may be written."""

TargetingPolicy = AuthorizationPolicy | RequestAuthentication
"""What may name targets, for a waypoint to enforce."""

_NOT_FOUND = "TargetNotFound"
_INVALID = "Invalid"
_NOT_BOUND = "not bound"


class TargetOutcome(NamedTuple):
    """What became of one target reference; ``reason`` is ``Accepted`` exactly when bound."""

    reason: str
    message: str

    @property
    def is_bound(self) -> bool:
        """Return whether a waypoint enforces the policy for this target."""
        return self.reason == ACCEPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Where targets are looked up."""

    membership: Membership
    waypoints: Waypoints
    visibilities: EntryVisibilities
    gateway_classes: Collection[Name, GatewayClass]

    def outcome(
        self, fetch: Fetch, policy: TargetingPolicy, reference: TargetReference
    ) -> TargetOutcome:
        """Return whether ``reference`` of ``policy`` is bound, and to what, or why not."""
        key = target_key(policy, reference)
        if key.namespace != policy.metadata.namespace:
            what = f"{reference.kind} {key} is in another namespace"
            return TargetOutcome(_INVALID, f"{what} than the policy")
        is_known = reference.group in GROUPS.get(reference.kind, ())
        match reference.kind if is_known else "":
            case "Gateway":
                is_bound = fetch.one(self.waypoints.ready, key) is not None
                bound = TargetOutcome(ACCEPTED, f"bound to {key}")
                return bound if is_bound else TargetOutcome(_NOT_FOUND, _NOT_BOUND)
            case "Service" | "ServiceEntry":
                return self._service(fetch, reference.kind, key)
            case "GatewayClass":
                return self._gateway_class(fetch, policy.kind, key)
            case _:
                return TargetOutcome("unknown", _NOT_BOUND)

    def _service(self, fetch: Fetch, kind: str, key: Name) -> TargetOutcome:
        visibility = EntryVisibility.PUBLIC
        if kind == "ServiceEntry":
            visibility = self.visibilities.of(fetch, key.namespace)
        services, entries = self.membership.services, self.membership.service_entries
        manifest = fetch.one(services if kind == "Service" else entries, key)
        if manifest is None:
            return TargetOutcome(_NOT_FOUND, f"{kind} {key} was not found")
        subject = ServiceSubject.of(manifest, visibility.sent)
        waypoint = bind_service(fetch, self.waypoints, subject).key
        if waypoint is None or visibility is EntryVisibility.HIDDEN:
            return TargetOutcome("AncestorNotBound", f"{kind} {key} is not bound to a waypoint")
        return TargetOutcome(ACCEPTED, f"bound to {waypoint}")

    def _gateway_class(self, fetch: Fetch, kind: str, key: Name) -> TargetOutcome:
        root = self.membership.mesh_config(fetch).root_namespace
        if key.namespace != root:
            return TargetOutcome(
                _INVALID,
                f"{kind} must be in the root namespace `{root}` when referencing a GatewayClass",
            )
        gateway_class = fetch.one(self.gateway_classes, Name("", key.name))
        if gateway_class is None:
            return TargetOutcome(_NOT_FOUND, _NOT_BOUND)
        if gateway_class.controller_name != MESH_CONTROLLER:
            return TargetOutcome(
                _INVALID,
                f"GatewayClass must use controller name `{MESH_CONTROLLER}` for waypoints",
            )
        return TargetOutcome(ACCEPTED, f"bound to {key.name}")


def target_key(policy: TargetingPolicy, reference: TargetReference) -> Name:
    """Return the name of a target; without a namespace it is in the policy's own."""
    return Name(reference.namespace or policy.metadata.namespace, reference.name)


def waypoint_condition(policy: TargetingPolicy, outcomes: tuple[TargetOutcome, ...]) -> Condition:
    """Return the one condition of ``policy`` for the outcomes of its target references."""
    is_bound = any(outcome.is_bound for outcome in outcomes)
    if is_bound and isinstance(policy, AuthorizationPolicy) and is_without_effect(policy):
        is_bound = False
        reason, message = "UnsupportedValue", "a dry run of CUSTOM does nothing: nobody is asked"
    elif len(outcomes) == 1:
        reason, message = outcomes[0]
    else:
        unbound = [
            f"{reference.kind}.{reference.group or 'core'}:{target_key(policy, reference)}"
            for reference, outcome in zip(policy.target_references, outcomes, strict=True)
            if not outcome.is_bound
        ]
        message = f"Invalid targetRefs: {', '.join(unbound)}" if unbound else ""
        reason = ACCEPTED
        if unbound:
            reason = "PartiallyInvalid" if len(unbound) < len(outcomes) else _INVALID
    return Condition(
        object=policy.reference,
        type=WAYPOINT_ACCEPTED,
        status=is_bound,
        reason=reason,
        message=message,
        manager=WAYPOINT_MANAGER,
        observed_generation=policy.metadata.generation,
    )


def target_problems(
    policy: TargetingPolicy, outcomes: tuple[TargetOutcome, ...]
) -> tuple[Problem, ...]:
    """Return one problem for each target that no waypoint enforces the policy for."""
    return tuple(
        Problem(
            severity=Severity.WARNING,
            code="policy.target-not-bound",
            message=f"{reference.kind} {target_key(policy, reference)}: {outcome.message}",
            object=policy.reference,
            field=f"spec.targetRefs[{index}]",
        )
        for index, (reference, outcome) in enumerate(
            zip(policy.target_references, outcomes, strict=True)
        )
        # One in another namespace is told where policies are matched with targets.
        if not outcome.is_bound and reference.namespace in ("", policy.metadata.namespace)
    )
