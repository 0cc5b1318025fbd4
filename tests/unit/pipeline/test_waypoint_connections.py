"""What waypoints are sent for routes of connections and TLS to backends, and what edits cost."""

from typing import Any

import pytest

from controlplane.manifests.connections import (
    BackendReference,
    BackendTLSPolicy,
    ConnectionRoute,
    ConnectionRule,
    PolicyTarget,
)
from controlplane.manifests.istio import ServiceEntryPort
from controlplane.model.route_parent import ParentReference
from controlplane.snapshots.scope import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE
from tests.support.builders import (
    HBONE,
    a_pod,
    a_service,
    a_service_entry,
    a_service_port,
    a_waypoint,
    some_metadata,
)
from tests.support.waypoint_snapshots import Waypoints

USE = {"istio.io/use-waypoint": "waypoint"}
PORTS = [a_service_port(80, name="http"), a_service_port(9000, name="tcp")]
WEB_HTTP = "inbound-vip|80|http|web.shop.svc.cluster.local"
WEB_TCP = "inbound-vip|9000|tcp|web.shop.svc.cluster.local"


def a_mesh(*more: Any) -> Waypoints:
    waypoints = Waypoints()
    web = a_service("web", "shop", labels=USE, ports=PORTS, selector={"app": "web"})
    waypoints.apply(a_waypoint("waypoint", "shop"), web, *more)
    return waypoints


def a_route(*names: str) -> ConnectionRoute:
    backends = tuple(BackendReference(name, port=9000) for name in names)
    return ConnectionRoute(
        metadata=some_metadata("bytes", "shop"),
        route_kind="TCPRoute",
        parents=(ParentReference("", "Service", "", "web"),),
        rules=(ConnectionRule(backends),),
    )


def a_policy(well_known: str = "System") -> BackendTLSPolicy:
    return BackendTLSPolicy(
        metadata=some_metadata("secure", "shop"),
        targets=(PolicyTarget("", "Service", "web"),),
        hostname="web.example",
        well_known=well_known,
    )


def chains(waypoints: Waypoints) -> dict[str, Any]:
    listener = waypoints.documents(LISTENER_TYPE)["main_internal"]
    return {each["name"]: each["filters"][-1]["typed_config"] for each in listener["filter_chains"]}


def socket(waypoints: Waypoints, name: str) -> dict[str, Any]:
    """Return the socket that the application hears."""
    cluster = waypoints.documents(CLUSTER_TYPE)[name]
    found: dict[str, Any] = cluster["transport_socket"]["typed_config"]["transport_socket"]
    return found


@pytest.mark.proves("WC-70", "CR-13")
@pytest.mark.refutes("CR-13")
def test_a_route_is_in_the_chain_of_its_port_and_nowhere_else() -> None:
    waypoints = a_mesh()
    before = chains(waypoints)
    changed = waypoints.apply(a_route("web", "missing"))
    assert changed == {"shop/waypoint LDS": {"main_internal"}}
    after = chains(waypoints)
    assert {name for name, chain in after.items() if before[name] != chain} == {WEB_TCP}
    assert after[WEB_TCP]["weighted_clusters"]["clusters"] == [
        {"name": WEB_TCP, "weight": 1},
        {"name": "invalid-backend", "weight": 1},
    ]
    assert before[WEB_TCP]["cluster"] == WEB_TCP


@pytest.mark.proves("CR-10")
def test_a_backend_that_is_not_served_is_an_outbound_cluster() -> None:
    free = a_service("free", "shop", ports=PORTS, ips=["10.96.0.9"], selector={"app": "free"})
    waypoints = a_mesh(free, a_route("free"))
    name = "outbound|9000|tcp|free.shop.svc.cluster.local"
    assert chains(waypoints)[WEB_TCP]["cluster"] == name
    assert name in waypoints.names(CLUSTER_TYPE)
    assert name in waypoints.names(ENDPOINT_TYPE)


@pytest.mark.proves("WC-70", "BT-1")
@pytest.mark.refutes("WC-70")
def test_tls_goes_around_what_the_application_hears() -> None:
    waypoints = a_mesh()
    assert socket(waypoints, WEB_HTTP)["name"] == "envoy.transport_sockets.raw_buffer"
    changed = waypoints.apply(a_policy())
    assert changed == {"shop/waypoint CDS": {WEB_HTTP, WEB_TCP}}
    for name in (WEB_HTTP, WEB_TCP):
        tls = socket(waypoints, name)["typed_config"]
        assert tls["sni"] == "web.example"
        validation = tls["common_tls_context"]["validation_context"]
        assert validation["trusted_ca"] == {"filename": "/etc/ssl/certs/ca-certificates.crt"}
        (matcher,) = validation["match_typed_subject_alt_names"]
        assert matcher == {"san_type": "DNS", "matcher": {"exact": "web.example"}}


@pytest.mark.proves("BT-9")
@pytest.mark.refutes("BT-9")
def test_a_cluster_whose_policy_cannot_be_used_has_no_endpoints_whatever_there_is() -> None:
    pod = a_pod("web", "shop", labels={"app": "web"})
    waypoints = a_mesh(pod, a_policy("Unknown"))
    cluster = waypoints.documents(CLUSTER_TYPE)[WEB_HTTP]
    assert cluster.get("type", "STATIC") == "STATIC"
    assert cluster["load_assignment"] == {"cluster_name": WEB_HTTP}
    waypoints.apply(a_policy())
    assert waypoints.documents(CLUSTER_TYPE)[WEB_HTTP]["type"] == "EDS"


def an_entry(host: str, resolution: str) -> Any:
    return a_service_entry(
        "outside",
        "shop",
        hosts=[host],
        resolution=resolution,
        labels=USE,
        addresses=("10.97.0.1",),
        ports=[ServiceEntryPort(number=80, name="http", protocol="HTTP")],
    )


@pytest.mark.proves("WC-73")
@pytest.mark.parametrize("resolution", ["DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"])
def test_names_below_a_wildcard_are_not_looked_up(resolution: str) -> None:
    waypoints = a_mesh(an_entry("*.example.com", resolution))
    assert [problem.code for problem in waypoints.problems()] == ["waypoint.wildcard-not-resolved"]
    name = "inbound-vip|80|http|*.example.com"
    assert waypoints.documents(ENDPOINT_TYPE)[name] == {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": name,
    }


@pytest.mark.refutes("WC-73")
@pytest.mark.parametrize(
    ("host", "resolution"), [("a.example.com", "DNS"), ("*.example.com", "NONE")]
)
def test_other_hosts_are_found(host: str, resolution: str) -> None:
    waypoints = a_mesh(an_entry(host, resolution))
    assert waypoints.problems() == []
    cluster = waypoints.documents(CLUSTER_TYPE)[f"inbound-vip|80|http|{host}"]
    assert cluster["type"] == ("STRICT_DNS" if resolution == "DNS" else "ORIGINAL_DST")


@pytest.mark.proves("WC-20", "WC-71")
def test_a_pod_that_leaves_the_mesh_is_one_resource_of_endpoints_per_port() -> None:
    pod = a_pod("web", "shop", labels={"app": "web"}, annotations=HBONE, ips=["10.0.0.7"])
    waypoints = a_mesh(pod)
    (inside,) = endpoints_of(waypoints, WEB_HTTP)
    assert inside["envoy_internal_address"]["endpoint_id"] == "10.0.0.7:80"
    changed = waypoints.apply(a_pod("web", "shop", labels={"app": "web"}, ips=["10.0.0.7"]))
    assert changed == {"shop/waypoint EDS": {WEB_HTTP, WEB_TCP}}
    (outside,) = endpoints_of(waypoints, WEB_HTTP)
    assert outside == {"socket_address": {"address": "10.0.0.7", "port_value": 80}}


def endpoints_of(waypoints: Waypoints, name: str) -> list[dict[str, Any]]:
    localities = waypoints.documents(ENDPOINT_TYPE)[name]["endpoints"]
    return [
        endpoint["endpoint"]["address"]
        for locality in localities
        for endpoint in locality["lb_endpoints"]
    ]
