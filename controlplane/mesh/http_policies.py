"""Which policies each waypoint enforces, and for which of its services.

AuthorizationPolicies with targets, waypoints and what they serve come in. The policies of every
service and of every waypoint go out, with what is wrong with them.
docs/protocol/http-policies.md HP-1, HP-2, HP-17, HP-26.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.istio import AuthorizationPolicy
from controlplane.mesh.http_destinations import at_addresses
from controlplane.mesh.http_translation import translate_http_policy
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.policy_attachment import (
    Target,
    build_attachments,
    targets_elsewhere,
    targets_of,
)
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
    attachments = build_attachments("policies for waypoints by target", membership, translated)

    def of_waypoint(
        fetch: Fetch, waypoint: Waypoint | NotWaypoint
    ) -> tuple[HttpPolicy, ...] | None:
        found = attachments.at_waypoint(fetch, waypoint)
        return None if found is None else _sorted(found)

    by_waypoint = graph.derive("policies of waypoints", waypoints.expected, of_waypoint)

    def of_service(fetch: Fetch, service: ServedService) -> tuple[HttpPolicy, ...] | None:
        inherited = fetch.one(by_waypoint, service.waypoint)
        if inherited is None:
            return None
        own = _sorted(attachments.at_service(fetch, service))
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
