"""Which policies each waypoint enforces, and for which of its services.

AuthorizationPolicies with targets, waypoints and what they serve come in. The policies of every
service and of every waypoint go out, with what is wrong with them; ``token_rules`` attaches
RequestAuthentications the same way. docs/protocol/http-policies.md HP-1, HP-2, HP-17, HP-26.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.istio import AuthorizationPolicy
from controlplane.mesh.http_destinations import at_addresses
from controlplane.mesh.http_translation import translate_http_policy
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.policy_targets import GROUPS, TargetingPolicy
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.root_namespace import RootNamespace
from controlplane.mesh.waypoint_gateways import NotWaypoint
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.waypoints import Waypoints
from controlplane.model.authorization_provider import AuthorizationProvider
from controlplane.model.http_policy import HttpAction, HttpPolicy
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity
from controlplane.model.waypoint import Waypoint
from controlplane.model.waypoint_traffic import Layer, ServedService


class Target(NamedTuple):
    """What a policy is attached to; classes have no namespace."""

    kind: str
    namespace: str
    name: str


class TargetingHttpPolicy(NamedTuple):
    """A policy that waypoints enforce, with all it is attached to, and what is wrong with it."""

    policy: HttpPolicy | None
    reference: ObjectReference
    targets: tuple[Target, ...]
    problems: tuple[Problem, ...]


class OnConnections(NamedTuple):
    """A policy that needs HTTP and ports of a service that are known not to speak it."""

    policy: Name
    host: WaypointHost
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPolicies:
    """The policies that waypoints enforce, sorted by name.

    Every service and every waypoint has an entry, without policies an empty one: one that is
    missing is not known to be open. Those of services are as they are at its addresses (HP-26).
    ``by_waypoint`` is for workloads reached by address.
    """

    by_service: Collection[WaypointHost, tuple[HttpPolicy, ...]]
    by_waypoint: Collection[Name, tuple[HttpPolicy, ...]]
    problems: Collection[ProblemKey, Problem]


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


def targets_at(waypoint: Name, class_name: str) -> tuple[Target, ...]:
    """Return the targets by which a policy applies to all that ``waypoint`` serves."""
    return (Target("Gateway", *waypoint), Target("GatewayClass", "", class_name))


def build_http_policies(
    graph: Graph,
    membership: Membership,
    root: RootNamespace,
    waypoints: Waypoints,
    served: Collection[WaypointHost, ServedService],
    providers: Collection[str, AuthorizationProvider],
) -> HttpPolicies:
    """Declare the policies that waypoints enforce on ``graph``."""

    def translate(fetch: Fetch, manifest: AuthorizationPolicy) -> TargetingHttpPolicy | None:
        if not manifest.target_references:
            return None
        provider = fetch.one(providers, manifest.provider)
        domains = membership.every_trust_domain.of(fetch)
        translation = translate_http_policy(
            manifest,
            providers=() if provider is None else (provider.name,),
            trust_domains=domains,
        )
        return TargetingHttpPolicy(
            policy=translation.policy,
            reference=manifest.reference,
            targets=targets_of(manifest, root.of(fetch)),
            problems=(*translation.problems, *targets_elsewhere(manifest)),
        )

    translated = graph.derive(
        "policies for waypoints", membership.authorization_policies, translate
    )
    by_target = translated.index("policies for waypoints by target", lambda value: value.targets)

    def of_waypoint(
        fetch: Fetch, waypoint: Waypoint | NotWaypoint
    ) -> tuple[HttpPolicy, ...] | None:
        key = None if isinstance(waypoint, NotWaypoint) else waypoint.key
        gateway = None if key is None else fetch.one(membership.gateways, key)
        if key is None or gateway is None:
            return None
        targets = targets_at(key, gateway.class_name)
        return _sorted(each for target in targets for each in fetch.where(by_target, target))

    by_waypoint = graph.derive("policies of waypoints", waypoints.expected, of_waypoint)

    def of_service(fetch: Fetch, service: ServedService) -> tuple[HttpPolicy, ...] | None:
        inherited = fetch.one(by_waypoint, service.waypoint)
        if inherited is None:
            return None
        own = _sorted(fetch.where(by_target, Target(*service.owner)))
        both = {policy.key: policy for policy in (*inherited, *own)}
        return tuple(at_addresses(both[key], service.ranges) for key in sorted(both))

    by_service = graph.derive("policies of served services", served, of_service)

    def on_connections(
        fetch: Fetch, service: ServedService
    ) -> Mapping[tuple[WaypointHost, Name], OnConnections]:
        ports = tuple(port.number for port in service.ports if port.layers == (Layer.TCP,))
        host = WaypointHost(service.waypoint, service.hostname)
        policies = fetch.one(by_service, host) if ports else None
        return {
            (host, policy.key): OnConnections(policy.key, host, ports)
            for policy in policies or ()
            if policy.needs_http or policy.action is HttpAction.CUSTOM
        }

    weakened = graph.derive_many("policies on connections", served, on_connections)
    by_policy = weakened.index("policies on connections by policy", lambda value: (value.policy,))

    def problems(fetch: Fetch, value: TargetingHttpPolicy) -> Mapping[ProblemKey, Problem]:
        found = list(value.problems)
        if value.policy is not None:
            key = value.policy.key
            found += _on_connections(value.reference, fetch.where(by_policy, key))
        return {problem_key(problem): problem for problem in found}

    return HttpPolicies(
        by_service=by_service,
        by_waypoint=by_waypoint,
        problems=graph.derive_many("problems of policies for waypoints", translated, problems),
    )


def _sorted(found: Iterable[TargetingHttpPolicy]) -> tuple[HttpPolicy, ...]:
    policies = {each.policy.key: each.policy for each in found if each.policy is not None}
    return tuple(policies[key] for key in sorted(policies))


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


def _on_connections(policy: ObjectReference, found: Iterable[OnConnections]) -> Iterable[Problem]:
    places = sorted(f"{each.host.hostname}:{port}" for each in found for port in each.ports)
    if places:
        yield Problem(
            severity=Severity.WARNING,
            code="policy.http-on-connections",
            message="nothing of HTTP, and no server name, is known of connections that are not "
            f"HTTP: less is allowed there and more denied: {', '.join(dict.fromkeys(places))}",
            object=policy,
            field="spec.rules",
        )
