import pytest

from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.namespaces import revision_filter
from controlplane.mesh.settings import MeshSettings
from controlplane.model.labels import LabelSelector, Requirement
from tests.support.builders import (
    a_namespace,
    a_peer_authentication,
    a_pod,
    a_service,
    a_service_entry,
    a_workload_entry,
    an_authorization_policy,
)
from tests.support.mesh import Mesh

MESHED = LabelSelector(labels=(("mesh", "yes"),))
TEAM = LabelSelector(requirements=(Requirement(key="team", operator="In", values=("a", "b")),))


def objects_in(namespace: str) -> list[object]:
    return [
        a_pod("pod", namespace),
        a_service("service", namespace),
        a_service_entry("entry", namespace, hosts=(f"{namespace}.com",)),
        a_workload_entry("machine", namespace),
        an_authorization_policy("policy", namespace),
    ]


def names_in(mesh: Mesh, namespace: str) -> int:
    resources = {**mesh.addresses(), **mesh.authorizations()}
    return sum(namespace in name.split("/") for name in resources)


@pytest.mark.proves("WL-1", "WL-2")
@pytest.mark.refutes("WL-1", "WL-2")
def test_discovery_selectors_choose_namespaces() -> None:
    mesh = Mesh()
    mesh.apply([a_namespace("in", labels={"mesh": "yes"}), a_namespace("out")])
    for namespace in ("in", "out", "unknown"):
        mesh.apply(objects_in(namespace))
    assert [names_in(mesh, each) for each in ("in", "out", "unknown")] == [5, 5, 5]

    mesh.apply([MeshConfig(discovery_selectors=(MESHED, TEAM))])
    assert [names_in(mesh, each) for each in ("in", "out", "unknown")] == [5, 0, 0]

    mesh.apply([a_namespace("out", labels={"team": "b"}), a_namespace("in")])
    assert [names_in(mesh, each) for each in ("in", "out", "unknown")] == [0, 5, 0]

    mesh.apply([MeshConfig()])
    assert [names_in(mesh, each) for each in ("in", "out", "unknown")] == [5, 5, 5]


@pytest.mark.proves("WL-3")
@pytest.mark.refutes("WL-3")
@pytest.mark.parametrize(
    ("revision", "label", "used"),
    [
        ("", None, True),
        ("", "canary", True),
        ("stable", None, True),
        ("stable", "stable", True),
        ("stable", "canary", False),
        ("stable", "", False),
    ],
)
def test_other_revisions_are_ignored(revision: str, label: str | None, used: bool) -> None:
    labels = {} if label is None else {"istio.io/rev": label}
    entry = a_service_entry(labels=labels)
    assert revision_filter(revision)(entry) is used

    mesh = Mesh(MeshSettings(revision=revision))
    mesh.apply(
        [
            entry,
            a_workload_entry(labels=labels),
            an_authorization_policy(labels=labels),
            a_pod(labels=labels),
            a_service(labels=labels),
        ]
    )
    assert len(mesh.addresses()) == (4 if used else 2)
    assert len(mesh.authorizations()) == (1 if used else 0)


@pytest.mark.refutes("WL-3")
def test_a_peer_authentication_of_another_revision_is_ignored() -> None:
    other = a_peer_authentication(mode="STRICT", labels={"istio.io/rev": "other"})
    for revision, listed in (("", 1), ("stable", 0)):
        mesh = Mesh(MeshSettings(revision=revision))
        mesh.apply([other, a_pod()])
        [workload] = [value for _, value in mesh.world.workloads.items()]
        assert len(workload.authorization_policies) == listed
