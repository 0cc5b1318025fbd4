"""The routes under ``/debug``."""

from html import escape
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from controlplane.admin.debug.documents import HELP, DebugDocuments
from controlplane.admin.mesh_view import MeshView
from controlplane.admin.rest.answers import JSON
from controlplane.admin.rest.mesh import node_dump
from controlplane.admin.rules import ViewerOf

_INDEX = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>istiod-lite debug</title></head>
<body>
<h1>Debug</h1>
<p>Add <code>?pretty</code> for text to read. The documented interface is
<a href="/api/v1/openapi.json">/api/v1</a>.</p>
<table>
<caption>Endpoints</caption>
<thead><tr><th scope="col">Endpoint</th><th scope="col">What it answers</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""
_MORE = {
    "list": "Every debug endpoint, as JSON",
    "ztunnel/NODE": "What the ztunnel of a node is sent, as a ztunnel's own dump shows it",
}


def debug_routes(view: MeshView) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/debug", include_in_schema=False)
    documents = DebugDocuments(view)

    @routes.get("")
    async def index(_: ViewerOf) -> Response:
        """Answer with an index for people."""
        return HTMLResponse(_INDEX.format(rows="\n".join(_rows())))

    @routes.get("/list")
    async def list_endpoints(_: ViewerOf) -> list[str]:
        """Answer with the names of all endpoints."""
        return sorted(HELP)

    @routes.get("/ztunnel/{node}")
    async def ztunnel(
        request: Request, viewer: ViewerOf, node: Annotated[str, Path(max_length=512)]
    ) -> Response:
        """Answer with what the node's ztunnel is sent."""
        return await node_dump(view, request, viewer, node)

    @routes.get("/{name}")
    async def answer(
        request: Request, viewer: ViewerOf, name: Annotated[str, Path(max_length=100)]
    ) -> Response:
        """Answer one question."""
        pieces = await documents.answer(name, dict(request.query_params), viewer)
        return StreamingResponse(pieces, media_type=JSON)

    return routes


def _rows() -> list[str]:
    told = {**HELP, **_MORE}
    return [
        f'<tr><td><a href="/debug/{escape(name)}">/debug/{escape(name)}</a></td>'
        f"<td>{escape(told[name])}</td></tr>"
        for name in sorted(told)
    ]
