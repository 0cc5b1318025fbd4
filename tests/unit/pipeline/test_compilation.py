import random

import pytest

from controlplane.encode.document import protobuf_json
from controlplane.manifests.reading import identity_of, read_documents
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import ObjectReference
from controlplane.pipeline.assembly import build_pipeline
from controlplane.pipeline.compilation import Compiled, Located, compile_manifests
from controlplane.pipeline.configuration import mesh_settings
from controlplane.pipeline.intake import input_of
from controlplane.settings import Settings
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import ADDRESSES, AUTHORIZATIONS
from controlplane.sources.source import Origin

MESH = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {serviceAccountName: web, nodeName: node-b, containers: [{name: web}]}
---
apiVersion: v1
kind: Pod
metadata: {name: lone, namespace: idle}
spec: {nodeName: node-a, containers: [{name: lone}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web-only, namespace: shop}
spec:
  action: ALLOW
  rules: [{to: [{operation: {ports: ["8080"]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: everywhere, namespace: istio-system}
spec:
  action: DENY
  rules: [{from: [{source: {ipBlocks: [not-an-address]}}], to: [{operation: {ports: ["1"]}}]}]
"""


def _located(text: str = MESH) -> list[Located]:
    reading = read_documents(text, "mesh.yaml")
    assert reading.problems == ()
    return [
        (document.manifest, Origin(file="mesh.yaml", line=document.line))
        for document in reading.documents
    ]


def _compiled(manifests: list[Located], **options: int) -> Compiled:
    return compile_manifests(manifests, MeshSettings(expands=True), **options)


def test_manifests_become_resources() -> None:
    compiled = _compiled(_located())
    documents = [protobuf_json(resource) for resource in compiled.addresses()]
    workloads = [document["workload"] for document in documents if "workload" in document]
    assert sorted(workload["node"] for workload in workloads) == ["node-a", "node-b", "node-b"]
    (service,) = [document["service"] for document in documents if "service" in document]
    assert service["hostname"] == "web.shop.svc.cluster.local"
    names = [resource.name for resource in compiled.addresses()]
    assert names == sorted(names)
    assert compiled.nodes == {"node-a", "node-b"}


@pytest.mark.parametrize(
    ("node", "names"),
    [
        (None, ["istio-system/everywhere", "shop/web-only"]),
        ("node-a", ["istio-system/everywhere"]),
        ("node-b", ["istio-system/everywhere", "shop/web-only"]),
        ("node-c", ["istio-system/everywhere"]),
    ],
)
def test_a_node_is_sent_the_policies_it_needs(node: str | None, names: list[str]) -> None:
    compiled = _compiled(_located())
    assert [resource.name for resource in compiled.authorizations(node)] == names


def test_problems_name_file_and_line_of_their_object() -> None:
    compiled = _compiled(_located())
    (problem,) = compiled.problems
    assert problem.object == ObjectReference("AuthorizationPolicy", "istio-system", "everywhere")
    assert (problem.file, problem.line) == ("mesh.yaml", 33)
    assert "not-an-address" in problem.message


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_manifests_does_not_matter(seed: int) -> None:
    expected = _compiled(_located())
    manifests = _located()
    random.Random(seed).shuffle(manifests)
    compiled = _compiled(manifests, shuffle=seed)
    assert compiled.addresses() == expected.addresses()
    assert compiled.authorizations() == expected.authorizations()
    assert compiled.authorizations("node-b") == expected.authorizations("node-b")
    assert compiled.problems == expected.problems
    assert compiled.conditions == expected.conditions


def test_a_pipeline_fed_one_object_at_a_time_comes_to_the_same() -> None:
    expected = _compiled(_located())
    pipeline = build_pipeline(MeshSettings(expands=True))
    catalog = Catalog()
    pipeline.publish_to(catalog)
    for manifest, _ in _located():
        place = input_of(pipeline.inputs, identity_of(manifest))
        assert place is not None
        with pipeline.graph.transaction():
            place[0].put(manifest)
    for key, resources in (
        (ADDRESSES, expected.addresses()),
        (AUTHORIZATIONS, expected.authorizations()),
    ):
        found = sorted(catalog.table(key).resources(), key=lambda resource: resource.name)
        assert tuple(found) == resources


def test_without_expansion_only_what_a_cluster_made_counts() -> None:
    compiled = compile_manifests(_located(), MeshSettings())
    assert compiled.nodes == frozenset()


def test_the_last_of_two_manifests_for_one_object_is_taken() -> None:
    first, second = (
        f"{{apiVersion: v1, kind: Service, metadata: {{name: a}},"
        f" spec: {{clusterIP: 10.0.0.{last}, ports: [{{port: 80}}]}}}}"
        for last in (1, 2)
    )
    (resource,) = _compiled([*_located(first), *_located(second)]).addresses()
    assert resource.aliases == ("/10.0.0.2",)


def test_settings_of_the_process_are_settings_of_the_rules() -> None:
    settings = Settings(cluster_id="primary", pod_range="10.9.0.0/16")
    mesh = mesh_settings(settings, expands=True)
    assert (mesh.cluster_id, mesh.pod_range, mesh.expands) == ("primary", "10.9.0.0/16", True)
    assert mesh_settings(settings, expands=False).expands is False
