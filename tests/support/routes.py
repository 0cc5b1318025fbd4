"""Routes from the YAML of their rules, and meshes in which waypoints apply them."""

from typing import Any

import yaml

from controlplane.manifests.http_route import Route
from controlplane.manifests.reading import read_documents
from controlplane.mesh.waypoint_endpoints import EndpointsKey
from controlplane.model.http_route import HttpRoute
from controlplane.model.names import Name
from controlplane.model.route_parent import ParentCondition
from tests.support.builders import a_service, a_waypoint
from tests.support.mesh import Mesh

USE = {"istio.io/use-waypoint": "waypoint"}
WAYPOINT = Name("shop", "waypoint")
WEB = "web.shop.svc.cluster.local"
SERVED = "- backendRefs: [{name: web, port: 80}]"


def a_parent(
    kind: str = "Service", name: str = "web", group: str = "", **rest: Any
) -> dict[str, Any]:
    """What a route is attached to, as a document has it."""
    return {"kind": kind, "name": name, "group": group, **rest}


def a_route(
    rules: str | list[dict[str, Any]],
    name: str = "route",
    namespace: str = "shop",
    *,
    kind: str = "HTTPRoute",
    parents: list[dict[str, Any]] | None = None,
    created: str | None = None,
    **metadata: Any,
) -> Route:
    """A route of Service web; ``rules`` is the YAML of a list, or the list itself."""
    document = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {
            "parentRefs": [a_parent()] if parents is None else parents,
            "rules": yaml.safe_load(rules) if isinstance(rules, str) else rules,
        },
    }
    if created is not None:
        document["metadata"]["creationTimestamp"] = created  # type: ignore[index]
    reading = read_documents(yaml.safe_dump(document))
    assert reading.problems == ()
    (found,) = reading.documents
    assert isinstance(found.manifest, Route)
    return found.manifest


def a_routed_mesh(*manifests: Any) -> Mesh:
    """Service web in namespace shop behind a waypoint, and ``manifests``."""
    mesh = Mesh()
    mesh.apply([a_waypoint("waypoint", "shop"), a_service("web", "shop", labels=USE), *manifests])
    return mesh


def routes_of(mesh: Mesh, hostname: str = WEB, port: int = 80) -> tuple[HttpRoute, ...]:
    """The routes of a port, none where it has no routes of its own."""
    return mesh.world.http_routes.by_port.get(EndpointsKey(WAYPOINT, hostname, port)) or ()


def conditions_of(mesh: Mesh, name: str = "route") -> dict[str, ParentCondition]:
    """The conditions of a route that is told about one parent."""
    found = [
        told.conditions
        for key, told in mesh.world.http_routes.parents.items()
        if key.route.name == name
    ]
    (conditions,) = found
    return {condition.type: condition for condition in conditions}


def problem_codes(mesh: Mesh) -> list[tuple[str, str | None]]:
    """Code and field of everything wrong, sorted."""
    return sorted((problem.code, problem.field) for problem in mesh.problems())
