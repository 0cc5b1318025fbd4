"""The page assembled: its routes, and the live events that have to be ended before the server."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter

from controlplane.admin.mesh_view import MeshView
from controlplane.admin.page.asset_routes import asset_routes
from controlplane.admin.page.errors import page_route
from controlplane.admin.page.fleet_routes import fleet_routes
from controlplane.admin.page.live import Live
from controlplane.admin.page.map_routes import map_routes
from controlplane.admin.page.mesh_routes import mesh_routes
from controlplane.admin.page.rendering import Renderer, read_assets


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPage:
    """The page: ``routes`` go into the admin application, ``live`` is closed to stop serving."""

    routes: APIRouter
    live: Live


def web_page(
    view: MeshView, *, version: str, waiting_for: Callable[[], list[str]] = list
) -> WebPage:
    """Return the page of ``view``.

    Args:
        view: what there is to show.
        version: version of this process.
        waiting_for: one sentence per thing that keeps the process from serving.
    """
    clock = view.knowledge.clock
    assets = read_assets()
    renderer = Renderer(clock, assets, version=version, replica=view.knowledge.replica)
    live = Live(view, clock, waiting_for=waiting_for)
    route_class = page_route(renderer)
    routes = APIRouter(include_in_schema=False)
    for part in (
        asset_routes(assets, live),
        fleet_routes(view, renderer, route_class, waiting_for),
        map_routes(view, renderer, route_class),
        mesh_routes(view, renderer, route_class),
    ):
        routes.include_router(part)
    return WebPage(routes=routes, live=live)
