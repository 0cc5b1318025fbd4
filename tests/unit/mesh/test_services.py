import pytest

from controlplane.manifests.core import Service as ServiceManifest
from controlplane.manifests.core import ServicePort
from controlplane.mesh.candidates import Candidate
from controlplane.mesh.services import service_candidate, service_problems
from controlplane.mesh.traffic_distribution import Distribution
from controlplane.model.network import NetworkAddress
from controlplane.model.service import IPFamilies
from controlplane.model.workload import AppProtocol, Port
from tests.support.builders import a_pod, a_service
from tests.support.mesh import Mesh


def candidate_of(manifest: ServiceManifest, network: str = "") -> Candidate | None:
    return service_candidate(
        manifest, network=network, distribution=Distribution.ANY, domain_suffix="cluster.local"
    )


@pytest.mark.proves("SV-1", "SV-6")
@pytest.mark.refutes("SV-1")
def test_every_service_but_external_names_is_published() -> None:
    mesh = Mesh()
    mesh.apply(
        [
            a_service("plain", selector={"app": "a"}),
            a_service("bare"),
            a_service("headless", ips=("None",)),
            a_service("outside", type="ExternalName", ips=()),
        ]
    )
    services = {key.hostname: value for key, value in mesh.world.services.items()}
    assert sorted(services) == [
        "bare.default.svc.cluster.local",
        "headless.default.svc.cluster.local",
        "plain.default.svc.cluster.local",
    ]
    assert all(service.canonical for service in services.values())


@pytest.mark.proves("SV-2")
@pytest.mark.refutes("SV-2")
def test_addresses_are_the_usable_cluster_ips() -> None:
    candidate = candidate_of(a_service(ips=("10.0.0.1", "", "fd00::1")), network="north")
    assert candidate is not None
    assert candidate.service.addresses == (
        NetworkAddress("north", bytes((10, 0, 0, 1))),
        NetworkAddress("north", bytes.fromhex("fd000000000000000000000000000001")),
    )
    for ips in ((), ("None",), ("",)):
        headless = candidate_of(a_service(ips=ips))
        assert headless is not None
        assert headless.service.addresses == ()


@pytest.mark.proves("SV-3")
@pytest.mark.refutes("SV-3")
def test_an_unusable_cluster_ip_keeps_the_service_back() -> None:
    bad = a_service(ips=("10.0.0.1", "10.0.0.300"))
    assert candidate_of(bad) is None
    [(key, problem)] = service_problems(bad).items()
    assert key == (bad.reference, "service.invalid-cluster-ip", "spec.clusterIPs[1]")
    assert "10.0.0.300" in problem.message
    assert service_problems(a_service(ips=("10.0.0.1", "None"))) == {}
    assert service_problems(a_service(type="ExternalName", ips=("nonsense",))) == {}


@pytest.mark.proves("SV-4")
@pytest.mark.refutes("SV-4")
def test_all_ports_are_published_and_only_numbers_are_targets() -> None:
    ports = (
        ServicePort(port=80, name="http", target_port=8080),
        ServicePort(port=81, name="named", target_port_name="web"),
        ServicePort(port=82, name="absent"),
        ServicePort(port=53, name="dns", protocol="UDP", target_port=5353),
    )
    candidate = candidate_of(a_service(ports=ports))
    assert candidate is not None
    assert candidate.service.ports == (
        Port(80, 8080, AppProtocol.HTTP11),
        Port(81, 0),
        Port(82, 0),
        Port(53, 5353),
    )


@pytest.mark.proves("SV-5")
@pytest.mark.refutes("SV-5")
@pytest.mark.parametrize(
    ("families", "expected"),
    [
        ((), IPFamilies.AUTOMATIC),
        (("IPv4",), IPFamilies.IPV4_ONLY),
        (("IPv6",), IPFamilies.IPV6_ONLY),
        (("IPv6", "IPv4"), IPFamilies.DUAL),
    ],
)
def test_address_families(families: tuple[str, ...], expected: IPFamilies) -> None:
    candidate = candidate_of(a_service(ip_families=families))
    assert candidate is not None
    assert candidate.service.ip_families is expected


@pytest.mark.proves("SV-12")
@pytest.mark.refutes("SV-12")
def test_workloads_are_sent_again_when_their_service_uses_unready_ones() -> None:
    mesh = Mesh()
    pod = a_pod(labels={"app": "a"}, ready=False)
    other = a_pod("other", ips=("10.0.0.2",), ready=False)
    mesh.apply([pod, other, a_service(selector={"app": "a"})])
    before = mesh.addresses()
    mesh.apply([a_service(selector={"app": "a"}, publish_not_ready_addresses=True)])
    after = mesh.addresses()
    changed = {name for name in after if after[name].version != before[name].version}
    assert changed == {
        "Kubernetes//Pod/default/pod",
        "default/service.default.svc.cluster.local",
    }
    mesh.apply([a_service(selector={"app": "a"}, publish_not_ready_addresses=True, created=9.0)])
    assert mesh.addresses() == after
