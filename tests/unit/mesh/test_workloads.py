import pytest

from controlplane.manifests.core import EndpointPort
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import ServiceName
from controlplane.model.workload import (
    Locality,
    NetworkMode,
    Port,
    TunnelProtocol,
    Workload,
    WorkloadStatus,
    WorkloadType,
)
from tests.support.builders import (
    HBONE,
    a_namespace,
    a_node,
    a_pod,
    a_service,
    a_service_entry,
    a_workload_entry,
    an_endpoint,
    an_endpoint_slice,
)
from tests.support.mesh import Mesh


def the_pod(mesh: Mesh, name: str = "pod") -> Workload:
    found = mesh.world.workloads.get(f"{mesh.settings.cluster_id}//Pod/default/{name}")
    assert found is not None
    return found


def services_of(mesh: Mesh, name: str = "pod") -> list[str]:
    return [key.hostname.partition(".")[0] for key, _ in the_pod(mesh, name).services]


@pytest.mark.proves("WL-4", "WL-7", "WL-8")
def test_a_pod_is_a_workload_captured_or_not() -> None:
    mesh = Mesh()
    mesh.apply(
        [
            a_pod(ips=("10.0.0.1", "fd00::1"), service_account="shop", node="n1"),
            a_pod("captured", ips=("10.0.0.2",), annotations=HBONE),
        ]
    )
    assert the_pod(mesh) == Workload(
        uid="Kubernetes//Pod/default/pod",
        name="pod",
        namespace="default",
        addresses=(bytes((10, 0, 0, 1)), bytes.fromhex("fd000000000000000000000000000001")),
        service_account="shop",
        node="n1",
        cluster_id="Kubernetes",
        workload_type=WorkloadType.POD,
        workload_name="pod",
        canonical_name="pod",
        canonical_revision="latest",
    )
    assert the_pod(mesh, "captured").tunnel_protocol is TunnelProtocol.HBONE


@pytest.mark.refutes("WL-4", "WL-7")
def test_other_kinds_make_no_pod() -> None:
    mesh = Mesh()
    mesh.apply([a_service(), a_node(), a_namespace()])
    assert len(mesh.world.workloads) == 0


@pytest.mark.proves("WL-8", "WL-13")
@pytest.mark.refutes("WL-8", "WL-13")
def test_an_empty_cluster_id_and_shared_addresses() -> None:
    mesh = Mesh(MeshSettings(cluster_id=""))
    mesh.apply(
        [
            a_pod(ips=("127.0.0.1",)),
            a_pod("twin", ips=("127.0.0.1",)),
            a_workload_entry(address="127.0.0.1"),
            a_workload_entry("other", address="127.0.0.1"),
        ]
    )
    addresses = mesh.addresses()
    assert set(addresses) == {
        "//Pod/default/pod",
        "//Pod/default/twin",
        "/networking.istio.io/WorkloadEntry/default/machine",
        "/networking.istio.io/WorkloadEntry/default/other",
    }
    assert {resource.aliases for resource in addresses.values()} == {("/127.0.0.1",)}
    assert mesh.graph.clashes == ()


@pytest.mark.proves("WL-5")
@pytest.mark.refutes("WL-5")
@pytest.mark.parametrize(
    ("phase", "ips", "published"),
    [
        ("Pending", ("10.0.0.1",), True),
        ("Pending", (), False),
        ("Running", ("10.0.0.1",), True),
        ("Unknown", ("10.0.0.1",), True),
        ("Succeeded", ("10.0.0.1",), False),
        ("Failed", ("10.0.0.1",), False),
    ],
)
def test_phase_and_address_decide(phase: str, ips: tuple[str, ...], published: bool) -> None:
    mesh = Mesh()
    mesh.apply([a_pod(phase=phase, ips=ips)])
    assert len(mesh.world.workloads) == published
    assert mesh.problems() == []


@pytest.mark.proves("WL-6")
@pytest.mark.refutes("WL-6")
def test_one_bad_address_keeps_the_pod_back() -> None:
    mesh = Mesh()
    mesh.apply([a_pod(ips=("10.0.0.1", "10.0.0")), a_pod("good")])
    assert [value.name for _, value in mesh.world.workloads.items()] == ["good"]
    [problem] = mesh.problems()
    assert (problem.code, problem.field) == ("pod.invalid-address", "status.podIPs[1]")
    assert str(problem.object) == "Pod default/pod"
    mesh.apply([a_pod(ips=("10.0.0.1", "10.0.0.9"))])
    assert mesh.problems() == []
    assert len(mesh.world.workloads) == 2


@pytest.mark.proves("WL-9", "WL-10")
@pytest.mark.refutes("WL-9", "WL-10")
def test_health_and_network_mode() -> None:
    mesh = Mesh()
    mesh.apply(
        [
            a_pod(),
            a_pod("unready", ready=False),
            a_pod("leaving", deleting=True),
            a_pod("host", host_network=True),
        ]
    )
    healthy = {
        workload.name: workload.status is WorkloadStatus.HEALTHY
        for _, workload in mesh.world.workloads.items()
    }
    assert healthy == {"pod": True, "unready": False, "leaving": False, "host": True}
    assert the_pod(mesh, "host").network_mode is NetworkMode.HOST_NETWORK
    assert the_pod(mesh).network_mode is NetworkMode.STANDARD


@pytest.mark.proves("WL-11")
@pytest.mark.refutes("WL-11")
def test_locality_is_that_of_the_node() -> None:
    mesh = Mesh()
    mesh.apply([a_pod(), a_pod("homeless", node="")])
    assert the_pod(mesh).locality is None
    mesh.apply([a_node(labels={"failure-domain.beta.kubernetes.io/zone": "z"})])
    assert the_pod(mesh).locality is None
    mesh.apply(
        [a_node(labels={"topology.kubernetes.io/zone": "z", "topology.istio.io/subzone": "s"})]
    )
    assert the_pod(mesh).locality == Locality("", "z", "s")
    assert the_pod(mesh, "homeless").locality is None
    region = {"topology.kubernetes.io/region": "r"}
    mesh.apply([a_node(labels=region)])
    assert the_pod(mesh).locality == Locality("r")
    calls = mesh.graph.rule_calls
    mesh.apply([a_node(labels=region | {"heartbeat": "1"})])
    assert mesh.graph.rule_calls == calls + 1


@pytest.mark.proves("WL-12")
@pytest.mark.refutes("WL-12")
def test_the_trust_domain_is_sent_unless_it_is_the_usual_one() -> None:
    mesh = Mesh()
    for domain, sent in (("", ""), ("cluster.local", ""), ("example.org", "example.org")):
        mesh.apply(
            [
                MeshConfig(trust_domain=domain) if domain else MeshConfig(),
                a_pod(),
                a_workload_entry(),
            ]
        )
        assert {each.trust_domain for _, each in mesh.world.workloads.items()} == {sent}


@pytest.mark.proves("WL-20")
@pytest.mark.refutes("WL-20")
def test_services_of_the_namespace_whose_selector_fits() -> None:
    mesh = Mesh()
    labels = {"app": "a", "tier": "front"}
    mesh.apply(
        [
            a_pod(labels=labels),
            a_pod("bare"),
            a_service("fits", selector={"app": "a"}),
            a_service("both", selector=labels),
            a_service("more", selector=labels | {"x": "y"}),
            a_service("wrong", selector={"app": "b"}),
            a_service("empty"),
            a_service("away", "elsewhere", selector={"app": "a"}),
            a_service_entry("far", "elsewhere", hosts=("far.com",), workload_selector={"app": "a"}),
        ]
    )
    assert services_of(mesh) == ["both", "fits"]
    assert services_of(mesh, "bare") == []


@pytest.mark.proves("WL-21", "WL-22")
@pytest.mark.refutes("WL-21", "WL-22")
def test_settings_decide_who_selects_across_kinds() -> None:
    for pods, entries in ((True, True), (False, True), (True, False)):
        settings = MeshSettings(
            service_entries_select_pods=pods, services_select_workload_entries=entries
        )
        mesh = Mesh(settings)
        labels = {"app": "a"}
        mesh.apply(
            [
                a_pod(labels=labels),
                a_workload_entry(labels=labels),
                a_service(selector=labels),
                a_service_entry(hosts=("entry.com",), workload_selector=labels),
                a_service_entry("open", hosts=("open.com",), workload_selector={}),
            ]
        )
        machine = mesh.world.workloads.get(
            "Kubernetes/networking.istio.io/WorkloadEntry/default/machine"
        )
        assert machine is not None
        listed = [key.hostname.partition(".")[0] for key, _ in machine.services]
        assert listed == (["entry", "service"] if entries else ["entry"])
        assert services_of(mesh) == (["entry", "service"] if pods else ["service"])


@pytest.mark.proves("WL-23")
def test_an_endpoint_slice_adds_the_pod_it_targets() -> None:
    mesh = Mesh()
    pod = a_pod()
    slices = an_endpoint_slice(endpoints=(an_endpoint("10.0.0.1", pod=pod),))
    mesh.apply([pod, a_service(), slices])
    assert the_pod(mesh).services == (
        (ServiceName("default", "service.default.svc.cluster.local"), (Port(80, 8080),)),
    )
    assert len(mesh.world.workloads) == 1
    mesh.apply([], removed=[("EndpointSlice", slices.key)])
    assert services_of(mesh) == []


@pytest.mark.refutes("WL-23")
def test_a_slice_that_means_another_pod_adds_nothing() -> None:
    pod = a_pod()
    for endpoint in (
        an_endpoint("10.0.0.1"),
        an_endpoint("10.0.0.1", kind="Pod", namespace="default", name="pod", uid="earlier"),
        an_endpoint("10.0.0.1", kind="Pod", namespace="other", name="pod", uid=pod.metadata.uid),
        an_endpoint("10.0.0.1", kind="Node", namespace="default", name="pod", uid=pod.metadata.uid),
    ):
        mesh = Mesh()
        mesh.apply([pod, a_service(), an_endpoint_slice(endpoints=(endpoint,))])
        assert services_of(mesh) == []


@pytest.mark.refutes("WL-23")
def test_the_slices_of_a_selector_are_not_consulted() -> None:
    mesh = Mesh()
    pod = a_pod(labels={"app": "a"})
    kept = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
    other = a_service("other", selector={"app": "b"})
    stale = an_endpoint_slice(
        service="other", endpoints=(an_endpoint("10.0.0.1", pod=pod),), labels=kept
    )
    mesh.apply([pod, a_service(selector={"app": "a"}), other, stale])
    assert services_of(mesh) == ["service"]
    by_hand = an_endpoint_slice(service="other", endpoints=(an_endpoint("10.0.0.1", pod=pod),))
    mesh.apply([by_hand])
    assert services_of(mesh) == ["other", "service"]


def test_a_service_that_selects_and_references_is_listed_once() -> None:
    mesh = Mesh()
    pod = a_pod(labels={"app": "a"}, ports={"web": 7070})
    ports = (EndpointPort(name="http", port=9999, protocol="TCP"),)
    slices = an_endpoint_slice(endpoints=(an_endpoint("10.0.0.1", pod=pod),), ports=ports)
    mesh.apply([pod, a_service(selector={"app": "a"}), slices])
    assert the_pod(mesh).services == (
        (ServiceName("default", "service.default.svc.cluster.local"), (Port(80, 8080),)),
    )
