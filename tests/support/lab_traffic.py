"""Traffic that goes on while something else happens to a lab: calls come in, failures go out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from controlplane.lab.mesh import Lab
from tests.support.lab_mesh import a_cluster, a_service, a_waypoint, an_application
from tests.support.lab_policies import a_policy, principal, source

CALLS = (("sleep", "http://web/"), ("sleep", "http://free/"))
"""One through the waypoint, one from node to node."""


@dataclass(slots=True)
class Traffic:
    """What came of it so far: how many requests, and those that were not answered as expected.

    ``around`` is what was going on, as the test notes it.
    """

    requests: int = 0
    failures: list[str] = field(default_factory=list)
    around: str = "the beginning"


@asynccontextmanager
async def traffic(
    mesh: Lab,
    *calls: tuple[str, str],
    pause: float = 0.01,
    is_expected: Callable[[int], bool] = lambda status: status == 200,
) -> AsyncIterator[Traffic]:
    """Send each call, a client and a URL, again and again until the block ends."""
    seen = Traffic()
    ended = asyncio.Event()

    async def send(client: str, url: str) -> None:
        while not ended.is_set():
            answer = await mesh.request(client, url)
            seen.requests += 1
            if not is_expected(answer.status):
                reason = f"{answer.status} {answer.failure}"
                seen.failures.append(f"{seen.around}: {client} {url}: {reason}")
            await asyncio.sleep(pause)

    sending = [asyncio.create_task(send(*call)) for call in calls]
    try:
        yield seen
    finally:
        ended.set()
        await asyncio.gather(*sending)


def a_watched_shop() -> list[dict[str, Any]]:
    """Return a shop whose services let sleep in, and not notsleep."""
    return [
        *a_cluster("shop"),
        a_waypoint(),
        *an_application("web"),
        a_service("web", waypoint="waypoint"),
        *an_application("free", replicas=2),
        a_service("free"),
        *an_application("sleep"),
        a_service("sleep"),
        *an_application("notsleep"),
        a_service("notsleep"),
        # A denied request proves that a policy is held, an answered one that it is read.
        a_policy("DENY", source(principals=[principal("notsleep")]), service="web", name="web"),
        a_policy("DENY", source(principals=[principal("notsleep")]), app="free", name="free"),
    ]


async def statuses(mesh: Lab, client: str = "sleep") -> list[int]:
    """Return what each of the calls is answered to a client."""
    return [(await mesh.request(client, url)).status for _, url in CALLS]


async def until_statuses(mesh: Lab, wanted: list[int], seconds: float = 30) -> None:
    """Wait until the calls of sleep are answered so."""
    async with asyncio.timeout(seconds):
        while await statuses(mesh) != wanted:  # noqa: ASYNC110 - of other processes too
            await asyncio.sleep(0.05)
