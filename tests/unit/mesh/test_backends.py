import pytest

from controlplane.manifests.core import ContainerPort
from controlplane.mesh.backends import (
    Backend,
    BackendPort,
    Origin,
    is_same_on_every_pod,
    mapped_ports,
    pod_ports,
    unready_services,
)
from controlplane.model.names import Name, ServiceName
from controlplane.model.workload import Port


def a_backend(
    *ports: BackendPort, origin: Origin = Origin.SERVICE, unready: bool = False
) -> Backend:
    return Backend(
        key=ServiceName("default", "host"),
        origin=origin,
        owner=Name("default", "owner"),
        ports=ports,
        accepts_unready=unready,
    )


DECLARED = (
    ContainerPort(name="web", port=5353, protocol="UDP"),
    ContainerPort(name="web", port=8080),
    ContainerPort(name="web", port=9090),
)


@pytest.mark.proves("WL-24", "WL-25")
@pytest.mark.refutes("WL-24", "WL-25")
def test_ports_of_a_service_on_a_pod() -> None:
    backend = a_backend(
        BackendPort(80, "http", 0, "web"),
        BackendPort(81, "gone", 0, "missing"),
        BackendPort(82, "web", 8082),
        BackendPort(83, "plain", 0),
    )
    assert pod_ports(backend, DECLARED) == (Port(80, 8080), Port(82, 8082), Port(83, 83))


@pytest.mark.refutes("WL-24")
def test_only_tcp_ports_resolve_a_name() -> None:
    backend = a_backend(BackendPort(80, "http", 0, "web"))
    assert pod_ports(backend, (ContainerPort(name="web", port=1, protocol="SCTP"),)) == ()
    assert pod_ports(backend, (ContainerPort(name="web", port=1, protocol="tcp"),)) == ()


@pytest.mark.proves("WL-26")
@pytest.mark.refutes("WL-26")
def test_ports_of_a_service_entry_on_a_pod() -> None:
    backend = a_backend(
        BackendPort(80, "web", 1234),
        BackendPort(81, "other", 8081),
        BackendPort(82, "bare", 0),
        BackendPort(83, "", 8083),
        origin=Origin.SERVICE_ENTRY,
    )
    assert pod_ports(backend, DECLARED) == (
        Port(80, 8080),
        Port(81, 8081),
        Port(82, 82),
        Port(83, 8083),
    )


@pytest.mark.proves("WL-27", "WL-28")
@pytest.mark.refutes("WL-27", "WL-28")
def test_ports_on_a_workload_that_maps_names_itself() -> None:
    backend = a_backend(
        BackendPort(80, "http", 0, "web"),
        BackendPort(81, "gone", 0, "missing"),
        BackendPort(82, "over", 8082),
        BackendPort(83, "kept", 8083),
        BackendPort(84, "bare", 0),
    )
    numbers = {"web": 7000, "over": 7002, "http": 1}
    assert mapped_ports(backend, numbers) == (
        Port(80, 7000),
        Port(82, 7002),
        Port(83, 8083),
        Port(84, 84),
    )


@pytest.mark.parametrize(
    ("origin", "port", "same"),
    [
        (Origin.SERVICE, BackendPort(80, "http", 8080), True),
        (Origin.SERVICE, BackendPort(80, "http", 0, "web"), False),
        (Origin.SERVICE_ENTRY, BackendPort(80, "http", 8080), False),
        (Origin.SERVICE_ENTRY, BackendPort(80, "", 8080), True),
    ],
)
def test_which_ports_depend_on_the_pod(origin: Origin, port: BackendPort, same: bool) -> None:
    backend = a_backend(port, origin=origin)
    assert is_same_on_every_pod(backend) is same
    declared = tuple(ContainerPort(name=name, port=1) for name in ("http", "web"))
    assert (pod_ports(backend, ()) == pod_ports(backend, declared)) is same


def test_services_that_use_unready_workloads() -> None:
    assert unready_services((a_backend(), a_backend(unready=True))) == (
        ServiceName("default", "host"),
    )
