"""What policies may have for targets, and a mesh that has all of it."""

from controlplane.manifests.istio import TargetReference
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name
from tests.support.builders import (
    a_gateway_class,
    a_service,
    a_service_entry,
    a_service_port,
    a_waypoint,
)
from tests.support.waypoint_snapshots import Waypoints

ROOT = "istio-system"
GATEWAYS = "gateway.networking.k8s.io"
WAYPOINT = Name("shop", "waypoint")
USE = {"istio.io/use-waypoint": "waypoint"}

SERVICE = TargetReference("Service", "web")
ENTRY = TargetReference("ServiceEntry", "api", group="networking.istio.io")
GATEWAY = TargetReference("Gateway", "waypoint", group=GATEWAYS)
CLASS = TargetReference("GatewayClass", "istio-waypoint", group=GATEWAYS)

WEB, DB, API = "web.shop.svc.cluster.local", "db.shop.svc.cluster.local", "api.example.com"
ALL = {WEB, DB, API}


def a_targeted_mesh(*policies: Manifest, revision: str = "") -> Waypoints:
    """Two Services, one of them without HTTP, and a ServiceEntry behind one waypoint."""
    waypoints = Waypoints(settings=MeshSettings(revision=revision))
    waypoints.apply(
        a_gateway_class("istio-waypoint"),
        a_waypoint("waypoint", "shop"),
        a_service("web", "shop", labels=USE),
        a_service("db", "shop", labels=USE, ports=[a_service_port(9000, name="tcp")]),
        a_service_entry("api", "shop", hosts=[API], labels=USE),
        *policies,
    )
    return waypoints
