"""Generated meshes in which waypoints serve all kinds of things."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from controlplane.manifests.connections import (
    AlternativeName,
    AuthorityReference,
    BackendReference,
    BackendTLSPolicy,
    ConnectionRoute,
    ConnectionRule,
    PolicyTarget,
)
from controlplane.manifests.core import ConfigMap, ServicePort
from controlplane.manifests.gateway import AllowedNamespaces, Listener
from controlplane.manifests.istio import ServiceEntryPort, WorkloadSpec
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.traffic_distribution import DISTRIBUTION_ANNOTATION
from controlplane.model.route_parent import ParentReference
from tests.support.authorities import a_root
from tests.support.builders import (
    HBONE,
    a_node,
    a_pod,
    a_service,
    a_service_entry,
    a_waypoint,
    a_workload_entry,
    some_metadata,
)

SHARED = Listener(
    name="mesh", port=15008, protocol="HBONE", allowed=AllowedNamespaces(origin="All")
)
NAMESPACES = st.sampled_from(["shop", "bank"])
NAMES = st.sampled_from(["one", "two", "three"])
BINDINGS = st.sampled_from(
    [
        {},
        {"istio.io/use-waypoint": "one"},
        {"istio.io/use-waypoint": "two"},
        {"istio.io/use-waypoint": "one", "istio.io/use-waypoint-canary": "two"},
        {"istio.io/use-waypoint": "one", "istio.io/use-waypoint-namespace": "bank"},
    ]
)
SELECTORS = st.sampled_from([{}, {"app": "a"}, {"app": "b"}])
PROTOCOLS = ["http", "http2", "grpc", "grpc-web", "tcp", "tls", "https", "mysql", "", "odd"]
NUMBERS = st.sampled_from([1, 53, 80, 443, 3306, 7000, 8080, 65535])
VIRTUAL = st.lists(
    st.sampled_from(["10.96.0.1", "10.96.0.2", "10.96.0.3", "fd00::1", "fd00::2"]),
    max_size=3,
    unique=True,
)
ADDRESSES = st.lists(
    st.sampled_from(["10.0.0.1", "10.0.0.2", "10.96.0.1", "fd00:1::1", "fd00:1::2"]),
    min_size=1,
    max_size=2,
    unique=True,
)


def _labels(draw: Any, *parts: st.SearchStrategy[dict[str, str]]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for part in parts:
        merged |= draw(part)
    return merged


@st.composite
def _service(draw: Any) -> Manifest:
    ports = draw(st.lists(st.tuples(NUMBERS, st.sampled_from(PROTOCOLS)), max_size=4))
    return a_service(
        draw(NAMES),
        draw(NAMESPACES),
        selector=draw(SELECTORS),
        ips=draw(VIRTUAL),
        labels=draw(BINDINGS),
        ports=[
            ServicePort(
                port=number,
                name=name,
                target_port=draw(st.sampled_from([0, 8080, 65535])),
                protocol=draw(st.sampled_from(["TCP", "TCP", "UDP"])),
            )
            for number, name in ports
        ],
        publish_not_ready_addresses=draw(st.booleans()),
        traffic_distribution=draw(st.sampled_from(["", "PreferClose", "PreferSameNode"])),
        internal_traffic_policy=draw(st.sampled_from(["", "", "Local"])),
    )


@st.composite
def _pod(draw: Any) -> Manifest:
    return a_pod(
        draw(st.sampled_from(["p1", "p2", "p3", "p4", "p5"])),
        draw(NAMESPACES),
        labels=_labels(draw, SELECTORS, BINDINGS),
        annotations=draw(st.sampled_from([{}, HBONE])),
        ips=draw(ADDRESSES),
        ready=draw(st.booleans()),
        node=draw(st.sampled_from(["node-1", "node-2"])),
        host_network=draw(st.booleans()),
    )


@st.composite
def _entry(draw: Any) -> Manifest:
    ports = draw(st.lists(st.tuples(NUMBERS, st.sampled_from(PROTOCOLS)), max_size=3))
    endpoints = draw(
        st.lists(
            st.builds(
                WorkloadSpec,
                address=st.sampled_from(["10.0.0.5", "10.0.0.6", "a.example.com", "b.example.com"]),
                weight=st.sampled_from([0, 1, 5, 2**32 - 1]),
                locality=st.sampled_from(["", "eu/eu-1", "us/us-1/rack"]),
                labels=st.just({}),
            ),
            max_size=3,
        )
    )
    return a_service_entry(
        draw(NAMES),
        draw(NAMESPACES),
        hosts=draw(
            st.lists(
                st.sampled_from(["api.example.com", "*.example.com", "one.shop.svc.cluster.local"]),
                min_size=1,
                max_size=2,
                unique=True,
            )
        ),
        ports=[
            ServiceEntryPort(number=number, name=f"p{number}", protocol=name.upper())
            for number, name in ports
        ],
        resolution=draw(st.sampled_from(["STATIC", "DNS", "NONE"])),
        endpoints=tuple(endpoints),
        addresses=draw(st.sampled_from([(), ("10.96.0.1",), ("10.97.0.0/16", "fd01::/64")])),
        labels=draw(BINDINGS),
        annotations=draw(st.sampled_from([{}, {DISTRIBUTION_ANNOTATION: "PreferClose"}])),
    )


PARENTS = st.builds(
    ParentReference,
    group=st.sampled_from(["", "networking.istio.io"]),
    kind=st.sampled_from(["Service", "ServiceEntry"]),
    namespace=st.sampled_from(["", "shop"]),
    name=NAMES,
    port=st.sampled_from([0, 443, 7000]),
)
BACKENDS = st.builds(
    BackendReference,
    name=NAMES,
    kind=st.sampled_from(["Service", "Service", "Bucket"]),
    namespace=st.sampled_from(["", "bank"]),
    port=st.sampled_from([0, 80, 443, 7000]),
    weight=st.sampled_from([0, 1, 10, 1_000_000]),
)


@st.composite
def _connection_route(draw: Any) -> Manifest:
    return ConnectionRoute(
        metadata=some_metadata(draw(NAMES), draw(NAMESPACES), created=draw(st.integers(0, 2))),
        route_kind=draw(st.sampled_from(["TCPRoute", "TLSRoute"])),
        parents=tuple(draw(st.lists(PARENTS, min_size=1, max_size=2))),
        hostnames=("api.example.com", "one.shop.svc.cluster.local"),
        rules=tuple(
            ConnectionRule(tuple(backends))
            for backends in draw(st.lists(st.lists(BACKENDS, max_size=3), max_size=2))
        ),
    )


@st.composite
def _backend_tls(draw: Any) -> Manifest:
    name = draw(NAMES)
    group, kind = draw(st.sampled_from([("", "Service"), ("networking.istio.io", "ServiceEntry")]))
    return BackendTLSPolicy(
        metadata=some_metadata(draw(NAMES), draw(NAMESPACES)),
        targets=(PolicyTarget(group, kind, name, draw(st.sampled_from(["", "http", "p443"]))),),
        hostname=draw(st.sampled_from(["a.example", "a.example", "*", "\ud800"])),
        well_known=draw(st.sampled_from(["", "System"])),
        authorities=tuple(
            draw(st.sampled_from([(), (AuthorityReference("", "ConfigMap", "roots"),)]))
        ),
        alternative_names=draw(st.sampled_from([(), (AlternativeName("URI", "spiffe://a/b"),)])),
    )


ROOTS = st.builds(
    lambda namespace, text: ConfigMap(
        metadata=some_metadata("roots", namespace), data={"ca.crt": text}
    ),
    NAMESPACES,
    st.sampled_from([a_root(begins=datetime(2026, 1, 1, tzinfo=UTC)).pem, "", "none"]),
)


@st.composite
def waypoint_meshes(draw: Any) -> list[Manifest]:
    """Objects of one mesh, in no order that matters; each object once."""
    waypoints = [
        a_waypoint(
            name,
            namespace,
            listeners=(SHARED,),
            labels=draw(st.sampled_from([{}, {"istio.io/waypoint-for": "all"}])),
            **draw(st.sampled_from([{}, {"addresses": {}}])),
        )
        for name, namespace in (("one", "shop"), ("two", "shop"), ("one", "bank"))
    ]
    nodes = [
        a_node("node-1", labels={"topology.kubernetes.io/zone": "a"}),
        a_node("node-2", labels={"topology.kubernetes.io/zone": "b"}),
    ]
    gateway = "gateway.networking.k8s.io/gateway-name"
    instances = [
        a_pod(f"{name}-{node}", "shop", labels={gateway: name}, ips=[], node=node)
        for name, node in (("one", "node-1"), ("two", "node-1"), ("two", "node-2"))
    ]
    machines = st.builds(
        a_workload_entry,
        NAMES,
        NAMESPACES,
        address=st.sampled_from(["10.0.0.8", "10.0.0.9", "c.example.com"]),
        labels=SELECTORS,
        network=st.sampled_from(["", "far"]),
    )
    further = st.one_of(_connection_route(), _backend_tls(), ROOTS)
    others = draw(
        st.lists(
            st.one_of(_service(), _service(), _pod(), _pod(), _entry(), machines, further),
            max_size=12,
        )
    )
    found = {(each.kind, each.key): each for each in (*waypoints, *nodes, *instances, *others)}
    return list(found.values())
