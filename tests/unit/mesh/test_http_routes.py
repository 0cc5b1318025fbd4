"""Routes of requests, from manifests to what waypoints apply."""

from typing import Any

import pytest

from controlplane.manifests.core import ServicePort
from controlplane.mesh.foreign_services import ForeignKey
from controlplane.mesh.settings import MeshSettings
from controlplane.model.http_route import Destination, HttpRoute, PathKind, PathMatch, RequestMatch
from controlplane.model.names import Name, ObjectReference
from controlplane.model.waypoint_traffic import Layer
from tests.support.builders import (
    a_pod,
    a_service,
    a_service_entry,
    a_service_port,
    a_waypoint,
)
from tests.support.mesh import Mesh
from tests.support.routes import (
    SERVED,
    USE,
    WAYPOINT,
    WEB,
    a_parent,
    a_route,
    a_routed_mesh,
    conditions_of,
    problem_codes,
    routes_of,
)
from tests.support.waypoint_meshes import SHARED

OLD, NEW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
OTHER = "other.far.svc.cluster.local"


def an_other(**rest: Any) -> Any:
    return a_service("other", "far", ips=["10.96.0.9"], selector={"app": "other"}, **rest)


def _names(mesh: Mesh, **rest: Any) -> list[str]:
    return [route.name for route in routes_of(mesh, **rest)]


def _destinations(mesh: Mesh) -> list[Destination]:
    return [each.destination for route in routes_of(mesh) for each in route.backends]


def _foreign(mesh: Mesh) -> set[tuple[str, int, Layer]]:
    return {(key.hostname, key.port, key.layer) for key, _ in mesh.world.foreign.ports.items()}


@pytest.mark.proves("HR-5")
def test_routes_of_both_kinds_and_all_ages_are_one_list() -> None:
    mesh = a_routed_mesh(
        a_route("[{name: b0}, {name: b1}]", "b", created="2026-01-02T00:00:00Z"),
        a_route("[{name: a0}]", "a", created="2026-01-03T00:00:00Z"),
        a_route("[{name: c0}]", "c", created="2026-01-01T00:00:00Z"),
        a_route("[{name: d0}]", "a", kind="GRPCRoute", created="2026-01-03T00:00:00Z"),
        a_route("[{name: e0, matches: [{path: {type: Exact, value: /a}}]}]", "e"),
    )
    assert _names(mesh) == ["e0", "c0", "b0", "b1", "d0", "a0"]


@pytest.mark.proves("HR-6")
def test_parents_are_services_and_service_entries_of_any_namespace() -> None:
    mesh = a_routed_mesh(
        a_service_entry("api", "shop", hosts=["a.example.com", "b.example.com"], labels=USE),
        a_route(
            SERVED,
            namespace="far",
            parents=[
                a_parent(namespace="shop"),
                a_parent("ServiceEntry", "api", "networking.istio.io", namespace="shop"),
            ],
        ),
    )
    expected = ["far.route.0", "default"]
    assert _names(mesh) == expected
    assert _names(mesh, hostname="a.example.com") == expected
    assert _names(mesh, hostname="b.example.com") == expected


@pytest.mark.refutes("HR-6")
@pytest.mark.parametrize(
    "parent",
    [
        a_parent("Service", "web", "apps"),
        a_parent("ServiceEntry", "web"),
        a_parent("Gateway", "waypoint", "gateway.networking.k8s.io"),
        a_parent("Service", "other"),
        a_parent("Service", "web", namespace="far"),
    ],
)
def test_others_are_no_parents(parent: dict[str, Any]) -> None:
    assert routes_of(a_routed_mesh(a_route(SERVED, parents=[parent]))) == ()


@pytest.mark.refutes("HR-6")
def test_routes_of_another_revision_do_not_exist() -> None:
    mesh = Mesh(MeshSettings(revision="blue"))
    green = a_route(SERVED, labels={"istio.io/rev": "green"})
    mesh.apply([a_waypoint("waypoint", "shop"), a_service("web", "shop", labels=USE), green])
    assert routes_of(mesh) == ()
    assert mesh.world.http_routes.parents.items() == []


PORTS = [
    ServicePort(port=80, name="http"),
    ServicePort(port=81, name="http-more"),
    ServicePort(port=9000, name="tcp"),
]


def _on_ports(**parent: Any) -> list[int]:
    mesh = Mesh()
    route = a_route(SERVED, parents=[a_parent(**parent)])
    service = a_service("web", "shop", labels=USE, ports=PORTS)
    mesh.apply([a_waypoint("waypoint", "shop"), service, route])
    return [key.port for key, _ in mesh.world.http_routes.by_port.items()]


@pytest.mark.proves("HR-7")
def test_parents_with_ports() -> None:
    assert _on_ports() == [80, 81]
    assert _on_ports(port=81) == [81]
    assert _on_ports(sectionName="http") == [80]
    assert _on_ports(sectionName="http", port=80) == [80]


@pytest.mark.refutes("HR-7")
def test_ports_that_do_not_match_have_no_routes() -> None:
    assert _on_ports(port=9000) == []
    assert _on_ports(port=82) == []
    assert _on_ports(sectionName="http", port=81) == []


@pytest.mark.proves("HR-8")
def test_consumers_come_first_and_others_are_served_as_before() -> None:
    exact = "[{matches: [{path: {type: Exact, value: /a}}], backendRefs: [{name: web, port: 80}]}]"
    parents = [a_parent(namespace="shop")]
    consumer = a_route("[{name: theirs}]", "their", "apps", parents=parents)
    mesh = a_routed_mesh(consumer)
    theirs, default = routes_of(mesh)
    assert (theirs.consumer, default.consumer) == ("apps", "")
    assert default == HttpRoute(
        name="default",
        owner=ObjectReference("Service", "shop", "web"),
        backends=default.backends,
    )
    assert _destinations(mesh) == [Destination(hostname=WEB, port=80)]
    mesh.apply([a_route(exact)])
    assert _names(mesh) == ["theirs", "shop.route.0"]


@pytest.mark.refutes("HR-8")
def test_the_namespace_of_the_waypoint_is_a_producer() -> None:
    mesh = Mesh()
    use = USE | {"istio.io/use-waypoint-namespace": "shop"}
    mesh.apply(
        [
            a_waypoint("waypoint", "shop", listeners=(SHARED,)),
            a_service("web", "far", labels=use),
            a_route(SERVED, parents=[a_parent(namespace="far")]),
        ]
    )
    (route,) = routes_of(mesh, hostname="web.far.svc.cluster.local")
    assert route.consumer == ""


@pytest.mark.proves("HR-20", "HR-21")
def test_backends_in_any_namespace() -> None:
    rules = "- backendRefs: [{name: web, port: 80}, {name: other, namespace: far, port: 80}]"
    mesh = a_routed_mesh(an_other(), a_route(rules))
    assert _destinations(mesh) == [
        Destination(hostname=WEB, port=80),
        Destination(hostname=OTHER, port=80, is_served=False),
    ]
    assert problem_codes(mesh) == []


@pytest.mark.refutes("HR-20", "HR-21", "HR-22", "HR-24")
@pytest.mark.proves("HR-23", "HR-52")
@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("name: gone, port: 80", "BackendNotFound"),
        ("name: other, port: 80", "BackendNotFound"),
        ("name: web, port: 81", "BackendNotFound"),
        ("name: web", "InvalidDestination"),
        ("name: web, port: 80, kind: Pod", "InvalidKind"),
        ("name: web, port: 80, group: apps", "InvalidKind"),
        ("name: h.example.com, port: 80, kind: Hostname", "InvalidKind"),
        (
            "name: h.example.com, port: 80, kind: Hostname, group: networking.istio.io",
            "BackendNotFound",
        ),
        (
            f"name: {WEB}, port: 80, kind: Hostname, group: networking.istio.io, namespace: shop",
            "InvalidDestination",
        ),
        (
            "name: any.example.com, port: 80, kind: Hostname, group: networking.istio.io",
            "InvalidDestination",
        ),
        (
            "name: web, port: 80, filters: [{type: URLRewrite, urlRewrite: {}}]",
            "InvalidFilter",
        ),
    ],
)
def test_a_backend_that_cannot_be_keeps_its_share(backend: str, reason: str) -> None:
    mesh = a_routed_mesh(
        an_other(),
        a_service_entry("any", "shop", hosts=["any.example.com"], resolution="NONE"),
        a_route(f"- backendRefs: [{{{backend}, weight: 3}}, {{name: web, port: 80}}]"),
    )
    (route,) = routes_of(mesh)
    assert [(each.destination.is_valid, each.weight) for each in route.backends] == [
        (False, 3),
        (True, 1),
    ]
    resolved = conditions_of(mesh)["ResolvedRefs"]
    assert (resolved.status, resolved.reason) == (False, reason)
    assert len(problem_codes(mesh)) == 1
    assert _foreign(mesh) == set()


def a_consumers_mesh(*backends: str, mirrors: tuple[str, ...] = (), port: str = "") -> Mesh:
    """A route of namespace apps for requests to web, which has two ports, and three services."""
    copies = ", ".join(
        f"{{type: RequestMirror, requestMirror: {{backendRef: {{{each}}}}}}}" for each in mirrors
    )
    leads = ", ".join(f"{{{each}}}" for each in backends)
    parent = a_parent(namespace="shop", **({"port": int(port)} if port else {}))
    rule = f"- {{filters: [{copies}], backendRefs: [{leads}]}}"
    ports = [a_service_port(80, name="http"), a_service_port(90, name="http-admin")]
    return a_routed_mesh(
        a_service("web", "shop", labels=USE, ports=ports),
        a_service("vault", "shop", ips=["10.96.0.8"], labels=USE),
        a_service("own", "apps", ips=["10.96.0.7"]),
        a_service_entry("own-api", "apps", hosts=["api.example.com"], resolution="DNS"),
        an_other(),
        a_route(rule, namespace="apps", parents=[parent]),
    )


@pytest.mark.proves("HR-26")
@pytest.mark.parametrize("backend", ["name: web, namespace: shop, port: 80", "name: own, port: 80"])
def test_a_consumer_leads_to_where_it_was_let_in_and_to_its_own(backend: str) -> None:
    mesh = a_consumers_mesh(backend, mirrors=(backend,), port="80")
    (route, _) = routes_of(mesh)
    assert [each.destination.is_valid for each in route.backends] == [True]
    assert len(route.mirrors) == 1
    assert problem_codes(mesh) == []


@pytest.mark.refutes("HR-26", "HR-21")
@pytest.mark.parametrize(
    "backend",
    [
        "name: vault, namespace: shop, port: 80",
        "name: other, namespace: far, port: 80",
        "name: web, namespace: shop, port: 90",
        "name: api.example.com, kind: Hostname, group: networking.istio.io, port: 80",
        "name: vault.shop.svc.cluster.local, kind: Hostname, group: networking.istio.io, port: 80",
    ],
)
def test_a_consumer_does_not_get_around_the_policies_of_others(backend: str) -> None:
    mesh = a_consumers_mesh(backend, mirrors=(backend,), port="80")
    (route, _) = routes_of(mesh)
    assert [each.destination.is_valid for each in route.backends] == [False]
    assert route.mirrors == ()
    assert _foreign(mesh) == set()
    resolved = conditions_of(mesh)["ResolvedRefs"]
    assert (resolved.status, resolved.reason) == (False, "RefNotPermitted")


@pytest.mark.refutes("HR-26")
def test_a_consumer_on_every_port_is_sent_on_from_the_same_port() -> None:
    mesh = a_consumers_mesh("name: web, namespace: shop, port: 80")
    valid = [
        each.destination.is_valid
        for port in (80, 90)
        for each in routes_of(mesh, port=port)[0].backends
    ]
    assert valid == [True, False]
    assert conditions_of(mesh)["ResolvedRefs"].reason == "RefNotPermitted"


@pytest.mark.refutes("HR-23")
def test_a_mirror_that_cannot_be_is_left_out() -> None:
    mirrors = ", ".join(
        f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: {name}, port: 80}}}}}}"
        for name in ("gone", "web")
    )
    mesh = a_routed_mesh(
        a_route(f"- {{filters: [{mirrors}], backendRefs: [{{name: web, port: 80}}]}}")
    )
    (route,) = routes_of(mesh)
    assert [mirror.destination.hostname for mirror in route.mirrors] == [WEB]
    assert problem_codes(mesh) == [
        ("route.backend-not-usable", "spec.rules[0].filters[0].requestMirror.backendRef")
    ]


@pytest.mark.proves("HR-22")
def test_a_hostname_is_what_is_served_then_canonical_then_the_neighbours() -> None:
    host = "kind: Hostname, group: networking.istio.io, port: 80"
    names = ["served.example.com", "known.example.com", WEB]
    backends = ", ".join(f"{{name: {name}, {host}}}" for name in names)
    mesh = a_routed_mesh(
        a_service_entry("served", "shop", hosts=["served.example.com"], labels=USE),
        a_service_entry("known", "far", hosts=["known.example.com"]),
        a_route(f"- backendRefs: [{backends}]"),
    )
    assert _destinations(mesh) == [
        Destination(hostname="served.example.com", port=80),
        Destination(hostname="known.example.com", port=80, is_served=False),
        Destination(hostname=WEB, port=80),
    ]


@pytest.mark.proves("HR-24", "HR-25")
def test_what_is_not_served_is_known_as_far_as_it_is_wanted() -> None:
    ports = [a_service_port(80, name="http", target_port=8080), a_service_port(81, name="http")]
    mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: other, namespace: far, %s}}}"
    rules = f"- {{filters: [{mirror % 'port: 80'}], backendRefs: [{{name: web, port: 80}}]}}"
    mesh = a_routed_mesh(an_other(ports=ports), a_route(rules))
    assert _foreign(mesh) == {(OTHER, 80, Layer.HTTP)}
    mesh.apply([a_pod("other-1", "far", labels={"app": "other"}, ips=["10.0.0.7"])])
    key = ForeignKey(WAYPOINT, OTHER, 80, Layer.HTTP)
    endpoints = mesh.world.foreign.endpoints.get(key)
    assert endpoints is not None
    assert [each.address for each in endpoints.endpoints] == [b"\x0a\0\0\x07"]
    mesh.apply([], [("HTTPRoute", Name("shop", "route"))])
    assert _foreign(mesh) == set()


@pytest.mark.refutes("HR-25")
def test_a_backend_without_weight_is_not_wanted() -> None:
    rules = "- backendRefs: [{name: web, port: 80}, {name: other, namespace: far, port: 80, %s}]"
    mesh = a_routed_mesh(an_other(), a_route(rules % "weight: 0"))
    assert _foreign(mesh) == set()
    mesh.apply([a_route(rules % "weight: 1")])
    assert _foreign(mesh) == {(OTHER, 80, Layer.HTTP)}


@pytest.mark.proves("HR-24")
def test_bytes_that_are_served_are_foreign_to_requests() -> None:
    mesh = a_routed_mesh(
        a_service("bytes", "shop", labels=USE, ports=[a_service_port(9000, name="tcp")]),
        a_route("- backendRefs: [{name: bytes, port: 9000}]"),
    )
    assert [each.is_served for each in _destinations(mesh)] == [False]
    assert _foreign(mesh) == {("bytes.shop.svc.cluster.local", 9000, Layer.HTTP)}


class _Changes:
    def __init__(self, mesh: Mesh) -> None:
        self.keys: list[tuple[str, int]] = []
        mesh.world.http_routes.by_port.subscribe(self._hear)

    def _hear(self, changes: Any) -> None:
        for change in changes:
            self.keys.append((change.key.hostname, change.key.port))


@pytest.mark.proves("HR-60")
def test_an_edit_touches_its_ports() -> None:
    mesh = Mesh()
    mesh.apply(
        [
            a_waypoint("waypoint", "shop"),
            a_service("web", "shop", labels=USE, ports=PORTS),
            a_service("second", "shop", labels=USE, ports=PORTS),
            a_route(SERVED, "one", parents=[a_parent(port=81)]),
            a_route(SERVED, "two", parents=[a_parent(name="second")]),
            a_route(SERVED, "three"),
        ]
    )
    changes = _Changes(mesh)
    changes.keys.clear()
    mesh.apply([a_route("[{name: new}]", "one", parents=[a_parent(port=81)])])
    assert changes.keys == [(WEB, 81)]


@pytest.mark.refutes("HR-60")
def test_pods_and_other_services_touch_no_route() -> None:
    rules = "- backendRefs: [{name: other, namespace: far, port: 80}]"
    mesh = a_routed_mesh(an_other(), a_route(rules))
    changes = _Changes(mesh)
    changes.keys.clear()
    before = mesh.graph.rule_calls
    mesh.apply([a_pod("other-1", "far", labels={"app": "other"}), a_service("new", "far")])
    assert changes.keys == []
    assert mesh.graph.rule_calls > before
    mesh.apply([], [("Service", Name("far", "other"))])
    assert changes.keys == [(WEB, 80)]


def test_a_route_that_goes_restores_the_default() -> None:
    mesh = a_routed_mesh(a_route("[{matches: [{path: {type: Exact, value: /a}}]}]"))
    (route,) = routes_of(mesh)
    assert route.match == RequestMatch(path=PathMatch(PathKind.EXACT, "/a"))
    assert route.backends == ()
    mesh.apply([], [("HTTPRoute", Name("shop", "route"))])
    assert routes_of(mesh) == ()
    assert mesh.world.http_routes.parents.items() == []


@pytest.mark.proves("HR-14")
def test_what_cannot_be_compared_is_answered_before_what_is_for_everything() -> None:
    mesh = a_routed_mesh(
        a_route("[{name: all, backendRefs: [{name: web, port: 80}]}]", "old", created=OLD),
        a_route(
            "[{name: bad, matches: [{path: {type: RegularExpression, value: (}}], "
            "backendRefs: [{name: web, port: 80}]}]",
            created=NEW,
        ),
    )
    bad, everything = routes_of(mesh)
    assert (bad.name, bad.match, bad.backends) == ("bad", RequestMatch(), ())
    assert everything.name == "all"
