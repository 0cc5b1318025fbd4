import pytest

from controlplane.model.names import ServiceName
from controlplane.model.workload import (
    Locality,
    Port,
    TunnelProtocol,
    Workload,
    WorkloadStatus,
    WorkloadType,
)
from tests.support.builders import HBONE, a_service, a_workload_entry
from tests.support.mesh import Mesh

PREFIX = "Kubernetes/networking.istio.io/WorkloadEntry/default"


def workloads_of(*manifests: object) -> dict[str, Workload]:
    mesh = Mesh()
    mesh.apply(manifests)  # type: ignore[arg-type]
    return {workload.name: workload for _, workload in mesh.world.workloads.items()}


@pytest.mark.proves("WL-40", "WL-42")
@pytest.mark.refutes("WL-40", "WL-42")
def test_every_entry_is_published_with_what_its_address_is() -> None:
    found = workloads_of(
        a_workload_entry("ip", address="10.1.0.1"),
        a_workload_entry("name", address="db.example.com", network="far"),
        a_workload_entry("socket", address="unix:///run/x"),
        a_workload_entry("none", address=""),
        a_workload_entry("nil", address=""),
    )
    described = {
        name: (workload.uid, workload.addresses, workload.hostname, workload.network)
        for name, workload in found.items()
    }
    assert described == {
        "ip": (f"{PREFIX}/ip", (bytes((10, 1, 0, 1)),), "", ""),
        "name": (f"{PREFIX}/name", (), "db.example.com", "far"),
        "socket": (f"{PREFIX}/socket", (), "unix:///run/x", ""),
        "none": (f"{PREFIX}/none", (), "", ""),
        "nil": (f"{PREFIX}/nil", (), "", ""),
    }
    assert {workload.status for workload in found.values()} == {WorkloadStatus.HEALTHY}
    assert {workload.workload_type for workload in found.values()} == {WorkloadType.POD}
    assert {workload.node for workload in found.values()} == {""}


@pytest.mark.proves("WL-41")
@pytest.mark.refutes("WL-41")
def test_labels_of_the_metadata_win() -> None:
    found = workloads_of(
        a_workload_entry("spec", spec_labels={"app": "a"}),
        a_workload_entry("meta", labels={"app": "a"}),
        a_workload_entry("both", spec_labels={"app": "x", "version": "v2"}, labels={"app": "a"}),
        a_workload_entry("lost", spec_labels={"app": "a"}, labels={"app": "b"}),
        a_workload_entry("none"),
        a_service(selector={"app": "a"}),
    )
    listed = {name: len(workload.services) for name, workload in found.items()}
    assert listed == {"spec": 1, "meta": 1, "both": 1, "lost": 0, "none": 0}
    assert found["both"].canonical_name == "a"
    assert found["both"].canonical_revision == "v2"
    assert found["lost"].canonical_name == "b"
    assert found["none"].canonical_name == "none"


@pytest.mark.proves("WL-43")
@pytest.mark.refutes("WL-43")
def test_locality_and_weight_as_written() -> None:
    for text, locality in (
        ("", None),
        ("/", None),
        ("r", Locality("r")),
        ("r/z", Locality("r", "z")),
        ("r/z/s/more", Locality("r", "z", "s")),
        ("//s", Locality("", "", "s")),
    ):
        found = workloads_of(a_workload_entry(locality=text, weight=len(text)))
        assert found["machine"].locality == locality
        assert found["machine"].capacity == (len(text) or None)


@pytest.mark.proves("WL-44")
@pytest.mark.refutes("WL-44")
def test_names_of_an_entry() -> None:
    label = {"service.istio.io/workload-name": "labelled"}
    found = workloads_of(
        a_workload_entry("own"),
        a_workload_entry("one", spec_labels=label),
        a_workload_entry(
            "two", labels=label, annotations={"istio.io/autoRegistrationGroup": "group"}
        ),
    )
    names = {name: workload.workload_name for name, workload in found.items()}
    assert names == {"own": "own", "one": "labelled", "two": "group"}


def test_ports_account_and_tunnel() -> None:
    found = workloads_of(
        a_workload_entry(
            spec_labels={"app": "a", "networking.istio.io/tunnel": "http"},
            ports={"http": 9000},
            service_account="legacy",
        ),
        a_workload_entry("redirected", annotations=HBONE),
        a_service(selector={"app": "a"}),
    )
    machine = found["machine"]
    assert machine.services == (
        (ServiceName("default", "service.default.svc.cluster.local"), (Port(80, 9000),)),
    )
    assert machine.service_account == "legacy"
    assert machine.tunnel_protocol is TunnelProtocol.HBONE
    assert machine.native_tunnel
    assert found["redirected"].tunnel_protocol is TunnelProtocol.HBONE
    assert not found["redirected"].native_tunnel
