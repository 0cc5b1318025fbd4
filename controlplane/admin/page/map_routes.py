"""The map: drawn anew when the mesh has changed, and shown to all who may see the same."""

from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Query, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from controlplane.admin.mesh_view import MeshView
from controlplane.admin.page.map_facts import MapFacts, map_facts
from controlplane.admin.page.map_layout import lay_out
from controlplane.admin.page.map_values import Drawing
from controlplane.admin.page.rendering import Renderer
from controlplane.admin.rules import ViewerOf
from controlplane.admin.viewer import Viewer

_KEPT: Final = 32
_SHOWN_FOR: Final = 2.0
"""Seconds for which a map is shown however much the mesh changes: drawing takes time."""


class MapQuery(BaseModel):
    """Which part of the mesh."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str = Field(default="", max_length=253)


class _Kept(NamedTuple):
    commit: int
    at: float
    facts: MapFacts
    drawing: Drawing


class Maps:
    """Maps that were drawn a moment ago."""

    def __init__(self, view: MeshView) -> None:
        self._view = view
        self._kept: dict[tuple[str | None, str], _Kept] = {}

    async def of(self, viewer: Viewer, namespace: str) -> tuple[MapFacts, Drawing]:
        """Return the map of a namespace, "" for all, as ``viewer`` may see it."""
        place = (viewer.namespace, namespace)
        now, commit = self._view.knowledge.clock.monotonic(), self._view.commit
        kept = self._kept.get(place)
        if kept is not None and (kept.commit == commit or now - kept.at < _SHOWN_FOR):
            return kept.facts, kept.drawing
        facts = await map_facts(self._view, viewer, namespace)
        drawing = lay_out(facts.boxes, facts.flows)
        self._kept.pop(place, None)
        self._kept[place] = _Kept(commit, now, facts, drawing)
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return facts, drawing


def map_routes(view: MeshView, renderer: Renderer, route_class: type[APIRoute]) -> APIRouter:
    """Return the route."""
    routes = APIRouter(route_class=route_class)
    maps = Maps(view)

    @routes.get("/map")
    async def show_map(viewer: ViewerOf, query: Annotated[MapQuery, Query()]) -> Response:
        """Show namespaces, services, waypoints, and who may call whom."""
        facts, drawing = await maps.of(viewer, query.namespace)
        spaces = [space for space in view.services.listing.namespaces() if viewer.may_see(space)]
        return await renderer.page(
            "map.html", viewer=viewer, query=query, facts=facts, drawing=drawing, spaces=spaces
        )

    return routes
