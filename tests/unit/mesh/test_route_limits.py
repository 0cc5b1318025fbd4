"""How much of a service's port others may take with their routes."""

from typing import Any

import pytest

from controlplane.mesh.route_limits import (
    MOST_OF_CONSUMERS,
    MOST_OF_NAMESPACE,
    PortShare,
    fitting_routes,
)
from controlplane.mesh.route_order import RankedRoute
from controlplane.model.http_route import HttpRoute, RequestMatch
from controlplane.model.names import Name, ObjectReference
from tests.support.mesh import Mesh
from tests.support.routes import (
    a_parent,
    a_route,
    a_routed_mesh,
    conditions_of,
    problem_codes,
    routes_of,
)

LARGEST = 128
OLD, NEW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def a_share(name: str, size: int, consumer: str = "far") -> PortShare:
    reference = ObjectReference("HTTPRoute", consumer or "shop", name)
    route = HttpRoute(name=name, owner=reference, consumer=consumer)
    return PortShare(reference, consumer, (RankedRoute(RequestMatch(), route),) * size)


def fits(*shares: PortShare) -> list[str]:
    found = fitting_routes(shares)
    kept = [share.route.name for share in shares if share.route not in found.refused]
    assert list(dict.fromkeys(each.route.name for each in found.matches)) == kept
    assert len(found.matches) == sum(
        len(share.matches) for share in shares if share.route not in found.refused
    )
    return kept


@pytest.mark.proves("HR-27")
def test_a_namespace_has_a_share_and_older_routes_have_it_first() -> None:
    full = [a_share(f"r{n}", LARGEST) for n in range(4)]
    assert fits(*full, a_share("late", 1), a_share("elsewhere", 1, "near")) == [
        "r0",
        "r1",
        "r2",
        "r3",
        "elsewhere",
    ]
    large = a_share("large", MOST_OF_NAMESPACE)
    assert fits(a_share("first", 1), large, a_share("small", 1)) == ["first"]
    assert fits(a_share("over", MOST_OF_NAMESPACE + 1)) == []


@pytest.mark.proves("HR-27")
def test_all_consumers_together_have_a_share() -> None:
    many = MOST_OF_CONSUMERS // MOST_OF_NAMESPACE
    shares = [a_share(f"r{n}", MOST_OF_NAMESPACE, f"ns-{n}") for n in range(many + 1)]
    assert fits(*shares) == [f"r{n}" for n in range(many)]


@pytest.mark.refutes("HR-27")
def test_who_runs_the_service_is_not_limited_and_takes_nothing_of_others() -> None:
    own = a_share("own", 2 * MOST_OF_CONSUMERS, "")
    assert fits(own, a_share("far", MOST_OF_NAMESPACE)) == ["own", "far"]


def _of_consumer(name: str, *, matches: int = LARGEST, **rest: Any) -> Any:
    rules = [
        {
            "name": f"{name}-{number}",
            "matches": [
                {"path": {"type": "Exact", "value": f"/{name}/{number}/{each}"}}
                for each in range(matches // 2)
            ],
        }
        for number in range(2)
    ]
    return a_route(rules, name, "far", parents=[a_parent(namespace="shop")], **rest)


def _crowded() -> Mesh:
    routes = [_of_consumer(f"old-{n}", created=OLD) for n in range(4)]
    return a_routed_mesh(*routes, a_route("[{name: own}]"))


def _consumed(mesh: Mesh) -> int:
    return sum(1 for route in routes_of(mesh) if route.consumer)


@pytest.mark.proves("HR-27")
def test_a_route_too_many_is_refused_whole_and_its_author_told() -> None:
    mesh = _crowded()
    assert _consumed(mesh) == MOST_OF_NAMESPACE
    mesh.apply([_of_consumer("late", matches=2, created=NEW)])
    assert _consumed(mesh) == MOST_OF_NAMESPACE
    accepted = conditions_of(mesh, "late")["Accepted"]
    assert (accepted.status, accepted.reason) == (False, "TooManyMatches")
    assert ("route.too-many-matches", "spec.parentRefs[0]") in problem_codes(mesh)
    assert conditions_of(mesh, "old-0")["Accepted"].status
    assert routes_of(mesh)[-1].name == "own"
    mesh.apply([], removed=[("HTTPRoute", Name("far", "old-3"))])
    assert _consumed(mesh) == 3 * LARGEST + 2
    assert conditions_of(mesh, "late")["Accepted"].status
    assert "route.too-many-matches" not in dict(problem_codes(mesh))


@pytest.mark.refutes("HR-27")
def test_a_route_that_alone_is_too_large_leaves_the_port_as_without_routes() -> None:
    mesh = a_routed_mesh(_of_consumer("huge", matches=MOST_OF_NAMESPACE + 2))
    assert routes_of(mesh) == ()
    assert not conditions_of(mesh, "huge")["Accepted"].status
