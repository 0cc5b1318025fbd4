"""An expansion follows from what is loaded, not from how it came to be loaded."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.manifests.metadata import Manifest
from controlplane.mesh.expansion_pods import has_status
from tests.support.builders import (
    a_gateway,
    a_namespace,
    a_node,
    a_pod,
    a_service,
    a_service_entry,
)
from tests.support.expansion import (
    ExpandedMesh,
    a_bare_pod,
    a_template,
    an_expanded_mesh,
    expanding,
)

NARROW = expanding(
    pod_range="10.0.0.0/29", service_range="10.1.0.0/29", allocated_ipv4_range="240.240.0.0/29"
)
CAPTURED = {"istio.io/dataplane-mode": "ambient"}
CANDIDATES: tuple[Manifest, ...] = (
    a_namespace("default", labels=CAPTURED),
    a_namespace("other"),
    a_node("a"),
    a_node("b", labels={"disk": "ssd"}),
    *(a_bare_pod(name) for name in "abcde"),
    a_bare_pod("web-0", "other", labels=CAPTURED),
    a_pod("stated", ips=["10.0.0.3"]),
    a_template(replicas=3),
    a_template("web", "other", kind="StatefulSet", replicas=3),
    a_template("ds", kind="DaemonSet", node_selector={"disk": "ssd"}),
    a_gateway(),
    a_gateway("second", "other"),
    *(a_service(name, ips=[]) for name in ("one", "two", "three", "four", "waypoint")),
    a_service("fixed", ips=["10.1.0.2"]),
    *(a_service_entry(name, hosts=[f"{name}.example"]) for name in ("x", "y", "z")),
    a_service_entry("w", addresses=("240.240.0.4",)),
)

SUBSETS = st.lists(st.sampled_from(range(len(CANDIDATES))), unique=True, min_size=1)


def problems(mesh: ExpandedMesh) -> set[object]:
    return {problem for found in mesh.expansion.problems for _, problem in found.items()}


@pytest.mark.proves("EX-2")
@given(SUBSETS, SUBSETS, st.randoms(use_true_random=False))
def test_any_way_of_loading_gives_the_same(
    kept: list[int], removed: list[int], random: Random
) -> None:
    gone = [number for number in removed if number not in kept]
    order = [*kept, *gone]
    random.shuffle(order)
    mesh = an_expanded_mesh(settings=NARROW, shuffle=random.randrange(1000))
    for number in order:
        mesh.put(CANDIDATES[number])
    for number in gone:
        mesh.remove(CANDIDATES[number])
    fresh = an_expanded_mesh(*(CANDIDATES[number] for number in kept), settings=NARROW)
    assert mesh.state() == fresh.state()
    assert problems(mesh) == problems(fresh)


@given(SUBSETS)
def test_nobody_shares_an_address(kept: list[int]) -> None:
    mesh = an_expanded_mesh(*(CANDIDATES[number] for number in kept), settings=NARROW)
    manifests = mesh.expansion.manifests
    pods = [address for _, pod in manifests.pods.items() for address in pod.ips]
    assert len(pods) == len(set(pods))
    services = [address for _, found in manifests.services.items() for address in found.cluster_ips]
    given_out = [address for address in services if address]
    assert len(given_out) == len(set(given_out))
    assert all(has_status(pod) for _, pod in manifests.pods.items())


@given(SUBSETS, st.data())
def test_removing_one_object_changes_only_what_depends_on_it(
    kept: list[int], data: st.DataObject
) -> None:
    """Ranges are wide here, so nothing depends on another by its address."""
    mesh = an_expanded_mesh(*(CANDIDATES[number] for number in kept))
    before = mesh.state()
    gone = CANDIDATES[data.draw(st.sampled_from(kept))]
    mesh.remove(gone)
    after = mesh.state()
    changed = {
        (kind, key)
        for kind, old in before.items()
        for key in old.keys() | after[kind].keys()
        if old.get(key) != after[kind].get(key)
    }
    match gone.kind:
        case "Namespace":
            assert all(
                key == gone.key or (kind == "pods" and key.namespace == gone.key.name)
                for kind, key in changed
            )
        case "Node":
            lost = {
                ("pods", key) for key, pod in before["pods"].items() if pod.node == gone.key.name
            }  # type: ignore[attr-defined]
            waiting = {("pods", key) for key in after["pods"].keys() - before["pods"].keys()}
            assert changed <= lost | waiting
        case "Deployment" | "StatefulSet" | "DaemonSet":
            assert {kind for kind, _ in changed} <= {"pods"}
            assert all(key.name.startswith(f"{gone.key.name}-") for _, key in changed)
        case "Gateway":
            assert all(key.name.startswith(gone.key.name) for _, key in changed)
        case "Service":
            assert changed <= {("services", gone.key), ("gateways", gone.key)}
        case _:
            assert {key for _, key in changed} <= {gone.key}
