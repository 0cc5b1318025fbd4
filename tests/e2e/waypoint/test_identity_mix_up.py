"""A tunnel that is given up must not leave its identity behind for whoever comes next.

Envoy keeps the inner connection of a CONNECT that was cancelled early, with what was known of its
client, and hands it to another client unless what is known can be told apart. Alice gives tunnels
up, bob asks for what only alice may have.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from controlplane.lab.hbone import HboneClient
from controlplane.lab.hbone_errors import HboneError
from tests.e2e.waypoint.hand_written import (
    ALICE,
    BACKEND,
    POD,
    REMOTE_IP,
    SOURCE,
    STATES,
    VIP,
    WAYPOINT,
    State,
    with_states,
)
from tests.support.envoy_bed import Bed, a_bed
from tests.support.hbone_certificates import an_identity
from tests.support.policed_waypoint import PolicedWaypoint

BOB = an_identity("bob", "client")
AUTHORITY = f"{VIP}:80"
ROUNDS = 150
REQUEST = b"GET /of-alice HTTP/1.1\r\nhost: backend\r\nconnection: close\r\n\r\n"


async def status_for(client: HboneClient, authority: str = AUTHORITY) -> int:
    """Return what a request through a new tunnel is answered."""
    tunnel = await client.open(authority)
    try:
        await tunnel.write(REQUEST)
        answer = b""
        while len(answer) < 12 and (part := await tunnel.read()):
            answer += part
        return int(answer[9:12])
    finally:
        tunnel.reset()


async def mixed_up(
    bed: Bed | PolicedWaypoint, *, rounds: int, until: int, authority: str = AUTHORITY
) -> tuple[int, int]:
    """Return how many of bob's requests there were, and how many got what is alice's."""
    stolen = 0
    async with bed.client(BOB) as bob, bed.client(ALICE) as alice:
        for number in range(1, rounds + 1):
            for _ in range(3):
                try:
                    await alice.abandon(authority)
                except HboneError:
                    # Envoy closes connections that do little but give up; she comes again.
                    await asyncio.sleep(0)
            await asyncio.sleep(0.005)
            stolen += await status_for(bob, authority) == 200
            if stolen >= until:
                return number, stolen
    return rounds, stolen


async def test_nobody_inherits_the_identity_of_a_tunnel_that_was_given_up(bed: Bed) -> None:
    rounds, stolen = await mixed_up(bed, rounds=ROUNDS, until=1)
    assert (rounds, stolen) == (ROUNDS, 0)
    given_up = await bed.envoy.stats("connect_terminate.downstream_rq_rx_reset")
    assert sum(given_up.values()) > ROUNDS, "the tunnels were not given up: nothing was tried"
    assert bed.applications.requests == []
    async with bed.client(ALICE) as alice:
        assert await status_for(alice) == 200


def plain(states: Mapping[str, State]) -> dict[str, State]:
    """Return them with strings that Envoy does not compare."""
    return {
        name: ("envoy.string" if factory == "envoy.hashable_string" else factory, value)
        for name, (factory, value) in states.items()
    }


def without_source(states: Mapping[str, State]) -> dict[str, State]:
    """Return them without what tells connections of clients apart."""
    return {name: made for name, made in states.items() if name not in {REMOTE_IP, SOURCE}}


@pytest.mark.parametrize("weaken", [plain, without_source])
async def test_each_of_the_two_safeguards_is_enough_by_itself(
    tmp_path: Path, weaken: Callable[[Mapping[str, State]], dict[str, State]]
) -> None:
    async with a_bed(
        with_states(weaken(STATES)), tmp_path, identity=WAYPOINT, pod=POD, pod_identity=BACKEND
    ) as bed:
        assert await mixed_up(bed, rounds=ROUNDS, until=1) == (ROUNDS, 0)


async def test_the_same_attack_works_where_there_is_neither(tmp_path: Path) -> None:
    weakest = with_states(plain(without_source(STATES)))
    async with a_bed(weakest, tmp_path, identity=WAYPOINT, pod=POD, pod_identity=BACKEND) as bed:
        rounds, stolen = await mixed_up(bed, rounds=ROUNDS, until=3)
    assert stolen == 3, f"{stolen} of {rounds}: the tests above would notice nothing"
