"""A root is followed by another under load, and nobody ever loses anybody's trust.

Clients behave as node proxies do: a certificate is kept with the anchors it came with until the
next one is fetched, whatever is published meanwhile. They fetch at any time, and no certificate is
given up before its end.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from controlplane.ca import rotation, rotation_gates, transitions
from controlplane.ca.authorities import Authorities
from controlplane.ca.issuance import Chain, Issuance
from controlplane.ca.profile import Profile
from controlplane.ca.rotation_gates import Gate, Surroundings
from controlplane.ca.rotation_policy import RotationPolicy
from controlplane.ca.ttl import LifetimePolicy
from controlplane.model.certificate import AuthorityStatus, AuthorityTier
from tests.support.authority_stores import START, World
from tests.support.issuing import SHOP, a_csr

PLACE = ("Kubernetes", "ConfigMap", "default/istio-ca-root-cert")
CSR = a_csr()
FOR_SHOP = Profile.for_workload(SHOP)
ROOT = AuthorityTier.ROOT


class StrangersError(AssertionError):
    """Two valid certificates do not confirm each other."""


@dataclass(frozen=True, slots=True)
class Outfit:
    """What certificates have in common that were fetched under the same conditions."""

    intermediates: tuple[str, ...]
    anchors: str


@dataclass
class Verifier:
    """Checks chains as the two ends of a connection do, with the anchors each end has."""

    known: dict[tuple[Outfit, str], datetime | None] = field(default_factory=dict)

    def end_of_trust(self, shown: Outfit, anchors: str) -> datetime | None:
        """Return until when ``anchors`` confirm the issuer of ``shown``; None: they do not."""
        key = (shown, anchors)
        if key not in self.known:
            self.known[key] = self._end_of_trust(shown, anchors)
        return self.known[key]

    def _end_of_trust(self, shown: Outfit, anchors: str) -> datetime | None:
        (text,) = shown.intermediates
        issuer = x509.load_pem_x509_certificate(text.encode())
        for root in x509.load_pem_x509_certificates(anchors.encode()):
            try:
                issuer.verify_directly_issued_by(root)
            except (InvalidSignature, ValueError):
                continue
            return min(issuer.not_valid_after_utc, root.not_valid_after_utc)
        return None


@dataclass
class Mesh:
    """Everything fetched that is still valid: for each outfit, the end of its longest leaf."""

    verifier: Verifier = field(default_factory=Verifier)
    held: dict[Outfit, datetime] = field(default_factory=dict)
    fetched: int = 0

    def take(self, chain: Chain) -> None:
        leaf_text, *intermediates, anchors = chain.certificates
        leaf = x509.load_pem_x509_certificate(leaf_text.encode())
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(intermediates[0].encode()))
        outfit = Outfit(tuple(intermediates), anchors)
        end = leaf.not_valid_after_utc
        self.held[outfit] = max(end, self.held.get(outfit, end))
        self.fetched += 1

    def strangers(self, now: datetime) -> Iterator[str]:
        """Yield every pair of valid certificates of which one end refuses the other."""
        self.held = {outfit: end for outfit, end in self.held.items() if end > now}
        for shown, end in self.held.items():
            for judge in self.held:
                trusted_until = self.verifier.end_of_trust(shown, judge.anchors)
                if trusted_until is None or trusted_until < end:
                    yield f"at {now}: one of {len(self.held)} outfits is refused by another"


@dataclass
class Load:
    """A mesh with two replicas, one place the bundle is written to, and clients that fetch."""

    random: Random
    world: World = field(default_factory=lambda: World(expected=frozenset({PLACE})))
    mesh: Mesh = field(default_factory=Mesh)
    is_follower_stuck: bool = False
    is_place_stuck: bool = False
    silence: tuple[datetime, datetime] = (START, START)

    def __post_init__(self) -> None:
        self.leader = self.world.replica("r1")
        self.follower = self.world.replica("r2", token=None)
        self.desks = {name: self._desk(each) for name, each in self._replicas().items()}

    def _replicas(self) -> dict[str, Authorities]:
        return {"r1": self.leader, "r2": self.follower}

    def _desk(self, replica: Authorities) -> Issuance:
        return Issuance(replica, self.world.clock, LifetimePolicy(), draw=lambda: 0.0)

    @property
    def now(self) -> datetime:
        return self.world.clock.now()

    async def begin(self) -> str:
        """Make the first root and let certificates of it go out; return its id."""
        await self.leader.look()
        await self.follower.look()
        self.world.written(PLACE, self.world.set.state.bundle_version)
        await self.fetch("r1")
        await self.fetch("r2")
        return self.world.set.state.active_root

    async def fetch(self, name: str) -> None:
        desk = self.desks[name]
        requested = self.random.choice([0, 0, 3600, 86_400])
        self.mesh.take(await desk.sign(desk.prepare(FOR_SHOP, CSR, requested=requested)))

    async def go_on(self, longest: timedelta) -> None:
        """Let some time pass, and everybody do something in any order."""
        self.world.clock.time += longest * self.random.uniform(0.02, 1)
        self._no_strangers()
        deeds = [self._lead, self._follow, self._write, self._fetch_somewhere]
        self.random.shuffle(deeds)
        for deed in deeds:
            await deed()
            self._no_strangers()

    def _no_strangers(self) -> None:
        for stranger in self.mesh.strangers(self.now):
            raise StrangersError(stranger)

    async def _lead(self) -> None:
        await self.leader.look()

    async def _follow(self) -> None:
        begins, ends = self.silence
        if begins <= self.now < ends or self.random.random() < 0.2:
            return
        if not self.is_follower_stuck:
            await self.follower.look()
            return
        seen = self.world.journal.replicas["r2"]
        self.world.journal.replicas["r2"] = replace(seen, last_seen=self.now)

    async def _write(self) -> None:
        if not self.is_place_stuck and self.random.random() < 0.5:
            self.world.written(PLACE, self.world.set.state.bundle_version)

    async def _fetch_somewhere(self) -> None:
        # Whoever is silent may sign on for an hour: it is waited for as long.
        seen = self.world.journal.replicas.get("r2")
        is_there = seen is not None and self.now - seen.last_seen < timedelta(hours=1)
        await self.fetch(self.random.choice(["r1", "r2"]) if is_there else "r1")


def is_removed(world: World, root: str) -> bool:
    found = world.set.find(root)
    return found is not None and found.status is AuthorityStatus.REMOVED


# Nothing gets clearer by shrinking, and whole days take a while.
days_long = settings(
    max_examples=8, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)
paces = st.integers(20, 90).map(lambda number: timedelta(minutes=number))
lengths = st.integers(0, 60).map(lambda number: timedelta(hours=number))
moments = st.one_of(st.just(timedelta(0)), lengths)


async def a_rotation(seed: int, pace: timedelta, begins: timedelta, lasts: timedelta) -> Load:
    """Order a new root and go on until the old one is gone.

    One replica is silent for a while that ``begins`` some time after the order.
    """
    load = Load(Random(seed))
    first = await load.begin()
    for _ in range(3):
        await load.go_on(pace)
    load.world.order(rotates=frozenset({ROOT}))
    load.silence = (load.now + begins, load.now + begins + lasts)
    for _ in range(600):
        await load.go_on(pace)
        if is_removed(load.world, first):
            break
    assert is_removed(load.world, first)
    assert load.world.set.state.active_root != first
    for _ in range(3):
        await load.go_on(pace)
    return load


@pytest.mark.proves("AT-16", "AT-17", "AT-18", "AT-20", "AT-21")
@days_long
@given(seed=st.integers(0, 2**32), pace=paces, begins=moments, lasts=lengths)
async def test_every_two_valid_certificates_confirm_each_other_at_every_instant(
    seed: int, pace: timedelta, begins: timedelta, lasts: timedelta
) -> None:
    load = await a_rotation(seed, pace, begins, lasts)
    assert len(load.mesh.verifier.known) >= 4
    assert load.mesh.fetched > 20


def without_waiting_for_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = rotation_gates.root_gates

    def gates(*given: Any) -> tuple[Gate, ...]:
        return tuple(gate for gate in honest(*given) if gate.name != "leaves-without-root")

    monkeypatch.setattr(rotation, "root_gates", gates)


def without_the_hour_of_the_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = rotation_gates._last_leaf_without

    def ends(around: Surroundings, policy: RotationPolicy, version: int) -> datetime | None:
        end = honest(around, policy, version)
        is_silent = any(each.bundle_version_loaded < version for each in around.replicas)
        return end - policy.replica_forgotten_after if end and is_silent else end

    monkeypatch.setattr(rotation_gates, "_last_leaf_without", ends)


def without_waiting_to_remove(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(*given: Any) -> datetime:
        now: datetime = given[2]
        return now

    monkeypatch.setattr(transitions, "_last_leaf", at_once)


@pytest.mark.refutes("AT-16", "AT-18", "AT-21")
@pytest.mark.parametrize(
    "planted",
    [
        without_waiting_for_certificates,
        without_the_hour_of_the_silent,
        without_waiting_to_remove,
    ],
)
async def test_a_rotation_that_does_not_wait_makes_strangers(
    planted: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(monkeypatch)
    with pytest.raises(StrangersError):
        await some_rotations(20)


async def some_rotations(count: int) -> None:
    """Rotate ``count`` times in different ways, one replica being silent from the order on."""
    for seed in range(count):
        await a_rotation(seed, timedelta(minutes=25), timedelta(0), timedelta(hours=60))


@pytest.mark.refutes("AT-15", "AT-17")
@days_long
@given(seed=st.integers(0, 2**32), pace=paces, is_place=st.booleans())
async def test_whoever_has_not_confirmed_the_roots_keeps_the_new_one_from_signing(
    seed: int, pace: timedelta, is_place: bool
) -> None:
    load = Load(Random(seed), is_place_stuck=is_place, is_follower_stuck=not is_place)
    first = await load.begin()
    # It is alive and says so.
    pace = min(pace, timedelta(minutes=25))
    load.world.order(rotates=frozenset({ROOT}))
    end = load.now + timedelta(hours=40)
    while load.now < end:
        await load.go_on(pace)
        assert load.world.set.state.active_root == first
    waits_for = {gate.name for gate in load.leader.standing.decision.gates}
    assert ("target-behind" if is_place else "replica-behind") in waits_for
    load.is_place_stuck = load.is_follower_stuck = False
    for _ in range(400):
        await load.go_on(pace)
        if load.world.set.state.active_root != first:
            break
    assert load.world.set.state.active_root != first


async def test_situation_42_peers_of_the_old_intermediate_confirm_each_other() -> None:
    load = Load(Random(42))
    first = await load.begin()
    load.world.order(rotates=frozenset({ROOT}))
    await load.leader.look()
    await load.fetch("r1")
    before, after = load.mesh.held
    assert before.intermediates == after.intermediates
    assert load.world.set.state.active_root == first
    assert len(x509.load_pem_x509_certificates(before.anchors.encode())) == 1
    assert len(x509.load_pem_x509_certificates(after.anchors.encode())) == 2
    assert not list(load.mesh.strangers(load.now))


async def test_a_root_that_waits_for_nobody_makes_strangers_which_is_noticed() -> None:
    load = Load(Random(7))
    await load.begin()
    load.world.order(rotates=frozenset({ROOT}), is_hard=True)
    await load.leader.look()
    await load.fetch("r1")
    assert list(load.mesh.strangers(load.now))
