"""What each waypoint is apart from its services: its frame, and workloads reached by address.

Waypoints, their pods and the workloads bound to them come in, one ``WaypointFrame`` and at most
one ``DirectWorkloads`` per waypoint go out. docs/protocol/waypoint-config.md WC-1, WC-3, WC-8.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Pod
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.waypoint_gateways import NotWaypoint, gateway_name
from controlplane.mesh.waypoint_reach import Reach, may_be_itself
from controlplane.mesh.waypoints import Waypoints
from controlplane.model.names import Name
from controlplane.model.network import address_from_text
from controlplane.model.waypoint import Waypoint
from controlplane.model.waypoint_traffic import DirectWorkloads, WaypointFrame
from controlplane.model.workload import NetworkMode, TunnelProtocol, Workload

_IPV6_BYTES: Final = 16
_ENDED: Final = frozenset({"Succeeded", "Failed"})


class Family(NamedTuple):
    """That some pod of a Gateway has an IPv6 address, or an IPv4 one."""

    gateway: Name
    is_ipv6: bool


def build_waypoint_frames(
    graph: Graph,
    membership: Membership,
    waypoints: Waypoints,
    pods: Collection[Name, Pod],
    settings: MeshSettings,
) -> Collection[Name, WaypointFrame]:
    """Declare the frame of every waypoint, ready or not, on ``graph``."""
    instances = pods.index("addresses of waypoints by gateway", _instance_of)
    families = graph.distinct(
        "address families of waypoints", pods.index("pods of waypoints by family", _families)
    )

    def rule(fetch: Fetch, waypoint: Waypoint | NotWaypoint) -> WaypointFrame | None:
        if isinstance(waypoint, NotWaypoint):
            return None
        key = waypoint.key
        has_ipv4 = fetch.one(families, Family(key, is_ipv6=False)) is not None
        has_ipv6 = fetch.one(families, Family(key, is_ipv6=True)) is not None
        trust_domain, *aliases = membership.every_trust_domain.of(fetch)
        return WaypointFrame(
            waypoint=key,
            trust_domain=trust_domain,
            trust_domain_aliases=tuple(aliases),
            # Before its first pod has an address nobody knows, and nobody listens.
            has_ipv4=has_ipv4 or not has_ipv6,
            has_ipv6=has_ipv6,
            listen_addresses=(
                _addresses(fetch.where(instances, key)) if settings.waypoints_listen_on_pods else ()
            ),
        )

    return graph.derive("frames of waypoints", waypoints.expected, rule)


def build_reach(
    graph: Graph, waypoints: Waypoints, pods: Collection[Name, Pod], settings: MeshSettings
) -> Reach:
    """Declare on ``graph`` which addresses lead to waypoints.

    Those of the nodes they share are not among them, nor what an ended pod has left to others.
    """

    def gateway(pod: Pod) -> tuple[Name, ...]:
        return () if pod.host_network or pod.phase in _ENDED else _instance_of(pod)

    instances = pods.index("pods of gateways", gateway)

    def rule(fetch: Fetch, waypoint: Waypoint | NotWaypoint) -> tuple[bytes, ...] | None:
        if isinstance(waypoint, NotWaypoint):
            return None
        return _addresses(fetch.where(instances, waypoint.key)) or None

    by_waypoint = graph.derive("addresses of waypoints", waypoints.expected, rule)
    return Reach(
        waypoints=graph.distinct(
            "addresses that are waypoints",
            by_waypoint.index("waypoints by address of a pod", lambda addresses: addresses),
        ),
        on_loopback=settings.waypoints_listen_on_pods,
    )


def build_direct_workloads(
    graph: Graph,
    frames: Collection[Name, WaypointFrame],
    workloads: Collection[str, Workload],
    reach: Reach,
) -> Collection[Name, DirectWorkloads]:
    """Declare the workloads that each waypoint serves by address; most waypoints have none.

    What ``reach`` says is a waypoint is none of them.
    """
    by_waypoint = workloads.index("workloads by waypoint", _waypoint_of)

    def rule(fetch: Fetch, frame: WaypointFrame) -> DirectWorkloads | None:
        members = fetch.where(by_waypoint, frame.waypoint)
        addresses = {
            address
            for workload in members
            for address in workload.addresses
            if not may_be_itself(address, 0, on_loopback=reach.on_loopback)
            and not reach.is_waypoint(fetch, address)
        }
        if not addresses:
            return None
        return DirectWorkloads(waypoint=frame.waypoint, addresses=tuple(sorted(addresses)))

    return graph.derive("direct workloads of waypoints", frames, rule)


def _instance_of(pod: Pod) -> tuple[Name, ...]:
    key = gateway_name(pod.metadata.labels, pod.metadata.namespace)
    return () if key is None else (key,)


def _addresses(pods: Iterable[Pod]) -> tuple[bytes, ...]:
    packed = (address_from_text(text) for pod in pods for text in pod.ips)
    return tuple(sorted({address for address in packed if address is not None}))


def _families(pod: Pod) -> tuple[Family, ...]:
    key = gateway_name(pod.metadata.labels, pod.metadata.namespace)
    if key is None:
        return ()
    packed = (address_from_text(text) for text in pod.ips)
    return tuple(
        Family(key, is_ipv6=len(address) == _IPV6_BYTES)
        for address in packed
        if address is not None
    )


def _waypoint_of(workload: Workload) -> tuple[Name, ...]:
    """Return the waypoint that reaches ``workload`` by address: over HBONE, or not at all."""
    is_reached = (
        workload.tunnel_protocol is TunnelProtocol.HBONE
        and workload.network_mode is NetworkMode.STANDARD
    )
    return (workload.served_by,) if workload.served_by is not None and is_reached else ()
