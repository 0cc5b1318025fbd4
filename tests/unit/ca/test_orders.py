from dataclasses import replace

import pytest

from controlplane.ca.authority_set import KeptAuthorities, Orders
from controlplane.ca.errors import KeyStoreConflictError, KeyStoreError
from controlplane.ca.orders import find_authority, place_order
from controlplane.model.certificate import AuthorityStatus, AuthorityTier
from tests.support.authority_stores import CrashError, MemoryKeyStore, a_world

INTERMEDIATE = frozenset({AuthorityTier.INTERMEDIATE})


def wanted(orders: Orders) -> Orders:
    return replace(orders, rotates=orders.rotates | INTERMEDIATE)


@pytest.mark.proves("AT-38")
async def test_an_order_is_kept_until_the_leader_has_done_it_and_is_done_once() -> None:
    world = await a_world()
    first = world.set.state.active_intermediate
    await place_order(world.keys, wanted)
    assert world.set.state.active_intermediate == first
    leader = world.replica()
    await leader.look()
    await leader.look()
    second = world.set.state.active_intermediate
    assert second != first
    assert world.kept.orders == Orders()
    await leader.look()
    assert world.set.state.active_intermediate == second


@pytest.mark.refutes("AT-38")
async def test_who_does_not_lead_leaves_an_order_where_it_is() -> None:
    world = await a_world()
    await place_order(world.keys, wanted)
    before = world.keys.kept
    await world.replica("follower", token=None).look()
    assert world.keys.kept == before
    assert world.kept.orders.rotates == INTERMEDIATE


@pytest.mark.proves("AT-38")
@pytest.mark.parametrize("write", range(1, 6))
async def test_an_order_survives_a_leader_that_ends_half_way(write: int) -> None:
    world = await a_world()
    await place_order(world.keys, wanted)
    world.keys.kill.remaining = write
    with pytest.raises(CrashError):
        await world.replica().look()
    leader = world.replica()
    await leader.look()
    await leader.look()
    assert world.kept.orders == Orders()
    assert len(world.set.of_tier(AuthorityTier.INTERMEDIATE, AuthorityStatus.ACTIVE)) == 1
    retired = world.set.of_tier(AuthorityTier.INTERMEDIATE, AuthorityStatus.RETIRING)
    assert len(retired) == 1


class BusyKeyStore(MemoryKeyStore):
    """Somebody else writes before each of the first ``busy`` writes."""

    busy = 1

    async def save(self, content: KeptAuthorities, *, expected: str | None) -> str:
        if self.busy and expected is not None:
            self.busy -= 1
            assert self.kept is not None
            others = replace(self.kept.content.orders, is_paused=True)
            await super().save(replace(self.kept.content, orders=others), expected=expected)
        return await super().save(content, expected=expected)


async def a_busy_store(busy: int) -> BusyKeyStore:
    store = BusyKeyStore(kept=(await a_world()).keys.kept)
    store.busy = busy
    return store


async def test_what_somebody_else_wrote_meanwhile_stays() -> None:
    store = await a_busy_store(2)
    await place_order(store, wanted)
    assert store.kept is not None
    assert store.kept.content.orders == Orders(is_paused=True, rotates=INTERMEDIATE)


async def test_a_store_that_never_rests_is_given_up() -> None:
    with pytest.raises(KeyStoreConflictError, match="try again"):
        await place_order(await a_busy_store(100), wanted)


async def test_there_is_nothing_to_order_before_the_first_start() -> None:
    with pytest.raises(KeyStoreError, match="first start"):
        await place_order(MemoryKeyStore(), wanted)


@pytest.mark.proves("AT-39")
async def test_an_authority_is_named_by_how_its_id_begins() -> None:
    world = await a_world()
    root = world.set.active_root
    assert root is not None
    assert find_authority(world.set, root.authority_id[:8].upper()) == root


@pytest.mark.refutes("AT-39")
async def test_ids_that_name_no_authority_or_several_are_refused() -> None:
    world = await a_world()
    root, intermediate = world.set.authorities
    alike = replace(world.set, authorities=(root, replace(intermediate, authority_id="f00d1")))
    alike = replace(
        alike, authorities=(replace(root, authority_id="f00d2"), *alike.authorities[1:])
    )
    for prefix in ("", "f00d", "xyz", "f00d3"):
        with pytest.raises(KeyStoreError, match="authority in use"):
            find_authority(alike, prefix)
    ended = replace(root, status=AuthorityStatus.REMOVED)
    with pytest.raises(KeyStoreError, match="no authority in use"):
        find_authority(replace(world.set, authorities=(ended,)), root.authority_id)
