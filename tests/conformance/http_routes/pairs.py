"""Manifests of this directory, the routes that waypoints apply and what authors are told.

``<name>.yaml`` holds manifests, ``<name>.expected.yaml`` what they become, in short: a route is its
name, who it is for, what it matches and where it leads. ``python -m
tests.conformance.http_routes.pairs`` writes the expectations anew.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from controlplane.manifests.reading import read_documents
from controlplane.model.http_route import Destination, HttpRoute, NamedMatch
from tests.support.mesh import Mesh

HERE = Path(__file__).parent


def manifests() -> list[Path]:
    return sorted(path for path in HERE.glob("*.yaml") if not path.name.endswith(".expected.yaml"))


def expectation(path: Path) -> Path:
    return path.with_name(f"{path.stem}.expected.yaml")


def outcome(path: Path) -> dict[str, Any]:
    """What the manifests at ``path`` become, as the expectation says it."""
    reading = read_documents(path.read_text())
    assert reading.readable
    assert reading.problems == ()
    mesh = Mesh()
    mesh.apply(document.manifest for document in reading.documents)
    found = mesh.world.http_routes
    return {
        "routes": {
            f"{key.waypoint} {key.hostname}:{key.port}": [_route(route) for route in routes]
            for key, routes in sorted(found.by_port.items())
        },
        "foreign": sorted(
            f"{key.waypoint} {key.hostname}:{key.port} {key.layer}"
            for key, _ in mesh.world.foreign.ports.items()
        ),
        "parents": {
            f"{key.route} at {key.parent.kind} {key.parent.name}": [
                f"{each.type} {each.status} {each.reason}" for each in told.conditions
            ]
            for key, told in sorted(found.parents.items())
        },
        "problems": sorted(f"{each.code} {each.object} {each.field}" for each in mesh.problems()),
    }


def _route(route: HttpRoute) -> str:
    return f"{route.name}: {' '.join(_matches(route))} -> {' '.join(_outcome(route))}"


def _matches(route: HttpRoute) -> Iterator[str]:
    match = route.match
    if route.consumer:
        yield f"from {route.consumer}"
    if match.path is not None:
        yield f"{match.path.kind} {match.path.value}"
    elif not (match.method or match.headers or match.query):
        yield "anything"
    if match.method:
        yield match.method
    yield from (f"header {_named(each)}" for each in match.headers)
    yield from (f"query {_named(each)}" for each in match.query)


def _named(match: NamedMatch) -> str:
    return f"{match.name}{'~' if match.is_expression else '='}{match.value}"


def _outcome(route: HttpRoute) -> Iterator[str]:
    if route.redirect is not None:
        yield f"redirect {route.redirect.status} {route.redirect.hostname}".rstrip()
    elif not sum(backend.weight for backend in route.backends):
        yield "500"
    else:
        yield from (f"{each.weight}*{_place(each.destination)}" for each in route.backends)
    yield from (f"mirror {_place(each.destination)}" for each in route.mirrors)


def _place(destination: Destination) -> str:
    if not destination.is_valid:
        return "500"
    suffix = "" if destination.is_served else " (foreign)"
    return f"{destination.hostname}:{destination.port}{suffix}"


def write() -> None:
    """Write every expectation."""
    for path in manifests():
        expectation(path).write_text(yaml.safe_dump(outcome(path), sort_keys=False, width=200))


if __name__ == "__main__":
    write()
