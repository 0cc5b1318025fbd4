"""What breaks and comes back: the control plane, an Envoy, a node proxy."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from controlplane.lab.envoy import Envoy
from controlplane.lab.envoy_errors import EnvoyError
from tests.support.lab_mesh import a_lab, write
from tests.support.lab_policies import Enforcement, a_policy, spiffe
from tests.support.lab_traffic import CALLS, a_watched_shop, statuses, traffic, until_statuses

pytestmark = pytest.mark.timeout(90)

CLIENTS = 4
"""Who ask at the same time: each waits a second where nobody listens."""


async def _waits(envoy: Envoy) -> bool:
    """Return whether its admin side answers that it is not ready."""
    try:
        return not await envoy.is_ready()
    except EnvoyError:
        return False


async def test_an_envoy_that_is_killed_comes_back_as_it_was(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *a_watched_shop()) as (mesh, _):
        assert await statuses(mesh) == [200, 200]
        envoy = mesh.waypoint("shop/waypoint").envoy
        before = envoy.pid
        assert before is not None
        # Nobody is let in who was not, however early they ask.
        async with (
            traffic(mesh, ("sleep", "http://free/")) as direct,
            traffic(
                mesh,
                *[("notsleep", "http://web/")] * CLIENTS,
                is_expected=lambda status: status in {0, 403},
            ) as denied,
        ):
            os.kill(before, signal.SIGKILL)
            await mesh.until(lambda: envoy.pid not in {None, before}, "it runs again")
            await until_statuses(mesh, [200, 200])
            await asyncio.sleep(0.5)
        assert direct.failures == denied.failures == []
        assert denied.requests > CLIENTS


async def test_an_envoy_that_starts_without_a_control_plane_waits_for_it(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *a_watched_shop()) as (mesh, _):
        envoy = mesh.waypoint("shop/waypoint").envoy
        before = envoy.pid
        assert before is not None
        await mesh.stop_control_plane()
        assert await statuses(mesh) == [200, 200]
        os.kill(before, signal.SIGKILL)
        await mesh.until(lambda: envoy.pid not in {None, before}, "it runs again")
        async with asyncio.timeout(20):
            while not await _waits(envoy):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.05)
        assert await statuses(mesh) == [0, 200]
        await mesh.start_control_plane()
        await until_statuses(mesh, [200, 200])
        assert await statuses(mesh, "notsleep") == [403, 0]


async def test_a_node_proxy_that_is_restarted_lets_nobody_in_too_early(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *a_watched_shop()) as (mesh, _):
        nodes = {mesh.workload(name).node for name in ("free", "sleep", "notsleep")}
        async with traffic(
            mesh,
            *[("notsleep", "http://free/")] * CLIENTS,
            is_expected=lambda status: status == 0,
        ) as denied:
            for node in sorted(nodes):
                before = mesh.nodes[node]
                await mesh.restart_node(node)
                await mesh.settled()
                assert mesh.nodes[node] is not before
                await until_statuses(mesh, [200, 200])
        assert denied.failures == []
        assert denied.requests > CLIENTS
        held = mesh.nodes[mesh.workload("sleep").node].certificates.held
        assert spiffe("sleep") in {each.identity for each in held}


async def test_a_control_plane_that_is_restarted_under_traffic(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *a_watched_shop()) as (mesh, folder):
        async with traffic(mesh, *CALLS) as seen:
            for number in range(3):
                seen.around = f"restart {number}"
                await mesh.stop_control_plane()
                await asyncio.sleep(0.3)
                await mesh.start_control_plane()
                await mesh.until(lambda: len(mesh.process.connections) == 3, "all are back", 40)
        assert seen.failures == []
        assert seen.requests > 100
        # What changes while it is away is enforced when it is back.
        await mesh.stop_control_plane()
        write(folder, "all.yaml", a_policy("DENY", {}, name="nobody", app="free"))
        assert await statuses(mesh) == [200, 200]
        await mesh.start_control_plane()
        await until_statuses(mesh, [200, 0], 40)
        await Enforcement(mesh, folder, "free").at_nodes()
        assert await statuses(mesh) == [200, 0]
