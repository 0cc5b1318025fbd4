"""Waypoints and what they serve: sizes in, manifests out.

Each waypoint is alone in its namespace. Every service has a port of HTTP, a route with two rules
and a policy; every tenth has a port of bytes beside.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.manifests.core import Namespace, Node, Pod, Service, ServicePort
from controlplane.manifests.gateway import Gateway, GatewayAddress, Listener
from controlplane.manifests.http_route import (
    Route,
    RouteFilter,
    RouteMatch,
    RouteRule,
    TypedValue,
    WeightedBackend,
)
from controlplane.manifests.istio import (
    AuthorizationPolicy,
    AuthorizationRule,
    Operation,
    Source,
    TargetReference,
)
from controlplane.manifests.metadata import Manifest, Metadata
from controlplane.manifests.route_references import BackendTarget
from controlplane.model.http_route import HeaderChanges, HeaderValue
from controlplane.model.names import Name
from controlplane.model.route_parent import ParentReference

WAYPOINT = "waypoint"
_NODES = 10
_CAPTURED = {"ambient.istio.io/redirection": "enabled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many waypoints, how many services each serves, how many pods each service has."""

    waypoints: int = 1
    services: int
    pods: int = 5


def namespace_of(waypoint: int) -> str:
    """Return the namespace of one waypoint."""
    return f"team-{waypoint}"


def hostname_of(waypoint: int, service: int) -> str:
    """Return the hostname of one service."""
    return f"svc-{service}.{namespace_of(waypoint)}.svc.cluster.local"


def manifests(size: Size) -> Iterator[Manifest]:
    """Yield everything."""
    for number in range(_NODES):
        zone = {
            "topology.kubernetes.io/region": "north",
            "topology.kubernetes.io/zone": f"north-{number % 3}",
        }
        yield Node(metadata=Metadata(name=f"node-{number}", labels=zone))
    for waypoint in range(size.waypoints):
        yield from _surroundings(waypoint)
        for service in range(size.services):
            yield from service_of(size, waypoint, service)


def service_of(size: Size, waypoint: int, service: int) -> Iterator[Manifest]:
    """Yield one service with its route, its policy and its pods."""
    yield a_service(waypoint, service)
    yield a_route(waypoint, service)
    yield a_policy(waypoint, service)
    for pod in range(size.pods):
        yield a_pod(waypoint, service, pod)


def a_service(waypoint: int, service: int, *, protocol: str = "http") -> Service:
    """Return one service; ``protocol`` is that of its first port."""
    ports = [ServicePort(80, protocol, target_port=8080)]
    if service % 10 == 0:
        ports.append(ServicePort(9000, "tcp", target_port=9000))
    return Service(
        metadata=Metadata(name=f"svc-{service}", namespace=namespace_of(waypoint)),
        cluster_ips=(f"172.{16 + waypoint // 256}.{waypoint % 256}.{service % 250 + 1}",)
        if service < 250
        else (f"172.{20 + waypoint}.{service >> 8}.{service & 255}",),
        selector={"app": f"app-{service}"},
        ports=tuple(ports),
    )


def a_route(waypoint: int, service: int, *, header: str = "first") -> Route:
    """Return the route of one service; ``header`` is what it adds to requests for ``/new``."""
    name = f"svc-{service}"
    added = RouteFilter(
        type="RequestHeaderModifier",
        headers=HeaderChanges(replaced=(HeaderValue("x-edition", header),)),
    )
    backends = (WeightedBackend(BackendTarget(name=name, port=80)),)
    return Route(
        metadata=Metadata(name=name, namespace=namespace_of(waypoint)),
        route_kind="HTTPRoute",
        parents=(ParentReference(group="", kind="Service", namespace="", name=name),),
        rules=(
            RouteRule(
                matches=(RouteMatch(path=TypedValue(type="PathPrefix", value="/new")),),
                filters=(added,),
                backends=backends,
            ),
            RouteRule(backends=backends),
        ),
    )


def a_policy(waypoint: int, service: int, *, path: str = "/open/*") -> AuthorizationPolicy:
    """Return the policy of one service: some clients may GET ``path``."""
    namespace = namespace_of(waypoint)
    clients = tuple(f"cluster.local/ns/{namespace}/sa/client-{number}" for number in range(3))
    return AuthorizationPolicy(
        metadata=Metadata(name=f"svc-{service}", namespace=namespace),
        target_references=(TargetReference(kind="Service", name=f"svc-{service}"),),
        rules=(
            AuthorizationRule(
                sources=(Source(principals=clients),),
                operations=(Operation(methods=("GET",), paths=(path,)),),
            ),
        ),
    )


def a_pod(waypoint: int, service: int, pod: int, *, ready: bool = True) -> Pod:
    """Return one pod of a service."""
    name = f"app-{service}-{pod}"
    return Pod(
        metadata=Metadata(
            name=name,
            namespace=namespace_of(waypoint),
            labels={"app": f"app-{service}"},
            annotations=_CAPTURED,
            uid=f"uid-{waypoint}-{service}-{pod}",
            generate_name=f"app-{service}-",
        ),
        phase="Running",
        ips=(f"10.{waypoint}.{service >> 4 & 255}.{(service & 15) << 4 | pod}",),
        node=f"node-{(service + pod) % _NODES}",
        service_account=f"app-{service}",
        ready=ready,
    )


def proxy_address(waypoint: int) -> str:
    """Return the address of the pod of one waypoint: on loopback, so that an Envoy can be it."""
    return f"127.77.{waypoint}.1"


def proxy_name(waypoint: int) -> Name:
    """Return the pod of one waypoint."""
    return Name(namespace_of(waypoint), f"{WAYPOINT}-0")


def _surroundings(waypoint: int) -> Iterator[Manifest]:
    namespace, pod = namespace_of(waypoint), proxy_name(waypoint)
    labels = {"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": WAYPOINT}
    yield Namespace(metadata=Metadata(name=namespace, labels=labels))
    yield Gateway(
        metadata=Metadata(name=WAYPOINT, namespace=namespace),
        class_name="istio-waypoint",
        listeners=(Listener(name="mesh", port=15008, protocol="HBONE"),),
        status_addresses=(GatewayAddress("Hostname", f"{WAYPOINT}.{namespace}.svc.cluster.local"),),
    )
    yield Pod(
        metadata=Metadata(
            name=pod.name,
            namespace=namespace,
            labels={
                "gateway.networking.k8s.io/gateway-name": WAYPOINT,
                "gateway.istio.io/managed": "istio.io-mesh-controller",
            },
            uid=f"uid-of-{namespace}-{pod.name}",
        ),
        phase="Running",
        ips=(proxy_address(waypoint),),
        node="node-0",
        service_account=WAYPOINT,
        ready=True,
    )
