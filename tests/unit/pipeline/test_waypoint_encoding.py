"""What a waypoint is sent, from manifests to tables, and what a change costs."""

import pytest

from controlplane.manifests.core import Pod, Service
from controlplane.manifests.gateway import Gateway
from controlplane.manifests.istio import AuthorizationRule, Source, TargetReference
from controlplane.model.names import Name, ObjectReference
from controlplane.pipeline.refusals import REFUSED
from controlplane.snapshots.scope import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    WAYPOINT_TYPES,
)
from tests.support.builders import (
    HBONE,
    a_pod,
    a_service,
    a_service_entry,
    a_service_port,
    a_waypoint,
    an_authorization_policy,
)
from tests.support.waypoint_snapshots import Waypoints

USE = {"istio.io/use-waypoint": "waypoint"}
WEB = "web.shop.svc.cluster.local"
WEB_HTTP = f"inbound-vip|80|http|{WEB}"
FIXED_LISTENERS = {"connect_terminate", "main_internal", "connect_originate"}
FIXED_CLUSTERS = {"main_internal", "connect_originate"}


def the_waypoint(**rest: str) -> Gateway:
    return a_waypoint("waypoint", "shop", labels=rest)


def a_web(name: str = "web", namespace: str = "shop", **rest: object) -> Service:
    fields = {"selector": {"app": name}, "labels": USE} | rest
    return a_service(name, namespace, **fields)  # type: ignore[arg-type]


def a_web_pod(name: str = "web-1", ip: str = "10.0.0.1", **rest: object) -> Pod:
    fields = {"labels": {"app": "web"}, "annotations": HBONE, "ips": [ip]} | rest
    return a_pod(name, "shop", **fields)  # type: ignore[arg-type]


def _waypoints(*manifests: object) -> Waypoints:
    waypoints = Waypoints()
    waypoints.apply(*manifests)  # type: ignore[arg-type]
    return waypoints


@pytest.mark.proves("WC-10")
def test_a_waypoint_with_one_service() -> None:
    waypoints = _waypoints(the_waypoint(), a_web(), a_web_pod())
    assert waypoints.names(LISTENER_TYPE) == FIXED_LISTENERS
    assert waypoints.names(CLUSTER_TYPE) == FIXED_CLUSTERS | {WEB_HTTP}
    assert waypoints.names(ENDPOINT_TYPE) == {WEB_HTTP}
    assert waypoints.names(ROUTE_TYPE) == {"connect_terminate", WEB_HTTP}


@pytest.mark.refutes("WC-10")
def test_bytes_have_no_routes_and_names_no_endpoints_of_their_own() -> None:
    ports = [a_service_port(9000, name="tcp")]
    waypoints = _waypoints(
        the_waypoint(),
        a_web(ports=ports),
        a_service_entry("api", "shop", hosts=["api.example.com"], resolution="DNS", labels=USE),
    )
    api = "inbound-vip|80|http|api.example.com"
    web = f"inbound-vip|9000|tcp|{WEB}"
    assert waypoints.names(CLUSTER_TYPE) == FIXED_CLUSTERS | {api, web}
    assert waypoints.names(ENDPOINT_TYPE) == {web}
    assert waypoints.names(ROUTE_TYPE) == {"connect_terminate", api}


def test_workloads_reached_by_address_have_a_cluster_and_routes() -> None:
    everything = {"istio.io/waypoint-for": "all"}
    waypoints = _waypoints(the_waypoint(**everything), a_web_pod(labels=USE))
    assert waypoints.names(CLUSTER_TYPE) == FIXED_CLUSTERS | {"encap", "main_sniffed"}
    assert waypoints.names(LISTENER_TYPE) == FIXED_LISTENERS | {"main_sniffed"}
    assert waypoints.names(ROUTE_TYPE) == {"connect_terminate", "direct-http"}
    waypoints.apply(removed=[a_web_pod()])
    assert waypoints.names(CLUSTER_TYPE) == FIXED_CLUSTERS
    assert waypoints.names(LISTENER_TYPE) == FIXED_LISTENERS
    assert waypoints.names(ROUTE_TYPE) == {"connect_terminate"}


@pytest.mark.proves("WC-13")
def test_a_pod_that_comes_changes_or_goes_is_one_set_of_endpoints() -> None:
    waypoints = _waypoints(the_waypoint(), a_web(), a_web_pod(), a_web("other", ips=["10.96.0.2"]))
    endpoints = {"shop/waypoint EDS": {WEB_HTTP}}
    second = a_web_pod("web-2", "10.0.0.2")
    assert waypoints.apply(second) == endpoints
    assert waypoints.apply(a_web_pod("web-2", "10.0.0.2", ready=False)) == endpoints
    assert waypoints.apply(a_web_pod("web-2", "10.0.0.3")) == endpoints
    assert waypoints.apply(removed=[second]) == endpoints


@pytest.mark.refutes("WC-13")
def test_what_does_not_concern_endpoints_changes_nothing() -> None:
    waypoints = _waypoints(the_waypoint(), a_web(), a_web_pod())
    told = {"app": "web", "version": "v2"}
    assert waypoints.apply(a_web_pod(labels=told, node="other")) == {}
    assert waypoints.apply(a_web(annotations={"note": "new"})) == {}
    assert waypoints.apply(a_pod("stranger", "shop", ips=["10.0.0.9"])) == {}


def test_a_changed_service_port_is_one_of_each_and_the_listener() -> None:
    waypoints = _waypoints(the_waypoint(), a_web(), a_web_pod(), a_web("other", ips=["10.96.0.2"]))
    new = f"inbound-vip|81|http|{WEB}"
    moved = a_web(ports=[a_service_port(81, name="http", target_port=8080)])
    assert waypoints.apply(moved) == {
        "shop/waypoint CDS": {new, f"-{WEB_HTTP}"},
        "shop/waypoint EDS": {new, f"-{WEB_HTTP}"},
        "shop/waypoint RDS": {new, f"-{WEB_HTTP}"},
        "shop/waypoint LDS": {"main_internal"},
    }


@pytest.mark.proves("WC-53")
def test_the_second_listener_is_there_while_something_has_to_be_sniffed() -> None:
    waypoints = _waypoints(the_waypoint(), a_web(), a_web_pod())
    other = a_web("other", ips=["10.96.0.2"], ports=[a_service_port(7000, name="")])
    names = {f"inbound-vip|7000|{layer}|other.shop.svc.cluster.local" for layer in ("http", "tcp")}
    changed = waypoints.apply(other)
    assert changed["shop/waypoint LDS"] == {"main_sniffed"}
    assert changed["shop/waypoint CDS"] == names | {"main_sniffed"}
    assert "connect_terminate" in changed["shop/waypoint RDS"]
    third = a_web("third", ips=["10.96.0.3"], ports=[a_service_port(7000, name="")])
    assert waypoints.apply(third)["shop/waypoint LDS"] == {"main_sniffed"}
    waypoints.apply(removed=[third])
    gone = waypoints.apply(removed=[other])
    assert gone["shop/waypoint LDS"] == {"-main_sniffed"}
    assert "connect_terminate" in gone["shop/waypoint RDS"]
    assert gone["shop/waypoint CDS"] == {f"-{name}" for name in names} | {"-main_sniffed"}


@pytest.mark.refutes("WC-53")
def test_a_service_whose_ports_say_what_is_spoken_does_not_concern_tunnels() -> None:
    waypoints = _waypoints(the_waypoint(), a_web(), a_web_pod())
    changed = waypoints.apply(a_web("other", ips=["10.96.0.2"]))
    assert changed["shop/waypoint LDS"] == {"main_internal"}
    assert "connect_terminate" not in changed["shop/waypoint RDS"]


def test_a_workload_reached_by_address_is_routes_of_tunnels_and_a_listener() -> None:
    everything = {"istio.io/waypoint-for": "all"}
    waypoints = _waypoints(the_waypoint(**everything), a_web(), a_web_pod(labels=USE))
    second = a_web_pod("alone", "10.0.0.2", labels=USE)
    assert waypoints.apply(second) == {
        "shop/waypoint LDS": {"main_sniffed"},
        "shop/waypoint RDS": {"connect_terminate"},
    }


def test_a_policy_of_a_sniffed_port_is_an_edit_of_the_second_listener_alone() -> None:
    other = a_web("other", ips=["10.96.0.2"], ports=[a_service_port(7000, name="")])
    waypoints = _waypoints(the_waypoint(), a_web(), other)
    policy = an_authorization_policy(
        "deny",
        "shop",
        action="DENY",
        rules=[AuthorizationRule(sources=(Source(namespaces=("bank",)),))],
        target_references=(TargetReference(kind="Service", name="other"),),
    )
    assert waypoints.apply(policy)["shop/waypoint LDS"] == {"main_sniffed"}


def test_a_changed_target_port_is_one_set_of_endpoints() -> None:
    waypoints = _waypoints(the_waypoint(), a_web(), a_web_pod())
    moved = a_web(ports=[a_service_port(80, name="http", target_port=9090)])
    assert waypoints.apply(moved) == {"shop/waypoint EDS": {WEB_HTTP}}


def test_a_changed_label_moves_a_service_between_waypoints() -> None:
    waypoints = _waypoints(the_waypoint(), a_waypoint("second", "shop"), a_web(), a_web_pod())
    changed = waypoints.apply(a_web(labels={"istio.io/use-waypoint": "second"}))
    assert changed == {
        "shop/waypoint CDS": {f"-{WEB_HTTP}"},
        "shop/waypoint EDS": {f"-{WEB_HTTP}"},
        "shop/waypoint RDS": {f"-{WEB_HTTP}"},
        "shop/waypoint LDS": {"main_internal"},
        "shop/second CDS": {WEB_HTTP},
        "shop/second EDS": {WEB_HTTP},
        "shop/second RDS": {WEB_HTTP},
        "shop/second LDS": {"main_internal"},
    }


def test_a_waypoint_that_becomes_ready_is_sent_nothing_new() -> None:
    waypoints = _waypoints(a_waypoint("waypoint", "shop", addresses={}), a_web(), a_web_pod())
    assert waypoints.names(CLUSTER_TYPE) == FIXED_CLUSTERS | {WEB_HTTP}
    assert waypoints.apply(the_waypoint()) == {}


def test_a_waypoint_never_has_what_is_bound_to_another() -> None:
    waypoints = _waypoints(
        the_waypoint(),
        a_waypoint("waypoint", "bank"),
        a_web(),
        a_web_pod(),
        a_web("vault", "bank", ips=["10.96.0.9"]),
        a_pod("vault-1", "bank", labels={"app": "vault"}, ips=["10.0.0.9"]),
        a_web("unbound", "bank", labels={}, ips=["10.96.0.8"]),
    )
    shop, bank = Name("shop", "waypoint"), Name("bank", "waypoint")
    assert waypoints.waypoints() == [bank, shop]
    for waypoint, own, foreign in ((shop, b"web.shop", b"vault"), (bank, b"vault", b"web.shop")):
        content = b"".join(waypoints.bodies(waypoint).values())
        assert own in content
        assert foreign not in content
        assert b"unbound" not in content


def test_a_waypoint_that_goes_leaves_nothing() -> None:
    waypoints = _waypoints(the_waypoint(), a_web(), a_web_pod())
    waypoints.apply(removed=[the_waypoint()])
    assert waypoints.bodies() == {}


def test_a_service_that_cannot_be_sent_holds_nothing_up() -> None:
    odd = a_service_entry("odd", "shop", hosts=["\ud800"], labels=USE, addresses=["10.96.0.7"])
    waypoints = _waypoints(the_waypoint(), a_web(), a_web_pod(), odd)
    assert waypoints.names(CLUSTER_TYPE) == FIXED_CLUSTERS | {WEB_HTTP}
    assert waypoints.names(LISTENER_TYPE) == FIXED_LISTENERS
    problems = waypoints.problems()
    assert ObjectReference("ServiceEntry", "shop", "odd") in {each.object for each in problems}
    assert {problem.code for problem in problems} == {REFUSED}
    waypoints.apply(removed=[odd])
    assert waypoints.problems() == []


@pytest.mark.proves("WC-13")
@pytest.mark.parametrize("seed", range(4))
def test_the_order_in_which_objects_come_does_not_matter(seed: int) -> None:
    manifests = [
        the_waypoint(**{"istio.io/waypoint-for": "all"}),
        *(a_web(f"s{number}", ips=[f"10.96.0.{number}"]) for number in range(1, 9)),
        *(
            a_pod(
                f"p{number}",
                "shop",
                labels={"app": f"s{number % 3}"} | USE,
                annotations=HBONE,
                ips=[f"10.0.0.{number}"],
            )
            for number in range(1, 9)
        ),
    ]
    once = _waypoints(*manifests)
    other = Waypoints(shuffle=seed)
    for manifest in reversed(manifests):
        other.apply(manifest)
    assert other.bodies() == once.bodies()
    assert len(once.bodies()) == 4 + 4 + 8 * 3 + 2


def test_every_type_has_a_table_of_its_own() -> None:
    waypoints = _waypoints(the_waypoint(), a_web(), a_web_pod())
    for type_url in WAYPOINT_TYPES:
        for document in waypoints.documents(type_url).values():
            assert document["@type"] == type_url
