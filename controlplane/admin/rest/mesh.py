"""Routes about what the mesh is: workloads, services, policies, gateways, findings, nodes."""

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from controlplane.admin.mesh_view import MeshView, require_whole_mesh
from controlplane.admin.problem_detail import responses
from controlplane.admin.queries import (
    ConditionQuery,
    ElementQuery,
    NodeQuery,
    PolicyQuery,
    ProblemQuery,
    ServiceQuery,
    WorkloadQuery,
)
from controlplane.admin.reading.node_dump import dump
from controlplane.admin.rest.answers import JSON, has_tag, not_modified, tag_of, tagged
from controlplane.admin.rules import ViewerOf
from controlplane.admin.values.common import Page
from controlplane.admin.values.mesh import (
    ConditionValue,
    GatewayValue,
    NodeDetail,
    NodeValue,
    PolicyDetail,
    PolicyValue,
    ProblemValue,
    ServiceDetail,
    ServiceValue,
    WaypointDetail,
    WaypointValue,
    WorkloadDetail,
    WorkloadValue,
)
from controlplane.model.names import Name, ServiceName

Part = Annotated[str, Path(min_length=1, max_length=512)]
Uid = Annotated[str, Path(min_length=1, max_length=1024)]

_TAGGED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "You have it already"}}
LISTS: Final = {**_TAGGED, **responses(400, 401, 403, 404, 422, 429)}
ONE: Final = {**_TAGGED, **responses(401, 403, 404, 422, 429)}


def mesh_routes(view: MeshView) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["mesh"])
    _workloads(routes, view)
    _services_and_policies(routes, view)
    _gateways(routes, view)
    _findings(routes, view)
    _nodes(routes, view)
    return routes


def _workloads(routes: APIRouter, view: MeshView) -> None:
    @routes.get("/workloads", response_model=Page[WorkloadValue], responses=LISTS)
    async def list_workloads(
        request: Request, viewer: ViewerOf, query: Annotated[WorkloadQuery, Query()]
    ) -> Response:
        """List workloads by namespace and name."""
        return tagged(request, await view.workloads.page(viewer, query))

    @routes.get("/workloads/{uid:path}", response_model=WorkloadDetail, responses=ONE)
    async def get_workload(request: Request, viewer: ViewerOf, uid: Uid) -> Response:
        """Return one workload, with the policies that apply to it in the order of evaluation."""
        return tagged(request, await view.workloads.one(viewer, uid))


def _services_and_policies(routes: APIRouter, view: MeshView) -> None:
    @routes.get("/services", response_model=Page[ServiceValue], responses=LISTS)
    async def list_services(
        request: Request, viewer: ViewerOf, query: Annotated[ServiceQuery, Query()]
    ) -> Response:
        """List services by namespace and hostname."""
        return tagged(request, await view.services.page(viewer, query))

    @routes.get("/services/{namespace}/{hostname}", response_model=ServiceDetail, responses=ONE)
    async def get_service(
        request: Request, viewer: ViewerOf, namespace: Part, hostname: Part
    ) -> Response:
        """Return one service with its workloads."""
        return tagged(request, await view.services.one(viewer, ServiceName(namespace, hostname)))

    @routes.get("/policies", response_model=Page[PolicyValue], responses=LISTS)
    async def list_policies(
        request: Request, viewer: ViewerOf, query: Annotated[PolicyQuery, Query()]
    ) -> Response:
        """List policies as node proxies enforce them, by namespace and name."""
        return tagged(request, await view.policies.page(viewer, query))

    @routes.get("/policies/{namespace}/{name}", response_model=PolicyDetail, responses=ONE)
    async def get_policy(
        request: Request, viewer: ViewerOf, namespace: Part, name: Part
    ) -> Response:
        """Return one policy with what node proxies are sent."""
        return tagged(request, await view.policies.one(viewer, Name(namespace, name)))


def _gateways(routes: APIRouter, view: MeshView) -> None:
    @routes.get("/waypoints", response_model=Page[WaypointValue], responses=LISTS)
    async def list_waypoints(
        request: Request, viewer: ViewerOf, query: Annotated[ElementQuery, Query()]
    ) -> Response:
        """List usable waypoints by namespace and name."""
        return tagged(request, await view.gateways.waypoints(viewer, query))

    @routes.get("/waypoints/{namespace}/{name}", response_model=WaypointDetail, responses=ONE)
    async def get_waypoint(
        request: Request, viewer: ViewerOf, namespace: Part, name: Part
    ) -> Response:
        """Return one waypoint with its services, and the routes and policies in force there."""
        return tagged(request, view.gateways.waypoint(viewer, Name(namespace, name)))

    @routes.get(
        "/waypoints/{namespace}/{name}/snapshot",
        responses={
            **responses(401, 403, 404, 422, 429),
            200: {
                "description": "What the waypoint is sent",
                "content": {JSON: {"schema": {"type": "object"}}},
            },
        },
        response_class=Response,
    )
    async def get_waypoint_snapshot(viewer: ViewerOf, namespace: Part, name: Part) -> Response:
        """Return every resource that a waypoint is sent, ready or not; secrets are placeholders.

        Decoded from the bytes that are served. For those who see the whole mesh.
        """
        require_whole_mesh(viewer)
        document = await view.gateways.snapshot(Name(namespace, name))
        return Response(msgspec.json.encode(document), media_type=JSON)

    @routes.get("/gateways", response_model=Page[GatewayValue], responses=LISTS)
    async def list_gateways(
        request: Request, viewer: ViewerOf, query: Annotated[ElementQuery, Query()]
    ) -> Response:
        """List Gateways of the mesh by namespace and name."""
        return tagged(request, await view.gateways.gateways(viewer, query))

    @routes.get("/gateways/{namespace}/{name}", response_model=GatewayValue, responses=ONE)
    async def get_gateway(
        request: Request, viewer: ViewerOf, namespace: Part, name: Part
    ) -> Response:
        """Return one Gateway."""
        return tagged(request, view.gateways.gateway(viewer, Name(namespace, name)))


def _findings(routes: APIRouter, view: MeshView) -> None:
    @routes.get("/problems", response_model=Page[ProblemValue], responses=LISTS)
    async def list_problems(
        request: Request, viewer: ViewerOf, query: Annotated[ProblemQuery, Query()]
    ) -> Response:
        """List what is wrong with the configuration.

        Problems of texts are all on the first page, beside as many of objects as were asked for.
        """
        return tagged(request, await view.findings.problems(viewer, query))

    @routes.get("/conditions", response_model=Page[ConditionValue], responses=LISTS)
    async def list_conditions(
        request: Request, viewer: ViewerOf, query: Annotated[ConditionQuery, Query()]
    ) -> Response:
        """List the conditions that users are told, by namespace, object and type."""
        return tagged(request, await view.findings.conditions(viewer, query))


def _nodes(routes: APIRouter, view: MeshView) -> None:
    @routes.get("/nodes", response_model=Page[NodeValue], responses=LISTS)
    async def list_nodes(
        request: Request, viewer: ViewerOf, query: Annotated[NodeQuery, Query()]
    ) -> Response:
        """List nodes by name."""
        return tagged(request, await view.nodes.page(viewer, query))

    @routes.get("/nodes/{node}", response_model=NodeDetail, responses=ONE)
    async def get_node(request: Request, viewer: ViewerOf, node: Part) -> Response:
        """Return one node."""
        return tagged(request, await view.nodes.one(viewer, node))

    @routes.get(
        "/nodes/{node}/dump",
        responses={
            **ONE,
            200: {
                "description": "What the node's ztunnel is sent, as a ztunnel's dump shows it",
                "content": {JSON: {"schema": {"type": "object"}}},
            },
        },
        response_class=StreamingResponse,
    )
    async def dump_node(request: Request, viewer: ViewerOf, node: Part) -> Response:
        """Return everything the node's ztunnel is sent, whole and resolved.

        Decoded from the bytes that are served. `istioctl ztunnel-config ... -f` reads it.
        """
        return await node_dump(view, request, viewer, node)


async def node_dump(view: MeshView, request: Request, viewer: ViewerOf, node: str) -> Response:
    """Return the dump of one node, in pieces.

    Raises:
        NotFoundError: there is no such node, or nothing of it that the viewer may see.
    """
    snapshot = await view.nodes.snapshot(viewer, node)
    certificates = await view.certificates_on(viewer, node)
    tag = tag_of(
        view.instance.encode(),
        str(snapshot.commit).encode(),
        node.encode("utf-8", "surrogatepass"),
        (viewer.namespace or "*").encode(),
        repr(certificates).encode(),
    )
    if has_tag(request, tag):
        return not_modified(tag)
    return StreamingResponse(
        dump(snapshot, viewer, certificates=certificates), media_type=JSON, headers={"etag": tag}
    )
