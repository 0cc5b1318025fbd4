"""What signs on a replica: tried out first, stopped when it is behind or has ended."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.ca.authorities import Authorities
from controlplane.ca.authority import KeyType, make_key
from controlplane.ca.authority_set import KeptAuthorities
from controlplane.ca.errors import AuthoritySourceError
from controlplane.ca.signing import snapshot_of
from controlplane.model.certificate import AuthorityStatus, AuthorityTier
from tests.support.authorities import a_key, a_root, an_authority
from tests.support.authority_stores import START, MemoryKeyStore, World, a_world

ROOT, INTERMEDIATE = AuthorityTier.ROOT, AuthorityTier.INTERMEDIATE


def signer(replica: Authorities) -> str:
    """Return who signs on ``replica``; "" for nobody."""
    snapshot = replica.current()
    return "" if snapshot is None else snapshot.authority_id


async def with_waiting(world: World) -> str:
    """Let an intermediate wait for a replica that says nothing more; return its id."""
    await world.replica("r2", token=None).look()
    world.order(rotates=frozenset({INTERMEDIATE}))
    await world.replica().look()
    (waiting,) = world.set.of_tier(INTERMEDIATE, AuthorityStatus.PREPARED)
    return waiting.authority_id


def with_strange_key(world: World, authority_id: str) -> KeptAuthorities:
    """Return what is kept with a key that does not fit, one generation on."""
    kept = world.kept
    state = replace(kept.authorities.state, generation=kept.authorities.state.generation + 1)
    return replace(
        kept,
        authorities=replace(kept.authorities, state=state),
        keys={**kept.keys, authority_id: make_key(KeyType.P256)},
    )


def without_trust(world: World) -> KeptAuthorities:
    return replace(world.kept, authorities=replace(world.set, bundle=()))


def without_key(world: World) -> KeptAuthorities:
    kept = world.kept
    signing = world.set.state.active_intermediate
    left = {name: key for name, key in kept.keys.items() if name != signing}
    return replace(kept, keys=left)


def of_another_root(world: World) -> KeptAuthorities:
    """Return what is kept with an intermediate whose root did not sign it."""
    records = world.set.authorities
    root, signing = records[0], records[1]
    other = replace(root, certificate=signing.certificate)
    bundle = tuple(replace(each, certificate=other.certificate) for each in world.set.bundle)
    return replace(
        world.kept, authorities=replace(world.set, authorities=(other, signing), bundle=bundle)
    )


@pytest.mark.proves("AT-30")
async def test_what_passes_signs() -> None:
    world = await a_world()
    await with_waiting(world)
    snapshot = snapshot_of(world.kept, now=world.clock.now(), policy=world.policy)
    assert snapshot.authority_id == world.set.state.active_intermediate


@pytest.mark.refutes("AT-30")
@pytest.mark.parametrize("damaged", [without_trust, without_key, of_another_root])
async def test_what_cannot_be_followed_to_a_root_does_not_sign(
    damaged: Callable[[World], KeptAuthorities],
) -> None:
    world = await a_world()
    with pytest.raises(AuthoritySourceError):
        snapshot_of(damaged(world), now=world.clock.now(), policy=world.policy)
    world.keep(damaged(world))
    fresh = world.replica("r2", token=None)
    await fresh.look()
    assert fresh.current() is None
    assert fresh.unfit_reason()


@pytest.mark.proves("AT-30", "AT-31")
@pytest.mark.parametrize("is_waiting", [False, True])
async def test_a_key_that_does_not_fit_is_not_taken_up(is_waiting: bool) -> None:
    world = await a_world()
    waiting = await with_waiting(world)
    follower = world.replica("r2", token=None)
    await follower.look()
    before, loaded = signer(follower), world.journal.replicas["r2"].generation_loaded
    damaged = waiting if is_waiting else world.set.state.active_intermediate
    world.keep(with_strange_key(world, damaged))
    world.clock.advance(seconds=25)
    await follower.look()
    assert before
    assert signer(follower) == before
    assert world.journal.replicas["r2"].generation_loaded == loaded < world.set.state.generation
    assert world.journal.replicas["r2"].last_seen == world.clock.now()


@pytest.mark.refutes("AT-31")
async def test_what_passed_is_reported() -> None:
    world = await a_world()
    follower = world.replica("r2", token=None)
    await follower.look()
    await with_waiting(world)
    await follower.look()
    report = world.journal.replicas["r2"]
    assert report.generation_loaded == world.set.state.generation
    assert report.bundle_version_loaded == world.set.state.bundle_version


@pytest.mark.refutes("AT-30")
async def test_a_waiting_authority_that_expired_stops_nobody() -> None:
    world = await a_world()
    waiting = await with_waiting(world)
    short = tuple(
        replace(each, not_after=world.clock.now()) if each.authority_id == waiting else each
        for each in world.set.authorities
    )
    world.keep(replace(world.kept, authorities=replace(world.set, authorities=short)))
    world.journal.is_away = True
    fresh = world.replica("r3", token=None)
    await fresh.look()
    assert signer(fresh) == world.set.state.active_intermediate


@pytest.mark.proves("AT-32")
async def test_signing_goes_on_without_a_database() -> None:
    world = await a_world()
    running = world.replica()
    await running.look()
    world.journal.is_away = True
    world.clock.advance(days=8)
    before = world.set
    started = world.replica("r2", token=2)
    for replica in (running, started):
        standing = await replica.look()
        assert standing.is_journal_away
        assert signer(replica) == before.state.active_intermediate
    # Half the life of the intermediate is over, and yet:
    assert world.set == before


@pytest.mark.refutes("AT-32")
async def test_steps_go_on_with_the_database() -> None:
    world = await a_world()
    before = world.set.state
    replica = world.replica()
    world.journal.is_away = True
    world.clock.advance(days=8)
    await replica.look()
    world.journal.is_away = False
    standing = await replica.look()
    assert not standing.is_journal_away
    assert signer(replica) == world.set.state.active_intermediate != before.active_intermediate


@pytest.mark.refutes("AT-32")
async def test_without_a_database_nothing_begins() -> None:
    world = World()
    world.journal.is_away = True
    replica = world.replica()
    await replica.look()
    assert replica.current() is None
    assert world.keys.kept is None


async def a_replica_left_behind(world: World) -> tuple[Authorities, MemoryKeyStore]:
    """Return a follower whose key store stays where it was while the world moves on."""
    old = MemoryKeyStore(kept=world.keys.kept)
    replica = world.replica("r2", token=None)
    replica.memories = replace(replica.memories, keys=old)
    await replica.look()
    world.order(tainted=frozenset({world.set.state.active_intermediate}))
    await world.replica().look()
    await replica.look()
    return replica, old


@pytest.mark.proves("AT-33")
async def test_a_replica_that_is_behind_stops_until_it_is_not() -> None:
    world = await a_world()
    replica, old = await a_replica_left_behind(world)
    world.clock.advance(seconds=30.5)
    assert replica.current() is None
    assert "has not loaded the present generation" in replica.unfit_reason()
    await replica.look()
    assert replica.current() is None
    old.kept = world.keys.kept
    await replica.look()
    assert signer(replica) == world.set.state.active_intermediate


@pytest.mark.proves("AT-33")
async def test_a_replica_that_catches_up_without_a_database_signs_again() -> None:
    world = await a_world()
    replica, old = await a_replica_left_behind(world)
    world.clock.advance(seconds=31)
    assert replica.current() is None
    world.journal.is_away = True
    await replica.look()
    assert replica.current() is None
    old.kept = world.keys.kept
    await replica.look()
    assert signer(replica) == world.set.state.active_intermediate


@pytest.mark.refutes("AT-33")
async def test_a_replica_signs_for_half_a_minute_while_it_is_behind() -> None:
    world = await a_world()
    replica, _ = await a_replica_left_behind(world)
    world.clock.advance(seconds=30)
    assert replica.current() is not None


@pytest.mark.proves("AT-34")
async def test_nothing_is_signed_once_the_intermediate_has_expired() -> None:
    world = await a_world()
    replica = world.replica()
    await replica.look()
    active = world.set.active_intermediate
    assert active is not None
    world.journal.is_away = True
    world.clock.time = active.not_after - timedelta(seconds=1)
    await replica.look()
    world.clock.advance(seconds=1)
    assert replica.current() is None
    assert "expired" in replica.unfit_reason()
    for each in (replica, world.replica("r2", token=None)):
        await each.look()
        assert each.current() is None


@pytest.mark.proves("AT-34")
async def test_nothing_is_signed_once_the_root_has_expired() -> None:
    world = await a_world()
    root, signing = world.set.authorities
    begins = START - timedelta(minutes=2)
    short = a_root(begins=begins, life=timedelta(days=1))
    long = an_authority(
        "int", key=a_key(), parent=short, path_length=0, not_before=begins, life=timedelta(days=9)
    )
    der = short.certificate.public_bytes(Encoding.DER)
    records = (
        replace(root, certificate=der),
        replace(signing, certificate=long.certificate.public_bytes(Encoding.DER)),
    )
    bundle = tuple(replace(each, certificate=der) for each in world.set.bundle)
    keys = {root.authority_id: short.key, signing.authority_id: long.key}
    content = KeptAuthorities(
        authorities=replace(world.set, authorities=records, bundle=bundle), keys=keys
    )
    world.keep(content)
    replica = world.replica("r2", token=None)
    await replica.look()
    assert signer(replica) == signing.authority_id
    world.clock.time = short.certificate.not_valid_after_utc - timedelta(seconds=1)
    await replica.look()
    assert signer(replica) == signing.authority_id
    world.clock.advance(seconds=1)
    assert replica.current() is None
    with pytest.raises(AuthoritySourceError, match="not valid now"):
        snapshot_of(content, now=world.clock.now(), policy=world.policy)


@pytest.mark.refutes("AT-34")
async def test_everything_is_signed_until_then() -> None:
    world = await a_world()
    replica = world.replica()
    await replica.look()
    active = world.set.active_intermediate
    assert active is not None
    world.journal.is_away = True
    world.clock.time = active.not_after - timedelta(seconds=1)
    await replica.look()
    assert signer(replica) == active.authority_id


@pytest.mark.proves("AT-35")
async def test_followers_wait_for_the_leader() -> None:
    world = World()
    follower = world.replica("r2", token=None)
    await follower.look()
    assert follower.current() is None
    assert "not loaded yet" in follower.unfit_reason()
    assert world.keys.kept is None
    assert world.journal.authorities is None
    await world.replica().look()
    await follower.look()
    assert signer(follower) == world.set.state.active_intermediate != ""


@pytest.mark.refutes("AT-35")
async def test_followers_take_no_step_that_is_due() -> None:
    world = await a_world()
    before = world.set
    world.clock.advance(days=8)
    world.order(rotates=frozenset(AuthorityTier))
    follower = world.replica("r2", token=None)
    standing = await follower.look()
    assert standing.decision.step is None
    assert world.set == before
    await world.replica("r2").look()
    assert world.set.state.generation > before.state.generation


@pytest.mark.proves("AT-36")
@pytest.mark.parametrize("token", [1, None])
async def test_keys_of_another_mesh_sign_nothing_and_stay_as_they_are(token: int | None) -> None:
    world = await a_world()
    foreign = replace(world.set, state=replace(world.set.state, trust_domain="elsewhere.example"))
    world.keep(replace(world.kept, authorities=foreign))
    kept = world.keys.kept
    replica = world.replica("r2", token=token)
    standing = await replica.look()
    assert replica.current() is None
    assert "of trust domain elsewhere.example, not of cluster.local" in standing.problem
    assert world.keys.kept == kept


@pytest.mark.refutes("AT-36")
async def test_keys_of_this_mesh_are_used() -> None:
    world = await a_world()
    replica = world.replica("r2", token=None)
    standing = await replica.look()
    assert standing.problem == ""
    assert signer(replica) == world.set.state.active_intermediate
