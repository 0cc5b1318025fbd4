"""Routes about the machinery itself: the graph, who asks, and the API's own description."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from controlplane.admin.mesh_view import MeshView
from controlplane.admin.problem_detail import responses
from controlplane.admin.rest.answers import plain
from controlplane.admin.rules import ViewerOf, WholeMeshViewer
from controlplane.admin.values.common import Value
from controlplane.admin.values.machinery import GraphValue
from controlplane.logs import Level, LogLevel


class ViewerValue(Value):
    """On whose behalf you ask; ``namespace`` is null for those who see the whole mesh."""

    name: str
    namespace: str | None


class LogLevelValue(Value):
    """From which level on events are logged."""

    level: Level


def log_level_routes(log_level: LogLevel) -> APIRouter:
    """Return the routes of the level of this replica's logs."""
    routes = APIRouter(tags=["machinery"])

    @routes.get("/log-level", response_model=LogLevelValue, responses=responses(401, 403, 429))
    async def get_log_level(_: WholeMeshViewer) -> Response:
        """Return from which level on this replica logs."""
        return plain(LogLevelValue(level=log_level.current))

    @routes.put(
        "/log-level",
        response_model=LogLevelValue,
        responses=responses(400, 401, 403, 413, 415, 422, 429),
    )
    async def put_log_level(viewer: WholeMeshViewer, wanted: LogLevelValue) -> Response:
        """Log from this level on, at once and until this replica ends."""
        log_level.change(wanted.level, by=viewer.name)
        return plain(LogLevelValue(level=log_level.current))

    return routes


def machinery_routes(view: MeshView) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["machinery"])

    @routes.get("/graph", response_model=GraphValue, responses=responses(401, 403, 429))
    async def get_graph(viewer: WholeMeshViewer) -> Response:
        """Return the dataflow graph: collections, sizes, failures, timings."""
        return plain(view.graph(viewer))

    @routes.get("/viewer", response_model=ViewerValue, responses=responses(401, 403, 429))
    async def get_viewer(viewer: ViewerOf) -> Response:
        """Return who you are to this control plane, and so what you may see."""
        return plain(ViewerValue(name=viewer.name, namespace=viewer.namespace))

    return routes


def description_routes(describe: Any) -> APIRouter:
    """Return the route of the API's OpenAPI document; ``describe`` makes it."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/openapi.json")
    async def get_description(_: ViewerOf) -> Response:
        """Return the API's OpenAPI document."""
        return JSONResponse(describe())

    return routes
