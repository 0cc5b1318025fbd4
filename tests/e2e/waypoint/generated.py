"""The same mesh as ``hand_written``, its configuration made of manifests by the control plane.

Policies are laid over: they are those that were written by hand.
"""

from typing import Any

from controlplane.manifests.mesh_config import MeshConfig
from controlplane.snapshots.scope import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE
from tests.e2e.waypoint.hand_written import HOST, POD, TARGETS, VIP, hand_written
from tests.support.builders import HBONE, a_pod, a_service, a_service_port, a_waypoint
from tests.support.envoy_inline import WaypointResources
from tests.support.waypoint_snapshots import Waypoints

PROTOCOLS = {80: "http", 7070: "grpc", 9000: "tcp"}


def generated(mesh_config: MeshConfig | None = None) -> WaypointResources:
    """Return what the control plane sends, with the policies and secrets written by hand."""
    waypoints = Waypoints()
    name, namespace, *_ = HOST.split(".")
    waypoints.apply(
        mesh_config or MeshConfig(),
        a_waypoint("waypoint", namespace),
        a_service(
            name,
            namespace,
            ips=[VIP],
            labels={"istio.io/use-waypoint": "waypoint"},
            selector={"app": name},
            ports=[
                a_service_port(port, name=PROTOCOLS[port], target_port=target)
                for port, target in TARGETS.items()
            ],
        ),
        a_pod(name, namespace, labels={"app": name}, annotations=HBONE, ips=[POD]),
    )
    (waypoint,) = waypoints.waypoints()
    documents = {
        type_url: [_bare(each) for each in waypoints.documents(type_url, waypoint).values()]
        for type_url in (LISTENER_TYPE, CLUSTER_TYPE, ROUTE_TYPE, ENDPOINT_TYPE)
    }
    written = hand_written()
    policies = {each["name"]: each["typed_per_filter_config"] for each in written.routes}
    for route in documents[ROUTE_TYPE]:
        for host in route["virtual_hosts"]:
            host["typed_per_filter_config"] |= policies[route["name"]]
    _put_bytes_policies(documents[LISTENER_TYPE], written)
    return WaypointResources(
        listeners=documents[LISTENER_TYPE],
        clusters=documents[CLUSTER_TYPE],
        routes=documents[ROUTE_TYPE],
        endpoints=documents[ENDPOINT_TYPE],
        secrets=written.secrets,
    )


def _bare(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "@type"}


def _put_bytes_policies(listeners: list[Any], written: WaypointResources) -> None:
    """Put what a chain of bytes checks before everything else where the written one has it."""
    ours, theirs = _chains(listeners), _chains(list(written.listeners))
    for name, chain in theirs.items():
        checks = [each for each in chain["filters"] if each["name"].endswith("network.rbac")]
        ours[name]["filters"] = [*checks, *ours[name]["filters"]]


def _chains(listeners: list[Any]) -> dict[str, Any]:
    inner = next(each for each in listeners if each["name"] == "main_internal")
    return {chain["name"]: chain for chain in inner["filter_chains"]}
