from ipaddress import ip_address, ip_network
from uuid import UUID

import pytest

from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import ObjectReference
from tests.support.builders import a_namespace, a_node, a_pod
from tests.support.expansion import a_bare_pod, a_template, an_expanded_mesh, expanding

REDIRECTION = "ambient.istio.io/redirection"
MODE = "istio.io/dataplane-mode"
CAPTURED = {MODE: "ambient"}
TWO_ADDRESSES = expanding(pod_range="10.0.0.0/30")


@pytest.mark.proves("EX-20", "EX-21")
def test_a_bare_pod_runs() -> None:
    mesh = an_expanded_mesh(a_bare_pod(), a_node("only"))
    pod = mesh.pod()
    assert (pod.phase, pod.ready, pod.node) == ("Running", True, "only")
    assert pod.service_account == "default"
    (address,) = pod.ips
    assert ip_address(address) in ip_network(MeshSettings().pod_range)
    uid = pod.metadata.uid
    assert UUID(uid).version == 5
    mesh.put(a_bare_pod("other"))
    assert mesh.pods()["pod"].metadata.uid == uid
    assert mesh.pods()["other"].metadata.uid != uid


@pytest.mark.refutes("EX-20", "EX-21")
def test_what_a_pod_states_stays() -> None:
    stated = a_pod(ready=False, ips=["10.1.1.1"], node="n", service_account="")
    pending = a_bare_pod("pending", phase="Pending")
    mesh = an_expanded_mesh(stated, pending, a_namespace(labels=CAPTURED))
    assert mesh.pods() == {"pod": stated, "pending": pending}
    mesh = an_expanded_mesh(a_bare_pod(node="n", service_account="sa"))
    assert (mesh.pod().node, mesh.pod().service_account) == ("n", "sa")


@pytest.mark.proves("EX-22")
def test_pods_are_captured_by_their_label_or_their_namespace() -> None:
    mesh = an_expanded_mesh(
        a_namespace(labels=CAPTURED),
        a_bare_pod("by-namespace"),
        a_bare_pod("by-label", "other", labels=CAPTURED),
        a_template(),
    )
    assert {pod.metadata.annotations[REDIRECTION] for pod in mesh.pods().values()} == {"enabled"}
    mesh.put(a_namespace())
    captured = [
        name for name, pod in mesh.pods().items() if REDIRECTION in pod.metadata.annotations
    ]
    assert captured == ["by-label"]


@pytest.mark.refutes("EX-22", "EX-23")
@pytest.mark.proves("EX-23")
def test_pods_that_are_not_captured() -> None:
    mesh = an_expanded_mesh(
        a_namespace(labels=CAPTURED),
        a_namespace("typo", labels={MODE: "Ambient"}),
        a_bare_pod("opted-out", labels={MODE: "none"}),
        a_bare_pod("host", labels=CAPTURED, host_network=True),
        a_bare_pod("elsewhere", "other"),
        a_bare_pod("typo", "typo"),
        a_bare_pod("own", annotations={REDIRECTION: "pending"}),
        a_bare_pod("plain"),
    )
    found = {name: pod.metadata.annotations.get(REDIRECTION) for name, pod in mesh.pods().items()}
    assert found == {
        "opted-out": None,
        "host": None,
        "elsewhere": None,
        "typo": None,
        "own": "pending",
        "plain": "enabled",
    }


@pytest.mark.proves("EX-2", "EX-24")
@pytest.mark.refutes("EX-2", "EX-24")
def test_the_smallest_name_keeps_an_address() -> None:
    names = ["a", "b", "c", "d", "e"]
    mesh = an_expanded_mesh(*(a_bare_pod(name) for name in names), settings=TWO_ADDRESSES)
    kept = mesh.pods()
    assert len(kept) == 2
    assert "a" in kept
    lost = set(names) - set(kept)
    assert mesh.problem_codes() == {
        ObjectReference("Pod", "default", name): "expansion.address-collision" for name in lost
    }
    mesh.remove(a_bare_pod("a"))
    (heir,) = set(mesh.pods()) - set(kept)
    assert mesh.pods()[heir].ips == kept["a"].ips
    assert ObjectReference("Pod", "default", heir) not in mesh.problem_codes()


@pytest.mark.proves("EX-3")
@pytest.mark.refutes("EX-3")
def test_a_stated_address_beats_a_derived_one() -> None:
    stated = a_pod("z", ips=["10.0.0.1", "10.0.0.2", "broken"])
    mesh = an_expanded_mesh(a_bare_pod("a"), stated, settings=TWO_ADDRESSES)
    assert mesh.pods() == {"z": stated}
    (problems,) = [found for found in mesh.expansion.problems if len(found)]
    ((_, problem),) = problems.items()
    assert "kept by Pod default/z" in problem.message
    mesh.put(a_pod("z", ips=["10.9.9.9"]))
    assert set(mesh.pods()) == {"a", "z"}
