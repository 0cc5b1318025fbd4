import pytest

from controlplane.manifests.gateway import Gateway, Listener
from controlplane.mesh.networks import gateways_of, problems_of
from controlplane.model.network import NetworkAddress
from controlplane.model.workload import (
    GatewayAddress,
    NamespacedHostname,
    TunnelProtocol,
    Workload,
    WorkloadType,
)
from tests.support.builders import (
    a_gateway,
    a_namespace,
    a_pod,
    a_service,
    a_workload_entry,
)
from tests.support.mesh import Mesh

NETWORK = "topology.istio.io/network"
HTTP = Listener(name="http", port=80, protocol="HTTP")


def a_remote(name: str = "east", **rest: object) -> Gateway:
    given: dict[str, object] = {
        "class_name": "istio-remote",
        "labels": {NETWORK: "far"},
        "addresses": {"9.9.9.9": "IPAddress"},
        "listeners": (HTTP, Listener(name="mesh", port=15108, protocol="HBONE")),
    }
    return a_gateway(name, "edge", **(given | rest))  # type: ignore[arg-type]


def workloads_of(mesh: Mesh) -> dict[str, Workload]:
    return {workload.name: workload for _, workload in mesh.world.workloads.items()}


@pytest.mark.proves("NW-1", "NW-2")
@pytest.mark.refutes("NW-1", "NW-2")
def test_everything_moves_with_the_network_of_the_system_namespace() -> None:
    mesh = Mesh()
    mesh.apply(
        [
            a_namespace("default", labels={NETWORK: "not-me"}),
            a_pod(labels={NETWORK: "nor-me"}),
            a_service(),
            a_workload_entry(),
            a_workload_entry("far", network="far"),
        ]
    )
    for network in ("", "one", "two"):
        labels = {NETWORK: network} if network else {}
        before = mesh.addresses()
        mesh.apply([a_namespace("istio-system", labels=labels)])
        found = workloads_of(mesh)
        assert {found["pod"].network, found["machine"].network} == {network}
        assert found["far"].network == "far"
        [service] = [value for _, value in mesh.world.services.items()]
        assert service.addresses == (NetworkAddress(network, bytes((10, 96, 0, 1))),)
        after = mesh.addresses()
        unchanged = {name for name in after if after[name] == before[name]}
        far = "Kubernetes/networking.istio.io/WorkloadEntry/default/far"
        assert unchanged == ({far} if network else set(after))


@pytest.mark.proves("NW-3")
@pytest.mark.refutes("NW-3")
def test_which_gateways_lead_to_a_network() -> None:
    found = gateways_of(a_remote(addresses={"9.9.9.9": "IPAddress", "far.example": "Hostname"}))
    assert [(each.network, each.value, each.port) for each in found.values()] == [
        ("far", "9.9.9.9", 15108),
        ("far", "far.example", 15108),
    ]
    for other in (
        a_remote(class_name="istio-east-west"),
        a_remote(labels={}),
        a_remote(labels={NETWORK: ""}),
        a_remote(addresses={}),
    ):
        assert gateways_of(other) == {}


@pytest.mark.proves("NW-4")
@pytest.mark.refutes("NW-4")
def test_what_cannot_be_used_is_a_problem() -> None:
    def codes(gateway: Gateway) -> list[tuple[str, str]]:
        return [(key.code, key.field) for key in problems_of(gateway)]

    silent = a_remote(listeners=(HTTP,))
    assert gateways_of(silent) == {}
    assert codes(silent) == [("network-gateway.no-hbone-listener", "spec.listeners")]
    odd = a_remote(addresses={"9.9.9": "IPAddress", "x": "Named", "9.9.9.9": "", "h": "Hostname"})
    assert [each.value for each in gateways_of(odd).values()] == ["9.9.9.9", "h"]
    assert codes(odd) == [
        ("network-gateway.unusable-address", "status.addresses[0]"),
        ("network-gateway.unusable-address", "status.addresses[1]"),
    ]
    assert codes(a_remote()) == []
    assert codes(a_remote(class_name="nginx", listeners=(HTTP,))) == []


@pytest.mark.proves("NW-5", "NW-6")
@pytest.mark.refutes("NW-5", "NW-6")
def test_workloads_are_entered_through_the_first_gateway_of_their_network() -> None:
    mesh = Mesh()
    mesh.apply([a_workload_entry(network="far"), a_workload_entry("near"), a_pod()])
    assert {each.network_gateway for each in workloads_of(mesh).values()} == {None}

    second = a_remote("west", addresses={"west.example": "Hostname"})
    mesh.apply([second, a_remote("another", labels={NETWORK: "elsewhere"})])
    by_name = GatewayAddress(NamespacedHostname("edge", "west.example"), 15108)
    assert workloads_of(mesh)["machine"].network_gateway == by_name

    mesh.apply([a_remote("east")])
    by_address = GatewayAddress(NetworkAddress("far", bytes((9, 9, 9, 9))), 15108)
    found = workloads_of(mesh)
    assert found["machine"].network_gateway == by_address
    assert found["near"].network_gateway is None
    assert found["pod"].network_gateway is None

    mesh.apply([a_namespace("istio-system", labels={NETWORK: "far"})])
    assert workloads_of(mesh)["pod"].network_gateway == by_address


@pytest.mark.proves("NW-7")
@pytest.mark.refutes("NW-7")
def test_a_network_gateway_is_a_workload() -> None:
    mesh = Mesh()
    account = {"gateway.istio.io/service-account": "door"}
    mesh.apply(
        [
            a_remote("east"),
            a_remote("west", addresses={"w.example": "Hostname"}, annotations=account),
            a_gateway("plain", "edge", addresses={"8.8.8.8": "IPAddress"}),
        ]
    )
    found = {workload.uid: workload for workload in workloads_of(mesh).values()}
    assert set(found) == {"NetworkGateway/far/9.9.9.9/15108", "NetworkGateway/far/w.example/15108"}
    by_address = found["NetworkGateway/far/9.9.9.9/15108"]
    assert by_address.name == by_address.uid
    assert by_address.addresses == (bytes((9, 9, 9, 9)),)
    assert by_address.service_account == "east-istio-remote"
    assert by_address.namespace == "edge"
    assert by_address.cluster_id == ""
    assert by_address.tunnel_protocol is TunnelProtocol.NONE
    assert by_address.workload_type is WorkloadType.DEPLOYMENT
    by_name = found["NetworkGateway/far/w.example/15108"]
    assert by_name.addresses == ()
    assert by_name.hostname == "w.example"
    assert by_name.service_account == "door"


@pytest.mark.proves("NW-8")
@pytest.mark.refutes("NW-8")
def test_the_first_gateway_with_an_address_stands_for_it() -> None:
    mesh = Mesh()
    account = {"gateway.istio.io/service-account": "second"}
    east, west = a_remote("east"), a_remote("west", annotations=account)
    mesh.apply(
        [west, a_remote("other-port", listeners=(Listener(name="x", port=1, protocol="HBONE"),))]
    )
    assert mesh.problems() == []
    assert len(mesh.world.workloads) == 2
    mesh.apply([east])
    found = workloads_of(mesh)["NetworkGateway/far/9.9.9.9/15108"]
    assert found.service_account == "east-istio-remote"
    [problem] = mesh.problems()
    assert problem.code == "network-gateway.repeated-address"
    assert str(problem.object) == "Gateway edge/west"
    mesh.apply([], removed=[("Gateway", east.key)])
    assert mesh.problems() == []
    found = workloads_of(mesh)["NetworkGateway/far/9.9.9.9/15108"]
    assert found.service_account == "second"
