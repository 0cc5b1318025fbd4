"""The API assembled: every route of ``/api/v1`` and its description."""

from functools import lru_cache
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts

from controlplane.admin.limits import AdminLimits
from controlplane.admin.mesh_view import MeshView
from controlplane.admin.problem_detail import ProblemDetail
from controlplane.admin.rest.certificates import certificate_routes
from controlplane.admin.rest.fleet import fleet_routes
from controlplane.admin.rest.machinery import (
    description_routes,
    log_level_routes,
    machinery_routes,
)
from controlplane.admin.rest.mesh import mesh_routes
from controlplane.logs import LogLevel

PREFIX: Final = "/api/v1"

_ABOUT: Final = """\
What the mesh is, who is connected and how far each client is.

Lists come in pages: `next` of one is `after` of the next. Answers are limited to what the viewer
may see: an account of the root namespace sees everything, one of another namespace what is of that
namespace. Entity tags work with `If-None-Match`. Errors are RFC 9457 problem documents.
"""


def add_api(
    application: FastAPI,
    view: MeshView,
    *,
    version: str,
    limits: AdminLimits,
    log_level: LogLevel,
) -> None:
    """Add every route of the API."""
    parts: tuple[APIRouter, ...] = (
        mesh_routes(view),
        fleet_routes(view, waiting=limits.waiting),
        certificate_routes(view),
        machinery_routes(view),
        log_level_routes(log_level),
    )
    for routes in parts:
        application.include_router(routes, prefix=PREFIX)

    @lru_cache(maxsize=1)
    def describe() -> dict[str, Any]:
        return described(application, version)

    application.include_router(description_routes(describe), prefix=PREFIX)


def described(application: FastAPI, version: str) -> dict[str, Any]:
    """Return the OpenAPI document of the API's routes."""
    routes = [
        route
        for route in iter_route_contexts(application.routes)
        if route.path is not None and route.path.startswith(f"{PREFIX}/")
    ]
    document = get_openapi(
        title="istiod-lite",
        version=version,
        openapi_version="3.1.0",
        description=_ABOUT,
        routes=routes,
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    problem = ProblemDetail.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["ProblemDetail"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}, {}]
    return document
