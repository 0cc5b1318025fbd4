"""Pages about how things are going: overview, clients, changes, certificates, problems."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.routing import APIRoute

from controlplane.admin.errors import NotAllowedError, NotKnownHereError
from controlplane.admin.mesh_view import MeshView
from controlplane.admin.page.overview import overview
from controlplane.admin.page.rendering import Renderer
from controlplane.admin.queries import (
    CertificateQuery,
    CommitQuery,
    ConnectionQuery,
    ProblemQuery,
)
from controlplane.admin.rules import ViewerOf

Part = Annotated[str, Path(min_length=1, max_length=512)]
Number = Annotated[int, Path(ge=0, le=2**53)]


def fleet_routes(
    view: MeshView,
    renderer: Renderer,
    route_class: type[APIRoute],
    waiting_for: Callable[[], list[str]],
) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(route_class=route_class)

    @routes.get("/")
    async def show_overview(viewer: ViewerOf) -> Response:
        """Show health, what is wrong first."""
        found = await overview(view, viewer, waiting_for)
        return await renderer.page(
            "overview.html", viewer=viewer, found=found, is_ready=not waiting_for()
        )

    @routes.get("/connections")
    async def show_connections(
        viewer: ViewerOf, query: Annotated[ConnectionQuery, Query()]
    ) -> Response:
        """Show who is connected and how far each is."""
        found = await view.connections.page(viewer, query)
        fleet = await view.connections.fleet(viewer)
        return await renderer.page(
            "connections.html", viewer=viewer, query=query, found=found, fleet=fleet
        )

    @routes.get("/connections/{replica}/{number}")
    async def show_connection(viewer: ViewerOf, replica: Part, number: Number) -> Response:
        """Show one client."""
        found = await view.connections.one(viewer, replica, number)
        return await renderer.page("connection.html", viewer=viewer, found=found)

    @routes.get("/changes")
    async def show_changes(viewer: ViewerOf, query: Annotated[CommitQuery, Query()]) -> Response:
        """Show what changed, and how far it has got."""
        found = await view.commits.page(viewer, query)
        return await renderer.page("changes.html", viewer=viewer, query=query, found=found)

    @routes.get("/changes/{number}")
    async def show_change(viewer: ViewerOf, number: Number) -> Response:
        """Show one change."""
        found = view.commits.one(viewer, number)
        return await renderer.page("change.html", viewer=viewer, found=found)

    @routes.get("/certificates")
    async def show_certificates(
        viewer: ViewerOf, query: Annotated[CertificateQuery, Query()]
    ) -> Response:
        """Show who signs, and what was issued and refused."""
        authorities, reason = None, ""
        try:
            authorities = await view.authorities(viewer)
        except (NotAllowedError, NotKnownHereError) as error:
            reason = str(error)
        found = await view.certificates(viewer, query)
        return await renderer.page(
            "certificates.html",
            viewer=viewer,
            query=query,
            found=found,
            authorities=authorities,
            reason=reason,
        )

    @routes.get("/problems")
    async def show_problems(viewer: ViewerOf, query: Annotated[ProblemQuery, Query()]) -> Response:
        """Show what is wrong with the configuration."""
        found = await view.findings.problems(viewer, query)
        counts = view.findings.counts(viewer)
        return await renderer.page(
            "problems.html", viewer=viewer, query=query, found=found, counts=counts
        )

    return routes
