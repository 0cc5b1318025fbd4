"""Pods as residents."""

import pytest

from controlplane.manifests.reading import read_documents
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name
from controlplane.model.resident import Resident
from tests.support.builders import a_pod
from tests.support.mesh import Mesh


def residents_of(mesh: Mesh) -> dict[Name, Resident]:
    return dict(mesh.world.residents.items())


def test_every_pod_is_one_whatever_its_phase_and_addresses() -> None:
    mesh = Mesh()
    mesh.apply(
        [
            a_pod("running", service_account="cart", uid="u"),
            a_pod("ended", phase="Succeeded", ips=()),
            a_pod("deleting", deleting=True),
            a_pod("waypoint", labels={"gateway.networking.k8s.io/gateway-name": "gate"}),
            a_pod("new", phase="", service_account=""),
        ]
    )
    found = residents_of(mesh)
    assert found[Name("default", "running")] == Resident(
        uid="u",
        namespace="default",
        name="running",
        node="node-1",
        service_account="cart",
        phase="Running",
    )
    assert found[Name("default", "ended")].phase == "Succeeded"
    assert found[Name("default", "deleting")].deleting
    assert found[Name("default", "waypoint")].gateway == "gate"
    new = found[Name("default", "new")]
    assert (new.phase, new.service_account) == ("Pending", "default")
    mesh.apply([], [("Pod", Name("default", "ended"))])
    assert Name("default", "ended") not in residents_of(mesh)


def test_expanded_pods_are_residents_too() -> None:
    text = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ztunnel, namespace: istio-system}
spec:
  template:
    metadata: {labels: {app: ztunnel}}
    spec: {serviceAccountName: ztunnel, nodeName: node-7}
"""
    mesh = Mesh(MeshSettings(expands=True))
    mesh.apply([document.manifest for document in read_documents(text, None).documents])
    (resident,) = residents_of(mesh).values()
    assert resident.uid
    assert (resident.service_account, resident.phase) == ("ztunnel", "Running")


FINISHED = """
apiVersion: v1
kind: Pod
metadata: {name: job, namespace: shop, uid: u}
spec: {nodeName: node-a, serviceAccountName: job}
status:
  phase: PHASE
  containerStatuses:
  - state: {terminated: {finishedAt: "2026-01-01T00:00:10Z"}}
  - state: {terminated: {finishedAt: "2026-01-01T00:00:20Z"}}
  - state: {running: {startedAt: "2026-01-01T00:00:00Z"}}
  - {}
  -
"""


@pytest.mark.proves("NA-9")
@pytest.mark.refutes("NA-9")
@pytest.mark.parametrize(
    ("phase", "ended_at"),
    [("Succeeded", 1_767_225_620.0), ("Failed", 1_767_225_620.0), ("Running", None)],
)
def test_a_pod_ended_when_its_last_container_did(phase: str, ended_at: float | None) -> None:
    mesh = Mesh()
    reading = read_documents(FINISHED.replace("PHASE", phase), None)
    mesh.apply([document.manifest for document in reading.documents])
    (resident,) = residents_of(mesh).values()
    assert resident.ended_at == ended_at


def test_a_finished_pod_that_does_not_say_when_ended_at_no_time() -> None:
    mesh = Mesh()
    mesh.apply([a_pod("ended", phase="Failed")])
    (resident,) = residents_of(mesh).values()
    assert resident.ended_at is None
