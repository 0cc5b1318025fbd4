"""What a database may say about authorities: whoever writes it gains no trust and no key dies."""

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.ca.authority_set import AuthoritySet, Orders
from controlplane.ca.reconciliation import reconciled
from controlplane.model.certificate import AuthorityStatus, AuthorityTier, BundleEntry, BundleSource
from tests.support.authorities import a_root
from tests.support.authority_stores import START, CrashError, a_world


def foreign_root() -> BundleEntry:
    root = a_root(begins=START)
    der = root.certificate.public_bytes(Encoding.DER)
    return BundleEntry(
        trust_domain="cluster.local",
        sha256=sha256(der).hexdigest(),
        certificate=der,
        source=BundleSource.SELF,
        tainted=False,
        added_version=1,
    )


def ahead(authorities: AuthoritySet, by: int, **changes: str) -> AuthoritySet:
    state = replace(authorities.state, generation=authorities.state.generation + by)
    return replace(authorities, state=replace(state, **changes))  # type: ignore[arg-type] # ids


@pytest.mark.refutes("AT-26")
@pytest.mark.parametrize("by", [0, 1, 7])
async def test_a_root_that_only_the_database_trusts_is_never_handed_out(by: int) -> None:
    world = await a_world()
    journal = ahead(world.set, by)
    journal = replace(journal, bundle=(*journal.bundle, foreign_root()))
    world.journal.authorities = journal
    replica = world.replica("r2")
    await replica.look()
    snapshot = replica.current()
    assert snapshot is not None
    assert snapshot.bundle.count("BEGIN CERTIFICATE") == 1
    assert len(world.set.trusted) == 1
    assert world.journal.authorities is not None
    assert len(world.journal.authorities.trusted) == 1
    assert (
        snapshot.generation == world.journal.authorities.state.generation > journal.state.generation
    )


@pytest.mark.refutes("AT-26")
async def test_a_removed_root_is_not_trusted_again_by_the_word_of_the_database() -> None:
    world = await a_world()
    gone = foreign_root()
    kept = replace(
        world.kept,
        authorities=replace(
            world.set, bundle=(*world.set.bundle, replace(gone, removed_version=1))
        ),
    )
    journal = ahead(replace(world.set, bundle=(*world.set.bundle, gone)), 1)
    content = reconciled(kept, journal).content
    assert content is not None
    assert gone.certificate not in {each.certificate for each in content.authorities.trusted}


@pytest.mark.refutes("AT-26")
@pytest.mark.parametrize(
    "status", [AuthorityStatus.REMOVED, AuthorityStatus.FAILED, AuthorityStatus.PREPARED]
)
async def test_a_database_cannot_make_us_destroy_keys_in_force(status: AuthorityStatus) -> None:
    world = await a_world()
    root = world.set.state.active_root
    ended = tuple(replace(each, status=status) for each in world.set.authorities)
    journal = replace(
        ahead(world.set, 1, active_root="", active_intermediate=""), authorities=ended
    )
    world.journal.authorities = journal
    replica = world.replica("r2")
    await replica.look()
    assert replica.current() is not None
    assert world.set.state.active_root == root
    assert root in world.kept.keys


@pytest.mark.refutes("AT-26")
async def test_an_empty_set_that_is_ahead_ends_nothing() -> None:
    world = await a_world()
    before = world.kept.keys.keys()
    result = reconciled(world.kept, replace(ahead(world.set, 5), authorities=(), bundle=()))
    assert result.content is not None
    assert result.content.keys.keys() == before
    assert result.writes_journal
    assert result.notes


async def test_tainted_authorities_do_not_come_back() -> None:
    world = await a_world()
    signer = world.set.state.active_intermediate
    tainted = replace(
        world.kept,
        authorities=replace(
            world.set,
            state=replace(world.set.state, active_intermediate=""),
            authorities=tuple(
                replace(each, status=AuthorityStatus.TAINTED)
                if each.authority_id == signer
                else each
                for each in world.set.authorities
            ),
        ),
    )
    content = reconciled(tainted, ahead(world.set, 1)).content
    assert content is not None
    record = content.authorities.find(signer)
    assert record is not None
    assert record.status is AuthorityStatus.TAINTED
    assert content.authorities.state.active_intermediate == ""


async def test_certificates_of_known_authorities_stay() -> None:
    world = await a_world()
    root = world.set.active_root
    assert root is not None
    swapped = foreign_root()
    journal = ahead(world.set, 1)
    journal = replace(
        journal,
        authorities=tuple(
            replace(each, certificate=swapped.certificate) if each == root else each
            for each in journal.authorities
        ),
    )
    content = reconciled(world.kept, journal).content
    assert content is not None
    assert content.authorities.active_root == root


async def test_memories_that_agree_are_left_alone() -> None:
    world = await a_world()
    result = reconciled(world.kept, world.journal.authorities)
    assert (result.writes_journal, result.writes_keys, result.notes) == (False, False, ())


@pytest.mark.proves("AT-40")
@pytest.mark.parametrize("writes", range(1, 13))
async def test_a_waiting_root_is_what_was_ordered_wherever_a_leader_ends(writes: int) -> None:
    world = await a_world()
    world.order(rotates=frozenset({AuthorityTier.ROOT}))
    await world.replica().look()
    tiers = frozenset({AuthorityTier.ROOT, AuthorityTier.INTERMEDIATE})
    world.order(rotates=tiers, is_hard=True)
    world.keys.kill.remaining = writes
    with suppress(CrashError):
        await world.replica().look()
    world.keys.kill.remaining = -1
    for _ in range(3):
        await world.replica("r2", token=2).look()
    roots = world.set.of_tier(AuthorityTier.ROOT)
    assert [each.status for each in roots] == [AuthorityStatus.RETIRING, AuthorityStatus.ACTIVE]
    assert world.kept.orders == Orders()


@pytest.mark.parametrize("writes", range(1, 20))
async def test_steps_cut_off_after_any_write_are_believed(writes: int) -> None:
    world = await a_world()
    first = world.set.state.active_root
    world.order(rotates=frozenset(AuthorityTier), is_hard=True, tainted=frozenset({first}))
    world.keys.kill.remaining = writes
    with suppress(CrashError):
        await world.replica().look()
    world.keys.kill.remaining = -1
    replica = world.replica("r2", token=2)
    await replica.look()
    assert replica.current() is not None
    assert world.set.state.active_root != first
    assert len(world.set.of_tier(AuthorityTier.ROOT)) == 2
    assert len(world.set.trusted) == 2
    assert not any("not believed" in reason for reason in world.journal.reasons)
    state = world.journal.authorities
    assert state is not None
    assert state.state == world.set.state
