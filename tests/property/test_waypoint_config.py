"""Whatever a mesh is, what its waypoints are sent is accepted by a real Envoy, and is the same."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.manifests.metadata import Manifest
from controlplane.snapshots.scope import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE
from tests.support.envoy_validation import some_secrets, validate
from tests.support.waypoint_meshes import waypoint_meshes
from tests.support.waypoint_snapshots import Waypoints

_BATCH = 8
MESHES = 200


@pytest.mark.timeout(180)
@settings(
    max_examples=MESHES // _BATCH,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(meshes=st.lists(waypoint_meshes(), min_size=_BATCH, max_size=_BATCH))
def test_everything_is_accepted_by_envoy(meshes: list[list[Manifest]], tmp_path: Path) -> None:
    found: list[dict[str, Any]] = []
    for mesh in meshes:
        waypoints = Waypoints()
        waypoints.apply(*mesh)
        found += [waypoints.static(some_secrets(), key) for key in waypoints.waypoints()]
    assert len(found) == 3 * _BATCH
    assert validate(found, tmp_path) is None


@given(mesh=waypoint_meshes(), seed=st.integers(0, 1000))
def test_the_order_of_objects_does_not_matter(mesh: list[Manifest], seed: int) -> None:
    once, again = Waypoints(), Waypoints(shuffle=seed)
    once.apply(*mesh)
    shuffled = list(mesh)
    random.Random(seed).shuffle(shuffled)
    for manifest in shuffled:
        again.apply(manifest)
    for waypoint in once.waypoints():
        assert once.bodies(waypoint) == again.bodies(waypoint)


@given(mesh=waypoint_meshes())
def test_what_is_named_is_there(mesh: list[Manifest]) -> None:
    waypoints = Waypoints()
    waypoints.apply(*mesh)
    for waypoint in waypoints.waypoints():
        clusters = waypoints.documents(CLUSTER_TYPE, waypoint)
        discovered = {name for name, cluster in clusters.items() if cluster.get("type") == "EDS"}
        assert waypoints.names(ENDPOINT_TYPE, waypoint) == discovered
        listener = waypoints.documents(LISTENER_TYPE, waypoint)["main_internal"]
        chains = {chain["name"]: chain for chain in listener["filter_chains"]}
        asked = {found for chain in chains.values() if (found := _routes_of(chain)) is not None}
        assert waypoints.names(ROUTE_TYPE, waypoint) == asked
        assert _actions(listener["filter_chain_matcher"]) <= set(chains)
        assert len(chains) == len(listener["filter_chains"])


def _routes_of(chain: dict[str, Any]) -> str | None:
    rds = chain["filters"][-1]["typed_config"].get("rds")
    return None if rds is None else rds["route_config_name"]


def _actions(value: Any) -> set[str]:
    match value:
        case {"action": {"typed_config": {"value": name}}, **rest}:
            return {name} | _actions(rest)
        case dict():
            return set().union(*(_actions(each) for each in value.values()), set())
        case list():
            return set().union(*(_actions(each) for each in value), set())
        case _:
            return set()
