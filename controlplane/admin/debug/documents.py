"""What the debug endpoints tell: a question and a viewer in, JSON in pieces out.

Keys are those that istiod's have (docs/protocol/admin.md AM-40 to AM-46). Everything is answered
for the fleet where this replica knows it: connections of all replicas, and what any client is sent.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from controlplane.admin.debug.configuration import configuration_documents
from controlplane.admin.errors import BadQuestionError, NotFoundError
from controlplane.admin.mesh_view import MeshView, require_whole_mesh
from controlplane.admin.reading.json_pieces import array, compact, indented, object_of_arrays
from controlplane.admin.reading.node_dump import namespace_of, snapshot_of
from controlplane.admin.values.fleet import ConnectionValue
from controlplane.admin.viewer import Viewer
from controlplane.encode.document import envoy_json, protobuf_json
from controlplane.encode.resource import Resource
from controlplane.insight.waypoint_snapshot import object_behind, waypoint_of
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.inputs import MESH
from controlplane.model.connection import Connection
from controlplane.model.names import Name
from controlplane.model.network import text_from_address
from controlplane.model.service import Service
from controlplane.model.waypoint import WaypointPod
from controlplane.model.workload import Workload, WorkloadStatus
from controlplane.snapshots.forms import is_service_name
from controlplane.snapshots.scope import (
    ADDRESSES,
    AUTHORIZATIONS,
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
)

HELP: Final[Mapping[str, str]] = {
    "adsz": "Connected clients of every replica, with what they watch",
    "ambientz": "Workloads, services and policies as they are sent",
    "authorizationz": "Policies as they are sent",
    "config_dump": "What one client is sent: ?proxyID=NAME.NAMESPACE, ?types=wds,wads or cds,rds",
    "configz": "The configuration objects that are read",
    "connections": "Connected clients of every replica",
    "endpointz": "Endpoints of every service by port",
    "mesh": "The mesh configuration in force",
    "registryz": "Services as they are sent",
    "syncz": "How far each client of every replica is: ?namespace=, ?proxyID=",
}
"""Every question, and what it answers."""

_TYPES: Final = {"wds": "addresses", "wads": "policies"}
_WAYPOINT_TYPES: Final = {
    "cds": CLUSTER_TYPE,
    "eds": ENDPOINT_TYPE,
    "lds": LISTENER_TYPE,
    "rds": ROUTE_TYPE,
}

Parameters = Mapping[str, str]
Pieces = AsyncIterator[bytes]


class DebugDocuments:
    """Answers debug questions from the same view as the API."""

    def __init__(self, view: MeshView) -> None:
        self._view = view
        self._known: dict[str, Callable[[Viewer, Parameters], Any]] = {
            "adsz": self._adsz,
            "ambientz": self._ambientz,
            "authorizationz": self._authorizationz,
            "config_dump": self._config_dump,
            "configz": self._configz,
            "connections": self._connections,
            "endpointz": self._endpointz,
            "mesh": self._mesh,
            "registryz": self._registryz,
            "syncz": self._syncz,
        }

    async def answer(self, name: str, parameters: Parameters, viewer: Viewer) -> Pieces:
        """Return the answer to a question, JSON in pieces.

        Raises:
            BadQuestionError: a parameter is missing or makes no sense.
            NotAllowedError: the viewer may not ask this.
            NotFoundError: nobody knows the question, or there is no such client.
        """
        ask = self._known.get(name)
        if ask is None:
            raise NotFoundError(f"there is no debug endpoint {name[:100]!r}: see /debug/list")
        found: Pieces = await ask(viewer, parameters)
        return found

    async def clients(self, viewer: Viewer, parameters: Parameters) -> list[ConnectionValue]:
        """Return the connections that ``?proxyID=`` and ``?namespace=`` pick.

        Raises:
            NotFoundError: ``proxyID`` names nobody.
        """
        proxy, namespace = parameters.get("proxyID", ""), parameters.get("namespace", "")
        found = await self._view.connections.of_proxy(viewer, proxy)
        picked = [each for each in found if not namespace or each.namespace == namespace]
        if proxy and not picked:
            raise NotFoundError(f"no replica has a client whose name contains {proxy[:200]!r}")
        return picked

    async def connected(self) -> tuple[Connection, ...]:
        """Return the connections of every replica, whoever may see them."""
        return await self._view.connections.everybody()

    async def _syncz(self, viewer: Viewer, parameters: Parameters) -> Pieces:
        clients = await self.clients(viewer, parameters)
        return array(map(sync_status, clients), _encode(parameters))

    async def _connections(self, viewer: Viewer, parameters: Parameters) -> Pieces:
        clients = await self.clients(viewer, parameters)
        return _one({"totalClients": len(clients), "clients": [*map(_client, clients)]}, parameters)

    async def _adsz(self, viewer: Viewer, parameters: Parameters) -> Pieces:
        clients = await self.clients(viewer, parameters)
        told = [{**_client(client), **_watching(client)} for client in clients]
        return _one({"totalClients": len(clients), "clients": told}, parameters)

    async def _ambientz(self, viewer: Viewer, parameters: Parameters) -> Pieces:
        addresses, policies = self._table(ADDRESSES), self._table(AUTHORIZATIONS)
        members = (
            ("workloads", _shown(viewer, (r for r in addresses if not is_service_name(r.name)))),
            ("services", _shown(viewer, (r for r in addresses if is_service_name(r.name)))),
            ("policies", _shown(viewer, policies)),
        )
        return object_of_arrays(members, _encode(parameters))

    async def _registryz(self, viewer: Viewer, parameters: Parameters) -> Pieces:
        services = (each for each in self._table(ADDRESSES) if is_service_name(each.name))
        return array(_shown(viewer, services), _encode(parameters))

    async def _authorizationz(self, viewer: Viewer, parameters: Parameters) -> Pieces:
        return array(_shown(viewer, self._table(AUTHORIZATIONS)), _encode(parameters))

    async def _config_dump(self, viewer: Viewer, parameters: Parameters) -> Pieces:
        if not parameters.get("proxyID"):
            raise BadQuestionError("say whose: ?proxyID=NAME.NAMESPACE of a client in syncz")
        client = (await self.clients(viewer, parameters))[0]
        world = self._view.knowledge.pipeline.world
        pod = Name(client.namespace, client.pod)
        waypoint = waypoint_of(world, pod)
        types = _TYPES if waypoint is None else _WAYPOINT_TYPES
        wanted = [each for each in parameters.get("types", "").lower().split(",") if each]
        unknown = [each for each in wanted if each not in types]
        if unknown:
            raise BadQuestionError(
                f"{unknown[0][:40]!r} is no type that is served: there are {', '.join(types)}"
            )
        if waypoint is not None:
            resident = world.residents.get(pod)
            place = WaypointPod(waypoint, "" if resident is None else resident.node)
            return self._waypoint_dump(viewer, place, wanted or types, parameters)
        snapshot = snapshot_of(
            self._view.knowledge.catalog,
            client.node or None,
            scopes_to_nodes=self._view.knowledge.scopes_to_nodes,
        )
        chosen = [getattr(snapshot, _TYPES[each]) for each in wanted or _TYPES]
        resources = (resource for resources in chosen for resource in resources)
        return object_of_arrays([("configs", _shown(viewer, resources))], _encode(parameters))

    def _waypoint_dump(
        self, viewer: Viewer, pod: WaypointPod, wanted: Iterable[str], parameters: Parameters
    ) -> Pieces:
        """Return what a pod of a waypoint is sent; secrets are made for each and not shown."""
        catalog = self._view.knowledge.catalog
        world = self._view.knowledge.pipeline.world
        documents = (
            {"name": each.name, "version": each.version, "resource": envoy_json(each)}
            for short in wanted
            for each in sorted(
                catalog.waypoint(pod.waypoint, _WAYPOINT_TYPES[short], pod.node).resources(),
                key=lambda resource: resource.name,
            )
            if viewer.may_see(object_behind(world, pod.waypoint, each.name).namespace)
        )
        return object_of_arrays([("configs", documents)], _encode(parameters))

    async def _configz(self, viewer: Viewer, parameters: Parameters) -> Pieces:
        documents = configuration_documents(self._view.knowledge.pipeline.inputs, viewer)
        return array(documents, _encode(parameters))

    async def _mesh(self, viewer: Viewer, parameters: Parameters) -> Pieces:
        require_whole_mesh(viewer)
        configured = self._view.knowledge.pipeline.inputs.mesh_config.get(MESH) or MeshConfig()
        return _one(msgspec.to_builtins(configured), parameters)

    async def _endpointz(self, viewer: Viewer, parameters: Parameters) -> Pieces:
        return array(self._endpoints(viewer), _encode(parameters))

    def _endpoints(self, viewer: Viewer) -> Iterator[Any]:
        world = self._view.knowledge.pipeline.world
        for key, service in sorted(world.services.items(), key=lambda item: item[0]):
            if not viewer.may_see(key.namespace):
                continue
            workloads = self._view.workloads_of(viewer, key)
            for port in service.ports:
                yield {
                    "svc": f"{key.hostname}:{port.service_port}",
                    "ep": [_endpoint(service, port.service_port, each) for each in workloads],
                }

    def _table(self, key: Any) -> list[Resource]:
        resources = self._view.knowledge.catalog.table(key).resources()
        return sorted(resources, key=lambda resource: resource.name)


def sync_status(connection: ConnectionValue) -> dict[str, Any]:
    """Return one client as ``/debug/syncz`` shows it."""
    return {
        "cluster_id": connection.cluster,
        "proxy": connection.name,
        "proxy_type": connection.kind,
        "proxy_version": connection.version,
        "istio_version": connection.version,
        "resources": {
            each.type_url: {
                "sent": each.nonce_sent,
                "acked": each.nonce_acknowledged,
                "sentTime": _moment(each.sent_at),
                "lastError": each.last_error,
            }
            for each in connection.types
        },
    }


def _client(connection: ConnectionValue) -> dict[str, Any]:
    return {
        "connectionId": f"{connection.name}-{connection.number}",
        "connectedAt": _moment(connection.connected_at),
        "address": connection.peer,
        "replica": connection.replica,
    }


def _watching(connection: ConnectionValue) -> dict[str, Any]:
    return {
        "metadata": {
            "CLUSTER_ID": connection.cluster,
            "NAMESPACE": connection.namespace,
            "NODE_NAME": connection.node,
            "ISTIO_VERSION": connection.version,
        },
        "watches": {each.type_url: ["*"] * (not each.on_demand) for each in connection.types},
    }


def _endpoint(service: Service, port: int, workload: Workload) -> dict[str, Any]:
    ports = next((ports for name, ports in workload.services if name == service.key), ())
    target = next((each.target_port for each in ports if each.service_port == port), 0)
    return {
        "addresses": [text_from_address(address) for address in workload.addresses],
        "port": target,
        "workload": workload.uid,
        "serviceAccount": workload.service_account,
        "node": workload.node,
        "healthStatus": "Healthy" if workload.status is WorkloadStatus.HEALTHY else "UnHealthy",
    }


def _shown(viewer: Viewer, resources: Iterable[Resource]) -> Iterator[dict[str, Any]]:
    """Yield the documents of resources that the viewer may see."""
    for resource in resources:
        if viewer.sees_all or viewer.may_see(namespace_of(resource)):
            yield protobuf_json(resource)


def _encode(parameters: Parameters) -> Callable[[Any], str]:
    return indented if "pretty" in parameters else compact


async def _one(document: Any, parameters: Parameters) -> Pieces:
    yield _encode(parameters)(document).encode() + b"\n"


def _moment(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
