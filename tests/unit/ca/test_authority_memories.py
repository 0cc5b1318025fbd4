"""Key store and journal: cut off at every write, lost, restored, overtaken."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from controlplane.ca.authority import KeyType, make_key
from controlplane.ca.bundle import FILE_KIND, BundleFile
from controlplane.ca.errors import KeysLostError
from controlplane.ca.leading import Leading
from controlplane.ca.rotation import Step, StepKind
from controlplane.model.certificate import (
    AuthorityRecord,
    AuthorityStatus,
    AuthorityTier,
    BundleTarget,
)
from controlplane.store.errors import StaleLeaderError
from tests.support.authority_stores import CrashError, KillPoint, World, a_world

ROOT, INTERMEDIATE = AuthorityTier.ROOT, AuthorityTier.INTERMEDIATE


def lose_keys(world: World, *lost: str) -> None:
    kept = world.kept
    left = {name: key for name, key in kept.keys.items() if name not in lost}
    world.keep(replace(kept, keys=left))


def journal_of(world: World) -> tuple[AuthorityRecord, ...]:
    assert world.journal.authorities is not None
    return world.journal.authorities.authorities


def shape(world: World) -> object:
    """Return where the world stands, apart from which keys happened to be drawn."""
    kept, journal = world.kept, world.journal.authorities
    assert journal is not None
    authorities = kept.authorities
    assert {each.authority_id for each in authorities.living} == kept.keys.keys()
    assert journal.state == authorities.state
    assert journal.living == authorities.living
    assert journal.trusted == authorities.trusted
    state = authorities.state
    return (
        state.generation,
        state.bundle_version,
        tuple((each.tier, each.slot, each.status) for each in authorities.authorities),
        [each.authority_id for each in authorities.authorities].index(state.active_root),
        [each.authority_id for each in authorities.authorities].index(state.active_intermediate),
        tuple((entry.added_version, entry.removed_version) for entry in authorities.bundle),
        kept.orders,
    )


async def begin(world: World, token: int) -> None:
    await world.replica(token=token).look()


async def rotate_intermediate(world: World, token: int) -> None:
    world.order(rotates=frozenset({INTERMEDIATE}))
    await world.replica(token=token).look()


async def rotate_root(world: World, token: int) -> None:
    world.order(rotates=frozenset({ROOT}))
    await world.replica(token=token).look()


async def taint_root_hard(world: World, token: int) -> None:
    world.order(tainted=frozenset({world.set.state.active_root}), is_hard=True)
    await world.replica(token=token).look()


async def remove_retired(world: World, token: int) -> None:
    world.clock.advance(days=9)
    await world.replica(token=token).look()
    world.clock.advance(days=8)
    await world.replica(token=token).look()


Action = Callable[[World, int], Awaitable[None]]
ACTIONS = (begin, rotate_intermediate, rotate_root, taint_root_hard, remove_retired)


@pytest.mark.proves("AT-25")
@pytest.mark.parametrize("action", ACTIONS)
async def test_every_crash_ends_where_none_would_have(action: Action) -> None:
    calm = World() if action is begin else await a_world()
    writes = CountingKill()
    calm.keys.kill = calm.journal.kill = writes
    await action(calm, 1)
    expected = shape(calm)
    assert writes.seen > 1
    for remaining in range(1, writes.seen + 1):
        world = World() if action is begin else await a_world()
        world.keys.kill.remaining = remaining
        with pytest.raises(CrashError):
            await action(world, 1)
        world.keys.kill.remaining = -1
        replica = world.replica("r1", token=2)
        await replica.look()
        if action is remove_retired:
            world.clock.time = calm.clock.time
            await replica.look()
        assert shape(world) == expected, remaining
        assert replica.current() is not None


@dataclass
class CountingKill(KillPoint):
    seen: int = 0

    def passed(self) -> None:
        self.seen += 1


@dataclass
class NamedKill(KillPoint):
    """Writes down who wrote."""

    name: str = ""
    log: list[str] | None = None

    def passed(self) -> None:
        assert self.log is not None
        self.log.append(self.name)


@pytest.mark.proves("AT-25")
async def test_a_new_key_is_kept_before_the_journal_hears_of_it() -> None:
    world = await a_world()
    log: list[str] = []
    world.keys.kill = NamedKill(name="keys", log=log)
    world.journal.kill = NamedKill(name="journal", log=log)
    await rotate_intermediate(world, 1)
    made = ["keys", "journal", "keys"]
    put_in_force = ["journal", "keys"]
    assert log == made + put_in_force


@pytest.mark.refutes("AT-25")
async def test_a_step_only_the_journal_has_is_not_signed_by() -> None:
    world = await a_world()
    first = world.set.state.active_intermediate
    world.order(rotates=frozenset({INTERMEDIATE}))
    # Key, journal, key store, and now the journal alone knows who is in force.
    world.keys.kill.remaining = 4
    with suppress(CrashError):
        await world.replica().look()
    world.keys.kill.remaining = -1
    assert world.journal.authorities is not None
    assert world.journal.authorities.state.active_intermediate != first
    follower = world.replica("r2", token=None)
    await follower.look()
    snapshot = follower.current()
    assert snapshot is not None
    assert snapshot.authority_id == first


@pytest.mark.proves("AT-5")
async def test_the_first_root_is_made_where_nothing_ever_was() -> None:
    world = await a_world()
    assert [each.status for each in world.set.of_tier(ROOT)] == [AuthorityStatus.ACTIVE]


@pytest.mark.proves("AT-5")
async def test_the_first_root_is_made_where_all_the_journal_knew_has_ended() -> None:
    world = await a_world()
    authorities = world.set
    generation = authorities.state.generation
    world.journal.authorities = replace(
        authorities,
        state=replace(authorities.state, active_root="", active_intermediate=""),
        authorities=tuple(
            replace(each, status=AuthorityStatus.REMOVED) for each in authorities.authorities
        ),
        bundle=(),
    )
    world.keys.kept = None
    replica = world.replica()
    await replica.look()
    assert replica.current() is not None
    assert world.set.state.generation > generation
    assert len(world.set.trusted) == 1


@pytest.mark.refutes("AT-5")
async def test_lost_keys_of_a_known_mesh_end_the_start() -> None:
    world = await a_world()
    known = world.journal.authorities
    world.keys.kept = None
    with pytest.raises(KeysLostError, match="key store is empty"):
        await world.replica("r2", token=2).look()
    follower = world.replica("r3", token=None)
    await follower.look()
    assert follower.current() is None
    assert world.keys.kept is None
    assert world.journal.authorities == known


@pytest.mark.proves("AT-26")
async def test_a_lost_journal_is_rebuilt_without_a_pause() -> None:
    world = await a_world()
    before = world.set
    world.journal.authorities, world.journal.token = None, 0
    world.journal.replicas.clear()
    running, started = world.replica("r1"), world.replica("r2", token=None)
    for replica in (running, started):
        await replica.look()
        snapshot = replica.current()
        assert snapshot is not None
        assert snapshot.authority_id == before.state.active_intermediate
    assert world.set == before
    assert world.journal.authorities == before


@pytest.mark.proves("AT-26")
async def test_what_only_an_older_journal_knew_is_dropped() -> None:
    world = await a_world()
    backup = world.journal.authorities
    assert backup is not None
    other = (await a_world()).set
    stranger = replace(other.of_tier(ROOT)[0], status=AuthorityStatus.PREPARED)
    await rotate_intermediate(world, 1)
    now = world.set
    world.journal.authorities = replace(backup, authorities=(*backup.authorities, stranger))
    replica = world.replica()
    await replica.look()
    assert world.set == now
    assert world.journal.authorities == now
    assert stranger not in journal_of(world)
    snapshot = replica.current()
    assert snapshot is not None
    assert snapshot.authority_id == now.state.active_intermediate


@pytest.mark.proves("AT-27")
@pytest.mark.parametrize("statuses", [(AuthorityStatus.PUBLISHED,), (AuthorityStatus.PREPARED,)])
async def test_who_was_never_in_force_fails_without_a_key(
    statuses: tuple[AuthorityStatus, ...],
) -> None:
    world = await a_world()
    if statuses == (AuthorityStatus.PUBLISHED,):
        await rotate_root(world, 1)
    else:
        await world.replica("r2", token=None).look()
        await rotate_intermediate(world, 1)
    (waiting,) = [each for each in world.set.authorities if each.status in statuses]
    before = world.set.state
    lose_keys(world, waiting.authority_id)
    world.order(is_paused=True, rotates=frozenset())
    replica = world.replica(token=2)
    await replica.look()
    record = world.set.find(waiting.authority_id)
    assert record is not None
    assert record.status is AuthorityStatus.FAILED
    assert waiting.certificate not in {entry.certificate for entry in world.set.trusted}
    assert world.set.state.active_root == before.active_root
    assert replica.current() is not None


@pytest.mark.proves("AT-27")
@pytest.mark.parametrize("tier", [ROOT, INTERMEDIATE])
async def test_who_was_in_force_is_tainted_without_a_key_and_stays_trusted(
    tier: AuthorityTier,
) -> None:
    world = await a_world()
    (lost,) = world.set.of_tier(tier)
    key = world.kept.keys[lost.authority_id]
    root = world.set.active_root
    assert root is not None
    lose_keys(world, lost.authority_id)
    replica = world.replica()
    await replica.look()
    record = world.set.find(lost.authority_id)
    assert record is not None
    assert record.status is AuthorityStatus.TAINTED
    assert lost.authority_id not in {
        world.set.state.active_root,
        world.set.state.active_intermediate,
    }
    assert root.certificate in {entry.certificate for entry in world.set.trusted}
    assert replica.current() is not None
    # Nothing moves any further, and its key coming back changes nothing.
    before = world.set
    await replica.look()
    assert world.set == before
    world.keep(replace(world.kept, keys={**world.kept.keys, lost.authority_id: key}))
    await replica.look()
    assert world.set == before


@pytest.mark.refutes("AT-27")
async def test_who_has_keys_keeps_its_place() -> None:
    world = await a_world()
    before = world.set
    await world.replica(token=2).look()
    assert world.set == before


@pytest.mark.proves("AT-27")
async def test_what_a_lost_root_signed_has_ended_before_trust_does() -> None:
    world = await a_world()
    root, signer = world.set.active_root, world.set.active_intermediate
    assert root is not None
    assert signer is not None
    lose_keys(world, root.authority_id)
    await world.replica().look()
    world.clock.time = signer.not_after
    await world.replica().look()
    assert root.certificate in {entry.certificate for entry in world.set.trusted}
    world.clock.advance(hours=2)
    await world.replica().look()
    assert root.certificate not in {entry.certificate for entry in world.set.trusted}


def a_leader(world: World, name: str) -> Leading:
    return Leading(
        trust_domain="cluster.local",
        replica_id=name,
        keys=world.keys,
        journal=world.journal,
        clock=world.clock,
        policy=world.policy,
    )


@pytest.mark.proves("AT-28")
@pytest.mark.parametrize("kind", [StepKind.TAINT, StepKind.MAKE_ROOT])
async def test_an_overtaken_leader_changes_nothing(kind: StepKind) -> None:
    world = await a_world()
    assert world.keys.kept is not None
    seen_by_the_old = world.keys.kept
    world.journal.token = 2  # Somebody else leads now, and has written nothing new yet.
    before, journal = world.set, world.journal.authorities
    target = "" if kind is StepKind.MAKE_ROOT else before.state.active_intermediate
    step = Step(kind=kind, authority_id=target, reason="resumed")
    with pytest.raises(StaleLeaderError):
        await a_leader(world, "old").carry_out(step, seen_by_the_old, token=1)
    assert world.set == before
    assert world.journal.authorities == journal
    await world.replica("new", token=2).look()
    assert world.set == before
    assert world.kept.keys.keys() == seen_by_the_old.content.keys.keys()


@pytest.mark.proves("AT-28")
async def test_an_overtaken_replica_goes_on_signing_and_says_why_it_does_not_lead() -> None:
    world = await a_world()
    old = world.replica("old", token=1)
    await old.look()
    world.journal.token = 2
    world.order(tainted=frozenset({world.set.state.active_intermediate}))
    before = world.set
    standing = await old.look()
    assert standing.problem
    assert world.set == before
    assert old.current() is not None


@pytest.mark.refutes("AT-28")
async def test_the_leader_of_the_day_is_not_refused() -> None:
    world = await a_world()
    before = world.set.state
    world.order(rotates=frozenset({INTERMEDIATE}))
    standing = await world.replica(token=2).look()
    assert standing.problem == ""
    assert world.set.state.active_intermediate != before.active_intermediate
    assert world.journal.token == 2


@pytest.mark.proves("AT-29")
async def test_keys_that_nothing_refers_to_are_destroyed() -> None:
    world = await a_world()
    needed = world.kept.keys.keys()
    kept = world.kept
    world.keep(replace(kept, keys={**kept.keys, "ab" * 20: make_key(KeyType.P256)}))
    await world.replica(token=2).look()
    assert world.kept.keys.keys() == needed


@pytest.mark.refutes("AT-29")
async def test_followers_destroy_no_keys_and_leaders_none_in_use() -> None:
    world = await a_world()
    needed = world.kept.keys.keys()
    kept = world.kept
    world.keep(replace(kept, keys={**kept.keys, "ab" * 20: make_key(KeyType.P256)}))
    await world.replica("r2", token=None).look()
    assert world.kept.keys.keys() == needed | {"ab" * 20}
    await world.replica(token=2).look()
    assert {each.authority_id for each in world.set.living} == world.kept.keys.keys() == needed


async def with_silent_replica(folder: Path) -> tuple[World, tuple[str, str, str]]:
    """Return a world where r2 has reported, has a root file, and then is silent."""
    world = await a_world()
    file = BundleFile(path=folder / "root.pem", replica_id="r2")
    await world.replica("r2", token=None, bundle_file=file).look()
    assert file.place in world.journal.targets
    return world, file.place


@pytest.mark.proves("AT-37")
async def test_silent_replicas_are_forgotten_in_time(tmp_path: Path) -> None:
    world, place = await with_silent_replica(tmp_path)
    world.clock.advance(hours=1, seconds=1)
    await world.replica().look()
    assert place not in world.journal.targets
    assert "r2" in world.journal.replicas
    world.clock.advance(hours=24, minutes=5)
    await world.replica().look()
    assert world.journal.replicas.keys() == {"r1"}


@pytest.mark.refutes("AT-37")
async def test_replicas_whose_leaves_may_live_are_remembered(tmp_path: Path) -> None:
    world, place = await with_silent_replica(tmp_path)
    elsewhere = ("Kubernetes", "ConfigMap", "default/istio-ca-root-cert")
    world.journal.targets[elsewhere] = BundleTarget(
        cluster=elsewhere[0],
        kind=elsewhere[1],
        name=elsewhere[2],
        bundle_version_written=1,
        written_at=world.clock.now(),
    )
    world.clock.advance(minutes=59)
    await world.replica().look()
    assert place in world.journal.targets
    world.clock.advance(hours=24)
    await world.replica().look()
    assert world.journal.replicas.keys() == {"r1", "r2"}
    assert elsewhere in world.journal.targets
    assert not any(kind == FILE_KIND for _, kind, _ in world.journal.targets)


@pytest.mark.refutes("AT-26")
async def test_a_journal_that_is_ahead_by_one_step_is_taken_over() -> None:
    world = await a_world()
    world.order(rotates=frozenset({INTERMEDIATE}))
    world.keys.kill.remaining = 4
    with suppress(CrashError):
        await world.replica().look()
    world.keys.kill.remaining = -1
    ahead = world.journal.authorities
    assert ahead is not None
    assert ahead.state.generation > world.set.state.generation
    await world.replica(token=2).look()
    assert world.journal.authorities == ahead
    assert world.set == ahead


@pytest.mark.proves("AT-28")
async def test_a_key_an_overtaken_leader_destroys_between_two_writes_is_made_again() -> None:
    world = await a_world()
    before = world.set.state
    world.order(rotates=frozenset({INTERMEDIATE}))
    world.keys.kill.remaining = 1
    with pytest.raises(CrashError):
        await world.replica(token=2).look()
    world.keys.kill.remaining = -1
    # The new leader's key is kept, the journal has not heard of it; the old leader tidies up.
    assert len(world.kept.keys) == 3
    view = await world.journal.read()
    await a_leader(world, "old").agree(world.keys.kept, view, token=1)
    assert len(world.kept.keys) == 2
    await world.replica(token=2).look()
    assert world.set.state.active_intermediate != before.active_intermediate
    assert shape(world)
