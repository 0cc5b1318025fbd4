from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise

import pytest

from controlplane.ca.authority_set import AuthoritySet, Orders
from controlplane.ca.rotation import Situation, next_step
from controlplane.model.certificate import AuthorityRecord, AuthorityStatus, AuthorityTier
from tests.support.authority_stores import START, MemoryJournal, World

ROOT, INTERMEDIATE = AuthorityTier.ROOT, AuthorityTier.INTERMEDIATE
DAY = timedelta(hours=24, minutes=5)


@dataclass
class TellingJournal(MemoryJournal):
    """Remembers every set that was written, in order."""

    written: list[AuthoritySet] = field(default_factory=list)

    async def write(
        self, target: AuthoritySet, *, after: int, reason: str, fencing_token: int
    ) -> None:
        await super().write(target, after=after, reason=reason, fencing_token=fencing_token)
        self.written.append(target)


@dataclass
class Course:
    """One replica that leads, and everything it has done."""

    journal: TellingJournal = field(default_factory=TellingJournal)

    def __post_init__(self) -> None:
        self.world = World(journal=self.journal)
        self.leader = self.world.replica()

    @property
    def steps(self) -> list[tuple[AuthoritySet, AuthoritySet]]:
        written = self.journal.written
        return list(pairwise(written))

    @property
    def root(self) -> AuthorityRecord:
        found = self.world.set.active_root
        assert found is not None
        return found

    @property
    def intermediate(self) -> AuthorityRecord:
        found = self.world.set.active_intermediate
        assert found is not None
        return found

    @property
    def is_root_waiting(self) -> bool:
        return bool(self.world.set.of_tier(ROOT, AuthorityStatus.PUBLISHED))

    def gates(self) -> set[str]:
        decision = next_step(
            Situation(
                authorities=self.world.set,
                policy=self.world.policy,
                now=self.world.clock.now(),
                orders=self.world.kept.orders,
                replicas=tuple(self.world.journal.replicas.values()),
            )
        )
        assert decision.step is None
        return {gate.name for gate in decision.gates}

    async def after(self, time: timedelta = timedelta(0)) -> None:
        """Let time pass, and the leader look often enough to do all there is to do."""
        self.world.clock.time += time
        for _ in range(3):
            await self.leader.look()

    async def with_root_waiting(self) -> None:
        self.world.order(rotates=frozenset({ROOT}))
        await self.after()
        assert self.is_root_waiting

    def status(self, record: AuthorityRecord) -> AuthorityStatus:
        found = self.world.set.find(record.authority_id)
        assert found is not None
        return found.status

    def is_trusted(self, record: AuthorityRecord) -> bool:
        return record.certificate in {entry.certificate for entry in self.world.set.trusted}


async def a_course() -> Course:
    course = Course()
    await course.after()
    return course


async def a_whole_rotation(course: Course) -> None:
    await course.with_root_waiting()
    await course.after(DAY)
    await course.after(DAY)
    await course.after(timedelta(hours=2))


def certificates(authorities: AuthoritySet) -> set[bytes]:
    return {entry.certificate for entry in authorities.trusted}


@pytest.mark.proves("AT-10")
@pytest.mark.refutes("AT-10")
async def test_steps_are_counted_and_those_that_change_what_is_trusted_once_more() -> None:
    course = await a_course()
    await a_whole_rotation(course)
    course.world.order(rotates=frozenset({INTERMEDIATE}))
    await course.after()
    await course.with_root_waiting()
    waiting = course.world.set.of_tier(ROOT, AuthorityStatus.PUBLISHED)[0]
    course.world.order(tainted=frozenset({waiting.authority_id, course.intermediate.authority_id}))
    await course.after()
    await course.after(timedelta(hours=2))
    moves = 0
    for before, after in course.steps:
        assert after.state.generation == before.state.generation + 1
        moved = after.state.bundle_version - before.state.bundle_version
        assert moved == (certificates(before) != certificates(after))
        moves += moved
    # Roots came and went: this is about something.
    assert moves >= 4
    assert moves < len(course.steps)


@pytest.mark.proves("AT-20")
async def test_a_root_comes_into_force_with_an_intermediate_in_one_step() -> None:
    course = await a_course()
    first, below = course.root, course.intermediate
    await course.with_root_waiting()
    await course.after(DAY)
    changes = [
        (before, after)
        for before, after in course.steps
        if first.authority_id == before.state.active_root != after.state.active_root
    ]
    assert len(changes) == 1
    before, after = changes[0]
    signer = after.active_intermediate
    assert signer is not None
    assert signer.parent_authority_id == after.state.active_root
    assert before.state.active_intermediate == below.authority_id
    assert course.status(first) is course.status(below) is AuthorityStatus.RETIRING
    retired = after.find(first.authority_id)
    assert retired is not None
    assert retired.status is AuthorityStatus.RETIRING
    assert first.certificate in certificates(after)


@pytest.mark.refutes("AT-20")
async def test_there_are_never_two_roots_in_force_nor_a_signer_of_another_root() -> None:
    course = await a_course()
    await a_whole_rotation(course)
    for authorities in course.journal.written:
        assert len(authorities.of_tier(ROOT, AuthorityStatus.ACTIVE)) <= 1
        assert len(authorities.of_tier(INTERMEDIATE, AuthorityStatus.ACTIVE)) <= 1
        signer = authorities.active_intermediate
        if signer is not None:
            assert signer.parent_authority_id == authorities.state.active_root
            assert authorities.active_root is not None
            assert authorities.active_root.certificate in certificates(authorities)


@pytest.mark.proves("AT-21")
async def test_what_no_longer_signs_goes_with_its_key_when_all_below_it_has_ended() -> None:
    course = await a_course()
    root, intermediate = course.root, course.intermediate
    await course.with_root_waiting()
    await course.after(DAY)
    await course.after(DAY + timedelta(seconds=1))
    assert course.status(intermediate) is AuthorityStatus.REMOVED
    assert intermediate.authority_id not in course.world.kept.keys
    await course.after(timedelta(hours=1))
    assert course.status(root) is AuthorityStatus.REMOVED
    assert root.authority_id not in course.world.kept.keys
    assert not course.is_trusted(root)
    assert course.is_trusted(course.root)


@pytest.mark.refutes("AT-21")
async def test_nothing_goes_while_something_below_it_may_live() -> None:
    course = await a_course()
    root, intermediate = course.root, course.intermediate
    await course.with_root_waiting()
    await course.after(DAY)
    await course.after(DAY)
    assert course.status(intermediate) is AuthorityStatus.RETIRING
    assert intermediate.authority_id in course.world.kept.keys
    await course.after(timedelta(hours=1))
    assert course.status(root) is AuthorityStatus.RETIRING
    assert root.authority_id in course.world.kept.keys
    assert course.is_trusted(root)
    assert course.gates() == {"leaves-alive"}


@pytest.mark.refutes("AT-21")
async def test_a_root_stays_while_a_replica_is_behind() -> None:
    course = await a_course()
    root = course.root
    await course.with_root_waiting()
    await course.after(DAY)
    follower = course.world.replica("r2", token=None)
    await follower.look()
    for _ in range(30):
        course.world.clock.advance(minutes=59)
        behind = course.world.journal.replicas["r2"]
        course.world.journal.replicas["r2"] = replace(behind, last_seen=course.world.clock.now())
        await course.after()
    assert course.is_trusted(root)
    assert course.gates() == {"replica-behind"}
    await follower.look()
    await course.after()
    assert not course.is_trusted(root)


@pytest.mark.proves("AT-22")
async def test_leaves_are_short_lived_while_a_root_waits_or_the_one_in_force_is_tainted() -> None:
    course = await a_course()
    await course.with_root_waiting()
    assert cap_of(course) == 2 * 3600
    course.world.order(tainted=frozenset({course.root.authority_id}))
    await course.after()
    assert course.is_root_waiting
    assert cap_of(course) == 3600


@pytest.mark.refutes("AT-22")
async def test_leaves_live_as_long_as_ever_before_and_after_that() -> None:
    course = await a_course()
    assert cap_of(course) is None
    course.world.order(rotates=frozenset({INTERMEDIATE}), tainted=frozenset())
    await course.after()
    assert cap_of(course) is None
    await course.with_root_waiting()
    course.world.order(tainted=frozenset({course.root.authority_id}))
    await course.after(DAY)
    assert not course.is_root_waiting
    assert cap_of(course) is None


def cap_of(course: Course) -> float | None:
    snapshot = course.leader.current()
    assert snapshot is not None
    return snapshot.leaf_ttl_cap


@pytest.mark.proves("AT-24")
async def test_a_tainted_intermediate_is_replaced_at_once_whoever_is_behind() -> None:
    course = await a_course()
    await course.world.replica("r2", token=None).look()
    tainted = course.intermediate
    course.world.order(tainted=frozenset({tainted.authority_id}))
    await course.leader.look()
    assert course.world.clock.now() == START
    assert course.status(tainted) is AuthorityStatus.TAINTED
    assert course.status(course.intermediate) is AuthorityStatus.ACTIVE
    snapshot = course.leader.current()
    assert snapshot is not None
    assert snapshot.authority_id == course.intermediate.authority_id != tainted.authority_id
    between = [each for each in course.journal.written if not each.state.active_intermediate]
    assert between[-1].find(tainted.authority_id) == course.world.set.find(tainted.authority_id)


@pytest.mark.proves("AT-24")
async def test_a_tainted_root_is_followed_through_all_gates() -> None:
    course = await a_course()
    tainted, below = course.root, course.intermediate
    course.world.order(tainted=frozenset({tainted.authority_id}))
    await course.after()
    assert course.is_root_waiting
    assert course.gates() == {"leaves-without-root"}
    assert course.intermediate == below
    await course.after(DAY)
    assert course.root.authority_id != tainted.authority_id
    assert course.status(tainted) is AuthorityStatus.TAINTED
    assert course.is_trusted(tainted)


@pytest.mark.proves("AT-24")
async def test_ordered_hard_a_new_root_waits_for_nobody() -> None:
    course = await a_course()
    tainted = course.root
    course.world.order(tainted=frozenset({tainted.authority_id}), is_hard=True)
    await course.after()
    assert course.world.clock.now() == START
    assert course.root.authority_id != tainted.authority_id
    assert not course.world.kept.orders.is_hard


@pytest.mark.proves("AT-40")
@pytest.mark.parametrize("is_tainted", [False, True])
async def test_a_root_ordered_hard_is_the_one_that_waits_already(*, is_tainted: bool) -> None:
    course = await a_course()
    first = course.root
    await course.with_root_waiting()
    (waiting,) = course.world.set.of_tier(ROOT, AuthorityStatus.PUBLISHED)
    tainted = frozenset({first.authority_id} if is_tainted else ())
    course.world.order(rotates=frozenset({ROOT}), is_hard=True, tainted=tainted)
    await course.after()
    await course.after(DAY)
    assert course.root.authority_id == waiting.authority_id
    assert [each.authority_id for each in course.world.set.of_tier(ROOT)] == [
        first.authority_id,
        waiting.authority_id,
    ]
    assert course.world.kept.orders == Orders()


@pytest.mark.proves("AT-40")
async def test_what_is_ordered_twice_while_it_is_under_way_is_done_once() -> None:
    course = await a_course()
    await course.with_root_waiting()
    course.world.order(rotates=frozenset({ROOT}))
    await course.after(DAY)
    await course.after(DAY)
    assert len(course.world.set.of_tier(ROOT)) == 2
    assert course.world.kept.orders == Orders()


@pytest.mark.proves("AT-40")
async def test_an_intermediate_that_is_not_loaded_yet_is_the_one_that_is_ordered() -> None:
    course = await a_course()
    behind = course.world.replica("r2", token=None)
    await behind.look()
    course.world.order(rotates=frozenset({INTERMEDIATE}))
    await course.leader.look()
    (waiting,) = course.world.set.of_tier(INTERMEDIATE, AuthorityStatus.PREPARED)
    course.world.order(rotates=frozenset({INTERMEDIATE}))
    await behind.look()
    await course.after()
    await course.after()
    assert course.intermediate.authority_id == waiting.authority_id
    assert len(course.world.set.of_tier(INTERMEDIATE)) == 2
    assert course.world.kept.orders == Orders()


@pytest.mark.refutes("AT-40")
async def test_what_waits_but_is_tainted_is_not_what_is_ordered() -> None:
    course = await a_course()
    first = course.root
    await course.with_root_waiting()
    (waiting,) = course.world.set.of_tier(ROOT, AuthorityStatus.PUBLISHED)
    course.world.order(
        rotates=frozenset({ROOT}), is_hard=True, tainted=frozenset({waiting.authority_id})
    )
    await course.after()
    assert course.root.authority_id not in {first.authority_id, waiting.authority_id}
    assert course.status(waiting) is AuthorityStatus.TAINTED
    assert course.world.kept.orders == Orders()


@pytest.mark.refutes("AT-40")
async def test_what_is_ordered_when_the_last_one_is_in_force_is_another() -> None:
    course = await a_course()
    for count in (2, 3):
        course.world.order(rotates=frozenset({ROOT}), is_hard=True)
        await course.after()
        assert len(course.world.set.of_tier(ROOT)) == count


@pytest.mark.refutes("AT-24")
async def test_a_tainted_root_signs_no_more_intermediates() -> None:
    course = await a_course()
    tainted = course.root
    course.world.order(tainted=frozenset({tainted.authority_id}), rotates=frozenset({INTERMEDIATE}))
    below = course.world.set.of_tier(INTERMEDIATE)
    await course.after()
    course.world.order(is_paused=True)
    await course.after(timedelta(days=10))
    assert course.status(tainted) is AuthorityStatus.TAINTED
    assert course.world.set.of_tier(INTERMEDIATE) == below


@pytest.mark.refutes("AT-24")
@pytest.mark.parametrize("chosen", [lambda course: course.root, lambda course: course.intermediate])
async def test_what_was_tainted_is_never_in_force_again(
    chosen: Callable[[Course], AuthorityRecord],
) -> None:
    course = await a_course()
    tainted = chosen(course)
    course.world.order(tainted=frozenset({tainted.authority_id}))
    await course.after()
    await course.after(DAY)
    await a_whole_rotation(course)
    assert course.status(tainted) is AuthorityStatus.REMOVED
    since = [each.find(tainted.authority_id) for each in course.journal.written]
    statuses = [each.status for each in since if each is not None]
    after = statuses[statuses.index(AuthorityStatus.TAINTED) :]
    assert set(after) == {AuthorityStatus.TAINTED, AuthorityStatus.REMOVED}


@pytest.mark.refutes("AT-24")
async def test_what_is_not_tainted_stays_in_force() -> None:
    course = await a_course()
    root, intermediate = course.root, course.intermediate
    course.world.order(tainted=frozenset({"0" * 40}))
    await course.after()
    assert (course.root, course.intermediate) == (root, intermediate)
