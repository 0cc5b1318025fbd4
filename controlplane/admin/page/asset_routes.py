"""Routes of what the page is made of: stylesheet, script, icon, and the stream of live events."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from controlplane.admin.page.live import Live
from controlplane.admin.page.rendering import Asset
from controlplane.admin.problem_detail import problem_response
from controlplane.admin.rules import OPEN, ViewerOf

_LASTING: Final = "public, max-age=31536000, immutable"
"""Addresses of these files name their version."""


def asset_routes(assets: Mapping[str, Asset], live: Live) -> APIRouter:
    """Return the routes."""
    routes = APIRouter()

    def answer(name: str) -> Response:
        asset = assets[name]
        return Response(
            asset.body, media_type=asset.media_type, headers={"cache-control": _LASTING}
        )

    @routes.get("/page/page.css", dependencies=[OPEN])
    async def stylesheet() -> Response:
        """Answer with the stylesheet."""
        return answer("page.css")

    @routes.get("/page/page.js", dependencies=[OPEN])
    async def script() -> Response:
        """Answer with the script."""
        return answer("page.js")

    @routes.get("/page/icon.svg", dependencies=[OPEN])
    async def icon() -> Response:
        """Answer with the icon."""
        return answer("icon.svg")

    @routes.get("/page/live")
    async def listen(_: ViewerOf) -> Response:
        """Answer with an event for each change; they carry nothing but a number."""
        if not live.is_open:
            return problem_response(
                503, "Too many pages are live: this one is not.", headers={"retry-after": "30"}
            )
        return StreamingResponse(
            live.events(),
            media_type="text/event-stream",
            headers={"cache-control": "no-store"},
        )

    return routes
