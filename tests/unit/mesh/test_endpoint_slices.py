import pytest

from controlplane.manifests.core import EndpointPort, EndpointSlice, ServicePort
from controlplane.model.workload import (
    NetworkMode,
    Port,
    Workload,
    WorkloadStatus,
    WorkloadType,
)
from tests.support.builders import (
    a_pod,
    a_service,
    a_service_entry,
    an_endpoint,
    an_endpoint_slice,
)
from tests.support.mesh import Mesh

PREFIX = "Kubernetes/discovery.k8s.io/EndpointSlice/default/slice"


def workloads_of(*slices: EndpointSlice) -> tuple[Mesh, dict[str, Workload]]:
    mesh = Mesh()
    mesh.apply([a_service(), *slices])
    return mesh, dict(mesh.world.workloads.items())


@pytest.mark.proves("WL-60")
def test_bare_addresses_are_workloads_of_the_service() -> None:
    _, found = workloads_of(
        an_endpoint_slice(endpoints=(an_endpoint("10.1.0.1", "10.1.0.2"), an_endpoint("10.1.0.3")))
    )
    assert list(found) == [f"{PREFIX}/10.1.0.1", f"{PREFIX}/10.1.0.3"]
    first = found[f"{PREFIX}/10.1.0.1"]
    assert first.name == "slice"
    assert first.addresses == (bytes((10, 1, 0, 1)), bytes((10, 1, 0, 2)))
    assert first.network_mode is NetworkMode.HOST_NETWORK
    assert first.workload_type is WorkloadType.DEPLOYMENT
    assert first.cluster_id == "Kubernetes"
    assert [str(key) for key, _ in first.services] == ["default/service.default.svc.cluster.local"]
    assert (first.service_account, first.node, first.workload_name) == ("", "", "")


@pytest.mark.refutes("WL-60")
def test_pods_are_not_repeated() -> None:
    _, found = workloads_of(
        an_endpoint_slice(endpoints=(an_endpoint("10.1.0.1", pod=a_pod()),)),
    )
    assert found == {}


@pytest.mark.proves("WL-61")
@pytest.mark.refutes("WL-61")
def test_slices_need_a_published_service_and_addresses() -> None:
    endpoints = (an_endpoint("10.1.0.1"),)
    mesh = Mesh()
    mesh.apply(
        [
            a_service("outside", type="ExternalName", ips=()),
            a_service_entry(hosts=("entry.default.svc.cluster.local",)),
            a_service(),
            an_endpoint_slice("a", service="outside", endpoints=endpoints),
            an_endpoint_slice("b", service="entry", endpoints=endpoints),
            an_endpoint_slice("c", service="missing", endpoints=endpoints),
            an_endpoint_slice("d", service=None, endpoints=endpoints),
            an_endpoint_slice("e", "other", endpoints=endpoints),
            an_endpoint_slice("f", endpoints=endpoints, address_type="FQDN"),
        ]
    )
    assert len(mesh.world.workloads) == 0
    mesh.apply([an_endpoint_slice("g", endpoints=endpoints, address_type="IPv4")])
    assert [value.name for _, value in mesh.world.workloads.items()] == ["g"]


@pytest.mark.proves("WL-62")
@pytest.mark.refutes("WL-62")
def test_endpoints_that_are_skipped() -> None:
    mesh, found = workloads_of(
        an_endpoint_slice(
            endpoints=(
                an_endpoint(),
                an_endpoint("10.1.0.1"),
                an_endpoint("10.1.0.1", "10.1.0.9"),
                an_endpoint("10.1.0.2", "nonsense"),
                an_endpoint("10.1.0.3", "10.1.0.1"),
            )
        )
    )
    assert list(found) == [f"{PREFIX}/10.1.0.1", f"{PREFIX}/10.1.0.3"]
    assert found[f"{PREFIX}/10.1.0.1"].addresses == (bytes((10, 1, 0, 1)),)
    [problem] = mesh.problems()
    assert problem.code == "endpoint-slice.invalid-address"
    assert problem.field == "endpoints[3].addresses[1]"


@pytest.mark.proves("WL-63")
@pytest.mark.refutes("WL-63")
def test_unknown_readiness_is_ready() -> None:
    _, found = workloads_of(
        an_endpoint_slice(
            endpoints=(
                an_endpoint("10.1.0.1", ready=True),
                an_endpoint("10.1.0.2", ready=None),
                an_endpoint("10.1.0.3", ready=False),
            )
        )
    )
    assert [value.status for value in found.values()] == [
        WorkloadStatus.HEALTHY,
        WorkloadStatus.HEALTHY,
        WorkloadStatus.UNHEALTHY,
    ]


@pytest.mark.proves("WL-64")
@pytest.mark.refutes("WL-64")
def test_ports_go_by_the_name_of_the_service_port() -> None:
    mesh = Mesh()
    ports = (
        ServicePort(port=443, name="https", target_port=6000),
        ServicePort(port=80, name="http"),
        ServicePort(port=53, name="dns"),
    )
    mesh.apply(
        [
            a_service("kubernetes", ports=ports),
            an_endpoint_slice(
                service="kubernetes",
                endpoints=(an_endpoint("10.1.0.1"),),
                ports=(
                    EndpointPort(name="https", port=6443, protocol="TCP"),
                    EndpointPort(name="dns", port=53, protocol="UDP"),
                    EndpointPort(name="http", port=None, protocol="TCP"),
                    EndpointPort(name="http", port=8080),
                    EndpointPort(port=1, protocol="TCP"),
                    EndpointPort(name="odd", port=2, protocol="TCP"),
                ),
            ),
        ]
    )
    [workload] = [value for _, value in mesh.world.workloads.items()]
    [(_, resolved)] = workload.services
    assert resolved == (Port(443, 6443),)
