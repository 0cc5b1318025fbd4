"""The admin applications: what the ports of the admin side answer.

In: what the process can say about itself, as plain callables and a ``MeshView``. Out: a FastAPI
application behind a gate that says who is asking. Nothing here reaches into the graph: whatever is
told is committed state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fastapi import APIRouter, FastAPI, Request, Response, status
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel

from controlplane.admin.access import AccessSettings, AdminAccess
from controlplane.admin.debug.routes import debug_routes
from controlplane.admin.gate import Gate
from controlplane.admin.limits import AdminLimits
from controlplane.admin.mesh_view import MeshView
from controlplane.admin.problem_detail import answer_problems
from controlplane.admin.readiness import Readiness, wants_json
from controlplane.admin.rest.api import add_api
from controlplane.admin.rules import OPEN, open_paths
from controlplane.clock import Clock, SystemClock
from controlplane.logs import LogLevel


class Version(BaseModel):
    """What runs here."""

    name: str
    version: str


def _nothing() -> list[str]:
    return []


def _only_this_machine() -> AdminAccess:
    return AdminAccess(AccessSettings(root_namespaces=frozenset))


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminParts:
    """What an admin application is made of.

    ``waiting_for`` returns a sentence for each thing that keeps the process from serving, empty
    when ready; ``details`` sentences about what goes on beside serving. Without a ``view`` there is
    neither API nor debug. ``pages`` are routes of web pages; each declares its rule as all do.
    """

    version: str
    waiting_for: Callable[[], list[str]]
    registry: CollectorRegistry
    details: Callable[[], list[str]] = _nothing
    view: MeshView | None = None
    access: AdminAccess = field(default_factory=_only_this_machine)
    limits: AdminLimits = field(default_factory=AdminLimits)
    clock: Clock = field(default_factory=SystemClock)
    log_level: LogLevel = field(default_factory=LogLevel)
    pages: Sequence[APIRouter] = ()


def admin_application(parts: AdminParts) -> FastAPI:
    """Return the application of the admin port: everything."""
    application = _application(parts)
    _add_health(application, parts)
    _add_metrics(application, parts)
    if parts.view is not None:
        application.include_router(debug_routes(parts.view))
        add_api(
            application,
            parts.view,
            version=parts.version,
            limits=parts.limits,
            log_level=parts.log_level,
        )
    for page in parts.pages:
        application.include_router(page)
    return _behind_gate(application, parts)


def health_application(parts: AdminParts) -> FastAPI:
    """Return the application of the health port: health and debug, where istiod has them."""
    application = _application(parts)
    _add_health(application, parts)
    if parts.view is not None:
        application.include_router(debug_routes(parts.view))
    return _behind_gate(application, parts)


def _application(parts: AdminParts) -> FastAPI:
    application = FastAPI(
        title="istiod-lite", version=parts.version, docs_url=None, redoc_url=None, openapi_url=None
    )
    answer_problems(application)
    return application


def _behind_gate(application: FastAPI, parts: AdminParts) -> FastAPI:
    application.add_middleware(
        Gate,
        access=parts.access,
        limits=parts.limits,
        clock=parts.clock,
        open_paths=open_paths(application),
    )
    return application


def _add_health(application: FastAPI, parts: AdminParts) -> None:
    @application.get("/healthz", dependencies=[OPEN])
    async def healthz() -> dict[str, str]:
        """Answer as long as the loop turns."""
        return {"status": "alive"}

    @application.get("/ready", dependencies=[OPEN])
    async def ready(request: Request) -> Response:
        """Answer 200 when clients are served, 503 otherwise; lines of text, or JSON if asked."""
        reasons = parts.waiting_for()
        details = parts.details()
        # Whoever probes needs to know why not; what else there is names objects of the mesh.
        if details and not getattr(request.state, "is_near", False):
            details = [f"{len(details)} more, for those who ask from the same machine"]
        found = Readiness(ready=not reasons, waiting_for=reasons, details=details)
        code = status.HTTP_200_OK if found.ready else status.HTTP_503_SERVICE_UNAVAILABLE
        if wants_json(request.headers.get("accept", "")):
            return JSONResponse(found.model_dump(), status_code=code)
        return PlainTextResponse(found.text(), status_code=code)

    @application.get("/version", dependencies=[OPEN])
    async def show_version() -> Version:
        """Answer what runs here."""
        return Version(name="istiod-lite", version=parts.version)


def _add_metrics(application: FastAPI, parts: AdminParts) -> None:
    @application.get("/metrics", dependencies=[OPEN])
    async def metrics(request: Request) -> Response:
        """Answer in the Prometheus text format, or in that of OpenMetrics if asked."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(parts.registry), headers={"content-type": content_type})
