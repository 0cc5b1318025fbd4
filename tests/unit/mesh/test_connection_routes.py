"""Which route is for the connections to a port, and what its author is told."""

from typing import Any

import pytest

from controlplane.manifests.connections import BackendReference, ConnectionRoute, ConnectionRule
from controlplane.manifests.gateway import AllowedNamespaces, Listener
from controlplane.manifests.istio import ServiceEntryPort
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.foreign_services import ForeignKey
from controlplane.model.connection_route import ConnectionBackend
from controlplane.model.http_route import Destination
from controlplane.model.names import Name
from controlplane.model.route_parent import ParentReference
from controlplane.model.waypoint_traffic import Layer
from tests.support.builders import (
    a_service,
    a_service_entry,
    a_service_port,
    a_waypoint,
    some_metadata,
)
from tests.support.mesh import Mesh

USE = {"istio.io/use-waypoint": "waypoint"}
WAYPOINT = Name("shop", "waypoint")
WEB = "web.shop.svc.cluster.local"
OTHER = "other.shop.svc.cluster.local"
PORTS = [
    a_service_port(80, name="http"),
    a_service_port(9000, name="tcp"),
    a_service_port(9443, name="tls"),
    a_service_port(7000, name="odd"),
]
FROM_BANK = USE | {"istio.io/use-waypoint-namespace": "shop"}
SHARED = Listener(
    name="mesh", port=15008, protocol="HBONE", allowed=AllowedNamespaces(origin="All")
)


def to(name: str = "other", port: int = 9000, **rest: Any) -> BackendReference:
    return BackendReference(name=name, port=port, **rest)


def a_parent(name: str = "web", **rest: Any) -> ParentReference:
    return ParentReference(
        **({"group": "", "kind": "Service", "namespace": "", "name": name} | rest)
    )


def a_route(
    *backends: BackendReference, name: str = "bytes", namespace: str = "shop", **rest: Any
) -> ConnectionRoute:
    created = rest.pop("created", 0.0)
    return ConnectionRoute(
        metadata=some_metadata(name, namespace, created=created, generation=3),
        **(
            {
                "route_kind": "TCPRoute",
                "parents": (a_parent(),),
                "rules": (ConnectionRule(backends or (to(),)),),
            }
            | rest
        ),
    )


def a_mesh(*more: Manifest) -> Mesh:
    mesh = Mesh()
    mesh.apply(
        [
            a_waypoint("waypoint", "shop"),
            a_service("web", "shop", labels=USE, ports=PORTS),
            a_service("other", "shop", labels=USE, ports=PORTS, ips=["10.96.0.2"]),
            *more,
        ]
    )
    return mesh


def applied(mesh: Mesh) -> dict[int, tuple[str, tuple[ConnectionBackend, ...]]]:
    """Name of the route and backends, by port of ``web``."""
    return {
        key.port: (route.owner.name, route.backends)
        for key, route in mesh.world.connection_routes.by_port.items()
        if key.hostname == WEB
    }


def names(mesh: Mesh) -> dict[int, str]:
    return {port: name for port, (name, _) in applied(mesh).items()}


def told(mesh: Mesh, name: str = "bytes") -> dict[str, tuple[bool, str]]:
    """Conditions of one route that has one parent."""
    (found,) = [
        each for _, each in mesh.world.connection_routes.parents.items() if each.route.name == name
    ]
    assert found.observed_generation == 3
    return {each.type: (each.status, each.reason) for each in found.conditions}


def codes(mesh: Mesh) -> list[str]:
    found = mesh.world.connection_routes.problems.items()
    return sorted(problem.code for _, problem in found)


@pytest.mark.proves("CR-1", "CR-2")
@pytest.mark.refutes("CR-1")
def test_ports_of_bytes_are_led_to_the_backend_and_no_others() -> None:
    mesh = a_mesh(a_route())
    to_other = (ConnectionBackend(Destination(hostname=OTHER, port=9000)),)
    expected = ("bytes", to_other)
    assert applied(mesh) == {9000: expected, 9443: expected, 7000: expected}
    assert told(mesh)["Accepted"] == (True, "Accepted")
    assert told(mesh)["ResolvedRefs"] == (True, "ResolvedRefs")
    assert codes(mesh) == []


@pytest.mark.refutes("CR-2")
def test_a_parent_of_another_kind_is_not_told_anything() -> None:
    for parent in (
        a_parent(kind="Gateway", group="gateway.networking.k8s.io"),
        a_parent(kind="Service", group="other.example"),
    ):
        mesh = a_mesh(a_route(parents=(parent,)))
        assert applied(mesh) == {}
        assert mesh.world.connection_routes.parents.items() == []


@pytest.mark.proves("CR-2")
def test_a_service_entry_is_a_parent() -> None:
    entry = a_service_entry(
        "outside",
        "shop",
        labels=USE,
        ports=[ServiceEntryPort(number=9000, name="tcp", protocol="TCP")],
    )
    parent = a_parent("outside", kind="ServiceEntry", group="networking.istio.io")
    mesh = a_mesh(entry, a_route(parents=(parent,)))
    (key,) = [key for key, _ in mesh.world.connection_routes.by_port.items()]
    assert (key.waypoint, key.hostname, key.port) == (WAYPOINT, "example.com", 9000)


@pytest.mark.proves("CR-3")
@pytest.mark.parametrize("parent", [a_parent(port=9000), a_parent(section="tcp")])
def test_a_parent_may_be_one_port(parent: ParentReference) -> None:
    assert names(a_mesh(a_route(parents=(parent,)))) == {9000: "bytes"}


@pytest.mark.proves("CR-3", "CR-11")
@pytest.mark.refutes("CR-3")
@pytest.mark.parametrize(("namespace", "is_near"), [("bank", True), ("shop", True), ("far", False)])
def test_a_route_is_near_the_service_or_the_waypoint(namespace: str, *, is_near: bool) -> None:
    parent = a_parent(namespace="bank", port=9000)
    mesh = a_mesh(
        a_waypoint("waypoint", "shop", listeners=(SHARED,)),
        a_service("web", "bank", labels=FROM_BANK, ports=PORTS, ips=["10.96.0.3"]),
        a_route(namespace=namespace, parents=(parent,)),
    )
    found = {key.hostname for key, _ in mesh.world.connection_routes.by_port.items()}
    assert found == ({"web.bank.svc.cluster.local"} if is_near else set())
    expected = (True, "Accepted") if is_near else (False, "NotAllowedByListeners")
    assert told(mesh)["Accepted"] == expected


@pytest.mark.proves("CR-4")
@pytest.mark.refutes("CR-4", "CR-11")
def test_a_tls_route_goes_first_where_it_names_the_service() -> None:
    tls = a_route(
        name="secure", created=9.0, route_kind="TLSRoute", hostnames=(WEB.upper(), "b.example")
    )
    mesh = a_mesh(a_route(), tls)
    assert names(mesh) == {9000: "secure", 9443: "secure", 7000: "secure"}
    assert told(mesh, "secure")["Accepted"] == (True, "Accepted")
    other = a_route(name="secure", route_kind="TLSRoute", hostnames=("b.example",))
    mesh = a_mesh(a_route(), other)
    assert set(names(mesh).values()) == {"bytes"}
    assert told(mesh, "secure")["Accepted"] == (False, "NoMatchingListenerHostname")


@pytest.mark.proves("CR-5")
@pytest.mark.refutes("CR-5")
def test_the_oldest_route_and_its_first_rule_count() -> None:
    old = a_route(name="z-old", created=1.0)
    mesh = a_mesh(a_route(name="a-young", created=2.0), old, a_route(name="b-young", created=2.0))
    assert set(names(mesh).values()) == {"z-old"}
    assert codes(mesh) == ["route.shadowed", "route.shadowed"]
    mesh.apply([], removed=[("TCPRoute", old.key)])
    assert set(names(mesh).values()) == {"a-young"}
    both = (ConnectionRule((to(),)), ConnectionRule((to("web"),)))
    mesh = a_mesh(a_route(rules=both))
    assert {backend.destination.hostname for backend in applied(mesh)[9000][1]} == {OTHER}
    assert codes(mesh) == ["route.shadowed"]


@pytest.mark.proves("CR-7", "CR-12")
@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (to("missing"), "BackendNotFound"),
        (to(port=1), "BackendNotFound"),
        (to(kind="Bucket", group="storage.example"), "InvalidKind"),
    ],
)
def test_a_backend_that_cannot_be_keeps_its_share(backend: BackendReference, reason: str) -> None:
    mesh = a_mesh(a_route(to(weight=3), backend))
    good, bad = applied(mesh)[9000][1]
    assert (good.destination.hostname, good.weight) == (OTHER, 3)
    assert (bad.destination.is_valid, bad.weight) == (False, 1)
    assert told(mesh)["ResolvedRefs"] == (False, reason)
    assert codes(mesh) == ["route.backend-not-usable"]


@pytest.mark.refutes("CR-7", "CR-12")
def test_backends_that_can_be_are_told_so() -> None:
    mesh = a_mesh(a_route(to(), to("web", 9443)))
    assert all(backend.destination.is_valid for backend in applied(mesh)[9000][1])
    assert told(mesh)["ResolvedRefs"] == (True, "ResolvedRefs")


@pytest.mark.proves("CR-9")
@pytest.mark.refutes("CR-9")
def test_without_a_route_nothing_is_said_of_a_port() -> None:
    mesh = a_mesh(a_route())
    assert applied(mesh)
    mesh.apply([], removed=[("TCPRoute", Name("shop", "bytes"))])
    assert applied(mesh) == {}
    assert mesh.world.connection_routes.parents.items() == []


@pytest.mark.proves("CR-10")
@pytest.mark.refutes("CR-10")
def test_a_backend_that_is_not_served_is_wanted() -> None:
    free = a_service("free", "shop", ports=PORTS, ips=["10.96.0.7"])
    mesh = a_mesh(free, a_route(to("free"), to("other")))
    hostname = "free.shop.svc.cluster.local"
    wanted = [key for key, _ in mesh.world.connection_routes.wanted.items()]
    assert wanted == [ForeignKey(WAYPOINT, hostname, 9000, Layer.TCP)]
    first, second = (backend.destination for backend in applied(mesh)[9000][1])
    assert (first.is_served, second.is_served) == (False, True)


@pytest.mark.proves("CR-11")
@pytest.mark.parametrize("parent", [a_parent("missing"), a_parent(port=80), a_parent(port=1)])
def test_a_parent_without_such_a_port_is_refused(parent: ParentReference) -> None:
    mesh = a_mesh(a_route(parents=(parent,)))
    assert applied(mesh) == {}
    assert told(mesh)["Accepted"] == (False, "NoMatchingParent")
    assert codes(mesh) == ["route.parent-not-accepted"]
