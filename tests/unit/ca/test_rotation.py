from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controlplane.ca.authority_set import Orders
from controlplane.ca.rotation import Situation, StepKind, next_step
from controlplane.ca.rotation_policy import RotationPolicy
from controlplane.model.certificate import AuthorityStatus, AuthorityTier
from tests.support.authority_stores import START, World, a_world

ROOT, INTERMEDIATE = AuthorityTier.ROOT, AuthorityTier.INTERMEDIATE
CONFIG_MAP = ("Kubernetes", "ConfigMap", "default/istio-ca-root-cert")


def situation(world: World, **changes: Any) -> Situation:
    values: dict[str, Any] = {
        "authorities": world.set,
        "policy": world.policy,
        "now": world.clock.now(),
        "orders": world.kept.orders,
        "replicas": tuple(world.journal.replicas.values()),
        "targets": tuple(world.journal.targets.values()),
        "expected_targets": world.expected,
    }
    return Situation(**{**values, **changes})


def gates(world: World) -> dict[str, str]:
    return {gate.name: gate.waits_for for gate in next_step(situation(world)).gates}


async def a_published_root(world: World) -> None:
    world.order(rotates=frozenset({ROOT}))
    await world.replica().look()
    assert world.set.of_tier(ROOT, AuthorityStatus.PUBLISHED)


@pytest.mark.proves("AT-11")
async def test_an_intermediate_is_followed_at_half_its_life() -> None:
    world = await a_world()
    first = world.set.state.active_intermediate
    world.clock.advance(days=7)
    await world.replica().look()
    assert world.set.state.active_intermediate != first
    old = world.set.find(first)
    assert old is not None
    assert old.status is AuthorityStatus.RETIRING


@pytest.mark.refutes("AT-11", "AT-13")
async def test_nothing_happens_before_its_time() -> None:
    world = await a_world()
    generation = world.set.state.generation
    world.clock.advance(days=6, hours=23)
    decision = next_step(situation(world))
    assert (decision.step, decision.gates) == (None, ())
    assert world.set.state.generation == generation


@pytest.mark.refutes("AT-11")
async def test_an_intermediate_that_ends_with_its_root_has_no_successor() -> None:
    world = await a_world()
    root, current = world.set.active_root, world.set.active_intermediate
    assert root is not None
    assert current is not None
    now = current.not_after - timedelta(days=3)

    def ending(root_ends: timedelta) -> Situation:
        changed = replace(root, not_after=current.not_after + root_ends)
        authorities = tuple(changed if each == root else each for each in world.set.authorities)
        orders = Orders(is_paused=True)
        return situation(
            world, authorities=replace(world.set, authorities=authorities), now=now, orders=orders
        )

    assert next_step(ending(timedelta(0))).step is None
    longer = next_step(ending(timedelta(days=1))).step
    assert longer is not None
    assert longer.kind is StepKind.MAKE_INTERMEDIATE


@pytest.mark.refutes("AT-11")
async def test_a_successor_that_would_live_no_longer_is_not_made() -> None:
    world = World(policy=RotationPolicy(root_lifetime=timedelta(days=60)))
    replica = world.replica()
    await replica.look()
    root = world.set.active_root
    assert root is not None
    world.clock.advance(days=52)
    await replica.look()
    current = world.set.active_intermediate
    assert current is not None
    assert current.not_after == root.not_after
    # Half its life is over. The root's own successor is held back, or it would get one with it.
    late = root.not_after - timedelta(days=3)
    assert late > current.not_before + (current.not_after - current.not_before) / 2
    decision = next_step(situation(world, now=late, orders=Orders(is_paused=True)))
    assert decision.step is None
    assert [gate.name for gate in decision.gates] == ["paused"]
    ordered = next_step(
        situation(world, now=late, orders=Orders(is_paused=True, rotates=frozenset({INTERMEDIATE})))
    )
    assert ordered.step is not None
    assert ordered.step.kind is StepKind.MAKE_INTERMEDIATE


@pytest.mark.proves("AT-12")
async def test_a_prepared_intermediate_waits_for_replicas_that_were_heard_of() -> None:
    world = await a_world("r1", "r2")
    follower = world.replica("r2", token=None)
    world.order(rotates=frozenset({INTERMEDIATE}))
    leader = world.replica("r1")
    await leader.look()
    assert world.set.of_tier(INTERMEDIATE, AuthorityStatus.PREPARED)
    assert "replica r2" in gates(world)["replica-behind"]
    await follower.look()
    await leader.look()
    assert not world.set.of_tier(INTERMEDIATE, AuthorityStatus.PREPARED)


@pytest.mark.refutes("AT-12")
async def test_a_replica_that_was_silent_for_an_hour_is_not_waited_for() -> None:
    world = await a_world("r1", "r2")
    world.order(rotates=frozenset({INTERMEDIATE}))
    world.clock.advance(minutes=61)
    await world.replica("r1").look()
    assert len(world.set.of_tier(INTERMEDIATE)) == 2
    assert not world.set.of_tier(INTERMEDIATE, AuthorityStatus.PREPARED)


@pytest.mark.proves("AT-13")
async def test_a_root_is_followed_when_it_nears_its_end() -> None:
    world = await a_world()
    root = world.set.active_root
    assert root is not None
    intermediate = world.set.active_intermediate
    now = root.not_after - timedelta(days=180)
    fresh = replace(
        world.set,
        authorities=tuple(
            replace(each, not_before=now, not_after=now + timedelta(days=14))
            if each == intermediate
            else each
            for each in world.set.authorities
        ),
    )
    decision = next_step(situation(world, authorities=fresh, now=now))
    assert decision.step is not None
    assert decision.step.kind is StepKind.MAKE_ROOT
    earlier = next_step(situation(world, authorities=fresh, now=now - timedelta(seconds=1)))
    assert earlier.step is None


@pytest.mark.proves("AT-14")
async def test_the_first_root_acts_at_once() -> None:
    world = await a_world()
    assert world.clock.now() == START
    assert world.replica().current() is None
    root = world.set.active_root
    assert root is not None
    assert root.status is AuthorityStatus.ACTIVE


@pytest.mark.refutes("AT-14")
async def test_a_second_root_does_not() -> None:
    world = await a_world()
    await a_published_root(world)
    world.clock.advance(hours=24)
    await world.replica().look()
    assert world.set.of_tier(ROOT, AuthorityStatus.PUBLISHED)


@pytest.mark.proves("AT-14")
async def test_after_all_others_have_expired_a_root_acts_at_once() -> None:
    world = await a_world()
    world.clock.advance(days=4000)
    replica = world.replica()
    await replica.look()
    snapshot = replica.current()
    assert snapshot is not None
    assert snapshot.not_after > world.clock.now()


@pytest.mark.proves("AT-15", "AT-19")
async def test_a_replica_without_the_new_bundle_blocks_by_name() -> None:
    world = await a_world("r1", "r2")
    await a_published_root(world)
    for _ in range(60):
        world.clock.advance(minutes=59)
        lagging = world.journal.replicas["r2"]
        world.journal.replicas["r2"] = replace(lagging, last_seen=world.clock.now())
        await world.replica("r1").look()
    assert gates(world)["replica-behind"] == "replica r2 to load bundle 2, it has 1"
    assert world.set.of_tier(ROOT, AuthorityStatus.PUBLISHED)


@pytest.mark.refutes("AT-15", "AT-19")
async def test_once_it_has_loaded_it_nothing_but_time_is_waited_for() -> None:
    world = await a_world("r1", "r2")
    await a_published_root(world)
    await world.replica("r2", token=None).look()
    decision = next_step(situation(world))
    assert [gate.name for gate in decision.gates] == ["leaves-without-root"]
    assert decision.gates[0].until == START + timedelta(hours=24, minutes=5)


@pytest.mark.proves("AT-16")
async def test_a_silent_replica_counts_for_an_hour_after_its_last_word() -> None:
    world = await a_world("r1", "r2")
    await a_published_root(world)
    world.clock.advance(hours=24, minutes=6)
    await world.replica("r1").look()
    decision = next_step(situation(world))
    assert decision.gates[0].until == START + timedelta(hours=25, minutes=5)
    world.clock.advance(hours=1)
    await world.replica("r1").look()
    assert not world.set.of_tier(ROOT, AuthorityStatus.PUBLISHED)


@pytest.mark.refutes("AT-16")
async def test_a_replica_that_loaded_the_bundle_and_went_silent_counts_until_then_only() -> None:
    world = await a_world("r1", "r2")
    await a_published_root(world)
    await world.replica("r2", token=None).look()
    world.clock.advance(hours=24, minutes=6)
    leader = world.replica("r1")
    await leader.look()
    await leader.look()
    assert not world.set.of_tier(ROOT, AuthorityStatus.PUBLISHED)


@pytest.mark.proves("AT-17", "AT-19")
async def test_a_place_without_the_new_bundle_blocks_by_name() -> None:
    world = await a_world()
    world.expected = frozenset({CONFIG_MAP})
    await a_published_root(world)
    world.clock.advance(days=2)
    assert "default/istio-ca-root-cert" in gates(world)["target-behind"]
    world.written(CONFIG_MAP, 1)
    assert "bundle 2" in gates(world)["target-behind"]
    world.written(CONFIG_MAP, 2)
    assert "targets-settling" in gates(world)


@pytest.mark.refutes("AT-17")
async def test_five_minutes_after_it_was_written_a_place_is_no_obstacle() -> None:
    world = await a_world()
    world.expected = frozenset({CONFIG_MAP})
    await a_published_root(world)
    world.written(CONFIG_MAP, 2)
    world.clock.advance(minutes=5)
    assert set(gates(world)) == {"leaves-without-root"}


@pytest.mark.proves("AT-18")
async def test_the_longest_lifetime_ever_allowed_is_waited_for() -> None:
    world = World(policy=RotationPolicy(max_leaf_lifetime=timedelta(hours=72)))
    await world.replica().look()
    world.policy = RotationPolicy()
    await a_published_root(world)
    decision = next_step(situation(world))
    assert decision.gates[0].until == START + timedelta(hours=72, minutes=5)


@pytest.mark.refutes("AT-18")
async def test_after_that_time_the_root_acts() -> None:
    world = await a_world()
    await a_published_root(world)
    world.clock.advance(hours=24, minutes=5)
    replica = world.replica()
    await replica.look()
    await replica.look()
    assert not world.set.of_tier(ROOT, AuthorityStatus.PUBLISHED)
    assert len(world.set.of_tier(ROOT, AuthorityStatus.ACTIVE)) == 1


@pytest.mark.proves("AT-23")
async def test_a_pause_holds_roots_wherever_they_are() -> None:
    world = await a_world()
    world.order(rotates=frozenset({ROOT}), is_paused=True)
    assert set(gates(world)) == {"paused"}
    world.order(is_paused=False)
    await a_published_root(world)
    world.order(is_paused=True)
    world.clock.advance(days=2)
    await world.replica().look()
    assert set(gates(world)) == {"paused"}


@pytest.mark.refutes("AT-23")
async def test_a_pause_does_not_hold_intermediates_and_ends() -> None:
    world = await a_world()
    await a_published_root(world)
    world.order(is_paused=True)
    first = world.set.state.active_intermediate
    world.clock.advance(days=8)
    replica = world.replica()
    await replica.look()
    assert world.set.state.active_intermediate != first
    world.order(is_paused=False)
    await replica.look()
    assert not world.set.of_tier(ROOT, AuthorityStatus.PUBLISHED)


@pytest.mark.refutes("AT-23")
async def test_a_pause_leaves_nobody_without_a_root() -> None:
    world = await a_world()
    world.order(is_paused=True)
    world.clock.advance(days=4000)
    replica = world.replica()
    await replica.look()
    assert replica.current() is not None


@pytest.mark.proves("AT-14")
async def test_a_root_that_waits_acts_at_once_when_the_one_in_force_has_expired() -> None:
    world = await a_world()
    await a_published_root(world)
    (waiting,) = world.set.of_tier(ROOT, AuthorityStatus.PUBLISHED)
    before = world.set.active_root
    assert before is not None
    younger = replace(waiting, not_after=before.not_after + timedelta(days=100))
    changed = replace(
        world.set,
        authorities=tuple(younger if each == waiting else each for each in world.set.authorities),
    )
    decision = next_step(situation(world, authorities=changed, now=before.not_after))
    assert decision.step is not None
    assert decision.step.authority_id == waiting.authority_id
    assert decision.step.kind is StepKind.MAKE_INTERMEDIATE
    earlier = before.not_after - timedelta(days=3649)
    held = next_step(situation(world, authorities=changed, now=earlier, replicas=()))
    assert held.step is None


@pytest.mark.parametrize(
    "changes",
    [
        {"max_leaf_lifetime": timedelta(days=8)},
        {"max_leaf_lifetime": timedelta(0)},
        {"root_lifetime": timedelta(days=40)},
    ],
)
def test_a_policy_in_which_leaves_outlive_their_signer_is_refused(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match=r"lives? at most"):
        RotationPolicy(**changes)


async def test_without_any_replica_heard_of_no_root_acts() -> None:
    world = await a_world()
    await a_published_root(world)
    decision = next_step(
        situation(world, replicas=(), now=START + timedelta(days=3), orders=Orders())
    )
    assert {gate.name for gate in decision.gates} == {"no-replica"}
