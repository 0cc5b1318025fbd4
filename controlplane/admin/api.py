"""The admin application: health, readiness, version and metrics.

In: what the process can say about itself, as plain callables. Out: a FastAPI application that
``app`` serves. Nothing here reaches into the graph: callables return committed state.
"""

from collections.abc import Callable

from fastapi import FastAPI, Request, Response, status
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel

from controlplane.admin.readiness import Readiness, wants_json


class Version(BaseModel):
    """What runs here."""

    name: str
    version: str


def _nothing() -> list[str]:
    return []


def admin_application(
    *,
    version: str,
    waiting_for: Callable[[], list[str]],
    registry: CollectorRegistry,
    details: Callable[[], list[str]] = _nothing,
) -> FastAPI:
    """Return the admin application.

    Args:
        version: version of this process.
        waiting_for: one sentence per thing that keeps the process from serving; empty when ready.
        registry: the metrics to show under ``/metrics``.
        details: sentences about what goes on beside serving, for ``/ready``.
    """
    application = FastAPI(
        title="istiod-lite", version=version, docs_url=None, redoc_url=None, openapi_url=None
    )

    @application.get("/healthz")
    def healthz() -> dict[str, str]:
        """Answer as long as the loop turns."""
        return {"status": "alive"}

    @application.get("/ready")
    async def ready(request: Request) -> Response:
        """Answer 200 when clients are served, 503 otherwise; lines of text, or JSON if asked."""
        reasons = waiting_for()
        found = Readiness(ready=not reasons, waiting_for=reasons, details=details())
        code = status.HTTP_200_OK if found.ready else status.HTTP_503_SERVICE_UNAVAILABLE
        if wants_json(request.headers.get("accept", "")):
            return JSONResponse(found.model_dump(), status_code=code)
        return PlainTextResponse(found.text(), status_code=code)

    @application.get("/version")
    def show_version() -> Version:
        """Answer what runs here."""
        return Version(name="istiod-lite", version=version)

    @application.get("/metrics")
    async def metrics() -> Response:
        """Answer in the Prometheus text format."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return application
