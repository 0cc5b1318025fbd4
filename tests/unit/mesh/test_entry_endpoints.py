import pytest

from controlplane.manifests.istio import ServiceEntry, ServiceEntryPort, WorkloadSpec
from controlplane.manifests.mesh_config import MeshConfig, ServiceEntryVisibility
from controlplane.model.names import Name
from controlplane.model.workload import Port, TunnelProtocol, Workload
from tests.support.builders import (
    HBONE,
    a_namespace,
    a_service_entry,
    a_waypoint,
    an_authorization_policy,
)
from tests.support.mesh import Mesh

PREFIX = "Kubernetes/networking.istio.io/ServiceEntry/default/entry"
WORKLOADS = {"istio.io/waypoint-for": "workload"}


def workloads_of(entry: ServiceEntry, *manifests: object) -> tuple[Mesh, dict[str, Workload]]:
    mesh = Mesh()
    mesh.apply([entry, *manifests])  # type: ignore[list-item]
    found = {
        uid.removeprefix(f"{PREFIX}/"): workload for uid, workload in mesh.world.workloads.items()
    }
    return mesh, found


def hosts_of(workload: Workload) -> list[str]:
    return [key.hostname for key, _ in workload.services]


@pytest.mark.proves("WL-50")
def test_each_endpoint_serves_every_host() -> None:
    entry = a_service_entry(
        hosts=("b.com", "a.com"),
        ports=(ServiceEntryPort(number=80, name="http", protocol="HTTP", target_port=8080),),
        endpoints=(
            WorkloadSpec(address="10.2.0.1", ports={"http": 8081}, weight=3, service_account="sa"),
            WorkloadSpec(address="db.example.com", locality="r/z"),
        ),
    )
    _, found = workloads_of(entry)
    assert list(found) == ["10.2.0.1", "db.example.com"]
    assert {tuple(hosts_of(workload)) for workload in found.values()} == {("a.com", "b.com")}
    first, second = found.values()
    assert (first.addresses, first.hostname) == ((bytes((10, 2, 0, 1)),), "")
    assert (second.addresses, second.hostname) == ((), "db.example.com")
    assert (first.capacity, second.capacity) == (3, None)
    assert (first.service_account, second.service_account) == ("sa", "")
    assert (first.name, first.workload_name, first.namespace) == ("entry", "entry", "default")
    assert first.services[0][1] == (Port(80, 8081),)
    assert second.services[0][1] == (Port(80, 8080),)


@pytest.mark.proves("WL-51")
@pytest.mark.parametrize("resolution", ["DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"])
def test_hosts_resolved_by_name_are_their_own_endpoints(resolution: str) -> None:
    labels = {"istio.io/use-waypoint": "waypoint"}
    entry = a_service_entry(hosts=("b.com", "a.com"), resolution=resolution, labels=labels)
    _, found = workloads_of(entry, a_waypoint(labels=WORKLOADS))
    assert {host: hosts_of(workload) for host, workload in found.items()} == {
        "a.com": ["a.com"],
        "b.com": ["b.com"],
    }
    assert [workload.hostname for workload in found.values()] == ["a.com", "b.com"]
    assert {workload.waypoint for workload in found.values()} == {None}


@pytest.mark.refutes("WL-50", "WL-51")
def test_other_entries_have_no_endpoints_of_their_own() -> None:
    for entry in (
        a_service_entry(resolution="STATIC"),
        a_service_entry(resolution="NONE"),
        a_service_entry(resolution="DNS", workload_selector={"app": "a"}),
    ):
        assert workloads_of(entry)[1] == {}
    given = a_service_entry(resolution="DNS", endpoints=(WorkloadSpec(address="x.com"),))
    assert list(workloads_of(given)[1]) == ["x.com"]


@pytest.mark.proves("WL-52", "SV-32")
@pytest.mark.refutes("SV-32")
def test_hidden_entries_have_no_workloads() -> None:
    entry = a_service_entry(resolution="DNS")
    for visibility, count in (("NONE", 0), ("NAMESPACE", 1), ("PUBLIC", 1)):
        configuration = ServiceEntryVisibility(default=visibility)
        mesh, found = workloads_of(entry, MeshConfig(service_entry_visibility=configuration))
        assert len(found) == count
        assert len(mesh.world.services) == count


@pytest.mark.proves("WL-53")
@pytest.mark.refutes("WL-53")
def test_labels_of_the_entry_name_it_and_those_of_the_endpoint_bind_it() -> None:
    bound = {"istio.io/use-waypoint": "waypoint"}
    entry = a_service_entry(
        labels={"app": "shop", "version": "v3"},
        annotations=HBONE,
        endpoints=(
            WorkloadSpec(address="10.2.0.1", labels=bound | {"app": "other"}),
            WorkloadSpec(address="10.2.0.2"),
        ),
    )
    _, found = workloads_of(
        entry,
        a_waypoint(labels=WORKLOADS),
        an_authorization_policy("shop", selector={"app": "shop"}),
        an_authorization_policy("other", selector={"app": "other"}),
    )
    first, second = found.values()
    assert first.waypoint is not None
    assert second.waypoint is None
    for workload in (first, second):
        assert workload.canonical_name == "shop"
        assert workload.canonical_revision == "v3"
        assert workload.workload_name == "entry"
        assert workload.tunnel_protocol is TunnelProtocol.HBONE
        assert workload.authorization_policies == (Name("default", "shop"),)


@pytest.mark.proves("WL-54")
@pytest.mark.refutes("WL-54")
def test_an_endpoint_inherits_nothing_from_the_one_before() -> None:
    entry = a_service_entry(
        endpoints=(
            WorkloadSpec(address="10.2.0.1", network="far", weight=2, locality="r"),
            WorkloadSpec(address="10.2.0.2"),
        )
    )
    local = a_namespace("istio-system", labels={"topology.istio.io/network": "near"})
    _, found = workloads_of(entry, local)
    first, second = found.values()
    assert (first.network, second.network) == ("far", "near")
    assert (second.capacity, second.locality) == (None, None)


@pytest.mark.proves("WL-55")
@pytest.mark.refutes("WL-55")
def test_the_first_of_several_endpoints_with_one_address_is_used() -> None:
    entry = a_service_entry(
        endpoints=(
            WorkloadSpec(address="10.2.0.1", weight=1),
            WorkloadSpec(address="10.2.0.2", weight=2),
            WorkloadSpec(address="10.2.0.1", weight=3),
        )
    )
    mesh, found = workloads_of(entry)
    assert [workload.capacity for workload in found.values()] == [1, 2]
    [problem] = mesh.problems()
    assert problem.code == "service-entry.duplicate-endpoint"
    assert problem.field == "spec.endpoints[2].address"
