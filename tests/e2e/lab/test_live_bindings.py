"""Services are bound to waypoints, moved and unbound while requests flow: none of these fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.mesh import Lab
from tests.e2e.lab.test_live_waypoint import KeptAlive, a_policy, a_route
from tests.support.lab_mesh import (
    a_cluster,
    a_lab,
    a_service,
    a_waypoint,
    an_application,
    write,
)
from tests.support.lab_traffic import traffic

DENIED = "cluster.local/ns/shop/sa/notsleep"
CALLS = (("sleep", "http://web/"),) * 3
WAYPOINTS = {f"spiffe://cluster.local/ns/shop/sa/{name}" for name in ("waypoint", "other")}


def a_shop() -> list[dict[str, Any]]:
    return [
        *a_cluster("shop"),
        a_waypoint(),
        a_waypoint("other"),
        *an_application("web", replicas=2),
        *an_application("sleep"),
        *an_application("notsleep"),
        # Both waypoints are at work whatever becomes of the service that moves.
        *an_application("steady"),
        a_service("steady", waypoint="waypoint"),
        *an_application("calm"),
        a_service("calm", waypoint="other"),
        a_policy("web", "DENY", {"from": [{"source": {"principals": [DENIED]}}]}),
    ]


@dataclass(slots=True)
class Denied:
    """What became of a client that a policy denies, at any waypoint."""

    refused: int = 0
    around: int = 0
    let_through: list[str] = field(default_factory=list)


@asynccontextmanager
async def denied_traffic(mesh: Lab) -> AsyncIterator[Denied]:
    """Send requests that waypoints deny, until the block ends."""
    seen, ended = Denied(), asyncio.Event()

    async def send() -> None:
        while not ended.is_set():
            answer = await mesh.request("notsleep", "http://web/")
            # Records are those of everybody's connections meanwhile.
            met = {
                record.destination_identity
                for record in answer.records
                if record.source_identity == f"spiffe://{DENIED}"
            }
            if answer.status == 403:
                seen.refused += 1
            elif answer.status == 200 and not met & WAYPOINTS:
                seen.around += 1
            else:
                seen.let_through.append(f"{answer.status} {answer.failure} {sorted(met)}")
            await asyncio.sleep(0.01)

    sending = asyncio.create_task(send())
    try:
        yield seen
    finally:
        ended.set()
        await sending


async def keep_asking(mesh: Lab, ended: asyncio.Event) -> int:
    """Ask on one connection until ``ended``; return how often."""
    kept, asked = await KeptAlive.open(mesh, "sleep"), 0
    while not ended.is_set():
        assert await kept.get() == 200
        asked += 1
        await asyncio.sleep(0.01)
    return asked


async def flip(folder: Path, *waypoints: str, pause: float = 0.25) -> None:
    for name in waypoints:
        write(folder, "mesh.yaml", *a_shop(), a_service("web", waypoint=name))
        await asyncio.sleep(pause)


async def through(mesh: Lab) -> set[str]:
    """Return the waypoints that one request goes through."""
    answer = await mesh.request("sleep", "http://web/")
    return {str(each.destination_identity) for each in answer.records} & WAYPOINTS


@pytest.mark.timeout(120)
@pytest.mark.proves("WS-31", "WS-40", "WS-42")
@pytest.mark.parametrize(
    "lingering", [10.0, pytest.param(0.5, id="and-what-lingers-ends-meanwhile")]
)
async def test_a_service_that_is_bound_and_unbound_loses_no_request(
    tmp_path: Path, lingering: float
) -> None:
    settings = {"waypoint_lingering": lingering}
    async with a_lab(tmp_path, *a_shop(), a_service("web"), settings=settings) as (mesh, folder):
        ended = asyncio.Event()
        pause = 0.25 if lingering > 1 else 1.2
        async with traffic(mesh, *CALLS) as seen, denied_traffic(mesh) as denied:
            asking = asyncio.create_task(keep_asking(mesh, ended))
            for number in range(15 if lingering > 1 else 6):
                seen.around = f"flip {number}"
                await flip(folder, "waypoint", "", pause=pause)
            ended.set()
            asked = await asking
        assert seen.failures == []
        assert seen.requests > 300
        assert asked > 50
        assert denied.let_through == []
        assert denied.refused > 10
        assert denied.around > 10


@pytest.mark.timeout(120)
@pytest.mark.proves("WS-40", "WS-42")
async def test_a_service_that_moves_between_waypoints_loses_no_request_and_lets_nobody_in(
    tmp_path: Path,
) -> None:
    bound = a_service("web", waypoint="waypoint")
    settings = {"waypoint_lingering": 1.0}
    async with a_lab(tmp_path, *a_shop(), bound, settings=settings) as (mesh, folder):
        assert await through(mesh) == {"spiffe://cluster.local/ns/shop/sa/waypoint"}
        async with traffic(mesh, *CALLS) as seen, denied_traffic(mesh) as denied:
            for number in range(8):
                seen.around = f"move {number}"
                await flip(folder, "other")
                routes = [a_route("web", _to_web())] if number % 2 else []
                write(folder, "route.yaml", *routes)
                await flip(folder, "waypoint", pause=0.3 if number % 3 else 1.5)
            await flip(folder, "other")
        assert seen.failures == []
        assert await through(mesh) == {"spiffe://cluster.local/ns/shop/sa/other"}
        assert denied.let_through == []
        assert denied.around == 0
        assert denied.refused > 50


def _to_web() -> dict[str, Any]:
    return {"backendRefs": [{"name": "web", "port": 80}]}
