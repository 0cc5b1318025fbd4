"""What each waypoint serves, from manifests."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import pytest

from controlplane.manifests.core import Pod, Service
from controlplane.manifests.gateway import AllowedNamespaces, Listener
from controlplane.manifests.istio import ServiceEntryPort, WorkloadSpec
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name, ServiceName
from controlplane.model.waypoint_traffic import Endpoint, Resolution, ServedService
from controlplane.model.workload import Locality
from tests.support.builders import (
    HBONE,
    a_gateway,
    a_namespace,
    a_pod,
    a_service,
    a_service_entry,
    a_service_port,
    a_waypoint,
    a_workload_entry,
)
from tests.support.mesh import Mesh

USE = {"istio.io/use-waypoint": "waypoint"}
WAYPOINT = Name("shop", "waypoint")
WEB = "web.shop.svc.cluster.local"
NOT_READY: dict[str, Any] = {"addresses": {}}


def a_web(**rest: Any) -> Service:
    return a_service("web", "shop", **({"selector": {"app": "web"}, "labels": USE} | rest))


def a_web_pod(name: str = "web-1", *, ip: str = "10.0.0.1", **rest: Any) -> Pod:
    labels = {"app": "web"} | rest.pop("labels", {})
    return a_pod(name, "shop", ips=[ip], labels=labels, **({"annotations": HBONE} | rest))


def _mesh(*manifests: Any) -> Mesh:
    mesh = Mesh()
    mesh.apply(manifests)
    return mesh


def _served(mesh: Mesh) -> dict[tuple[Name, str], ServedService]:
    return {
        (key.waypoint, key.hostname): value for key, value in mesh.world.traffic.services.items()
    }


def _endpoints(mesh: Mesh, port: int = 80, hostname: str = WEB) -> tuple[Endpoint, ...]:
    found = {
        (key.hostname, key.port): value.endpoints
        for key, value in mesh.world.traffic.endpoints.items()
    }
    return found[hostname, port]


def _direct(mesh: Mesh) -> Mapping[Name, tuple[bytes, ...]]:
    return {key: value.addresses for key, value in mesh.world.traffic.direct.items()}


def _codes(mesh: Mesh) -> list[tuple[str, str]]:
    return [
        (problem.code, problem.object.name)
        for problem in mesh.problems()
        if problem.object is not None
    ]


@pytest.mark.proves("WC-1")
@pytest.mark.parametrize("rest", [{}, NOT_READY])
def test_a_waypoint_has_a_configuration_ready_or_not(rest: dict[str, Any]) -> None:
    mesh = _mesh(a_waypoint("waypoint", "shop", **rest))
    frame = mesh.world.traffic.frames.get(WAYPOINT)
    assert frame is not None
    assert frame.trust_domain == "cluster.local"


@pytest.mark.refutes("WC-1")
def test_another_gateway_has_none() -> None:
    mesh = _mesh(a_gateway("ingress", "shop", class_name="istio", listeners=()))
    assert mesh.world.traffic.frames.items() == []


def test_the_trust_domain_is_that_of_the_mesh() -> None:
    mesh = _mesh(a_waypoint("waypoint", "shop"), MeshConfig(trust_domain="example.org"))
    frame = mesh.world.traffic.frames.get(WAYPOINT)
    assert frame is not None
    assert frame.trust_domain == "example.org"


@pytest.mark.refutes("WC-8")
def test_a_family_without_a_pod_is_not_listened_on() -> None:
    gateway = {"gateway.networking.k8s.io/gateway-name": "waypoint"}
    mesh = _mesh(
        a_waypoint("waypoint", "shop"), a_pod("w", "shop", labels=gateway, ips=["fd00::1"])
    )
    frame = mesh.world.traffic.frames.get(WAYPOINT)
    assert frame is not None
    assert (frame.has_ipv4, frame.has_ipv6) == (False, True)
    mesh.apply([a_pod("w", "shop", labels=gateway, ips=["10.0.0.1", "fd00::1"])])
    frame = mesh.world.traffic.frames.get(WAYPOINT)
    assert frame is not None
    assert (frame.has_ipv4, frame.has_ipv6) == (True, True)


@pytest.mark.proves("WC-8")
def test_pods_that_share_a_machine_are_listened_on_alone() -> None:
    gateway = {"gateway.networking.k8s.io/gateway-name": "waypoint"}
    mesh = Mesh(MeshSettings(waypoints_listen_on_pods=True))
    mesh.apply([a_waypoint("waypoint", "shop"), a_pod("a", "shop", ips=["127.64.0.1"])])
    frame = mesh.world.traffic.frames.get(WAYPOINT)
    assert frame is not None
    assert frame.listen_addresses == ()
    mesh.apply([a_pod("w", "shop", labels=gateway, ips=["127.64.0.9"])])
    frame = mesh.world.traffic.frames.get(WAYPOINT)
    assert frame is not None
    assert frame.listen_addresses == (bytes([127, 64, 0, 9]),)


@pytest.mark.proves("WC-2")
@pytest.mark.parametrize("rest", [{}, NOT_READY])
def test_a_waypoint_serves_what_is_bound_to_it_or_will_be(rest: dict[str, Any]) -> None:
    mesh = _mesh(a_waypoint("waypoint", "shop", **rest), a_web())
    assert list(_served(mesh)) == [(WAYPOINT, WEB)]


@pytest.mark.proves("WC-2")
def test_a_canary_serves_as_well() -> None:
    labels = USE | {"istio.io/use-waypoint-canary": "other"}
    mesh = _mesh(
        a_waypoint("waypoint", "shop"),
        a_waypoint("other", "shop"),
        a_web(labels=labels),
    )
    service = mesh.world.services.get(ServiceName("shop", WEB))
    assert service is not None
    assert service.weighted_waypoints, "the labels ask for a canary"
    assert sorted(_served(mesh)) == [(Name("shop", "other"), WEB), (WAYPOINT, WEB)]


@pytest.mark.refutes("WC-2")
def test_a_waypoint_serves_nothing_else() -> None:
    mesh = _mesh(
        a_waypoint("waypoint", "shop"),
        a_waypoint("waypoint", "other"),
        a_web(labels={}),
        a_service("theirs", "other", labels=USE),
        a_service("far", "third", labels=USE | {"istio.io/use-waypoint-namespace": "shop"}),
    )
    assert list(_served(mesh)) == [(Name("other", "waypoint"), "theirs.other.svc.cluster.local")]
    workloads = {"istio.io/waypoint-for": "workload"}
    assert _served(_mesh(a_waypoint("waypoint", "shop", labels=workloads), a_web())) == {}


@pytest.mark.proves("WC-3")
def test_bound_workloads_are_reached_by_address() -> None:
    everything = {"istio.io/waypoint-for": "all"}
    mesh = _mesh(a_waypoint("waypoint", "shop", labels=everything), a_web_pod(labels=USE))
    assert _direct(mesh) == {WAYPOINT: (b"\x0a\0\0\x01",)}
    machine = a_workload_entry(
        "vm", "shop", address="10.0.0.7", labels=USE | {"networking.istio.io/tunnel": "http"}
    )
    mesh.apply([machine])
    assert _direct(mesh) == {WAYPOINT: (b"\x0a\0\0\x01", b"\x0a\0\0\x07")}


@pytest.mark.refutes("WC-3")
def test_other_workloads_are_not_reached_by_address() -> None:
    everything = {"istio.io/waypoint-for": "all"}
    mesh = _mesh(
        a_waypoint("waypoint", "shop", labels=everything),
        a_web_pod("unbound", ip="10.0.0.2"),
        a_web_pod("plain", ip="10.0.0.3", labels=USE, annotations={}),
    )
    assert _direct(mesh) == {}
    only_services = _mesh(a_waypoint("waypoint", "shop"), a_web_pod(labels=USE))
    assert _direct(only_services) == {}


def _entry(namespace: str, **rest: Any) -> Any:
    labels = {"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "shop"}
    return a_service_entry("api", namespace, hosts=["api.example.com"], labels=labels, **rest)


def _shared_waypoint() -> Any:
    allowed = AllowedNamespaces(origin="All")
    listener = Listener(name="mesh", port=15008, protocol="HBONE", allowed=allowed)
    return a_waypoint("waypoint", "shop", listeners=[listener])


@pytest.mark.proves("WC-4")
def test_of_two_services_with_one_hostname_the_canonical_one_is_served() -> None:
    mesh = _mesh(_shared_waypoint(), _entry("zoo", created=1.0), _entry("abc", created=2.0))
    (served,) = _served(mesh).values()
    assert served.service.namespace == "zoo", "the oldest entry is canonical"
    assert ("waypoint.hostname-taken", "api") in _codes(mesh)


@pytest.mark.refutes("WC-4")
def test_hostnames_of_different_waypoints_do_not_collide() -> None:
    mesh = _mesh(
        a_waypoint("waypoint", "zoo"),
        a_waypoint("waypoint", "abc"),
        *(
            a_service_entry("api", namespace, hosts=["api.example.com"], labels=USE)
            for namespace in ("zoo", "abc")
        ),
    )
    assert len(_served(mesh)) == 2
    assert "waypoint.hostname-taken" not in [code for code, _ in _codes(mesh)]


def test_a_service_without_resolution_goes_where_it_was_sent() -> None:
    mesh = _mesh(_shared_waypoint(), _entry("zoo", resolution="NONE"))
    (served,) = _served(mesh).values()
    assert served.resolution is Resolution.ORIGINAL_DESTINATION
    assert mesh.world.traffic.endpoints.items() == []


@pytest.mark.proves("WC-21")
def test_the_first_address_of_a_workload_counts() -> None:
    pod = a_pod("web-1", "shop", labels={"app": "web"}, ips=["10.0.0.1", "fd00::1"])
    mesh = _mesh(a_waypoint("waypoint", "shop"), a_web(), pod)
    assert [endpoint.address for endpoint in _endpoints(mesh)] == [b"\x0a\0\0\x01"]


@pytest.mark.proves("WC-21")
def test_of_two_workloads_at_one_place_the_healthy_one_counts() -> None:
    mesh = _mesh(
        a_waypoint("waypoint", "shop"),
        a_web(),
        a_web_pod("a", ready=False, host_network=True),
        a_web_pod("b", host_network=True),
    )
    (endpoint,) = _endpoints(mesh)
    assert endpoint.is_healthy


@pytest.mark.refutes("WC-21")
def test_workloads_at_different_places_all_count() -> None:
    mesh = _mesh(
        a_waypoint("waypoint", "shop"), a_web(), a_web_pod(), a_web_pod("b", ip="10.0.0.2")
    )
    assert [each._replace(workload=None) for each in _endpoints(mesh)] == [
        Endpoint(Locality(), b"\x0a\0\0\x01", 8080, is_tunnelled=True, node="node-1"),
        Endpoint(Locality(), b"\x0a\0\0\x02", 8080, is_tunnelled=True, node="node-1"),
    ]


@pytest.mark.proves("WC-22")
def test_a_workload_that_is_not_ready_is_told_as_unhealthy() -> None:
    mesh = _mesh(a_waypoint("waypoint", "shop"), a_web(), a_web_pod(ready=False))
    assert [endpoint.is_healthy for endpoint in _endpoints(mesh)] == [False]


@pytest.mark.refutes("WC-22")
def test_a_service_may_accept_workloads_that_are_not_ready() -> None:
    mesh = _mesh(
        a_waypoint("waypoint", "shop"),
        a_web(publish_not_ready_addresses=True),
        a_web_pod(ready=False),
    )
    assert [endpoint.is_healthy for endpoint in _endpoints(mesh)] == [True]


@pytest.mark.proves("WC-25")
def test_a_workload_without_the_port_or_elsewhere_is_no_endpoint() -> None:
    named = a_web(ports=[a_service_port(80, name="http", target_port_name="web")])
    far = a_workload_entry("vm", "shop", address="9.9.9.9", labels={"app": "web"}, network="far")
    mesh = _mesh(a_waypoint("waypoint", "shop"), named, a_web_pod(), far)
    assert _endpoints(mesh) == ()


@pytest.mark.refutes("WC-25")
def test_a_named_port_lands_where_the_pod_says() -> None:
    named = a_web(ports=[a_service_port(80, name="http", target_port_name="web")])
    mesh = _mesh(a_waypoint("waypoint", "shop"), named, a_web_pod(ports={"web": 3000}))
    assert [endpoint.port for endpoint in _endpoints(mesh)] == [3000]


def test_names_and_weights_of_entries_are_endpoints() -> None:
    specs = (WorkloadSpec(address="a.example.com", weight=3), WorkloadSpec(address="10.0.0.9"))
    mesh = _mesh(_shared_waypoint(), _entry("zoo", resolution="DNS", endpoints=specs))
    found = {
        (endpoint.address, endpoint.weight)
        for endpoint in _endpoints(mesh, hostname="api.example.com")
    }
    assert found == {("a.example.com", 3), (b"\x0a\0\0\x09", 1)}


def test_an_entry_without_endpoints_is_its_own_name() -> None:
    mesh = _mesh(_shared_waypoint(), _entry("zoo", resolution="DNS"))
    addresses = [each.address for each in _endpoints(mesh, hostname="api.example.com")]
    assert addresses == ["api.example.com"]


def test_a_port_without_workloads_has_an_empty_set_of_endpoints() -> None:
    mesh = _mesh(a_waypoint("waypoint", "shop"), a_web())
    assert _endpoints(mesh) == ()


def test_readiness_of_a_waypoint_changes_nothing_for_it() -> None:
    mesh = _mesh(a_waypoint("waypoint", "shop", **NOT_READY), a_web(), a_web_pod(labels=USE))
    before = [sorted(each.items()) for each in _collections(mesh)]
    mesh.apply([a_waypoint("waypoint", "shop")])
    assert [sorted(each.items()) for each in _collections(mesh)] == before


def _reached(address: str, port: int, *, settings: MeshSettings | None = None) -> bool:
    """Return whether an entry's endpoint is one of the waypoint."""
    mesh = Mesh(settings) if settings is not None else Mesh()
    ports = [ServiceEntryPort(number=80, name="http", protocol="HTTP", target_port=port)]
    resolution = "STATIC" if address[0].isdigit() or ":" in address else "DNS"
    entry = a_service_entry(
        "outside",
        "shop",
        hosts=["out.example.com"],
        ports=ports,
        resolution=resolution,
        endpoints=(WorkloadSpec(address=address),),
        labels=USE,
    )
    mesh.apply([a_waypoint("waypoint", "shop"), entry])
    is_reached = bool(_endpoints(mesh, hostname="out.example.com"))
    codes = [problem.code for problem in mesh.problems()]
    assert codes == ([] if is_reached else ["waypoint.leads-to-itself"])
    return is_reached


@pytest.mark.proves("WC-77")
@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("127.0.0.1", 15000),
        ("127.9.9.9", 8080),
        ("::1", 15000),
        ("::ffff:127.0.0.1", 15000),
        ("0.0.0.0", 15000),  # noqa: S104 - nothing listens here
        ("::", 15000),
        ("localhost", 8080),
        ("some.localhost.", 8080),
        ("resolves-anywhere.example.com", 15000),
    ],
)
def test_no_endpoint_is_the_waypoint_itself(address: str, port: int) -> None:
    assert not _reached(address, port)


@pytest.mark.refutes("WC-77")
@pytest.mark.parametrize(
    ("address", "port"),
    [("10.0.0.9", 15000), ("2001:db8::1", 80), ("resolves-anywhere.example.com", 8080)],
)
def test_other_endpoints_are_reached(address: str, port: int) -> None:
    assert _reached(address, port)


@pytest.mark.refutes("WC-77")
def test_pods_that_share_a_machine_may_be_on_loopback() -> None:
    shared = MeshSettings(waypoints_listen_on_pods=True)
    assert _reached("127.0.0.9", 8080, settings=shared)


@pytest.mark.proves("WC-77")
def test_no_workload_that_is_reached_by_address_is_the_waypoint_itself() -> None:
    tunnelled: dict[str, Any] = {"labels": USE | {"networking.istio.io/tunnel": "http"}}
    mesh = _mesh(
        a_waypoint("waypoint", "shop", labels={"istio.io/waypoint-for": "all"}),
        a_workload_entry("itself", "shop", address="127.0.0.1", **tunnelled),
        a_workload_entry("other", "shop", address="10.0.0.9", **tunnelled),
    )
    assert [len(found) for found in _direct(mesh).values()] == [1]


@pytest.mark.proves("WC-77")
def test_who_goes_where_a_client_says_does_not_go_to_the_port_of_the_waypoint() -> None:
    ports = [
        ServiceEntryPort(number=number, name=f"http-{number}", protocol="HTTP")
        for number in (80, 15000)
    ]
    entry = a_service_entry(
        "any", "shop", hosts=["any.example.com"], ports=ports, resolution="NONE", labels=USE
    )
    mesh = _mesh(a_waypoint("waypoint", "shop"), entry)
    (found,) = (each for (_, host), each in _served(mesh).items() if host == "any.example.com")
    assert [port.number for port in found.ports] == [80]
    assert [problem.code for problem in mesh.problems()] == ["waypoint.leads-to-itself"]


def _around(*pods: Any) -> Mesh:
    """Return a mesh whose entry and workload have the addresses of the waypoint's own pods."""
    entry = a_service_entry(
        "around",
        "shop",
        hosts=["around.example.com"],
        addresses=["10.0.0.0/24"],
        ports=[ServiceEntryPort(number=80, name="http", protocol="HTTP")],
        resolution="STATIC",
        endpoints=(
            WorkloadSpec(address="10.0.0.8", labels={"networking.istio.io/tunnel": "http"}),
            WorkloadSpec(address="::ffff:10.0.0.9"),
            WorkloadSpec(address="10.0.0.10"),
        ),
        labels=USE,
    )
    tunnelled = USE | {"networking.istio.io/tunnel": "http"}
    return _mesh(
        a_waypoint("waypoint", "shop", labels={"istio.io/waypoint-for": "all"}),
        a_waypoint("other", "apart"),
        *pods,
        entry,
        a_workload_entry("round", "shop", address="10.0.0.8", labels=tunnelled),
    )


def _instance(name: str, gateway: str, namespace: str, ip: str, **rest: Any) -> Pod:
    labels = {"gateway.networking.k8s.io/gateway-name": gateway}
    return a_pod(name, namespace, labels=labels, ips=[ip], **rest)


def _places(mesh: Mesh) -> list[str]:
    found = [each.address for each in _endpoints(mesh, hostname="around.example.com")]
    return sorted(str(ip_address(each[-4:])) for each in found if isinstance(each, bytes))


@pytest.mark.proves("WC-78")
def test_no_endpoint_is_a_waypoint_of_this_mesh() -> None:
    mesh = _around(
        _instance("w", "waypoint", "shop", "10.0.0.8"),
        _instance("o", "other", "apart", "10.0.0.9"),
    )
    assert _places(mesh) == ["10.0.0.10"]
    assert _direct(mesh) == {}
    assert [problem.code for problem in mesh.problems()] == ["waypoint.leads-to-itself"]
    mesh.apply([], removed=[("Pod", Name("shop", "w"))])
    assert _places(mesh) == ["10.0.0.10", "10.0.0.8"]
    assert _direct(mesh) == {WAYPOINT: (b"\x0a\0\0\x08",)}


@pytest.mark.refutes("WC-78")
def test_what_was_never_or_is_no_more_a_waypoint_is_an_endpoint() -> None:
    mesh = _around(
        _instance("gone", "waypoint", "shop", "10.0.0.8", phase="Succeeded"),
        _instance("node", "waypoint", "shop", "10.0.0.9", host_network=True),
        _instance("ingress", "no-waypoint", "shop", "10.0.0.10"),
    )
    assert _places(mesh) == ["10.0.0.10", "10.0.0.8", "10.0.0.9"]
    assert _direct(mesh) == {WAYPOINT: (b"\x0a\0\0\x08",)}
    assert mesh.problems() == []


def _collections(mesh: Mesh) -> list[Any]:
    traffic = mesh.world.traffic
    return [traffic.frames, traffic.services, traffic.endpoints, traffic.direct]


def test_what_goes_away_is_served_no_more() -> None:
    mesh = _mesh(a_namespace("shop"), a_waypoint("waypoint", "shop"), a_web(), a_web_pod())
    mesh.apply([a_web(labels={})])
    assert _served(mesh) == {}
    mesh.apply([a_web()])
    mesh.apply([], [("Gateway", WAYPOINT)])
    assert not any(collection.items() for collection in _collections(mesh))


def test_ports_of_entries_are_served() -> None:
    ports = [
        ServiceEntryPort(number=443, name="tls", protocol="TLS"),
        ServiceEntryPort(number=53, name="dns", protocol="UDP"),
    ]
    mesh = _mesh(_shared_waypoint(), _entry("zoo", ports=ports))
    (served,) = _served(mesh).values()
    assert [port.number for port in served.ports] == [443]
