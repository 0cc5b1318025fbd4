"""The same mesh as ``hand_written``, its configuration made of manifests by the control plane."""

from typing import Any

from controlplane.manifests.istio import AuthorizationRule, Operation, Source, TargetReference
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.snapshots.scope import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE
from tests.e2e.waypoint.hand_written import ALICE, HOST, NEAR, POD, TARGETS, VIP, hand_written
from tests.support.builders import (
    HBONE,
    a_pod,
    a_service,
    a_service_port,
    a_waypoint,
    an_authorization_policy,
)
from tests.support.envoy_inline import WaypointResources
from tests.support.waypoint_snapshots import ON_ONE_MACHINE, Waypoints

PROTOCOLS = {80: "http", 7070: "grpc", 9000: "tcp"}

_TARGET = TargetReference(kind="Service", name=HOST.partition(".")[0])
_ALICE = (Source(principals=(ALICE.removeprefix("spiffe://"),)),)
_ALLOWED = [
    AuthorizationRule(sources=_ALICE, operations=(Operation(methods=("GET",), ports=("80",)),)),
    AuthorizationRule(
        sources=(Source(ip_blocks=(NEAR,)),),
        operations=(Operation(paths=("/near*",), ports=("80",)),),
    ),
    AuthorizationRule(sources=_ALICE, operations=(Operation(ports=("7070", "9000")),)),
]
_ADMIN = AuthorizationRule(operations=(Operation(paths=("/admin*",), ports=("80",)),))


def generated(mesh_config: MeshConfig | None = None) -> WaypointResources:
    """Return what the control plane sends, with the secrets written by hand."""
    waypoints = Waypoints(settings=ON_ONE_MACHINE)
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
        an_authorization_policy("allow", namespace, rules=_ALLOWED, target_references=(_TARGET,)),
        an_authorization_policy(
            "deny", namespace, action="DENY", rules=[_ADMIN], target_references=(_TARGET,)
        ),
    )
    (waypoint,) = waypoints.waypoints()
    documents = {
        type_url: [_bare(each) for each in waypoints.documents(type_url, waypoint).values()]
        for type_url in (LISTENER_TYPE, CLUSTER_TYPE, ROUTE_TYPE, ENDPOINT_TYPE)
    }
    return WaypointResources(
        listeners=documents[LISTENER_TYPE],
        clusters=documents[CLUSTER_TYPE],
        routes=documents[ROUTE_TYPE],
        endpoints=documents[ENDPOINT_TYPE],
        secrets=hand_written().secrets,
    )


def _bare(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "@type"}
