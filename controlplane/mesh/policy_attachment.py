"""What policies with targets are attached to: to a waypoint, or to one of the services behind it.

What is made of AuthorizationPolicies and RequestAuthentications comes in with its targets; what is
at a waypoint and at a service goes out, in no order. Whether a target has a waypoint at all is
``policy_targets``. docs/protocol/http-policies.md HP-1, docs/protocol/request-authentication.md
RA-4.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from controlplane.dataflow import Collection, Fetch, Index
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.policy_targets import GROUPS, TargetingPolicy
from controlplane.mesh.waypoint_gateways import NotWaypoint
from controlplane.mesh.waypoints import gateway_of
from controlplane.model.problem import Problem, Severity
from controlplane.model.waypoint import Waypoint
from controlplane.model.waypoint_traffic import ServedService


class Target(NamedTuple):
    """What a policy is attached to; classes have no namespace."""

    kind: str
    namespace: str
    name: str


class Targeting(Protocol):
    """What is made of a policy, with all that it is attached to."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """Return what the policy is attached to."""
        ...


T = TypeVar("T", bound=Targeting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachments(Generic[T]):
    """Policies of one kind by what they are attached to."""

    membership: Membership
    by_target: Index[Target, Any, T]

    def at_waypoint(self, fetch: Fetch, waypoint: Waypoint | NotWaypoint) -> tuple[T, ...] | None:
        """Return what applies to all that ``waypoint`` serves; None where it is no waypoint.

        What has both targets, its Gateway and its class, comes twice.
        """
        gateway = gateway_of(fetch, self.membership, waypoint)
        if gateway is None:
            return None
        by_gateway = Target("Gateway", *gateway.key)
        by_class = Target("GatewayClass", "", gateway.class_name)
        where = self.by_target
        return (*fetch.where(where, by_gateway), *fetch.where(where, by_class))

    def at_service(self, fetch: Fetch, service: ServedService) -> tuple[T, ...]:
        """Return what is for ``service`` alone, beyond what its waypoint has for all."""
        return fetch.where(self.by_target, Target(*service.owner))


def build_attachments(
    name: str, membership: Membership, policies: Collection[Any, T]
) -> Attachments[T]:
    """Return where ``policies`` are attached; ``name`` is that of their index."""
    by_target = policies.index(name, lambda value: value.targets)
    return Attachments(membership=membership, by_target=by_target)


def targets_of(manifest: TargetingPolicy, root_namespace: str) -> tuple[Target, ...]:
    """Return what ``manifest`` is attached to, existing or not; nothing without targets.

    Nothing in another namespace is, and classes are for policies of the root namespace.
    """
    own = manifest.metadata.namespace
    found = []
    for reference in manifest.target_references:
        is_known = reference.group in GROUPS.get(reference.kind, ())
        if not is_known or reference.namespace not in ("", own):
            continue
        if reference.kind != "GatewayClass":
            found.append(Target(reference.kind, own, reference.name))
        elif own == root_namespace:
            found.append(Target(reference.kind, "", reference.name))
    return tuple(dict.fromkeys(found))


def targets_elsewhere(manifest: TargetingPolicy) -> Iterable[Problem]:
    """Yield a problem for each target that is in another namespace than ``manifest``."""
    own = manifest.metadata.namespace
    for index, reference in enumerate(manifest.target_references):
        if reference.namespace not in ("", own):
            yield Problem(
                severity=Severity.ERROR,
                code="policy.target-not-bound",
                message=f"{reference.kind} {reference.name} is not in namespace {own}: "
                "the policy does not apply to it",
                object=manifest.reference,
                field=f"spec.targetRefs[{index}].namespace",
            )
