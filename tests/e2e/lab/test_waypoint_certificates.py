"""A waypoint's certificate is replaced while it serves: new connections see it, open ones go on."""

import asyncio
from pathlib import Path

import pytest

from controlplane.lab.mesh import Lab
from tests.e2e.lab.test_live_waypoint import WAYPOINT, KeptAlive, a_shop
from tests.support.lab_mesh import a_lab
from tests.support.shown_certificate import shown_certificate

pytestmark = pytest.mark.timeout(60)


def make_due(mesh: Lab) -> None:
    """Let the keys of all waypoints be due now; it would be half a day otherwise."""
    server = mesh.process._server
    assert server is not None
    for stream in server._streams:
        keeper = stream._keeper
        if keeper is not None and keeper._renew_at is not None:
            keeper._renew_at = mesh.process._clock.now()
            keeper.asked()


@pytest.mark.proves("WS-22")
async def test_open_connections_go_on_and_new_ones_see_the_new_certificate(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *a_shop()) as (mesh, _):
        proxy = mesh.waypoint(WAYPOINT)
        kept = await KeptAlive.open(mesh, "sleep")
        assert await kept.get() == 200
        before = await shown_certificate(proxy.address, 15008)
        make_due(mesh)
        async with asyncio.timeout(20):
            while await shown_certificate(proxy.address, 15008) == before:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.05)
        assert await kept.get() == 200
        answer = await mesh.request("notsleep", "http://web/")
        assert (answer.status, answer.failure) == (200, "")
