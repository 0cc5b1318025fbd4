"""The admin application: health, readiness, version and metrics.

In: what the process can say about itself, as plain callables. Out: a FastAPI application that
``app`` serves. Nothing here reaches into the graph: callables return committed state.
"""

from collections.abc import Callable

from fastapi import FastAPI, Response, status
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel


class Readiness(BaseModel):
    """Whether the process serves, and what it waits for when it does not."""

    ready: bool
    waiting_for: list[str]


class Version(BaseModel):
    """What runs here."""

    name: str
    version: str


def admin_application(
    *, version: str, waiting_for: Callable[[], list[str]], registry: CollectorRegistry
) -> FastAPI:
    """Return the admin application.

    Args:
        version: version of this process.
        waiting_for: one sentence per thing that keeps the process from serving; empty when ready.
        registry: the metrics to show under ``/metrics``.
    """
    application = FastAPI(
        title="istiod-lite", version=version, docs_url=None, redoc_url=None, openapi_url=None
    )

    @application.get("/healthz")
    def healthz() -> dict[str, str]:
        """Answer as long as the loop turns."""
        return {"status": "alive"}

    @application.get("/ready")
    def ready(response: Response) -> Readiness:
        """Answer 200 when clients are served, 503 with the reasons otherwise."""
        reasons = waiting_for()
        if reasons:
            response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return Readiness(ready=not reasons, waiting_for=reasons)

    @application.get("/version")
    def show_version() -> Version:
        """Answer what runs here."""
        return Version(name="istiod-lite", version=version)

    @application.get("/metrics")
    def metrics() -> Response:
        """Answer in the Prometheus text format."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return application
