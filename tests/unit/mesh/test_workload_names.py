import pytest

from controlplane.manifests.metadata import Owner
from controlplane.mesh.workload_names import (
    canonical_name,
    canonical_revision,
    pod_workload_name,
    speaks_http_tunnel,
    tunnel_protocol,
)
from controlplane.model.workload import TunnelProtocol
from tests.support.builders import a_pod

HASH = {"pod-template-hash": "5d4f"}


@pytest.mark.proves("WL-30", "WL-31", "WL-32")
@pytest.mark.parametrize(
    ("owner", "labels", "expected"),
    [
        (Owner("ReplicaSet", "reviews-5d4f"), HASH, "reviews"),
        (Owner("ReplicaSet", "reviews-77"), {"rollouts-pod-template-hash": "77"}, "reviews"),
        (Owner("ReplicationController", "old-1"), {"deploymentconfig": "old"}, "old"),
        (Owner("ReplicationController", "old-1"), {}, "old-1"),
        (Owner("Job", "backup-28400000"), {}, "backup"),
        (Owner("StatefulSet", "db"), {}, "db"),
    ],
)
def test_a_pod_is_named_after_what_made_it(
    owner: Owner, labels: dict[str, str], expected: str
) -> None:
    pod = a_pod("x-1", labels=labels, owner=owner, generate_name="x-")
    assert pod_workload_name(pod) == expected


@pytest.mark.refutes("WL-31", "WL-32")
@pytest.mark.parametrize(
    ("owner", "labels"),
    [
        (Owner("ReplicaSet", "reviews-5d4f"), {}),
        (Owner("ReplicaSet", "reviews-5d4f"), {"pod-template-hash": "other"}),
        (Owner("ReplicaSet", "reviews-5d4f"), {"pod-template-hash": ""}),
        (Owner("ReplicaSet", "reviews5d4f"), HASH),
        (Owner("Job", "backup-1234567"), {}),
        (Owner("Job", "backup-12345678901"), {}),
        (Owner("Job", "12345678"), {}),
        (Owner("Deployment", "reviews-5d4f"), HASH),
    ],
)
def test_a_name_that_only_looks_generated_stays_whole(owner: Owner, labels: dict[str, str]) -> None:
    pod = a_pod("x-1", labels=labels, owner=owner, generate_name="x-")
    assert pod_workload_name(pod) == owner.name


@pytest.mark.refutes("WL-30")
def test_a_pod_without_generated_name_or_owner_is_its_own() -> None:
    owner = Owner("StatefulSet", "db")
    assert pod_workload_name(a_pod("alone", owner=owner)) == "alone"
    assert pod_workload_name(a_pod("alone", generate_name="al-")) == "alone"


@pytest.mark.proves("WL-33")
@pytest.mark.refutes("WL-33")
def test_the_label_overrides_the_workload_name_unless_empty() -> None:
    owner = Owner("StatefulSet", "db")
    for label, expected in (("mine", "mine"), ("", "db-0")):
        labels = {"service.istio.io/workload-name": label}
        pod = a_pod("db-0", labels=labels, owner=owner, generate_name="db-")
        assert pod_workload_name(pod) == expected


@pytest.mark.proves("WL-34", "WL-35")
@pytest.mark.refutes("WL-34", "WL-35")
def test_canonical_labels_go_in_order_and_count_when_empty() -> None:
    labels = {"app": "third", "version": "three"}
    assert canonical_name(labels, "w") == "third"
    assert canonical_revision(labels) == "three"
    labels |= {"app.kubernetes.io/name": "second", "app.kubernetes.io/version": "two"}
    assert canonical_name(labels, "w") == "second"
    assert canonical_revision(labels) == "two"
    labels |= {
        "service.istio.io/canonical-name": "",
        "service.istio.io/canonical-revision": "",
    }
    assert canonical_name(labels, "w") == ""
    assert canonical_revision(labels) == ""
    assert canonical_name({"name": "no"}, "w") == "w"
    assert canonical_revision({"release": "no"}) == "latest"


@pytest.mark.proves("WL-36")
@pytest.mark.refutes("WL-36")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("enabled", TunnelProtocol.HBONE),
        ("pending", TunnelProtocol.NONE),
        ("Enabled", TunnelProtocol.NONE),
        ("", TunnelProtocol.NONE),
    ],
)
def test_redirection_decides_the_tunnel(value: str, expected: TunnelProtocol) -> None:
    annotations = {"ambient.istio.io/redirection": value}
    assert tunnel_protocol({}, annotations) is expected
    assert not speaks_http_tunnel({})


@pytest.mark.proves("WL-37")
@pytest.mark.refutes("WL-37")
@pytest.mark.parametrize(
    ("value", "speaks"),
    [("http", True), ("tcp,http", True), ("https", False), ("", False), ("HTTP", False)],
)
def test_the_tunnel_label_means_native_hbone(value: str, speaks: bool) -> None:
    labels = {"networking.istio.io/tunnel": value}
    assert speaks_http_tunnel(labels) is speaks
    assert (tunnel_protocol(labels, {}) is TunnelProtocol.HBONE) is speaks


@pytest.mark.refutes("WL-36")
def test_the_dataplane_mode_label_decides_no_tunnel() -> None:
    assert tunnel_protocol({"istio.io/dataplane-mode": "ambient"}, {}) is TunnelProtocol.NONE
