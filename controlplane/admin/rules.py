"""The rule of each route: who may ask it. A route that declares none fails the tests.

``ViewerOf`` routes answer with what the viewer may see, ``WholeMeshViewer`` routes are for those
who see everything, and ``OPEN`` routes are for anybody who reaches the port.
"""

from collections.abc import Iterator
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts

from controlplane.admin.mesh_view import require_whole_mesh
from controlplane.admin.viewer import Viewer


def viewer_of(request: Request) -> Viewer:
    """Return the viewer that the gate found."""
    found = request.state.viewer
    if not isinstance(found, Viewer):
        raise TypeError("a request came past the gate")
    return found


def whole_mesh_viewer(viewer: Annotated[Viewer, Depends(viewer_of)]) -> Viewer:
    """Return the viewer, who sees the whole mesh.

    Raises:
        NotAllowedError: the viewer does not.
    """
    require_whole_mesh(viewer)
    return viewer


def open_to_all() -> None:
    """Say that a route is for anybody who reaches the port."""


ViewerOf = Annotated[Viewer, Depends(viewer_of)]
WholeMeshViewer = Annotated[Viewer, Depends(whole_mesh_viewer)]
OPEN: Final = Depends(open_to_all)


def rule_of(route: RouteContext) -> str | None:
    """Return the rule that a route declares: open, viewer or whole mesh; None for none."""
    dependant = getattr(route, "dependant", None)
    calls = set() if dependant is None else set(_calls(dependant))
    if whole_mesh_viewer in calls:
        return "whole mesh"
    if viewer_of in calls:
        return "viewer"
    return "open" if open_to_all in calls else None


def open_paths(application: FastAPI) -> frozenset[str]:
    """Return the paths of routes that are for anybody."""
    routes = iter_route_contexts(application.routes)
    return frozenset(route.path for route in routes if route.path and rule_of(route) == "open")


def _calls(dependant: Dependant) -> Iterator[object]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)
