"""The compiled protos against the tables of the protocol, written out once more as data."""

import pytest
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor

from controlplane.pb import authorization_pb2, certificate_pb2, workload_pb2

# message: fields as "number name type"; ":x" after the type is the oneof, "*" a list, "?" presence.
WORKLOAD_MESSAGES = {
    "Address": "1 workload Workload:type, 2 service Service:type",
    "Service": (
        "1 name string, 2 namespace string, 3 hostname string, 4 addresses NetworkAddress*, "
        "5 ports Port*, 6 subject_alt_names string*, 7 waypoint GatewayAddress, "
        "8 load_balancing LoadBalancing, 9 ip_families IPFamilies, 10 extensions Extension*, "
        "11 canonical bool, 12 ingress_use_waypoint bool, "
        "13 weighted_waypoints WeightedWaypoint*, 14 visibility Service.Visibility"
    ),
    "LoadBalancing": (
        "1 routing_preference LoadBalancing.Scope*, 2 mode LoadBalancing.Mode, "
        "3 health_policy LoadBalancing.HealthPolicy"
    ),
    "Workload": (
        "1 name string, 2 namespace string, 3 addresses bytes*, 4 network string, "
        "5 tunnel_protocol TunnelProtocol, 6 trust_domain string, 7 service_account string, "
        "8 waypoint GatewayAddress, 9 node string, 10 canonical_name string, "
        "11 canonical_revision string, 12 workload_type WorkloadType, 13 workload_name string, "
        "14 native_tunnel bool, 16 authorization_policies string*, 17 status WorkloadStatus, "
        "18 cluster_id string, 19 network_gateway GatewayAddress, 20 uid string, "
        "21 hostname string, 22 services Workload.ServicesEntry*, "
        "23 application_tunnel ApplicationTunnel, 24 locality Locality, "
        "25 network_mode NetworkMode, 26 extensions Extension*, "
        "27 capacity google.protobuf.UInt32Value"
    ),
    "Workload.ServicesEntry": "1 key string, 2 value PortList",
    "Locality": "1 region string, 2 zone string, 3 subzone string",
    "PortList": "1 ports Port*",
    "Port": "1 service_port uint32, 2 target_port uint32, 3 app_protocol AppProtocol",
    "ApplicationTunnel": "1 protocol ApplicationTunnel.Protocol, 2 port uint32",
    "GatewayAddress": (
        "1 hostname NamespacedHostname:destination, 2 address NetworkAddress:destination, "
        "3 hbone_mtls_port uint32"
    ),
    "WeightedWaypoint": "1 destination GatewayAddress, 2 weight uint32",
    "NetworkAddress": "1 network string, 2 address bytes, 3 length uint32?",
    "NamespacedHostname": "1 namespace string, 2 hostname string",
    "Extension": "1 name string, 2 config google.protobuf.Any",
}
WORKLOAD_ENUMS = {
    "Service.Visibility": "PUBLIC=0 NAMESPACE=1",
    "LoadBalancing.Scope": (
        "UNSPECIFIED_SCOPE=0 REGION=1 ZONE=2 SUBZONE=3 NODE=4 CLUSTER=5 NETWORK=6"
    ),
    "LoadBalancing.Mode": "UNSPECIFIED_MODE=0 STRICT=1 FAILOVER=2 PASSTHROUGH=3",
    "LoadBalancing.HealthPolicy": "ONLY_HEALTHY=0 ALLOW_ALL=1",
    "IPFamilies": "AUTOMATIC=0 IPV4_ONLY=1 IPV6_ONLY=2 DUAL=3",
    "NetworkMode": "STANDARD=0 HOST_NETWORK=1",
    "WorkloadStatus": "HEALTHY=0 UNHEALTHY=1",
    "WorkloadType": "DEPLOYMENT=0 CRONJOB=1 POD=2 JOB=3",
    "AppProtocol": "UNKNOWN=0 HTTP11=1 HTTP2=2 GRPC=3 TCP=4 TLS=5",
    "TunnelProtocol": "NONE=0 HBONE=1 LEGACY_ISTIO_MTLS=2",
    "ApplicationTunnel.Protocol": "NONE=0 PROXY=1",
}
WORKLOAD_RESERVED = {"Workload": [(15, 16)], "GatewayAddress": [(4, 5)]}
SECURITY_MESSAGES = {
    "Authorization": (
        "1 name string, 2 namespace string, 3 scope Scope, 4 action Action, 5 groups Group*, "
        "6 dry_run bool, 7 extensions istio.workload.Extension*"
    ),
    "Group": "1 rules Rules*",
    "Rules": "2 matches Match*",
    "Match": (
        "1 namespaces StringMatch*, 2 not_namespaces StringMatch*, 3 principals StringMatch*, "
        "4 not_principals StringMatch*, 5 source_ips Address*, 6 not_source_ips Address*, "
        "7 destination_ips Address*, 8 not_destination_ips Address*, "
        "9 destination_ports uint32*, 10 not_destination_ports uint32*, "
        "11 service_accounts ServiceAccountMatch*, 12 not_service_accounts ServiceAccountMatch*, "
        "13 extensions istio.workload.Extension*"
    ),
    "Address": "1 address bytes, 2 length uint32",
    "ServiceAccountMatch": "1 namespace string, 2 serviceAccount string",
    "StringMatch": (
        "1 exact string:match_type, 2 prefix string:match_type, 3 suffix string:match_type, "
        "4 presence google.protobuf.Empty:match_type"
    ),
}
SECURITY_ENUMS = {
    "Scope": "GLOBAL=0 NAMESPACE=1 WORKLOAD_SELECTOR=2",
    "Action": "ALLOW=0 DENY=1",
}
AUTH_MESSAGES = {
    "IstioCertificateRequest": (
        "1 csr string, 3 validity_duration int64, 4 metadata google.protobuf.Struct"
    ),
    "IstioCertificateResponse": "1 cert_chain string*",
}

SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_INT64: "int64",
}
FILES = [
    (workload_pb2.DESCRIPTOR, "istio.workload", WORKLOAD_MESSAGES, WORKLOAD_ENUMS),
    (authorization_pb2.DESCRIPTOR, "istio.security", SECURITY_MESSAGES, SECURITY_ENUMS),
    (certificate_pb2.DESCRIPTOR, "istio.v1.auth", AUTH_MESSAGES, {}),
]


def _field(field: FieldDescriptor, package: str) -> str:
    kind = SCALARS.get(field.type)
    if kind is None:
        named = field.message_type or field.enum_type
        assert named is not None
        kind = named.full_name.removeprefix(f"{package}.")
    oneof = field.containing_oneof
    if field.is_repeated:
        kind += "*"
    elif oneof is not None:
        # protoc wraps an "optional" field in a oneof of its own.
        kind += "?" if oneof.name == f"_{field.name}" else f":{oneof.name}"
    return f"{field.number} {field.name} {kind}"


def _messages(file: FileDescriptor) -> dict[str, str]:
    found = {}
    pending = list(file.message_types_by_name.values())
    while pending:
        message = pending.pop()
        pending.extend(message.nested_types)
        fields = sorted(message.fields, key=lambda field: field.number)
        found[message.full_name.removeprefix(f"{file.package}.")] = ", ".join(
            _field(field, file.package) for field in fields
        )
    return found


def _enums(file: FileDescriptor) -> dict[str, str]:
    enums = list(file.enum_types_by_name.values())
    for message in file.message_types_by_name.values():
        enums.extend(message.enum_types)
    return {
        enum.full_name.removeprefix(f"{file.package}."): " ".join(
            f"{value.name}={value.number}" for value in enum.values
        )
        for enum in enums
    }


@pytest.mark.proves("MSG-1")
@pytest.mark.parametrize(("file", "package", "messages", "enums"), FILES)
def test_the_compiled_schema_is_the_table(
    file: FileDescriptor, package: str, messages: dict[str, str], enums: dict[str, str]
) -> None:
    assert file.package == package
    assert _messages(file) == messages
    assert _enums(file) == enums


@pytest.mark.refutes("MSG-1")
@pytest.mark.parametrize("unknown", [b"\x7a\x01x", b"\xe2\x01\x01x"])
def test_numbers_outside_the_table_are_unknown(unknown: bytes) -> None:
    # Fields 15 (given up for ever) and 28 of Workload.
    workload = workload_pb2.Workload.FromString(unknown)
    assert workload.ListFields() == []


def test_given_up_numbers_stay_reserved() -> None:
    from google.protobuf import descriptor_pb2

    file = descriptor_pb2.FileDescriptorProto()
    workload_pb2.DESCRIPTOR.CopyToProto(file)
    reserved = {
        message.name: [(each.start, each.end) for each in message.reserved_range]
        for message in file.message_type
        if message.reserved_range
    }
    assert reserved == WORKLOAD_RESERVED


def test_the_certificate_service_has_one_unary_method() -> None:
    service = certificate_pb2.DESCRIPTOR.services_by_name["IstioCertificateService"]
    (method,) = service.methods
    assert method.full_name == "istio.v1.auth.IstioCertificateService.CreateCertificate"
    assert (method.input_type.name, method.output_type.name) == (
        "IstioCertificateRequest",
        "IstioCertificateResponse",
    )
    assert (method.client_streaming, method.server_streaming) == (False, False)
