"""Kubernetes' own kinds but pods: every field the mesh reads, and refusals with exact fields."""

import pytest

from controlplane.manifests.core import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    EndpointTarget,
    Service,
    ServicePort,
)
from controlplane.manifests.metadata import Owner
from tests.unit.manifests.test_reading import manifest_of, problem_of

HEAD = "apiVersion: {}\nkind: {}\nmetadata: {{name: a}}\n"


@pytest.mark.proves("MF-21")
@pytest.mark.parametrize(
    "written", ["2024-01-01T00:00:00Z", "'2024-01-01T00:00:00Z'", "2024-01-01T01:00:00+01:00"]
)
def test_creation_times(written: str) -> None:
    found = manifest_of(
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a, creationTimestamp: {written}}}\n"
    )
    assert found.metadata.created == 1704067200.0


@pytest.mark.refutes("MF-21")
def test_creation_times_that_are_none() -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, creationTimestamp: {}}}\n"
    for written in ("yesterday", "7", "2024-01-01T00:00:00"):
        assert problem_of(text.format(written)).field == "metadata.creationTimestamp"
    assert manifest_of(text.format("null")).metadata.created == 0.0


def test_metadata_is_read() -> None:
    found = manifest_of("""apiVersion: v1
kind: Pod
metadata:
  name: a
  uid: u
  generation: 3
  generateName: a-
  deletionTimestamp: "2024-01-01T00:00:00Z"
  resourceVersion: "8"
  ownerReferences:
  - {kind: Node, name: n, uid: x}
  - {kind: ReplicaSet, name: rs, controller: true}
""").metadata
    assert (found.uid, found.generation, found.generate_name) == ("u", 3, "a-")
    assert (found.deleting, found.owner) == (True, Owner("ReplicaSet", "rs"))


@pytest.mark.proves("MF-20")
def test_a_service_is_read() -> None:
    found = manifest_of(
        HEAD.format("v1", "Service")
        + """
spec:
  clusterIP: 10.1.0.9
  clusterIPs: [10.1.0.1, "fd00::2"]
  selector: {app: x}
  ipFamilies: [IPv4, IPv6]
  internalTrafficPolicy: Local
  trafficDistribution: PreferClose
  publishNotReadyAddresses: true
  ports:
  - {port: 80, name: http, targetPort: 8080, appProtocol: http2}
  - {port: 53, targetPort: dns, protocol: UDP}
"""
    )
    assert isinstance(found, Service)
    assert found.cluster_ips == ("10.1.0.1", "fd00::2")
    assert found.ports == (
        ServicePort(80, "http", "TCP", 8080, "", "http2"),
        ServicePort(53, "", "UDP", 0, "dns"),
    )
    assert (found.selector, found.ip_families) == ({"app": "x"}, ("IPv4", "IPv6"))
    assert found.publish_not_ready_addresses
    headless = manifest_of(HEAD.format("v1", "Service") + "spec: {clusterIP: None}\n")
    assert isinstance(headless, Service)
    assert (headless.cluster_ips, headless.type) == (("None",), "ClusterIP")


def test_an_endpoint_slice_is_read() -> None:
    found = manifest_of(
        HEAD.format("discovery.k8s.io/v1", "EndpointSlice")
        + """
addressType: IPv4
endpoints:
- addresses: [10.0.0.1]
  conditions: {ready: false}
  targetRef: {kind: Pod, name: p, namespace: default, uid: u}
- {addresses: [10.0.0.2]}
ports: [{name: http, port: 80, protocol: TCP}, {}]
"""
    )
    assert isinstance(found, EndpointSlice)
    assert found.endpoints == (
        Endpoint(("10.0.0.1",), ready=False, target=EndpointTarget("Pod", "default", "p", "u")),
        Endpoint(("10.0.0.2",)),
    )
    assert found.ports == (EndpointPort("http", 80, "TCP"), EndpointPort())


@pytest.mark.proves("MF-12")
@pytest.mark.parametrize(
    ("kind", "rest", "field", "line"),
    [
        ("Service", "spec:\n  ports:\n  - name: x\n    port: '80'\n", "spec.ports[0].port", 7),
        ("Service", "spec:\n  ports:\n  - port: 80\n  - port: 0\n", "spec.ports[1].port", 7),
        ("Service", "spec: {ports: [{port: 70000}]}\n", "spec.ports[0].port", 4),
        ("Service", "spec:\n  ports:\n  - name: x\n", "spec.ports[0].port", 6),
        ("Service", "spec:\n  selector:\n    a: b\n    c: 1\n", "spec.selector.c", 7),
        ("Service", "spec:\n  selector:\n    a.b/c: no\n", 'spec.selector["a.b/c"]', 6),
        ("Service", "spec: [1]\n", "spec", 4),
        ("Pod", "spec: {containers: 7}\n", "spec.containers", 4),
        ("Pod", "status: {podIPs: [10.0.0.1]}\n", "status.podIPs[0]", 4),
        ("Pod", "spec: {hostNetwork: 'true'}\n", "spec.hostNetwork", 4),
    ],
)
def test_wrong_types_are_refused_with_field_and_line(
    kind: str, rest: str, field: str, line: int
) -> None:
    problem = problem_of(HEAD.format("v1", kind) + rest)
    assert (problem.field, problem.line, problem.code) == (field, line, "manifest.invalid")
    assert problem.object is not None
    assert "`" not in problem.message


@pytest.mark.proves("MF-12")
@pytest.mark.parametrize("value", ["true", "1", "1.5", "null", "[]", "{}"])
def test_label_values_are_text(value: str) -> None:
    text = (
        f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels:\n    x: y1\n    b: {value}\n"
    )
    problem = problem_of(text)
    assert (problem.field, problem.line) == ("metadata.labels.b", 7)
    assert ("put it in quotes" in problem.message) is (value in ("true", "1", "1.5"))


@pytest.mark.refutes("MF-17")
def test_a_null_is_no_text_and_no_port() -> None:
    text = HEAD.format("v1", "Service") + "spec: {clusterIPs: [null], ports: []}\n"
    assert problem_of(text).field == "spec.clusterIPs[0]"
    text = HEAD.format("v1", "Service") + "spec: {ports: [{port: null}]}\n"
    assert problem_of(text).field == "spec.ports[0].port"
