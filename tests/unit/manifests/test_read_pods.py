"""Pods and what makes them: every field the mesh reads."""

import pytest

from controlplane.manifests.core import ContainerPort, Pod, WorkloadTemplate
from tests.unit.manifests.test_reading import manifest_of, problem_of

HEAD = "apiVersion: {}\nkind: {}\nmetadata: {{name: a}}\n"


def pod(rest: str) -> Pod:
    found = manifest_of(HEAD.format("v1", "Pod") + rest)
    assert isinstance(found, Pod)
    return found


@pytest.mark.proves("MF-20")
def test_a_pod_is_read() -> None:
    found = pod("""
spec:
  nodeName: n1
  serviceAccountName: sa
  hostNetwork: true
  containers:
  - {name: c, ports: [{containerPort: 80, name: http}, {containerPort: 53, protocol: UDP}]}
  - {name: d}
  initContainers:
  - {name: i, ports: [{containerPort: 1}]}
  - {name: s, restartPolicy: Always, ports: [{containerPort: 2}]}
status:
  phase: Running
  podIP: 10.0.0.9
  podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]
  conditions: [{type: Initialized, status: "False"}, {type: Ready, status: "True"}]
""")
    assert found.ips == ("10.0.0.1", "fd00::1")
    assert found.container_ports == (
        ContainerPort("http", 80),
        ContainerPort("", 53, "UDP"),
        ContainerPort("", 2),
    )
    assert (found.node, found.service_account, found.host_network) == ("n1", "sa", True)
    assert (found.phase, found.ready) == ("Running", True)
    assert pod("status: {podIP: 10.0.0.9}\n").ips == ("10.0.0.9",)


@pytest.mark.refutes("MF-20")
def test_a_pod_without_status_has_nothing() -> None:
    for rest in (
        "",
        "status: {podIPs: [], podIP: '', conditions: [{type: Ready, status: 'False'}]}",
    ):
        assert (pod(rest).ips, pod(rest).ready, pod(rest).container_ports) == ((), False, ())


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_templates_are_read(kind: str) -> None:
    found = manifest_of(
        HEAD.format("apps/v1", kind)
        + """
spec:
  replicas: 3
  template:
    metadata: {labels: {app: x}, annotations: {b: c}}
    spec:
      serviceAccountName: sa
      nodeSelector: {zone: z}
      containers: [{ports: [{containerPort: 1}]}]
"""
    )
    assert isinstance(found, WorkloadTemplate)
    assert (found.kind, found.replicas, found.template.labels) == (kind, 3, {"app": "x"})
    assert found.template.container_ports == (ContainerPort("", 1),)
    bare = manifest_of(HEAD.format("apps/v1", kind))
    assert isinstance(bare, WorkloadTemplate)
    assert bare.replicas == 1
    for replicas in (-1, 1_000_000):
        text = HEAD.format("apps/v1", kind) + f"spec: {{replicas: {replicas}}}\n"
        assert problem_of(text).field == "spec.replicas"


@pytest.mark.refutes("MF-12")
def test_fields_nobody_reads_may_hold_anything() -> None:
    found = pod("spec: {dnsPolicy: [1], containers: [{name: 7, image: {}}]}\nstatus: {x: [y]}\n")
    assert found.container_ports == ()


@pytest.mark.proves("MF-17")
@pytest.mark.parametrize(
    "rest",
    [
        "spec:\nstatus:\n",
        "spec: {containers: null, nodeName: ~}\nstatus: {podIPs: , conditions: }\n",
        "spec: {containers: [null, {ports: [~]}], initContainers: [~]}\nstatus: {podIPs: []}\n",
        "status: {conditions: [null]}\n",
    ],
)
def test_nulls_read_as_absent(rest: str) -> None:
    assert pod(rest) == pod("")
