"""Routes about who is connected and what changed: connections, commits, waiting."""

from asyncio import Semaphore
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from controlplane.admin.errors import TooManyWaitingError
from controlplane.admin.mesh_view import MeshView
from controlplane.admin.problem_detail import responses
from controlplane.admin.queries import CommitQuery, ConnectionQuery
from controlplane.admin.rest.answers import plain, tagged
from controlplane.admin.rest.mesh import LISTS, ONE, Part
from controlplane.admin.rules import ViewerOf
from controlplane.admin.values.common import Page
from controlplane.admin.values.fleet import (
    CommitPage,
    CommitValue,
    ConnectionValue,
    FleetValue,
    WaitAnswer,
    WaitRequest,
)

Number = Annotated[int, Path(ge=0, le=2**53)]


def fleet_routes(view: MeshView, *, waiting: int) -> APIRouter:
    """Return the routes; at most ``waiting`` may wait for commits at a time."""
    routes = APIRouter(tags=["fleet"])
    _connections(routes, view)
    _commits(routes, view, Semaphore(waiting))
    return routes


def _connections(routes: APIRouter, view: MeshView) -> None:
    @routes.get("/fleet", response_model=FleetValue, responses=responses(401, 403, 429))
    async def get_fleet(viewer: ViewerOf) -> Response:
        """Return connections by state, and the replicas."""
        return plain(await view.connections.fleet(viewer))

    @routes.get("/connections", response_model=Page[ConnectionValue], responses=LISTS)
    async def list_connections(
        request: Request, viewer: ViewerOf, query: Annotated[ConnectionQuery, Query()]
    ) -> Response:
        """List the connections of all replicas, by name."""
        return tagged(request, await view.connections.page(viewer, query))

    @routes.get("/connections/{replica}/{number}", response_model=ConnectionValue, responses=ONE)
    async def get_connection(
        request: Request, viewer: ViewerOf, replica: Part, number: Number
    ) -> Response:
        """Return one connection."""
        return tagged(request, await view.connections.one(viewer, replica, number))


def _commits(routes: APIRouter, view: MeshView, waiting: Semaphore) -> None:
    @routes.get("/commits", response_model=CommitPage, responses=LISTS)
    async def list_commits(
        request: Request, viewer: ViewerOf, query: Annotated[CommitQuery, Query()]
    ) -> Response:
        """List what changed and who has it, newest first.

        First the commits of this replica that it remembers, with who has them now; then older ones
        of all replicas, as the database keeps them. With `replica` naming another one, all of its.
        """
        return tagged(request, await view.commits.page(viewer, query))

    @routes.get("/commits/{number}", response_model=CommitValue, responses=ONE)
    async def get_commit(request: Request, viewer: ViewerOf, number: Number) -> Response:
        """Return one commit."""
        return tagged(request, view.commits.one(viewer, number))

    @routes.post(
        "/wait",
        response_model=WaitAnswer,
        responses=responses(400, 401, 403, 404, 413, 415, 422, 429, 503),
    )
    async def wait(viewer: ViewerOf, wanted: WaitRequest) -> Response:
        """Wait until a commit, or an object's current version, is acknowledged.

        Without either, the newest commit is waited for. The answer is 200 whether or not
        everybody has it: `is_converged` says so.
        """
        if waiting.locked():
            raise TooManyWaitingError("Too many are waiting already: try again later.")
        async with waiting:
            return plain(await view.commits.wait(viewer, wanted))
