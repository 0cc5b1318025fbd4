"""The whole world: what a change costs, what it touches, and that its order does not matter."""

import random
from collections.abc import Iterable

import pytest

from controlplane.dataflow import Change, Graph
from controlplane.manifests.core import Pod
from controlplane.manifests.istio import WorkloadSpec
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.settings import MeshSettings
from controlplane.model.workload import Workload
from tests.support.builders import (
    HBONE,
    a_namespace,
    a_node,
    a_peer_authentication,
    a_pod,
    a_service,
    a_service_entry,
    a_waypoint,
    a_workload_entry,
    an_authorization_policy,
    an_endpoint,
    an_endpoint_slice,
)
from tests.support.mesh import Mesh

PODS = 10_000
MOST_RULE_CALLS = 10


def one_of_many(number: int, *, ready: bool = True, version: str = "v1") -> Pod:
    return a_pod(
        f"pod-{number}",
        "shop",
        labels={"app": "web", "tier": "front", "version": version},
        annotations=HBONE,
        ips=(f"10.{number >> 8}.{number & 255}.1",),
        node=f"node-{number % 10}",
        ready=ready,
    )


@pytest.fixture(scope="module")
def large() -> Mesh:
    """10k pods of one namespace, selected by 3 services and 2 policies, bound to a waypoint."""
    mesh = Mesh(MeshSettings(), Graph())
    settled: list[Manifest] = [
        a_namespace("shop", labels={"istio.io/use-waypoint": "waypoint"}),
        a_waypoint(namespace="shop", labels={"istio.io/waypoint-for": "all"}),
        a_service("web", "shop", selector={"app": "web"}),
        a_service("front", "shop", selector={"tier": "front"}),
        a_service("both", "shop", selector={"app": "web", "tier": "front"}),
        an_authorization_policy("one", "shop", selector={"app": "web"}),
        an_authorization_policy("two", "shop", selector={"tier": "front"}),
        an_authorization_policy("all", "shop"),
        *(a_node(f"node-{number}") for number in range(10)),
    ]
    mesh.apply([*settled, *(one_of_many(number) for number in range(PODS))])
    return mesh


@pytest.mark.proves("WL-14")
def test_one_pod_of_many_costs_few_rule_calls(large: Mesh) -> None:
    collected = list[Change[str, Workload]]()
    large.world.workloads.subscribe(collected.extend)
    collected.clear()
    workload = large.world.workloads.get("Kubernetes//Pod/shop/pod-77")
    assert workload is not None
    assert len(workload.services) == 3
    assert len(workload.authorization_policies) == 2
    assert workload.waypoint is not None

    for pod in (
        one_of_many(77, ready=False),
        one_of_many(77),
        one_of_many(77, version="v2"),
        one_of_many(77, version="v1"),
    ):
        before = large.graph.rule_calls
        large.apply([pod])
        assert large.graph.rule_calls - before <= MOST_RULE_CALLS
        assert [change.key for change in collected] == ["Kubernetes//Pod/shop/pod-77"]
        collected.clear()


@pytest.mark.proves("WL-14")
def test_a_pod_that_comes_and_goes_costs_few_rule_calls(large: Mesh) -> None:
    newcomer = one_of_many(PODS)
    for manifests, removed in (([newcomer], []), ([], [("Pod", newcomer.key)])):
        before = large.graph.rule_calls
        large.apply(manifests, removed)
        assert large.graph.rule_calls - before <= MOST_RULE_CALLS
    assert len(large.world.workloads) == PODS


@pytest.mark.refutes("WL-14")
def test_edits_that_change_nothing_are_silent(large: Mesh) -> None:
    told: list[object] = []
    for collection in (
        large.world.workloads,
        large.world.services,
        large.world.authorizations,
        large.world.node_policies,
    ):
        collection.subscribe(told.extend)  # type: ignore[attr-defined]
    told.clear()
    before = large.graph.rule_calls
    large.apply([one_of_many(5)])
    assert large.graph.rule_calls == before
    large.apply(
        [
            a_namespace("shop", labels={"istio.io/use-waypoint": "waypoint", "owner": "someone"}),
            a_service("web", "shop", selector={"app": "web"}, labels={"seen": "yes"}),
            a_node("node-3", labels={"heartbeat": "1"}),
        ]
    )
    assert large.graph.rule_calls - before < 40
    assert told == []


def everything() -> list[Manifest | MeshConfig]:
    pod = a_pod("by-reference", "shop", ips=("10.0.0.9",))
    return [
        MeshConfig(trust_domain="example.org"),
        a_namespace("shop", labels={"istio.io/use-waypoint": "waypoint"}),
        a_namespace("istio-system", labels={"topology.istio.io/network": "near"}),
        a_node(labels={"topology.kubernetes.io/zone": "z"}),
        a_waypoint(namespace="shop", labels={"istio.io/waypoint-for": "all"}),
        *(one_of_many(number) for number in range(4)),
        pod,
        a_service("web", "shop", selector={"app": "web"}),
        a_service("by-hand", "shop"),
        an_endpoint_slice(
            "by-hand-1",
            "shop",
            service="by-hand",
            endpoints=(an_endpoint("10.0.0.9", pod=pod), an_endpoint("10.3.0.1")),
        ),
        a_service_entry("old", "shop", hosts=("a.com", "b.com"), created=1.0, resolution="DNS"),
        a_service_entry(
            "new",
            "shop",
            hosts=("a.com",),
            created=2.0,
            endpoints=(WorkloadSpec(address="10.4.0.1"),),
        ),
        a_workload_entry(namespace="shop", labels={"app": "web"}),
        an_authorization_policy("one", "shop", selector={"app": "web"}),
        a_peer_authentication(namespace="shop", mode="STRICT"),
    ]


def state(mesh: Mesh) -> list[object]:
    return [
        mesh.addresses(),
        mesh.authorizations(),
        mesh.conditions(),
        mesh.node_policies(),
        sorted(mesh.problems(), key=str),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_changes_does_not_matter(seed: int) -> None:
    chosen = random.Random(seed)
    whole = Mesh(MeshSettings())
    whole.apply(everything())
    manifests = everything()
    chosen.shuffle(manifests)
    piecewise = Mesh(MeshSettings(), Graph(shuffle=seed, run_twice=True))
    for manifest in manifests:
        piecewise.apply([manifest])
    passing = [a_service("web", "shop"), a_pod("passing", "shop", labels={"app": "web"})]
    piecewise.apply(passing)
    piecewise.apply([a_service("web", "shop", selector={"app": "web"})])
    piecewise.apply([], removed=[("Pod", passing[1].key)])
    assert state(piecewise) == state(whole)


def test_nothing_is_left_when_everything_goes() -> None:
    mesh = Mesh()
    mesh.apply(everything())
    mesh.apply([], removed=_identities(everything()))
    assert state(mesh) == [{}, {}, {}, {}, []]
    assert {each.name: each.size for each in mesh.graph.describe() if each.size} == {}
    assert {each.name: each.cells for each in mesh.graph.describe() if each.cells} == {}


def test_waypoints_are_let_in_when_settings_ask_for_it() -> None:
    own = "shop/istio_allow_waypoint_shop_own"
    of_service = "shop/istio_allow_waypoint_shop_front"
    labels = {"istio.io/use-waypoint": "own", "app": "web"}
    for is_asked, expected in ((True, [of_service, own]), (False, [])):
        mesh = Mesh(MeshSettings(allows_waypoints_implicitly=is_asked))
        workload_label = {"istio.io/waypoint-for": "workload"}
        mesh.apply(
            [
                a_waypoint("own", "shop", labels=workload_label),
                a_waypoint("front", "shop"),
                *(
                    a_pod(
                        name,
                        "shop",
                        labels={"gateway.networking.k8s.io/gateway-name": name},
                        service_account=name,
                    )
                    for name in ("own", "front")
                ),
                a_service(
                    "web",
                    "shop",
                    selector={"app": "web"},
                    labels={"istio.io/use-waypoint": "front"},
                ),
                a_pod("web", "shop", labels=labels),
                a_workload_entry("machine", "shop", labels=labels),
                a_service_entry(
                    "entry",
                    "shop",
                    labels={"istio.io/use-waypoint": "front"},
                    endpoints=(
                        WorkloadSpec(address="10.9.0.1", labels={"istio.io/use-waypoint": "own"}),
                    ),
                ),
            ]
        )
        listed = {
            workload.name: [str(name) for name in workload.authorization_policies]
            for _, workload in mesh.world.workloads.items()
        }
        assert {name: listed[name] for name in ("web", "machine", "entry")} == {
            "web": expected,
            "machine": expected,
            "entry": expected,
        }


def _identities(manifests: Iterable[Manifest | MeshConfig]) -> list[tuple[str, object]]:
    return [
        ("MeshConfig", ("", "mesh"))
        if isinstance(manifest, MeshConfig)
        else (manifest.kind, manifest.key)
        for manifest in manifests
    ]
