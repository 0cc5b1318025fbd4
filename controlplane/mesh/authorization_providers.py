"""Whom each waypoint asks about the requests of a service, when policies say so.

The mesh configuration, policies and services come in. The provider that each chain asks goes out
with the ports it needs, and a Problem for every policy that nobody is asked for: what it matches
is denied. docs/protocol/authorization-providers.md EA-1, EA-4 to EA-6.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.foreign_services import ForeignKey
from controlplane.mesh.http_policies import HttpPolicies
from controlplane.mesh.inputs import MESH
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.route_backends import RouteBackends
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.model.authorization_provider import (
    AuthorizationProvider,
    ProviderProtocol,
    ReachableProvider,
)
from controlplane.model.http_policy import HttpAction, HttpPolicy
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity
from controlplane.model.waypoint_traffic import DirectWorkloads, Layer, ServedService
from controlplane.model.workload import AppProtocol

_WORKLOADS: Final = ""
_CALLS: Final = frozenset({AppProtocol.HTTP2, AppProtocol.GRPC})


class Unasked(NamedTuple):
    """A policy whose matches are denied because nobody is asked, and why."""

    policy: Name
    code: str
    message: str


class Asking(NamedTuple):
    """Whom one chain asks, if anybody, and which policies that leaves without an answer.

    ``foreign`` is the port that the waypoint has to be told of to ask.
    """

    provider: ReachableProvider | None = None
    foreign: tuple[ForeignKey, ...] = ()
    unasked: tuple[Unasked, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationProviders:
    """The provider of each chain that asks one; ``wanted`` are ports that only this needs.

    Those for workloads reached by address have the hostname "".
    """

    by_host: Collection[WaypointHost, ReachableProvider]
    wanted: Collection[ForeignKey, ForeignKey]
    problems: Collection[ProblemKey, Problem]

    def of_service(self, fetch: Fetch, host: WaypointHost) -> ReachableProvider | None:
        """Return whom the chains of a service ask."""
        return fetch.one(self.by_host, host)

    def of_waypoint(self, fetch: Fetch, waypoint: Name) -> ReachableProvider | None:
        """Return whom the chains of workloads reached by address ask."""
        return fetch.one(self.by_host, WaypointHost(waypoint, _WORKLOADS))


class ProviderSources(NamedTuple):
    """What says whom a waypoint asks; ``wanted`` are the ports that it is told of anyway."""

    configured: Collection[Name, MeshConfig]
    providers: Collection[str, AuthorizationProvider]
    policies: HttpPolicies
    backends: RouteBackends
    served: Collection[WaypointHost, ServedService]
    direct: Collection[Name, DirectWorkloads]
    wanted: Collection[ForeignKey, ForeignKey]


def build_configured_providers(
    graph: Graph, configured: Collection[Name, MeshConfig]
) -> Collection[str, AuthorizationProvider]:
    """Declare the providers that the mesh configuration has, by name, on ``graph``."""
    return graph.derive_many("authorization providers", configured, lambda _, config: _read(config))


def build_authorization_providers(graph: Graph, sources: ProviderSources) -> AuthorizationProviders:
    """Declare whom waypoints ask on ``graph``."""
    policies = sources.policies

    def of_service(fetch: Fetch, service: ServedService) -> Mapping[WaypointHost, Asking]:
        host = WaypointHost(service.waypoint, service.hostname)
        if not any(Layer.HTTP in port.layers for port in service.ports):
            return {}
        return _asking(fetch, sources, host, fetch.one(policies.by_service, host))

    def of_waypoint(fetch: Fetch, value: DirectWorkloads) -> Mapping[WaypointHost, Asking]:
        host = WaypointHost(value.waypoint, _WORKLOADS)
        return _asking(fetch, sources, host, fetch.one(policies.by_waypoint, value.waypoint))

    asking = graph.union(
        "asking",
        graph.derive_many("asking for services", sources.served, of_service),
        graph.derive_many("asking for workloads", sources.direct, of_waypoint),
    )
    needed = graph.distinct(
        "ports of providers", asking.index("ports of providers", lambda value: value.foreign)
    )
    unasked = asking.index(
        "policies nobody is asked for",
        lambda value: tuple(dict.fromkeys(each.policy for each in value.unasked)),
    )

    def problems(fetch: Fetch, policy: Name) -> Mapping[ProblemKey, Problem]:
        found = (each for value in fetch.where(unasked, policy) for each in value.unasked)
        return _problems(policy, [each for each in found if each.policy == policy])

    return AuthorizationProviders(
        by_host=graph.derive("providers asked", asking, lambda _, value: value.provider),
        wanted=graph.derive(
            "foreign ports of providers",
            needed,
            lambda fetch, key: None if fetch.one(sources.wanted, key) is not None else key,
        ),
        problems=graph.union(
            "problems of providers",
            graph.derive_many(
                "faults of providers", sources.configured, lambda _, config: _faults(config)
            ),
            graph.derive_many(
                "problems of asking",
                graph.distinct("policies nobody is asked for", unasked),
                problems,
            ),
        ),
    )


def _asking(
    fetch: Fetch,
    sources: ProviderSources,
    host: WaypointHost,
    policies: Iterable[HttpPolicy] | None,
) -> Mapping[WaypointHost, Asking]:
    """Return whom the chains of ``host`` ask: the first by policy that can be reached."""
    asked: ReachableProvider | None = None
    foreign: tuple[ForeignKey, ...] = ()
    unasked = []
    for policy in policies or ():
        provider = None
        if policy.action is HttpAction.CUSTOM and not policy.is_dry_run:
            # One that does not exist is told where the policy is read.
            provider = fetch.one(sources.providers, policy.provider)
        if provider is None or (asked is not None and asked.provider == provider):
            continue
        if asked is not None:
            message = f"another policy asks {asked.provider.name} about {_about(host)} already"
            unasked.append(Unasked(policy.key, "policy.other-provider", message))
            continue
        reached = _reach(fetch, sources.backends, host.waypoint, provider)
        if isinstance(reached, str):
            unasked.append(Unasked(policy.key, "policy.unreachable-provider", reached))
        else:
            asked, foreign = reached
    if asked is None and not unasked:
        return {}
    return {host: Asking(asked, foreign, tuple(unasked))}


def _reach(
    fetch: Fetch, backends: RouteBackends, waypoint: Name, provider: AuthorizationProvider
) -> tuple[ReachableProvider, tuple[ForeignKey, ...]] | str:
    """Return how ``waypoint`` reaches ``provider``, or why it does not."""
    service = backends.service_at(fetch, waypoint, provider.hostname)
    if service is None or provider.namespace not in ("", service.service.namespace):
        return f"waypoint {waypoint} knows no service {provider.hostname}"
    port = next((each for each in service.ports if each.number == provider.port), None)
    if port is None:
        return f"{provider.hostname} has no TCP port {provider.port}"
    if Layer.HTTP not in port.layers:
        return f"port {provider.port} of {provider.hostname} does not speak HTTP"
    if provider.protocol is ProviderProtocol.GRPC and port.protocol not in _CALLS:
        return f"port {provider.port} of {provider.hostname} does not say that it speaks gRPC"
    key = ForeignKey(waypoint, service.hostname, port.number, Layer.HTTP)
    is_served = fetch.one(backends.served, WaypointHost(waypoint, service.hostname)) is not None
    found = ReachableProvider(provider=provider, is_served=is_served)
    return found, () if is_served else (key,)


def _about(host: WaypointHost) -> str:
    return host.hostname or f"workloads of waypoint {host.waypoint}"


def _read(config: MeshConfig) -> Mapping[str, AuthorizationProvider]:
    return {
        written.name: written.provider
        for written in config.authorization_providers
        if written.provider is not None
    }


def _faults(config: MeshConfig) -> Mapping[ProblemKey, Problem]:
    problems = [
        Problem(
            severity=Severity.ERROR,
            code="mesh.unusable-provider",
            message=f"{written.fault}: nobody is asked",
            object=ObjectReference("MeshConfig", *MESH),
            field=written.field,
        )
        for written in config.authorization_providers
        if written.provider is None
    ]
    return {problem_key(problem): problem for problem in problems}


def _problems(policy: Name, unasked: Iterable[Unasked]) -> Mapping[ProblemKey, Problem]:
    messages: dict[str, list[str]] = {}
    for each in sorted(set(unasked)):
        messages.setdefault(each.code, []).append(each.message)
    problems = [
        Problem(
            severity=Severity.ERROR,
            code=code,
            message=f"what matches is denied: {'; '.join(found)}",
            object=ObjectReference("AuthorizationPolicy", *policy),
            field="spec.provider.name",
        )
        for code, found in messages.items()
    ]
    return {problem_key(problem): problem for problem in problems}
