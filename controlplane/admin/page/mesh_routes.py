"""Pages about what the mesh is: nodes, workloads, services, policies, waypoints."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.routing import APIRoute

from controlplane.admin.errors import AdminError
from controlplane.admin.mesh_view import MeshView
from controlplane.admin.page.rendering import Renderer
from controlplane.admin.page.sentences import Alternative, alternatives
from controlplane.admin.queries import (
    CertificateQuery,
    ConnectionQuery,
    ElementQuery,
    NodeQuery,
    PolicyQuery,
    ServiceQuery,
    WorkloadQuery,
)
from controlplane.admin.rules import ViewerOf
from controlplane.admin.values.certificates import CertificateValue
from controlplane.admin.values.mesh import WorkloadDetail
from controlplane.admin.viewer import Viewer
from controlplane.model.names import Name, ServiceName
from controlplane.store.errors import StoreError

Part = Annotated[str, Path(min_length=1, max_length=512)]
Uid = Annotated[str, Path(min_length=1, max_length=1024)]

_ON_NODE = 50


def mesh_routes(view: MeshView, renderer: Renderer, route_class: type[APIRoute]) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(route_class=route_class)
    _nodes(routes, view, renderer)
    _workloads(routes, view, renderer)
    _services(routes, view, renderer)
    _policies(routes, view, renderer)
    return routes


def _nodes(routes: APIRouter, view: MeshView, renderer: Renderer) -> None:
    @routes.get("/nodes")
    async def show_nodes(viewer: ViewerOf, query: Annotated[NodeQuery, Query()]) -> Response:
        """Show nodes and how their proxies are doing."""
        found = await view.nodes.page(viewer, query)
        return await renderer.page("nodes.html", viewer=viewer, query=query, found=found)

    @routes.get("/nodes/{name}")
    async def show_node(viewer: ViewerOf, name: Part) -> Response:
        """Show one node: what its ztunnel is sent, and what runs there."""
        found = await view.nodes.one(viewer, name)
        connections = await view.connections.page(viewer, ConnectionQuery(node=name))
        workloads = await view.workloads.page(viewer, WorkloadQuery(node=name, limit=_ON_NODE))
        return await renderer.page(
            "node.html",
            viewer=viewer,
            found=found,
            connections=connections.items,
            workloads=workloads,
        )


def _workloads(routes: APIRouter, view: MeshView, renderer: Renderer) -> None:
    @routes.get("/workloads")
    async def show_workloads(
        viewer: ViewerOf, query: Annotated[WorkloadQuery, Query()]
    ) -> Response:
        """Show workloads, searched by the server."""
        found = await view.workloads.page(viewer, query)
        return await renderer.page("workloads.html", viewer=viewer, query=query, found=found)

    @routes.get("/workloads/{uid:path}")
    async def show_workload(viewer: ViewerOf, uid: Uid) -> Response:
        """Show one workload: who it is, what it serves, who may call it."""
        found = await view.workloads.one(viewer, uid)
        certificate, reason = await _certificate_of(view, viewer, found)
        return await renderer.page(
            "workload.html",
            viewer=viewer,
            found=found,
            certificate=certificate,
            reason=reason,
            rules={
                f"{each.namespace}/{each.name}": _alternatives(
                    view, Name(each.namespace, each.name)
                )
                for each in found.policies_in_order
            },
        )


def _services(routes: APIRouter, view: MeshView, renderer: Renderer) -> None:
    @routes.get("/services")
    async def show_services(viewer: ViewerOf, query: Annotated[ServiceQuery, Query()]) -> Response:
        """Show services."""
        found = await view.services.page(viewer, query)
        return await renderer.page("services.html", viewer=viewer, query=query, found=found)

    @routes.get("/services/{namespace}/{hostname}")
    async def show_service(viewer: ViewerOf, namespace: Part, hostname: Part) -> Response:
        """Show one service and its workloads."""
        found = await view.services.one(viewer, ServiceName(namespace, hostname))
        return await renderer.page("service.html", viewer=viewer, found=found)

    @routes.get("/waypoints")
    async def show_waypoints(viewer: ViewerOf, query: Annotated[ElementQuery, Query()]) -> Response:
        """Show usable waypoints, and Gateways beside them."""
        found = await view.gateways.waypoints(viewer, query)
        gateways = await view.gateways.gateways(
            viewer, ElementQuery(namespace=query.namespace, name=query.name)
        )
        return await renderer.page(
            "waypoints.html", viewer=viewer, query=query, found=found, gateways=gateways.items
        )

    @routes.get("/waypoints/{namespace}/{name}")
    async def show_waypoint(viewer: ViewerOf, namespace: Part, name: Part) -> Response:
        """Show one waypoint: its pods, its services, and what is in force there."""
        key = Name(namespace, name)
        found = view.gateways.waypoint(viewer, key)
        pods = await view.connections.of_waypoint(viewer, key)
        return await renderer.page("waypoint.html", viewer=viewer, found=found, pods=pods)


def _policies(routes: APIRouter, view: MeshView, renderer: Renderer) -> None:
    @routes.get("/policies")
    async def show_policies(viewer: ViewerOf, query: Annotated[PolicyQuery, Query()]) -> Response:
        """Show policies with their conditions."""
        found = await view.policies.page(viewer, query)
        return await renderer.page("policies.html", viewer=viewer, query=query, found=found)

    @routes.get("/policies/{namespace}/{name}")
    async def show_policy(viewer: ViewerOf, namespace: Part, name: Part) -> Response:
        """Show one policy in words."""
        found = await view.policies.one(viewer, Name(namespace, name))
        rules = _alternatives(view, Name(namespace, name))
        return await renderer.page("policy.html", viewer=viewer, found=found, rules=rules)


def _alternatives(view: MeshView, key: Name) -> tuple[Alternative, ...]:
    """Return a policy in words; who may see it was decided when it was asked for."""
    policy = view.knowledge.pipeline.world.authorizations.get(key)
    return () if policy is None else alternatives(policy)


async def _certificate_of(
    view: MeshView, viewer: Viewer, workload: WorkloadDetail
) -> tuple[CertificateValue | None, str]:
    """Return the newest certificate of a workload's identity on its node, or why there is none."""
    if not workload.identity:
        return None, "It has no service account, so nobody can be issued a certificate for it."
    try:
        found = await view.certificates(
            viewer, CertificateQuery(identity=workload.identity, node=workload.node, limit=1)
        )
    except (AdminError, StoreError) as error:
        return None, f"The ledger says nothing: {error}"
    if not found.items:
        return None, "The ledger knows of none for this identity on this node."
    return found.items[0], ""
