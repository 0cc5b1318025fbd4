"""Where connections go."""

from collections import Counter
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from google.protobuf.message import Message

from controlplane.lab.ztunnel.network import NetworkAddress
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.route import Route, Router, Way
from controlplane.lab.ztunnel.session import Session
from controlplane.pb import workload_pb2
from tests.support.wire import a_gateway, a_response, a_service, a_workload, uid_of

HBONE = workload_pb2.HBONE
LB = workload_pb2.LoadBalancing
CLIENT = a_workload(
    "client",
    node="n1",
    cluster_id="c1",
    locality={"region": "r1", "zone": "z1", "subzone": "s1"},
)
VIP = "10.1.0.1"
BEHIND = {"default/web": {80: 8080}}


def a_web(**fields: Any) -> workload_pb2.Service:
    return a_service("web", **{"vips": [VIP], "ports": {80: 0}, **fields})


def a_router(*messages: Message) -> Router:
    session = Session(NodeIdentity())
    session.connect()
    session.receive(a_response(CLIENT, *messages))
    assert session.nacks == []
    return Router(state=session.state, random=Random(1))


def route(*messages: Message, ip: str = VIP, port: int = 80, client: str = "client") -> Route:
    router = a_router(*messages)
    source = router.state.workloads.by_uid[uid_of(client)]
    return router.route(source, NetworkAddress("", ip_address(ip)), port)


def chosen(*messages: Message, times: int = 200) -> Counter[str]:
    router = a_router(*messages)
    source = router.state.workloads.by_uid[uid_of("client")]
    routes = [router.route(source, NetworkAddress("", ip_address(VIP)), 80) for _ in range(times)]
    return Counter(found.workload.rpartition("/")[2] for found in routes)


@pytest.mark.proves("ZT-65")
def test_target_ports() -> None:
    own = a_workload("a", ips=["10.0.0.1"], services=BEHIND)
    unmapped = a_workload("a", ips=["10.0.0.1"], services={"default/web": {}})
    tunnel = a_workload(
        "a", ips=["10.0.0.1"], services={"default/web": {}}, application_tunnel={"port": 15088}
    )
    assert route(a_web(ports={80: 9090}), own).dial == "10.0.0.1:8080"
    assert route(a_web(ports={80: 9090}), unmapped).dial == "10.0.0.1:9090"
    assert route(a_web(), tunnel).dial == "10.0.0.1:80"


@pytest.mark.refutes("ZT-65")
def test_an_endpoint_without_target_port_is_not_used() -> None:
    unmapped = a_workload("a", ips=["10.0.0.1"], services={"default/web": {}})
    tunnel = a_workload(
        "b", ips=["10.0.0.2"], services={"default/web": {}}, application_tunnel={"protocol": 1}
    )
    assert route(a_web(), unmapped, tunnel).way is Way.FAILED


NEAR = a_workload(
    "near",
    ips=["10.0.0.1"],
    services=BEHIND,
    locality={"region": "r1", "zone": "z1"},
    cluster_id="c1",
)
REGION = a_workload(
    "region", ips=["10.0.0.2"], services=BEHIND, locality={"region": "r1", "zone": "z2"}
)
FAR = a_workload("far", ips=["10.0.0.3"], services=BEHIND, node="n1", locality={"zone": "z1"})


def preferring(mode: int, *scopes: int) -> workload_pb2.Service:
    return a_web(load_balancing=LB(mode=mode, routing_preference=scopes))


@pytest.mark.proves("ZT-66")
def test_the_most_leading_scopes_win() -> None:
    failover = preferring(LB.FAILOVER, LB.REGION, LB.ZONE)
    assert set(chosen(failover, NEAR, REGION, FAR)) == {"near"}
    assert set(chosen(failover, REGION, FAR)) == {"region"}
    assert set(chosen(failover, FAR)) == {"far"}
    assert set(chosen(preferring(LB.FAILOVER, LB.NODE), NEAR, REGION, FAR)) == {"far"}
    assert set(chosen(preferring(LB.FAILOVER, LB.CLUSTER), NEAR, REGION)) == {"near"}
    assert set(chosen(preferring(LB.STRICT, LB.REGION, LB.ZONE), NEAR, REGION)) == {"near"}


@pytest.mark.refutes("ZT-66")
def test_without_preference_or_match() -> None:
    assert set(chosen(a_web(), NEAR, REGION, FAR)) == {"near", "region", "far"}
    strict = preferring(LB.STRICT, LB.REGION, LB.ZONE)
    assert route(strict, REGION, FAR).way is Way.FAILED
    network = preferring(LB.FAILOVER, LB.NETWORK, LB.ZONE)
    assert set(chosen(network, NEAR, REGION, FAR)) == {"near", "far"}


@pytest.mark.proves("ZT-67")
def test_capacity_shares_connections() -> None:
    big = a_workload("big", ips=["10.0.0.1"], services=BEHIND, capacity={"value": 9})
    small = a_workload("small", ips=["10.0.0.2"], services=BEHIND)
    counted = chosen(a_web(), big, small)
    assert counted["big"] > 3 * counted["small"] > 0


@pytest.mark.refutes("ZT-67")
def test_capacity_zero_gets_nothing() -> None:
    none = a_workload("none", ips=["10.0.0.1"], services=BEHIND, capacity={"value": 0})
    small = a_workload("small", ips=["10.0.0.2"], services=BEHIND)
    assert set(chosen(a_web(), none, small)) == {"small"}
    assert route(a_web(), none).way is Way.FAILED


@pytest.mark.proves("ZT-68")
def test_passthrough_and_failure() -> None:
    assert route(ip="8.8.8.8") == Route(way=Way.PASSTHROUGH, dial="8.8.8.8:80")
    through = route(a_web(load_balancing={"mode": LB.PASSTHROUGH}), NEAR)
    assert (through.way, through.dial) == (Way.PASSTHROUGH, f"{VIP}:80")
    assert route(a_web()).way is Way.FAILED


@pytest.mark.refutes("ZT-68")
def test_known_destinations_do_not_pass_through() -> None:
    assert route(NEAR, ip="10.0.0.1").way is Way.PLAINTEXT
    assert route(a_web(), NEAR).workload == uid_of("near")


WAYPOINT = a_service("wp", ports={15008: 15008}, subject_alt_names=["spiffe://td/wp"])
WAYPOINT_POD = a_workload(
    "wp-pod", ips=["10.0.0.99"], services={"default/wp": {15008: 15008}}, tunnel_protocol=HBONE
)


@pytest.mark.proves("ZT-69", "ZT-70")
def test_services_and_workloads_with_waypoints() -> None:
    service = route(a_web(waypoint=a_gateway("wp")), NEAR, WAYPOINT, WAYPOINT_POD)
    assert (service.way, service.dial, service.authority) == (
        Way.WAYPOINT,
        "10.0.0.99:15008",
        f"{VIP}:80",
    )
    assert service.identities == {
        "spiffe://td/wp",
        "spiffe://cluster.local/ns/default/sa/default",
    }
    pod = a_workload("pod", ips=["10.0.0.5"], waypoint=a_gateway("wp"))
    direct = route(pod, WAYPOINT, WAYPOINT_POD, ip="10.0.0.5", port=8080)
    assert (direct.way, direct.authority) == (Way.WAYPOINT, "10.0.0.5:8080")


@pytest.mark.proves("ZT-69")
def test_weighted_waypoints_are_sampled() -> None:
    canary = a_workload("canary", ips=["10.0.0.98"], services={"default/wp2": {15008: 15008}})
    weighted = [
        {"destination": a_gateway("wp"), "weight": 95},
        {"destination": a_gateway("wp2"), "weight": 5},
    ]
    web = a_web(waypoint=a_gateway("wp"), weighted_waypoints=weighted)
    counted = chosen(web, NEAR, WAYPOINT, WAYPOINT_POD, a_service("wp2"), canary, times=500)
    assert counted["wp-pod"] > 10 * counted["canary"] > 0
    for entry in web.weighted_waypoints:
        entry.weight = 0
    assert set(chosen(web, NEAR, WAYPOINT, WAYPOINT_POD, a_service("wp2"), canary)) == {"wp-pod"}


@pytest.mark.refutes("ZT-69")
def test_a_waypoint_does_not_go_through_itself_nor_a_service_through_its_workloads() -> None:
    own = route(a_web(waypoint=a_gateway("wp")), NEAR, WAYPOINT, WAYPOINT_POD, client="wp-pod")
    assert own.way is Way.PLAINTEXT
    behind = a_workload("b", ips=["10.0.0.5"], services=BEHIND, waypoint=a_gateway("wp"))
    assert route(a_web(), behind, WAYPOINT, WAYPOINT_POD).way is Way.PLAINTEXT


@pytest.mark.proves("ZT-70")
def test_a_waypoint_that_is_a_workload_by_hostname_or_address() -> None:
    named = a_workload("gw", hostname="gw.example", tunnel_protocol=HBONE)
    found = route(a_web(waypoint=a_gateway("gw.example")), NEAR, named)
    assert (found.way, found.dial) == (Way.WAYPOINT, "gw.example:15008")
    by_address = route(a_web(waypoint=a_gateway(ip="10.0.0.99", port=15010)), WAYPOINT_POD)
    assert by_address.dial == "10.0.0.99:15010"


@pytest.mark.refutes("ZT-70")
@pytest.mark.parametrize(
    "waypoint",
    [
        (),
        (a_service("wp", "other", ports={15008: 15008}), WAYPOINT_POD),
        (a_service("wp"), a_workload("p", ips=["10.0.0.9"], services={"default/wp": {80: 80}})),
        (WAYPOINT,),
    ],
)
def test_an_unusable_waypoint_fails_and_is_not_gone_around(waypoint: tuple[Message, ...]) -> None:
    assert route(a_web(waypoint=a_gateway("wp")), NEAR, *waypoint).way is Way.FAILED


@pytest.mark.proves("ZT-71")
def test_a_tunnel_to_a_workload() -> None:
    pod = a_workload(
        "pod", ips=["2001:db8::1"], services=BEHIND, tunnel_protocol=HBONE, service_account="sa"
    )
    found = route(a_web(subject_alt_names=["spiffe://other"]), pod)
    assert (found.way, found.dial, found.authority) == (
        Way.HBONE,
        "[2001:db8::1]:15008",
        "[2001:db8::1]:8080",
    )
    assert found.identities == {"spiffe://other", "spiffe://cluster.local/ns/default/sa/sa"}


@pytest.mark.refutes("ZT-71")
def test_plaintext_to_a_workload_without_tunnel() -> None:
    found = route(a_web(), NEAR)
    assert (found.way, found.dial, found.authority) == (Way.PLAINTEXT, "10.0.0.1:8080", "")
    assert found.identities == frozenset()


REMOTE = a_workload(
    uid="east/SplitHorizonWorkload/x",
    network="east",
    services=BEHIND,
    network_gateway=a_gateway("gw.east"),
    tunnel_protocol=HBONE,
)
GATEWAY = a_workload("gw", hostname="gw.east", network="east", tunnel_protocol=HBONE)


@pytest.mark.proves("ZT-72")
def test_another_network_is_reached_through_its_gateway() -> None:
    found = route(a_web(), REMOTE, GATEWAY)
    assert (found.way, found.dial, found.authority, found.workload) == (
        Way.NETWORK_GATEWAY,
        "gw.east:15008",
        "web:80",
        REMOTE.uid,
    )


@pytest.mark.refutes("ZT-72")
def test_another_network_without_gateway_or_service() -> None:
    assert route(a_web(), REMOTE).way is Way.FAILED
    assert route(a_web(), NEAR, GATEWAY).way is Way.PLAINTEXT


@pytest.mark.proves("ZT-73")
def test_address_families_restrict_the_address() -> None:
    dual = a_workload("dual", ips=["10.0.0.1", "2001:db8::1"], services=BEHIND)
    only_v6 = a_web(ip_families=workload_pb2.IPV6_ONLY)
    assert route(only_v6, dual).dial == "[2001:db8::1]:8080"
    assert route(a_web(ip_families=workload_pb2.IPV4_ONLY), dual).dial == "10.0.0.1:8080"
    named = a_workload("named", hostname="h.example", services=BEHIND)
    assert route(only_v6, named).dial == "h.example:8080"


@pytest.mark.refutes("ZT-73")
def test_without_families_the_first_address_is_used_and_without_any_it_fails() -> None:
    dual = a_workload("dual", ips=["10.0.0.1", "2001:db8::1"], services=BEHIND)
    assert route(a_web(), dual).dial == "10.0.0.1:8080"
    assert route(a_web(), a_workload("none", services=BEHIND)).way is Way.FAILED
