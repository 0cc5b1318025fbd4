from controlplane.cli.snapshot_tables import message_of, snapshot_tables
from controlplane.encode.policy import encode_authorization
from controlplane.encode.service import encode_service
from controlplane.encode.workload import encode_workload
from controlplane.model.names import ObjectReference, ServiceName
from controlplane.model.network import NetworkAddress
from controlplane.model.policy import Action, Authorization, Scope
from controlplane.model.problem import Condition, Problem, Severity
from controlplane.model.service import Service
from controlplane.model.workload import (
    GatewayAddress,
    NamespacedHostname,
    TunnelProtocol,
    Workload,
    WorkloadStatus,
)
from controlplane.snapshots.forms import encoded_as_workload

WAYPOINT = GatewayAddress(NamespacedHostname("apps", "way.apps.svc.cluster.local"), 15008)
BY_ADDRESS = GatewayAddress(NetworkAddress("", b"\x0a\0\0\x09"), 15008)
WEB = ServiceName("apps", "web.apps.svc.cluster.local")
POD = Workload(
    uid="Kubernetes//Pod/apps/web-1",
    name="web-1",
    namespace="apps",
    addresses=(b"\x0a\0\0\x01", b"\xfd" + b"\0" * 14 + b"\x01"),
    node="node-1",
    tunnel_protocol=TunnelProtocol.HBONE,
    waypoint=BY_ADDRESS,
    services=((WEB, ()),),
)
OUTSIDE = Workload(
    uid="a/b/c/d",
    name="db",
    namespace="apps",
    hostname="db.example.com",
    services=((WEB, ()),),
    status=WorkloadStatus.UNHEALTHY,
)


def _cells(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_workloads_and_services() -> None:
    service = Service(
        name="web",
        namespace="apps",
        hostname=WEB.hostname,
        addresses=(NetworkAddress("", b"\x0a\x60\0\x01"), NetworkAddress("", b"\x0a\0\0\0", 8)),
        waypoint=WAYPOINT,
    )
    bare = Service(name="bare", namespace="apps", hostname="bare.example.com")
    resources = [encode_workload(POD), encode_workload(OUTSIDE)]
    resources += [encode_service(service), encode_service(bare)]
    assert _cells(snapshot_tables(resources, (), ())) == [
        ["NAMESPACE", "POD", "NAME", "ADDRESS", "NODE", "WAYPOINT", "PROTOCOL"],
        ["apps", "db", "db.example.com", "None", "None", "TCP"],
        ["apps", "web-1", "10.0.0.1,fd00::1", "node-1", "10.0.0.9", "HBONE"],
        [],
        ["NAMESPACE", "SERVICE", "NAME", "SERVICE", "VIP", "WAYPOINT", "ENDPOINTS"],
        ["apps", "bare", "None", "None", "0/0"],
        ["apps", "web", "10.96.0.1,10.0.0.0/8", "way", "1/2"],
    ]


def test_legacy_workloads_look_the_same() -> None:
    address = encode_workload(POD)
    legacy = encoded_as_workload(address)
    assert legacy is not None
    assert snapshot_tables([legacy], (), ()) == snapshot_tables([address], (), ())


def test_policies_problems_and_conditions() -> None:
    policy = Authorization(name="p", namespace="apps", scope=Scope.NAMESPACE, action=Action.DENY)
    reference = ObjectReference("AuthorizationPolicy", "apps", "p")
    problem = Problem(
        severity=Severity.ERROR,
        code="policy.odd",
        message="odd",
        object=reference,
        file="mesh.yaml",
        line=3,
        field="spec",
    )
    note = Problem(severity=Severity.INFO, code="note", message="skipped")
    condition = Condition(
        object=reference, type="Ok", status=False, reason="Odd", message="is odd", manager="m"
    )
    text = snapshot_tables([encode_authorization(policy)], (problem, note), (condition,))
    assert _cells(text) == [
        ["NAMESPACE", "POLICY", "NAME", "ACTION", "SCOPE"],
        ["apps", "p", "Deny", "Namespace"],
        [],
        ["SEVERITY", "CODE", "OBJECT", "PLACE", "MESSAGE"],
        ["error", "policy.odd", "AuthorizationPolicy", "apps/p", "mesh.yaml:3", "spec:", "odd"],
        ["info", "note", "None", "None", "skipped"],
        [],
        ["OBJECT", "CONDITION", "STATUS", "REASON", "MESSAGE"],
        ["AuthorizationPolicy", "apps/p", "Ok", "False", "Odd", "is", "odd"],
    ]
    assert message_of(problem) == "spec: odd"


def test_an_empty_mesh_is_said_in_words() -> None:
    assert snapshot_tables((), (), ()) == "nothing to send"
