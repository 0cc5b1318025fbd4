"""Policies of waypoints on their way: what applies comes in, what routes are told goes out.

docs/protocol/http-policies.md HP-2, HP-15, HP-16; docs/protocol/waypoint-config.md WC-31, WC-50.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.encode.errors import EncodeError
from controlplane.encode.override import Overrides, encode_overrides
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.world import World
from controlplane.model.authorization_provider import ReachableProvider
from controlplane.model.http_policy import HttpPolicy
from controlplane.model.names import Name, ObjectReference
from controlplane.model.waypoint_traffic import DirectWorkloads, Layer, ServedService
from controlplane.pipeline.refusals import Refusal
from controlplane.pipeline.waypoint_resources import gateway_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPolicies:
    """What the routes of every service, and those of workloads reached by address, say.

    Where there is no entry, or a refusal, nothing is known to be allowed.
    """

    by_service: Collection[EndpointsKey, Overrides | Refusal]
    by_waypoint: Collection[Name, Overrides | Refusal]

    def of_service(self, fetch: Fetch, host: WaypointHost, port: int) -> Overrides:
        """Return what the routes of a port say; without anything they let nobody in."""
        found = fetch.one(self.by_service, EndpointsKey(*host, port))
        return () if found is None or isinstance(found, Refusal) else found

    def of_waypoint(self, fetch: Fetch, waypoint: Name) -> Overrides:
        """Return what the routes of workloads reached by address say."""
        found = fetch.one(self.by_waypoint, waypoint)
        return () if found is None or isinstance(found, Refusal) else found


def build_encoded_policies(
    graph: Graph, world: World, sendable: Collection[WaypointHost, ServedService]
) -> EncodedPolicies:
    """Declare what routes say about policies on ``graph``."""

    def of_service(
        fetch: Fetch, service: ServedService
    ) -> Mapping[EndpointsKey, Overrides | Refusal]:
        key = WaypointHost(service.waypoint, service.hostname)
        policies = fetch.one(world.http_policies.by_service, key)
        if policies is None:
            return {}
        asked = _name(world.authorization_providers.of_service(fetch, key))
        return {
            EndpointsKey(*key, port.number): _attempt(
                service.owner, partial(_overrides, policies, port.number, asked)
            )
            for port in service.ports
            if Layer.HTTP in port.layers
        }

    def of_waypoint(fetch: Fetch, direct: DirectWorkloads) -> Overrides | Refusal | None:
        policies = fetch.one(world.http_policies.by_waypoint, direct.waypoint)
        if policies is None:
            return None
        provider = world.authorization_providers.of_waypoint(fetch, direct.waypoint)
        owner = gateway_of(direct.waypoint)
        return _attempt(owner, lambda: encode_overrides(policies, asked=_name(provider)))

    return EncodedPolicies(
        by_service=graph.derive_many("policies in routes of services", sendable, of_service),
        by_waypoint=graph.derive(
            "policies in routes of workloads", world.traffic.direct, of_waypoint
        ),
    )


def _overrides(policies: tuple[HttpPolicy, ...], port: int, asked: str) -> Overrides:
    return encode_overrides((policy.at_port(port) for policy in policies), asked=asked)


def _name(reachable: ReachableProvider | None) -> str:
    return "" if reachable is None else reachable.provider.name


def _attempt(owner: ObjectReference, encode: Callable[[], T]) -> T | Refusal:
    try:
        return encode()
    except EncodeError as error:
        return Refusal(owner, f"policy {error.name}", error.reason)
