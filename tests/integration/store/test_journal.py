"""The authorities' journal on both databases: transitions, fencing, and what is left of them."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import text

from controlplane.model.certificate import (
    AuthorityRecord,
    AuthorityStatus,
    AuthorityTier,
    BundleEntry,
    BundleSource,
    BundleTarget,
    Replica,
)
from controlplane.store.database import Database
from controlplane.store.errors import JournalError, StaleLeaderError
from controlplane.store.journal import Journal
from controlplane.store.leadership import StoreLeadership
from controlplane.store.ledger import Ledger
from controlplane.store.spool import Spool
from controlplane.store.transition import NEXT_STATUSES
from tests.support.ledger import KEY, START, KeptAnchors, SteppedClock, a_certificate

pytestmark = pytest.mark.timeout(60)  # the first test starts a server
DOMAIN = "cluster.local"
S = AuthorityStatus


def an_authority(number: int = 1, **changes: object) -> AuthorityRecord:
    values: dict[str, object] = {
        "trust_domain": DOMAIN,
        "tier": AuthorityTier.INTERMEDIATE,
        "slot": "A",
        "authority_id": f"{number:040x}",
        "status": S.PREPARED,
        "certificate": b"\x30\x00",
        "chain": (b"\x30\x01\x00", b"\x30\x02"),
        "key_reference": "file:intermediate-A",
        "key_type": "ec-p256",
        "not_before": START,
        "not_after": START + timedelta(days=14),
        "prepared_at": START,
    }
    return AuthorityRecord(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def journal(database: Database, clock: SteppedClock) -> Journal:
    return Journal(database, clock=clock)


async def add(journal: Journal, record: AuthorityRecord, *, token: int = 1) -> None:
    async with journal.transition(DOMAIN, fencing_token=token, leader_id="leader") as transition:
        await transition.add(record, reason="made")


async def move(journal: Journal, authority_id: str, *path: AuthorityStatus) -> None:
    for status in path:
        async with journal.transition(DOMAIN, fencing_token=1, leader_id="leader") as transition:
            await transition.move(authority_id, status, reason="test")


async def statuses(journal: Journal) -> Mapping[str, AuthorityStatus]:
    return {each.authority_id: each.status for each in await journal.authorities(DOMAIN)}


@pytest.mark.proves("LG-20", "LG-22", "LG-25")
async def test_a_transition_writes_everything_and_moves_the_generation(
    journal: Journal, clock: SteppedClock
) -> None:
    assert await journal.state(DOMAIN) is None
    async with journal.transition(DOMAIN, fencing_token=3, leader_id="leader") as transition:
        await transition.add(an_authority(), reason="first start")
        await transition.move(an_authority().authority_id, S.ACTIVE, reason="nothing to wait for")
        await transition.add_root(
            BundleEntry(
                trust_domain=DOMAIN,
                sha256="ff" * 32,
                certificate=b"\x30",
                source=BundleSource.SELF,
                added_version=1,
            )
        )
        transition.set_state(
            bundle_version=1,
            active_intermediate=an_authority().authority_id,
            max_ttl_in_force=86400,
        )
    state = await journal.state(DOMAIN)
    assert state is not None
    assert (state.generation, state.bundle_version, state.fencing_token) == (1, 1, 3)
    assert (state.leader_id, state.max_ttl_in_force) == ("leader", 86400)
    assert state.updated_at == clock.now()
    (record,) = await journal.authorities(DOMAIN)
    assert record.status is S.ACTIVE
    assert record.activated_at == clock.now()
    assert record.chain == an_authority().chain
    assert record.fencing_token == 3
    assert [entry.sha256 for entry in await journal.bundle(DOMAIN)] == ["ff" * 32]
    steps = [(event.previous, event.status, event.reason) for event in await journal.events(DOMAIN)]
    assert steps == [
        (S.PREPARED, S.ACTIVE, "nothing to wait for"),
        (None, S.PREPARED, "first start"),
    ]


@pytest.mark.refutes("LG-20", "LG-22", "LG-25")
async def test_a_transition_that_raises_leaves_nothing(journal: Journal) -> None:
    await add(journal, an_authority(1))
    with pytest.raises(JournalError, match="no authority"):  # noqa: PT012 - the last one raises
        async with journal.transition(DOMAIN, fencing_token=1, leader_id="leader") as transition:
            await transition.add(an_authority(2), reason="made")
            transition.set_state(bundle_version=9)
            await transition.move("00", S.ACTIVE, reason="there is none")
    state = await journal.state(DOMAIN)
    assert state is not None
    assert (state.generation, state.bundle_version) == (1, 0)
    assert len(await journal.authorities(DOMAIN)) == 1
    assert len(await journal.events(DOMAIN)) == 1


@pytest.mark.proves("LG-22")
async def test_the_bundle_version_never_goes_back(journal: Journal) -> None:
    async with journal.transition(DOMAIN, fencing_token=1, leader_id="leader") as transition:
        transition.set_state(bundle_version=2)
    with pytest.raises(JournalError, match="never goes back"):
        async with journal.transition(DOMAIN, fencing_token=1, leader_id="leader") as transition:
            transition.set_state(bundle_version=1)


@pytest.mark.proves("LG-22")
async def test_a_rebuilt_journal_goes_on_where_the_keys_stand(journal: Journal) -> None:
    async with journal.transition(DOMAIN, fencing_token=1, leader_id="leader") as transition:
        transition.set_state(generation=40)
    with pytest.raises(JournalError, match="never goes back"):
        async with journal.transition(DOMAIN, fencing_token=1, leader_id="leader") as transition:
            transition.set_state(generation=40)
    state = await journal.state(DOMAIN)
    assert state is not None
    assert state.generation == 40


@pytest.mark.proves("LG-21")
async def test_a_stale_leader_changes_nothing(journal: Journal) -> None:
    await add(journal, an_authority(1), token=5)
    with pytest.raises(StaleLeaderError) as raised:
        await add(journal, an_authority(2), token=4)
    assert (raised.value.token, raised.value.seen) == (4, 5)
    assert len(await journal.authorities(DOMAIN)) == 1


@pytest.mark.proves("LG-21")
async def test_a_leader_is_stale_as_soon_as_another_is_elected(
    journal: Journal, database: Database, clock: SteppedClock
) -> None:
    paused = StoreLeadership(database, replica_id="replica-1", clock=clock)
    await paused.campaign()
    token = paused.token
    assert token is not None
    await add(journal, an_authority(1), token=token)
    clock.seconds += 60
    other = StoreLeadership(database, replica_id="replica-2", clock=clock)
    await other.campaign()
    assert not paused.is_leader
    with pytest.raises(StaleLeaderError):
        await add(journal, an_authority(2), token=token)
    assert other.token is not None
    await add(journal, an_authority(3), token=other.token)
    assert len(await journal.authorities(DOMAIN)) == 2


@pytest.mark.refutes("LG-21")
async def test_the_same_and_a_larger_token_may_go_on(journal: Journal) -> None:
    for number, token in enumerate((4, 4, 7), start=1):
        await add(journal, an_authority(number), token=token)
    assert len(await journal.authorities(DOMAIN)) == 3


@pytest.mark.proves("LG-23")
@pytest.mark.parametrize(
    "path",
    [
        (S.PUBLISHED, S.ACTIVE, S.RETIRING, S.REMOVED),
        (S.ACTIVE, S.TAINTED, S.REMOVED),
        (S.PUBLISHED, S.FAILED, S.REMOVED),
        (S.ACTIVE, S.RETIRING, S.TAINTED, S.REMOVED),
    ],
)
async def test_an_authority_goes_along_its_life(
    journal: Journal, path: tuple[AuthorityStatus, ...]
) -> None:
    await add(journal, an_authority())
    await move(journal, an_authority().authority_id, *path)
    assert await statuses(journal) == {an_authority().authority_id: path[-1]}


@pytest.mark.refutes("LG-23")
@pytest.mark.parametrize("status", list(AuthorityStatus))
async def test_an_authority_leaves_its_life_nowhere(
    journal: Journal, status: AuthorityStatus
) -> None:
    record = an_authority(status=status)
    await add(journal, record)
    for impossible in set(AuthorityStatus) - NEXT_STATUSES[status]:
        with pytest.raises(JournalError, match="does not go"):
            await move(journal, record.authority_id, impossible)
    assert await statuses(journal) == {record.authority_id: status}


@pytest.mark.proves("LG-24")
@pytest.mark.parametrize("tier", list(AuthorityTier))
async def test_two_active_authorities_of_a_tier_are_refused(
    journal: Journal, tier: AuthorityTier
) -> None:
    await add(journal, an_authority(1, tier=tier, status=S.ACTIVE))
    await add(journal, an_authority(2, tier=tier))
    with pytest.raises(JournalError, match="two active"):
        await move(journal, an_authority(2).authority_id, S.ACTIVE)
    with pytest.raises(JournalError, match="two active"):
        await add(journal, an_authority(3, tier=tier, status=S.ACTIVE))


@pytest.mark.refutes("LG-24")
async def test_one_follows_another_in_one_transition_and_tiers_are_apart(journal: Journal) -> None:
    await add(journal, an_authority(1, status=S.ACTIVE))
    await add(journal, an_authority(2))
    await add(journal, an_authority(3, tier=AuthorityTier.ROOT, status=S.ACTIVE))
    async with journal.transition(DOMAIN, fencing_token=1, leader_id="leader") as transition:
        await transition.move(an_authority(1).authority_id, S.RETIRING, reason="followed")
        await transition.move(an_authority(2).authority_id, S.ACTIVE, reason="follows")
    assert list((await statuses(journal)).values()) == [S.RETIRING, S.ACTIVE, S.ACTIVE]


@pytest.mark.proves("LG-25")
async def test_an_authority_whose_key_is_gone_is_dropped_with_an_event(journal: Journal) -> None:
    await add(journal, an_authority())
    async with journal.transition(DOMAIN, fencing_token=1, leader_id="leader") as transition:
        await transition.forget(an_authority().authority_id, reason="no key")
    assert await journal.authorities(DOMAIN) == ()
    event = (await journal.events(DOMAIN, limit=1))[0]
    assert (event.previous, event.status, event.reason) == (S.PREPARED, None, "no key")


async def test_what_is_not_there_cannot_be_changed(journal: Journal) -> None:
    with pytest.raises(JournalError, match="no authority"):
        await move(journal, "00", S.ACTIVE)
    with pytest.raises(JournalError, match="no root"):
        async with journal.transition(DOMAIN, fencing_token=1, leader_id="leader") as transition:
            await transition.change_root("00", tainted=True)


async def test_roots_leave_the_bundle_and_keep_their_row(journal: Journal) -> None:
    async with journal.transition(DOMAIN, fencing_token=1, leader_id="leader") as transition:
        await transition.add_root(
            BundleEntry(
                trust_domain=DOMAIN,
                sha256="ff" * 32,
                certificate=b"\x30",
                source=BundleSource.PLUGGED,
                added_version=1,
            )
        )
        await transition.change_root("ff" * 32, tainted=True, removed_version=2)
        assert (await transition.bundle())[0].tainted
    (entry,) = await journal.bundle(DOMAIN)
    assert (entry.tainted, entry.removed_version) == (True, 2)


async def test_reports_replace_each_other_and_can_be_forgotten(journal: Journal) -> None:
    first = Replica(
        replica_id="replica-1",
        generation_loaded=1,
        bundle_version_loaded=1,
        bundle_loaded_at=START,
        last_seen=START,
    )
    target = BundleTarget(
        cluster="", kind="File", name="root.pem", bundle_version_written=1, written_at=START
    )
    await journal.report_replica(first)
    await journal.report_replica(first)
    await journal.report_target(target)
    await journal.report_target(target)
    assert await journal.replicas() == (first,)
    assert await journal.targets() == (target,)
    await journal.forget_replica("replica-1")
    await journal.forget_target(cluster="", kind="File", name="root.pem")
    assert await journal.replicas() == ()
    assert await journal.targets() == ()


@pytest.mark.proves("LG-26")
@pytest.mark.refutes("LG-26")
async def test_writing_certificates_raises_until_when_their_authority_is_needed(
    journal: Journal, database: Database, clock: SteppedClock, tmp_path: object
) -> None:
    await add(journal, an_authority(1))
    await add(journal, an_authority(2))
    ledger = Ledger(
        database=database,
        key=KEY,
        anchors=KeptAnchors(),
        spool=Spool(tmp_path),  # type: ignore[arg-type]
        replica_id="replica-1",
        clock=clock,
    )
    latest = a_certificate(700, authority_id=an_authority(1).authority_id)
    ledger.record(latest)
    ledger.record(a_certificate(1, authority_id=an_authority(1).authority_id))
    await ledger.flush()
    ledger.record(a_certificate(2, authority_id=an_authority(1).authority_id))
    await ledger.flush()
    first, second = await journal.authorities(DOMAIN)
    assert first.max_leaf_not_after is not None
    late = first.max_leaf_not_after - latest.not_after
    assert timedelta() <= late < timedelta(minutes=10)
    assert second.max_leaf_not_after is None


async def test_marks_are_raised_and_never_lowered(journal: Journal) -> None:
    await add(journal, an_authority())
    for hours in (5, 3):
        async with journal.transition(DOMAIN, fencing_token=1, leader_id="leader") as transition:
            await transition.raise_max_leaf_not_after(
                an_authority().authority_id, START + timedelta(hours=hours)
            )
    (record,) = await journal.authorities(DOMAIN)
    assert record.max_leaf_not_after == START + timedelta(hours=5)


async def test_the_database_itself_refuses_a_second_active_authority(
    journal: Journal, database: Database
) -> None:
    await add(journal, an_authority(1, status=S.ACTIVE))
    await add(journal, an_authority(2))
    with pytest.raises(Exception, match="the database failed"):
        async with database.writing() as connection:
            await connection.execute(text("UPDATE ca_authority SET status = 'ACTIVE'"))
