import json

from controlplane.encode.document import protobuf_json
from controlplane.encode.policy import encode_authorization
from controlplane.encode.service import encode_service
from controlplane.encode.workload import encode_workload
from controlplane.model.names import ServiceName
from controlplane.model.network import NetworkAddress
from controlplane.model.policy import Action, Authorization, Scope
from controlplane.model.service import Service
from controlplane.model.workload import Port, TunnelProtocol, Workload


def test_a_workload_reads_as_protobuf_json() -> None:
    workload = Workload(
        uid="Kubernetes//Pod/apps/a",
        name="a",
        namespace="apps",
        addresses=(b"\x0a\0\0\x01",),
        tunnel_protocol=TunnelProtocol.HBONE,
        services=((ServiceName("apps", "z"), (Port(80, 8080),)), (ServiceName("apps", "b"), ())),
        capacity=0,
    )
    document = protobuf_json(encode_workload(workload))
    assert document == {
        "@type": "type.googleapis.com/istio.workload.Address",
        "workload": {
            "addresses": ["CgAAAQ=="],
            "capacity": 0,
            "name": "a",
            "namespace": "apps",
            "services": {
                "apps/b": {},
                "apps/z": {"ports": [{"servicePort": 80, "targetPort": 8080}]},
            },
            "tunnelProtocol": "HBONE",
            "uid": "Kubernetes//Pod/apps/a",
        },
    }
    assert json.dumps(document) == json.dumps(document, sort_keys=True)


def test_services_and_policies_read_as_protobuf_json() -> None:
    service = Service(
        name="a",
        namespace="apps",
        hostname="a.example.com",
        addresses=(NetworkAddress("", b"\0\0\0\0", 0),),
    )
    read = protobuf_json(encode_service(service))["service"]
    assert read["addresses"] == [{"address": "AAAAAA==", "length": 0}]
    policy = Authorization(name="p", namespace="apps", scope=Scope.NAMESPACE, action=Action.DENY)
    assert protobuf_json(encode_authorization(policy)) == {
        "@type": "type.googleapis.com/istio.security.Authorization",
        "action": "DENY",
        "name": "p",
        "namespace": "apps",
        "scope": "NAMESPACE",
    }
