"""Any history of changes to the mesh ends where loading its last objects ends."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controlplane.dataflow import Graph
from controlplane.manifests.istio import WorkloadSpec
from controlplane.manifests.mesh_config import (
    MeshConfig,
    ServiceEntryVisibility,
    VisibilityPolicy,
)
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.inputs import MESH
from controlplane.mesh.settings import MeshSettings
from controlplane.model.labels import LabelSelector
from controlplane.model.names import Name
from tests.support.builders import (
    a_gateway,
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

Object = Manifest | MeshConfig

SHOPS = LabelSelector(labels=(("mesh", "yes"),))
HIDDEN = ServiceEntryVisibility(
    default="PUBLIC", policies=(VisibilityPolicy(visibility="NONE", selectors=(SHOPS,)),)
)

names = st.sampled_from(["one", "two"])
namespaces = st.sampled_from(["shop", "other"])
times = st.sampled_from([0.0, 1.0, 2.0])
hosts = st.lists(
    st.sampled_from(["a.com", "*.b.com", "one.shop.svc.cluster.local"]), min_size=1, max_size=2
)
addresses = st.sampled_from(["10.0.0.1", "10.0.0.2", "a.com", ""])
pod_addresses = st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "bad"]), max_size=2)
bindings = st.sampled_from(
    [{}, {"istio.io/use-waypoint": "one"}, {"istio.io/use-waypoint": "none"}]
)
selectors = st.sampled_from([{}, {"app": "a"}, {"app": "b"}, {"app": "a", "version": "v1"}])
networks = st.sampled_from([{}, {"topology.istio.io/network": "far"}])


@st.composite
def labels(draw: Callable[[Any], Any]) -> dict[str, str]:
    return {**draw(selectors), **draw(bindings)}


def a_named_endpoint(pod: str) -> Any:
    return an_endpoint("10.0.0.9", pod=a_pod(pod, "shop"))


objects = st.one_of(
    st.builds(a_pod, names, namespaces, labels=labels(), ips=pod_addresses, ready=st.booleans()),
    st.builds(a_service, names, namespaces, selector=selectors, labels=bindings, created=times),
    st.builds(
        a_service_entry,
        names,
        namespaces,
        hosts=hosts,
        labels=bindings,
        created=times,
        resolution=st.sampled_from(["DNS", "STATIC", "NONE"]),
        workload_selector=st.none() | selectors,
        endpoints=st.lists(
            st.builds(WorkloadSpec, address=addresses, labels=bindings), max_size=2
        ).map(tuple),
    ),
    st.builds(
        a_workload_entry,
        names,
        namespaces,
        address=addresses,
        labels=labels(),
        network=st.sampled_from(["", "far"]),
    ),
    st.builds(
        an_endpoint_slice,
        names,
        namespaces,
        service=names,
        endpoints=st.lists(
            st.one_of(
                st.builds(an_endpoint, st.just("10.0.0.8")), st.builds(a_named_endpoint, names)
            ),
            max_size=2,
        ),
    ),
    st.builds(
        a_waypoint,
        names,
        namespaces,
        labels=st.sampled_from([{}, {"istio.io/waypoint-for": "all"}]),
    ),
    st.builds(
        a_gateway,
        names,
        namespaces,
        class_name=st.just("istio-remote"),
        labels=networks,
        addresses=st.sampled_from([{}, {"9.9.9.9": "IPAddress"}, {"far.com": "Hostname"}]),
    ),
    st.builds(
        a_namespace,
        st.sampled_from(["shop", "other", "istio-system"]),
        labels=st.builds(
            dict.__or__,
            networks,
            st.sampled_from([{}, {"mesh": "yes"}, {"istio.io/use-waypoint": "one"}]),
        ),
    ),
    st.builds(
        a_node,
        st.just("node-1"),
        labels=st.sampled_from([{}, {"topology.kubernetes.io/zone": "z"}]),
    ),
    st.builds(an_authorization_policy, names, namespaces, selector=st.none() | selectors),
    st.builds(
        a_peer_authentication,
        names,
        st.sampled_from(["shop", "istio-system"]),
        selector=st.none() | selectors,
        mode=st.sampled_from(["STRICT", "PERMISSIVE", "UNSET"]),
        created=times,
    ),
    st.sampled_from(
        [
            MeshConfig(),
            MeshConfig(trust_domain="example.org", discovery_selectors=(SHOPS,)),
            MeshConfig(service_entry_visibility=HIDDEN),
        ]
    ),
)
steps = st.lists(
    st.tuples(st.lists(objects, max_size=4), st.lists(st.integers(0, 30), max_size=2)), max_size=6
)


@given(steps=steps, seed=st.integers(0, 3), implicit=st.booleans())
def test_history_does_not_matter(
    steps: list[tuple[list[Object], list[int]]], seed: int, implicit: bool
) -> None:
    settings = MeshSettings(allows_waypoints_implicitly=implicit)
    mesh = Mesh(settings, Graph(shuffle=seed, run_twice=True))
    held: dict[tuple[str, Name], Object] = {}
    for added, chosen in steps:
        removed = {list(held)[number] for number in chosen if number < len(held)}
        for identity in removed:
            del held[identity]
        mesh.apply(added, removed)
        held |= {_identity(manifest): manifest for manifest in added}
    again = Mesh(settings)
    again.apply(reversed(held.values()))
    assert _state(mesh) == _state(again)
    mesh.apply([], held)
    assert not any(_state(mesh))
    assert {each.name: each.cells for each in mesh.graph.describe() if each.cells} == {}


def _identity(manifest: Object) -> tuple[str, Name]:
    if isinstance(manifest, MeshConfig):
        return "MeshConfig", MESH
    return manifest.kind, manifest.key


def _state(mesh: Mesh) -> list[Any]:
    return [
        mesh.addresses(),
        mesh.authorizations(),
        mesh.conditions(),
        mesh.node_policies(),
        sorted(map(str, mesh.problems())),
    ]
