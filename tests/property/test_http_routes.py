"""Routes of requests: order, precedence and coming and going, for generated objects."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.dataflow import Graph
from controlplane.manifests.http_route import Route
from tests.support.builders import a_service, a_waypoint
from tests.support.mesh import Mesh
from tests.support.route_oracle import Request, answering, first_of
from tests.support.routes import USE, a_route, routes_of

PATHS = st.one_of(
    st.builds(
        dict,
        type=st.sampled_from(["Exact", "PathPrefix"]),
        value=st.sampled_from(["/", "/a", "/a/b", "/ab", "/b"]),
    ),
    st.builds(
        dict,
        type=st.just("RegularExpression"),
        value=st.sampled_from(["/.*", "/a.*", "/[ab]", "/a/b"]),
    ),
)
NAMED = st.builds(dict, name=st.sampled_from(["one", "two"]), value=st.sampled_from(["1", "2"]))
UNIQUE = st.lists(NAMED, max_size=2, unique_by=lambda each: each["name"])
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "path": PATHS,
        "method": st.sampled_from(["GET", "POST"]),
        "headers": UNIQUE,
        "queryParams": UNIQUE,
    },
)
BACKENDS = st.sampled_from(
    [
        [{"name": "web", "port": 80}],
        [{"name": "other", "namespace": "far", "port": 80}],
        [{"name": "gone", "port": 80}],
        [],
    ]
)
RULES = st.lists(
    st.fixed_dictionaries(
        {"backendRefs": BACKENDS}, optional={"matches": st.lists(MATCHES, max_size=3)}
    ),
    min_size=1,
    max_size=3,
)
PARENT = {"kind": "Service", "group": "", "name": "web", "namespace": "shop"}
ROUTES = st.lists(
    st.builds(
        a_route,
        RULES,
        st.sampled_from(["r1", "r2", "r3"]),
        st.sampled_from(["shop", "shop", "apps", "bank"]),
        parents=st.just([PARENT]),
        created=st.sampled_from([None, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
    ),
    max_size=5,
    unique_by=lambda route: route.key,
)
REQUESTS = [
    Request(*values)
    for values in product(
        ["/", "/a", "/a/", "/a/b", "/ab"],
        ["GET", "POST"],
        [(), (("one", "1"), ("two", "2"))],
        [(), (("one", "1"),)],
        ["shop", "apps"],
    )
]
WORLD = [
    a_waypoint("waypoint", "shop"),
    a_service("web", "shop", labels=USE),
    a_service("other", "far", ips=["10.96.0.2"]),
]


def _mesh(routes: Sequence[Route], graph: Graph | None = None) -> Mesh:
    mesh = Mesh() if graph is None else Mesh(graph=graph)
    mesh.apply([*WORLD, *routes])
    return mesh


def _shown(mesh: Mesh) -> list[Any]:
    found = mesh.world.http_routes
    return [
        sorted(collection.items(), key=repr)
        for collection in (found.by_port, found.parents, found.problems, mesh.world.foreign.ports)
    ]


@pytest.mark.timeout(120)
@pytest.mark.proves("HR-5", "HR-8")
@given(routes=ROUTES)
def test_the_first_that_fits_is_the_one_no_other_beats(routes: list[Route]) -> None:
    found = routes_of(_mesh(routes))
    for request in REQUESTS:
        expected = answering(routes, request, {"shop"})
        has_producers = any(route.metadata.namespace == "shop" for route in routes)
        if not expected and routes and not has_producers:
            expected = "default"
        assert first_of(found, request) == expected, request


@pytest.mark.timeout(120)
@given(routes=ROUTES, data=st.data())
def test_the_order_of_arrival_does_not_matter(routes: list[Route], data: st.DataObject) -> None:
    together = _mesh(routes)
    shuffled = Mesh(graph=Graph(shuffle=data.draw(st.integers(0, 9))))
    for manifest in data.draw(st.permutations([*routes, *WORLD])):
        shuffled.apply([manifest])
    assert _shown(shuffled) == _shown(together)


@pytest.mark.timeout(120)
@given(routes=ROUTES, others=ROUTES)
def test_routes_that_go_leave_nothing(routes: list[Route], others: list[Route]) -> None:
    kept = {route.key for route in others}
    before = _mesh(others)
    mesh = _mesh(routes)
    gone = [("HTTPRoute", route.key) for route in routes if route.key not in kept]
    mesh.apply(others, gone)
    assert _shown(mesh) == _shown(before)
