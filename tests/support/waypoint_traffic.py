"""Values of what waypoints serve, and a graph that holds them as inputs."""

from typing import Any

from controlplane.dataflow import Graph, Input
from controlplane.encode.connection_gate import OPEN
from controlplane.encode.dispatch import Gates
from controlplane.mesh.nearness import PlaceKey
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.mesh.waypoint_reach import Reach
from controlplane.mesh.waypoint_services import Claim, WaypointHost
from controlplane.mesh.waypoint_traffic import WaypointTraffic
from controlplane.model.chain_content import ChainContent
from controlplane.model.names import Name, ObjectReference, ServiceName
from controlplane.model.problem import Problem
from controlplane.model.waypoint_traffic import (
    AddressRange,
    DirectWorkloads,
    Endpoint,
    Place,
    ServedBefore,
    ServedPort,
    ServedService,
    ServiceEndpoints,
    WaypointFrame,
)
from controlplane.model.workload import AppProtocol, Locality

WAYPOINT = Name("shop", "waypoint")
HTTP = ServedPort(80, AppProtocol.HTTP11)
SNIFFED = ServedPort(7000, AppProtocol.UNKNOWN)
TCP = ServedPort(9000, AppProtocol.TCP)
OPEN_CHAIN = ChainContent(connection_policies=())
"""Chains of a service without policies."""


class Traffic:
    """Inputs of everything that waypoints serve."""

    def __init__(self, graph: Graph) -> None:
        self.frames: Input[Name, WaypointFrame] = graph.input(
            "frames", WaypointFrame, key=lambda value: value.waypoint
        )
        self.services: Input[WaypointHost, ServedService] = graph.input(
            "served", ServedService, key=lambda value: WaypointHost(value.waypoint, value.hostname)
        )
        self.endpoints: Input[EndpointsKey, ServiceEndpoints] = graph.input(
            "endpoints",
            ServiceEndpoints,
            key=lambda value: EndpointsKey(value.waypoint, value.hostname, value.port.number),
        )
        self.direct: Input[Name, DirectWorkloads] = graph.input(
            "direct", DirectWorkloads, key=lambda value: value.waypoint
        )
        self.places: Input[PlaceKey, Place] = graph.input(
            "places", Place, key=lambda value: PlaceKey(value.waypoint, value.node)
        )
        problems: Input[ProblemKey, Problem] = graph.input(
            "traffic problems", Problem, key=problem_key
        )
        claims: Input[ServedBefore, Claim] = graph.input(
            "claims",
            Claim,
            key=lambda value: ServedBefore(value.served.waypoint, value.served.service),
        )
        addresses: Input[bytes, bytes] = graph.input("reached", bytes, key=lambda value: value)
        self.collections = WaypointTraffic(
            frames=self.frames,
            services=self.services,
            claims=claims,
            endpoints=self.endpoints,
            direct=self.direct,
            places=self.places,
            reach=Reach(waypoints=addresses, on_loopback=False),
            problems=problems,
        )


def a_frame(**fields: Any) -> WaypointFrame:
    return WaypointFrame(**({"waypoint": WAYPOINT, "trust_domain": "cluster.local"} | fields))


def a_served_service(
    name: str = "web", *ports: ServedPort, address: bytes | None = b"\x0a\x60\0\x01", **fields: Any
) -> ServedService:
    """A service with port 80 that speaks HTTP, at 10.96.0.1."""
    values: dict[str, Any] = {
        "waypoint": WAYPOINT,
        "service": ServiceName("shop", f"{name}.shop.svc.cluster.local"),
        "owner": ObjectReference("Service", "shop", name),
        "ranges": () if address is None else (AddressRange(address, len(address) * 8),),
        "ports": ports or (HTTP,),
    }
    return ServedService(**(values | fields))


def an_endpoint_at(address: bytes | str = b"\x0a\0\0\x01", **fields: Any) -> Endpoint:
    """A healthy endpoint on 8080, reached over HBONE."""
    values: dict[str, Any] = {"locality": Locality(), "port": 8080, "is_tunnelled": True}
    return Endpoint(address=address, **(values | fields))


def some_endpoints(
    *endpoints: Endpoint, port: ServedPort = HTTP, hostname: str = "web.shop.svc.cluster.local"
) -> ServiceEndpoints:
    return ServiceEndpoints(
        waypoint=WAYPOINT,
        owner=ObjectReference("Service", "shop", "web"),
        hostname=hostname,
        port=port,
        endpoints=endpoints,
    )


def open_gates(*services: ServedService) -> Gates:
    """Everybody is let through to the bytes of ``services``."""
    return Gates({service.hostname: (OPEN,) * len(service.ports) for service in services})
