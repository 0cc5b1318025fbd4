from collections import Counter

import pytest

from controlplane.manifests.core import ContainerPort
from controlplane.model.names import Name, ObjectReference
from tests.support.builders import a_node, a_pod
from tests.support.expansion import a_template, an_expanded_mesh


@pytest.mark.proves("EX-10")
def test_pods_of_a_deployment_look_like_those_of_a_replica_set() -> None:
    ports = (ContainerPort("http", 8080),)
    template = a_template(replicas=3, service_account="web", annotations={"a": "b"}, ports=ports)
    pods = an_expanded_mesh(template).pods()
    assert len(pods) == 3
    for name, pod in pods.items():
        metadata = pod.metadata
        assert metadata.owner is not None
        digest = metadata.labels["pod-template-hash"]
        assert (metadata.owner.kind, metadata.owner.name) == ("ReplicaSet", f"web-{digest}")
        assert metadata.generate_name == f"web-{digest}-"
        assert name.startswith(metadata.generate_name)
        assert len(name) == len(metadata.generate_name) + 5
        assert metadata.labels["app"] == "web"
        assert metadata.annotations == {"a": "b"}
        assert metadata.created == 5.0
        assert (pod.service_account, pod.container_ports) == ("web", ports)


@pytest.mark.refutes("EX-10")
def test_other_templates_make_no_hashed_pods() -> None:
    assert an_expanded_mesh(a_template(replicas=0)).pods() == {}
    pod = an_expanded_mesh(a_template(kind="StatefulSet")).pod()
    assert "pod-template-hash" not in pod.metadata.labels


def test_a_changed_template_makes_other_pods_and_a_scaled_one_keeps_them() -> None:
    mesh = an_expanded_mesh(a_template(replicas=2))
    before = set(mesh.pods())
    mesh.put(a_template(replicas=3))
    assert before < set(mesh.pods())
    mesh.put(a_template(replicas=2, labels={"version": "v2"}))
    assert not before & set(mesh.pods())


def test_a_long_name_is_cut_where_a_cluster_cuts_it() -> None:
    name = an_expanded_mesh(a_template("w" * 60)).pod().metadata.name
    assert len(name) == 63


@pytest.mark.proves("EX-11")
@pytest.mark.refutes("EX-11", "EX-12")
def test_a_stateful_set_counts_its_pods() -> None:
    nodes = [a_node(f"n{number}") for number in range(5)]
    mesh = an_expanded_mesh(a_template(kind="StatefulSet", replicas=2), *nodes)
    assert sorted(mesh.pods()) == ["web-0", "web-1"]
    metadata = mesh.pods()["web-1"].metadata
    assert metadata.labels["statefulset.kubernetes.io/pod-name"] == "web-1"
    assert metadata.labels["apps.kubernetes.io/pod-index"] == "1"
    assert metadata.owner is not None
    assert metadata.owner.kind == "StatefulSet"
    mesh.put(a_template(replicas=2))
    assert sum(name in {"web-0", "web-1"} for name in mesh.pods()) == 2
    assert len(mesh.pods()) == 4


@pytest.mark.proves("EX-12")
def test_a_daemon_set_has_one_pod_per_allowed_node() -> None:
    nodes = [a_node("a", labels={"disk": "ssd"}), a_node("b"), a_node("c", labels={"disk": "ssd"})]
    mesh = an_expanded_mesh(
        a_template(kind="DaemonSet", replicas=0, node_selector={"disk": "ssd"}), *nodes
    )
    assert sorted(pod.node for pod in mesh.pods().values()) == ["a", "c"]
    kept = next(name for name, pod in mesh.pods().items() if pod.node == "a")
    mesh.remove(nodes[2])
    assert list(mesh.pods()) == [kept]


@pytest.mark.proves("EX-13")
def test_pods_are_spread_and_a_new_node_moves_only_what_it_takes_over() -> None:
    mesh = an_expanded_mesh(a_template(replicas=90), *(a_node(name) for name in "abc"))
    before = {name: pod.node for name, pod in mesh.pods().items()}
    assert min(Counter(before.values()).values()) > 15
    mesh.put(a_node("d"))
    after = {name: pod.node for name, pod in mesh.pods().items()}
    moved = {name for name in after if after[name] != before[name]}
    assert moved
    assert {after[name] for name in moved} == {"d"}


@pytest.mark.proves("EX-13")
@pytest.mark.refutes("EX-13", "EX-14")
def test_without_nodes_there_is_one_that_takes_everything() -> None:
    mesh = an_expanded_mesh(
        a_template(node_selector={"disk": "ssd"}), a_template("ds", kind="DaemonSet")
    )
    assert {pod.node for pod in mesh.pods().values()} == {"node-1"}
    assert mesh.problem_codes() == {}


@pytest.mark.proves("EX-14")
def test_node_names_and_selectors_are_obeyed() -> None:
    mesh = an_expanded_mesh(
        a_node("a"),
        a_node("b", labels={"disk": "ssd"}),
        a_template("named", node="elsewhere"),
        a_template("linux", node_selector={"kubernetes.io/os": "linux"}, replicas=20),
        a_template("host", node_selector={"kubernetes.io/hostname": "a"}, replicas=5),
        a_template("ssd", node_selector={"disk": "ssd"}, replicas=5),
        a_template("tape", node_selector={"disk": "tape"}),
    )
    nodes: dict[str, set[str]] = {}
    for pod in mesh.pods().values():
        nodes.setdefault(pod.metadata.labels["app"], set()).add(pod.node)
    assert nodes == {"named": {"elsewhere"}, "linux": {"a", "b"}, "host": {"a"}, "ssd": {"b"}}
    assert mesh.problem_codes() == {
        ObjectReference("Deployment", "default", "tape"): "expansion.no-node"
    }


@pytest.mark.proves("EX-15")
@pytest.mark.refutes("EX-15")
def test_one_template_cannot_fill_the_memory() -> None:
    mesh = an_expanded_mesh(a_template("huge", replicas=10**9), a_template(replicas=10))
    made = len(mesh.expansion.manifests.pods)
    assert 9_000 < made <= 10_010
    code = mesh.problem_codes()[ObjectReference("Deployment", "default", "huge")]
    assert code == "expansion.too-many-replicas"
    assert ObjectReference("Deployment", "default", "web") not in mesh.problem_codes()


@pytest.mark.proves("EX-16")
@pytest.mark.refutes("EX-16")
def test_a_pod_of_the_folder_beats_a_made_one() -> None:
    own = a_pod("web-0", ips=["10.9.9.9"])
    mesh = an_expanded_mesh(a_template(kind="StatefulSet", replicas=2), own)
    assert mesh.pods()["web-0"] == own
    mesh.remove(own)
    made = mesh.expansion.manifests.pods.get(Name("default", "web-0"))
    assert made is not None
    assert made.ips != ("10.9.9.9",)
