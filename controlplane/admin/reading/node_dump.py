"""What a node's ztunnel is sent, decoded from the very bytes, in the shape of a ztunnel's own dump.

Resources of the committed snapshot come in, JSON goes out in pieces, so that a whole mesh is never
in memory as text and the loop is not held up. Keys are those that tools reading a ztunnel's dump
know (docs/protocol/admin.md AM-30 to AM-33).
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from envoy.service.discovery.v3 import discovery_pb2

from controlplane.admin.reading.json_pieces import object_of_arrays
from controlplane.admin.viewer import Viewer
from controlplane.encode.resource import Resource
from controlplane.model.network import text_from_address
from controlplane.pb import authorization_pb2, workload_pb2
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.forms import is_service_name

_TRUST_DOMAIN: Final = "cluster.local"
_ACCOUNT: Final = "default"
_STATUS: Final = {0: "Healthy", 1: "Unhealthy"}
_SCOPES: Final = {0: "Global", 1: "Namespace", 2: "WorkloadSelector"}
_ACTIONS: Final = {0: "Allow", 1: "Deny"}
_FAMILIES: Final = {0: "", 1: "IPv4", 2: "IPv6", 3: "Dual"}
_MATCHES: Final = (
    "namespaces",
    "not_namespaces",
    "principals",
    "not_principals",
)
_ACCOUNTS: Final = ("service_accounts", "not_service_accounts")
_BLOCKS: Final = ("source_ips", "not_source_ips", "destination_ips", "not_destination_ips")
_PORTS: Final = ("destination_ports", "not_destination_ports")

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSnapshot:
    """What one node is sent at ``commit``: references to resources, no copies."""

    node: str
    commit: int
    addresses: tuple[Resource, ...]
    policies: tuple[Resource, ...]


def snapshot_of(
    catalog: Catalog, node: str | None, *, scopes_to_nodes: bool, knows_dry_run: bool = True
) -> NodeSnapshot:
    """Return what ``node`` is sent now, in the order it would be; None for one without a name."""
    policies = catalog.authorizations(
        node if scopes_to_nodes else None, knows_dry_run=knows_dry_run
    )
    return NodeSnapshot(
        node=node or "",
        commit=catalog.commit,
        addresses=tuple(catalog.addresses().changes(-1)[0]),
        policies=tuple(policies.changes(-1)[0]),
    )


async def dump(
    snapshot: NodeSnapshot,
    viewer: Viewer,
    *,
    certificates: Sequence[Document] = (),
) -> AsyncIterator[bytes]:
    """Yield the JSON of a snapshot; a viewer of one namespace gets what is of that namespace."""
    gathered = _Gathered(snapshot, viewer)
    policies = (
        policy_document(message)
        for message in map(_policy, snapshot.policies)
        if viewer.may_see(message.namespace)
    )
    # Endpoints are known only once every workload has been seen: the order matters.
    members = (
        ("workloads", gathered.workloads()),
        ("services", gathered.services()),
        ("policies", policies),
        ("certificates", certificates),
    )
    async for piece in object_of_arrays(members):
        yield b',"workloadState":{}}\n' if piece == b"}\n" else piece


def namespace_of(resource: Resource) -> str:
    """Return the namespace that a resource says it is of."""
    if resource.name.count("/") == 1:
        return resource.name.partition("/")[0]
    return str(_address(resource).workload.namespace)


class _Gathered:
    """One pass over addresses: workloads on the way, services with their endpoints afterwards."""

    def __init__(self, snapshot: NodeSnapshot, viewer: Viewer) -> None:
        self._snapshot = snapshot
        self._viewer = viewer
        self._services: list[workload_pb2.Service] = []
        self._members: dict[str, list[tuple[str, Document]]] = {}

    def workloads(self) -> Iterator[Document]:
        for resource in self._snapshot.addresses:
            address = _address(resource)
            if is_service_name(resource.name):
                if self._viewer.may_see(address.service.namespace):
                    self._services.append(address.service)
            elif self._viewer.may_see(address.workload.namespace):
                self._note(address.workload)
                yield workload_document(address.workload)

    def services(self) -> Iterator[Document]:
        return (service_document(service, self._members) for service in self._services)

    def _note(self, workload: workload_pb2.Workload) -> None:
        for name, ports in workload.services.items():
            endpoint = (workload.uid, _endpoint(name, workload, ports))
            self._members.setdefault(name, []).append(endpoint)


async def document(
    snapshot: NodeSnapshot, viewer: Viewer, *, certificates: Sequence[Document] = ()
) -> Document:
    """Return the whole dump as one document; for small meshes and for tests."""
    pieces = [piece async for piece in dump(snapshot, viewer, certificates=certificates)]
    found: Document = json.loads(b"".join(pieces))
    return found


def workload_document(workload: workload_pb2.Workload) -> Document:
    """Return one workload as a ztunnel shows it."""
    found: Document = {
        "uid": workload.uid,
        "workloadIps": [text_from_address(address) for address in workload.addresses],
        "protocol": "HBONE" if workload.tunnel_protocol == workload_pb2.HBONE else "TCP",
        "name": workload.name,
        "namespace": workload.namespace,
        "trustDomain": workload.trust_domain or _TRUST_DOMAIN,
        "serviceAccount": workload.service_account or _ACCOUNT,
        "workloadName": workload.workload_name,
        "workloadType": workload_pb2.WorkloadType.Name(workload.workload_type).lower(),
        "canonicalName": workload.canonical_name,
        "canonicalRevision": workload.canonical_revision,
        "clusterId": workload.cluster_id,
        "locality": {
            key: value
            for key in ("region", "zone", "subzone")
            if (value := getattr(workload.locality, key))
        },
        "node": workload.node,
        "network": workload.network,
        "status": _STATUS.get(workload.status, str(workload.status)),
        "hostname": workload.hostname,
        "networkMode": workload_pb2.NetworkMode.Name(workload.network_mode),
        "capacity": workload.capacity.value if workload.HasField("capacity") else 1,
        "services": sorted(workload.services),
        "authorizationPolicies": list(workload.authorization_policies),
    }
    if workload.native_tunnel:
        found["nativeTunnel"] = True
    if workload.HasField("waypoint"):
        found["waypoint"] = _gateway(workload.waypoint)
    if workload.HasField("network_gateway"):
        found["networkGateway"] = _gateway(workload.network_gateway)
    if workload.HasField("application_tunnel"):
        tunnel = workload.application_tunnel
        found["applicationTunnel"] = {
            "protocol": workload_pb2.ApplicationTunnel.Protocol.Name(tunnel.protocol),
            **({"port": tunnel.port} if tunnel.port else {}),
        }
    return found


def service_document(
    service: workload_pb2.Service, members: Mapping[str, Sequence[tuple[str, Document]]]
) -> Document:
    """Return one service as a ztunnel shows it, with the endpoints that ``members`` holds."""
    hosts = [each for each in service.addresses if not each.HasField("length")]
    blocks = [each for each in service.addresses if each.HasField("length")]
    found: Document = {
        "name": service.name,
        "namespace": service.namespace,
        "hostname": service.hostname,
        "vips": [_network_address(each) for each in hosts],
        "cidrVips": [f"{_network_address(each)}/{each.length}" for each in blocks],
        "ports": {str(port.service_port): port.target_port for port in service.ports},
        "endpoints": dict(members.get(f"{service.namespace}/{service.hostname}", ())),
        "subjectAltNames": list(service.subject_alt_names),
        "ipFamilies": _FAMILIES.get(service.ip_families, ""),
        "canonical": service.canonical,
        "visibility": "Namespace" if service.visibility else "Public",
    }
    if service.HasField("waypoint"):
        found["waypoint"] = _gateway(service.waypoint)
    if service.weighted_waypoints:
        found["weightedWaypoints"] = [
            {"weight": each.weight, **_gateway(each.destination)}
            for each in service.weighted_waypoints
        ]
    if service.HasField("load_balancing"):
        balancing = service.load_balancing
        kinds = workload_pb2.LoadBalancing
        found["loadBalancer"] = {
            "routingPreferences": [
                kinds.Scope.Name(scope).capitalize() for scope in balancing.routing_preference
            ],
            "mode": kinds.Mode.Name(balancing.mode).removesuffix("_MODE").capitalize(),
            "healthPolicy": "AllowAll" if balancing.health_policy else "OnlyHealthy",
        }
    return found


def policy_document(policy: authorization_pb2.Authorization) -> Document:
    """Return one policy as a ztunnel shows it: groups of rules of matches."""
    found: Document = {
        "name": policy.name,
        "namespace": policy.namespace,
        "scope": _SCOPES.get(policy.scope, str(policy.scope)),
        "action": _ACTIONS.get(policy.action, str(policy.action)),
        "rules": [
            [[_match(match) for match in rule.matches] for rule in group.rules]
            for group in policy.groups
        ],
    }
    if policy.dry_run:
        found["dryRun"] = True
    return found


def _match(match: authorization_pb2.Match) -> Document:
    found: Document = {}
    for field in _MATCHES:
        values = [_text_match(each) for each in getattr(match, field)]
        if values:
            found[_camel(field)] = values
    for field in _ACCOUNTS:
        accounts = [
            {"namespace": each.namespace, "serviceAccount": each.serviceAccount}
            for each in getattr(match, field)
        ]
        if accounts:
            found[_camel(field)] = accounts
    for field in _BLOCKS:
        blocks = [
            f"{text_from_address(each.address)}/{each.length}" for each in getattr(match, field)
        ]
        if blocks:
            found[_camel(field)] = blocks
    for field in _PORTS:
        ports = list(getattr(match, field))
        if ports:
            found[_camel(field)] = ports
    return found


def _text_match(match: authorization_pb2.StringMatch) -> Document:
    kind = match.WhichOneof("match_type")
    if kind is None:
        return {}
    return {"Presence": {}} if kind == "presence" else {kind.capitalize(): getattr(match, kind)}


def _camel(field: str) -> str:
    first, *rest = field.split("_")
    return first + "".join(map(str.capitalize, rest))


def _endpoint(
    service: str, workload: workload_pb2.Workload, ports: workload_pb2.PortList
) -> Document:
    return {
        "workloadUid": workload.uid,
        "service": service,
        "port": {str(port.service_port): port.target_port for port in ports.ports},
        "status": _STATUS.get(workload.status, str(workload.status)),
    }


def _gateway(gateway: workload_pb2.GatewayAddress) -> Document:
    if gateway.HasField("hostname"):
        destination = f"{gateway.hostname.namespace}/{gateway.hostname.hostname}"
    else:
        destination = _network_address(gateway.address)
    return {"destination": destination, "hboneMtlsPort": gateway.hbone_mtls_port}


def _network_address(address: workload_pb2.NetworkAddress) -> str:
    return f"{address.network}/{text_from_address(address.address)}"


def _address(resource: Resource) -> workload_pb2.Address:
    return workload_pb2.Address.FromString(_content(resource))


def _policy(resource: Resource) -> authorization_pb2.Authorization:
    return authorization_pb2.Authorization.FromString(_content(resource))


def _content(resource: Resource) -> bytes:
    content: bytes = discovery_pb2.Resource.FromString(resource.body).resource.value
    return content
