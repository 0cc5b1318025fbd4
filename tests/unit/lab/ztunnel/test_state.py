"""How responses change what a node knows."""

from ipaddress import ip_address

import pytest

from controlplane.lab.ztunnel.network import NamespacedHostname, NetworkAddress
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from controlplane.pb import workload_pb2
from tests.support.wire import (
    a_policy,
    a_resource,
    a_response,
    a_service,
    a_workload,
    policies,
    uid_of,
)

WEB = NamespacedHostname("default", "web")
HEALTHY_ONLY = a_service("web")
ANY_HEALTH = a_service("web", load_balancing={"health_policy": 1})
BEHIND = {"default/web": {80: 8080}}
UNHEALTHY = workload_pb2.UNHEALTHY


def a_node(*responses: bytes) -> Session:
    session = Session(NodeIdentity(node_name="n1"))
    session.connect()
    for response in responses:
        session.receive(response)
    return session


def endpoints(session: Session) -> list[str]:
    return [endpoint.uid for endpoint in session.state.services.endpoints(WEB)]


def at(session: Session, ip: str) -> str | None:
    workload = session.state.workloads.at(NetworkAddress("", ip_address(ip)))
    return None if workload is None else workload.uid


@pytest.mark.proves("ZT-20")
def test_a_name_that_is_updated_and_removed_ends_up_removed() -> None:
    node = a_node(
        a_response(HEALTHY_ONLY),
        a_response(a_workload("a", services=BEHIND), removed=[uid_of("a")]),
        policies(a_policy("p"), removed=["default/p"]),
    )
    view = node.state.view()
    assert view.workloads == {}
    assert view.policies == {}
    assert view.endpoints == {"default/web": ()}


@pytest.mark.refutes("ZT-20")
def test_a_removed_name_that_is_updated_later_is_held() -> None:
    node = a_node(a_response(removed=[uid_of("a")]), a_response(a_workload("a")))
    assert set(node.state.workloads.by_uid) == {uid_of("a")}


@pytest.mark.proves("ZT-21")
def test_services_and_workloads_of_a_response_come_in_any_order() -> None:
    workload = a_workload("a", services=BEHIND, status=UNHEALTHY)
    first = a_node(a_response(ANY_HEALTH, workload))
    second = a_node(a_response(workload, ANY_HEALTH))
    assert first.state.view() == second.state.view()
    assert endpoints(first) == [uid_of("a")]


@pytest.mark.refutes("ZT-21")
def test_the_order_of_two_responses_matters() -> None:
    workload = a_workload("a", services=BEHIND, status=UNHEALTHY)
    node = a_node(a_response(HEALTHY_ONLY), a_response(workload), a_response(ANY_HEALTH))
    assert endpoints(node) == []


@pytest.mark.proves("ZT-22")
def test_an_update_replaces_the_whole_workload() -> None:
    node = a_node(
        a_response(
            HEALTHY_ONLY, a_workload("a", ips=["10.0.0.1"], services=BEHIND, policies=["p"])
        ),
        a_response(a_workload("a", ips=["10.0.0.2"])),
    )
    assert at(node, "10.0.0.1") is None
    assert at(node, "10.0.0.2") == uid_of("a")
    assert endpoints(node) == []
    assert node.state.workloads.listing("p") == ()


@pytest.mark.refutes("ZT-22")
def test_an_update_of_another_uid_replaces_nothing() -> None:
    node = a_node(
        a_response(HEALTHY_ONLY, a_workload("a", ips=["10.0.0.1"], services=BEHIND)),
        a_response(a_workload("b", ips=["10.0.0.1"])),
    )
    assert endpoints(node) == [uid_of("a")]
    assert set(node.state.workloads.by_uid) == {uid_of("a"), uid_of("b")}


@pytest.mark.proves("ZT-23")
def test_an_endpoint_waits_for_its_service() -> None:
    node = a_node(a_response(a_workload("a", services=BEHIND)))
    assert [str(key) for key in node.state.services.staged()] == ["default/web"]
    node.receive(a_response(HEALTHY_ONLY))
    assert endpoints(node) == [uid_of("a")]
    assert node.state.services.staged() == {}


@pytest.mark.refutes("ZT-23")
def test_an_endpoint_that_left_does_not_join() -> None:
    node = a_node(
        a_response(a_workload("a", services=BEHIND), a_workload("b", services=BEHIND)),
        a_response(a_workload("a")),
        a_response(removed=[uid_of("b")]),
    )
    assert node.state.services.staged() == {}
    node.receive(a_response(HEALTHY_ONLY))
    assert endpoints(node) == []


@pytest.mark.proves("ZT-24")
def test_unhealthy_endpoints_are_left_out_and_do_not_come_back_by_themselves() -> None:
    workload = a_workload("a", services=BEHIND, status=UNHEALTHY)
    node = a_node(a_response(ANY_HEALTH, workload))
    assert endpoints(node) == [uid_of("a")]
    node.receive(a_response(HEALTHY_ONLY))
    assert endpoints(node) == []
    node.receive(a_response(ANY_HEALTH))
    assert endpoints(node) == []
    node.receive(a_response(workload))
    assert endpoints(node) == [uid_of("a")]


@pytest.mark.refutes("ZT-24")
def test_healthy_endpoints_survive_a_change_of_the_service() -> None:
    node = a_node(a_response(ANY_HEALTH, a_workload("a", services=BEHIND)))
    node.receive(a_response(HEALTHY_ONLY))
    assert endpoints(node) == [uid_of("a")]
    node.receive(a_response(a_workload("a", services=BEHIND, status=UNHEALTHY)))
    assert endpoints(node) == []


@pytest.mark.proves("ZT-25")
def test_removal_by_uid_and_by_service_key() -> None:
    node = a_node(
        a_response(a_workload("a"), a_service("web"), a_service("web", "other")),
        a_response(removed=[uid_of("a"), "default/web"]),
    )
    assert node.state.view().workloads == {}
    assert set(node.state.view().services) == {"other/web"}


@pytest.mark.proves("ZT-25")
def test_a_workload_whose_uid_looks_like_a_service_is_removed_first() -> None:
    workload = a_workload("a", uid="default/web")
    node = a_node(a_response(workload, a_service("web")), a_response(removed=["default/web"]))
    assert node.state.view().workloads == {}
    assert set(node.state.view().services) == {"default/web"}


@pytest.mark.refutes("ZT-25")
@pytest.mark.parametrize("name", ["web", "default/web/x", "default/nothing", "", uid_of("b")])
def test_removals_of_nothing_are_ignored(name: str) -> None:
    node = a_node(a_response(a_workload("a"), a_service("web")))
    before = node.state.view()
    node.receive(a_response(removed=[name]))
    assert node.state.view() == before


@pytest.mark.proves("ZT-26")
def test_a_removed_service_forgets_its_endpoints() -> None:
    node = a_node(
        a_response(HEALTHY_ONLY, a_workload("a", services=BEHIND)),
        a_response(removed=["default/web"]),
        a_response(HEALTHY_ONLY),
    )
    assert endpoints(node) == []


@pytest.mark.refutes("ZT-26")
def test_workloads_sent_again_bring_the_endpoints_back() -> None:
    workload = a_workload("a", services=BEHIND)
    node = a_node(
        a_response(HEALTHY_ONLY, workload),
        a_response(removed=["default/web"]),
        a_response(workload, HEALTHY_ONLY),
    )
    assert endpoints(node) == [uid_of("a")]


@pytest.mark.proves("ZT-27")
def test_a_policy_is_held_under_the_name_of_its_resource() -> None:
    policy = a_resource(a_policy("fields", "say"), name="wire/name")
    node = a_node(policies(policy))
    assert set(node.state.policies.by_name) == {"wire/name"}
    node.receive(policies(removed=["wire/name"]))
    assert node.state.policies.by_name == {}


@pytest.mark.refutes("ZT-27")
def test_a_policy_is_not_removed_by_what_its_fields_say() -> None:
    policy = a_resource(a_policy("fields", "say"), name="wire/name")
    node = a_node(policies(policy), policies(removed=["say/fields"]))
    assert set(node.state.policies.by_name) == {"wire/name"}


@pytest.mark.proves("ZT-19")
def test_the_rest_of_a_response_is_applied() -> None:
    node = a_node(
        a_response(
            a_workload("a", addresses=[b"1"]), a_workload("b"), a_service("web"), removed=["x/y"]
        )
    )
    assert set(node.state.view().workloads) == {uid_of("b")}
    assert set(node.state.view().services) == {"default/web"}


@pytest.mark.refutes("ZT-19")
def test_a_rejected_update_leaves_what_was_held() -> None:
    node = a_node(a_response(a_workload("a", node="n1")))
    before = node.state.view()
    node.receive(a_response(a_workload("a", node="n2", addresses=[b"1"])))
    assert node.state.view() == before


HBONE = workload_pb2.HBONE
RANKED = [
    a_workload("best", ips=["10.0.0.1"], tunnel_protocol=HBONE),
    a_workload("pod", ips=["10.0.0.1"]),
    a_workload(uid="c/entry/hbone", ips=["10.0.0.1"], tunnel_protocol=HBONE),
    a_workload(uid="c/entry/plain", ips=["10.0.0.1"]),
]


@pytest.mark.proves("ZT-28")
def test_the_best_of_several_at_one_address() -> None:
    node = a_node(a_response(*reversed(RANKED)))
    for best in RANKED:
        assert at(node, "10.0.0.1") == best.uid
        node.receive(a_response(removed=[best.uid]))
    assert at(node, "10.0.0.1") is None


@pytest.mark.refutes("ZT-28")
def test_a_workload_on_its_nodes_network_is_not_found_by_address() -> None:
    host = workload_pb2.HOST_NETWORK
    node = a_node(a_response(a_workload("a", ips=["10.0.0.1"], network_mode=host)))
    assert at(node, "10.0.0.1") is None
    assert uid_of("a") in node.state.workloads.by_uid


def test_removing_everything_leaves_nothing_in_any_index() -> None:
    node = a_node(
        a_response(
            a_workload("a", ips=["10.0.0.1"], services=BEHIND, policies=["p"], hostname="h"),
            a_workload("b", services={"x/unknown": {}}),
            a_service("web", vips=["10.1.0.1", "10.2.0.0/16"]),
        ),
        policies(a_policy("p", scope=1), a_policy("g", scope=0)),
    )
    node.receive(a_response(removed=[uid_of("a"), uid_of("b"), "default/web"]))
    node.receive(policies(removed=["default/p", "default/g"]))
    assert node.state.workloads.is_clean
    assert node.state.services.is_clean
    assert node.state.view() == a_node().state.view()


def test_differences_name_what_differs() -> None:
    one = a_node(a_response(a_workload("a"), a_service("web")), policies(a_policy("p")))
    other = a_node(a_response(a_workload("a", node="n2"), a_service("web")))
    assert one.state.view().differences(other.state.view()) == (
        f"workloads {uid_of('a')}",
        "policies default/p",
    )
