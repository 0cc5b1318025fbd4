"""Look-ups in a mesh of manifests: what on-demand clients find by uid, address and service."""

import pytest

from controlplane.manifests.reading import read_documents
from controlplane.mesh.settings import MeshSettings
from controlplane.pipeline.compilation import compile_manifests
from controlplane.xds.session import Session
from tests.support.discovery import (
    a_request,
    a_session,
    acknowledge,
    introduced,
    names,
    parsed,
    removed,
    taken,
)

MANIFESTS = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ns}
spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: ns, labels: {app: web}}
status: {phase: Running, podIP: 127.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: two, namespace: ns}
status: {phase: Pending, podIP: 127.0.0.1}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: three, namespace: ns}
spec: {address: 127.0.0.1}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: four, namespace: ns}
spec: {address: 127.0.0.1}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: nowhere, namespace: ns}
spec: {address: ""}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: nowhere-else, namespace: ns}
"""
ENTRY = "/networking.istio.io/WorkloadEntry/ns/"


@pytest.fixture
def session() -> Session:
    """Return the stream of an on-demand client that has asked for nothing yet."""
    documents = read_documents(MANIFESTS).documents
    settings = MeshSettings(cluster_id="")
    compiled = compile_manifests([(each.manifest, None) for each in documents], settings)
    opened = a_session(compiled.catalog)
    nothing = a_request(subscribe=["*"], unsubscribe=["*"])
    opened.receive(introduced(nothing, kind="waypoint", node_name="elsewhere"))
    (first,) = taken(opened)
    acknowledge(opened, first)
    return opened


@pytest.mark.proves("ADR-9", "ADR-14", "WL-8", "WL-13", "WL-40")
@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (["/127.0.0.1"], ["//Pod/ns/one", "//Pod/ns/two", f"{ENTRY}four", f"{ENTRY}three"]),
        (["ns/web.ns.svc.cluster.local", "//Pod/ns/one"], ["//Pod/ns/one", "web"]),
        (["/10.0.0.1", "/127.0.0.1"], ["//Pod/ns/one", "//Pod/ns/two", "four", "three", "web"]),
        ([f"{ENTRY}nowhere", f"{ENTRY}nowhere-else"], [f"{ENTRY}nowhere", f"{ENTRY}nowhere-else"]),
    ],
)
def test_everything_found_is_sent_once(session: Session, keys: list[str], found: list[str]) -> None:
    session.receive(a_request(subscribe=keys))
    (answer,) = taken(session)
    assert len(names(answer)) == len(found)
    expected = {
        {"web": "ns/web.ns.svc.cluster.local"}.get(each, each if "/" in each else ENTRY + each)
        for each in found
    }
    assert set(names(answer)) == expected
    aliases = {each.name: [*each.aliases] for each in parsed(answer).resources}
    assert aliases.get("//Pod/ns/one", ["/127.0.0.1"]) == ["/127.0.0.1"]
    assert removed(answer) == [key for key in keys if key not in expected]


@pytest.mark.refutes("ADR-9", "WL-40")
def test_what_has_no_address_is_found_by_none(session: Session) -> None:
    session.receive(a_request(subscribe=["/"]))
    (answer,) = taken(session)
    assert (names(answer), removed(answer)) == ([], ["/"])
