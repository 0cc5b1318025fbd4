"""Certificates that end while the control plane is down, and what is renewed in time."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.clock import SystemClock
from tests.support.lab_mesh import a_lab
from tests.support.lab_traffic import CALLS, a_watched_shop, statuses, traffic, until_statuses

pytestmark = pytest.mark.timeout(90)

LIFETIME = 10
"""In seconds. Node proxies look every five."""


async def test_certificates_that_end_while_nobody_renews_them(tmp_path: Path) -> None:
    settings = {"issued_certificate_ttl": LIFETIME}
    async with a_lab(tmp_path, *a_watched_shop(), settings=settings) as (mesh, _):
        assert await statuses(mesh) == [200, 200]
        # Renewed in time, again and again, for longer than any of them is good for.
        async with traffic(mesh, *CALLS, pause=0.05) as seen:
            await asyncio.sleep(LIFETIME * 1.5)
        assert seen.failures == []
        open_one = await mesh.connect("sleep", "free", 80)
        assert open_one.tunnel is not None
        await mesh.stop_control_plane()
        assert await statuses(mesh) == [200, 200]
        # Then they end: nobody is let in with them, and nobody goes on without.
        await asyncio.sleep(LIFETIME + 1)
        assert await statuses(mesh) == [0, 0]
        held = mesh.nodes[mesh.workload("sleep").node].certificates.held
        now = SystemClock().now()
        assert all(now - timedelta(minutes=1) < each.not_after < now for each in held)
        # What was open before goes on: it was let in once.
        await open_one.tunnel.write(b"GET / HTTP/1.1\r\nHost: free\r\n\r\n")
        assert (await open_one.tunnel.read()).startswith(b"HTTP/1.1 200")
        await mesh.start_control_plane()
        await until_statuses(mesh, [200, 200])
        assert await statuses(mesh, "notsleep") == [403, 0]
