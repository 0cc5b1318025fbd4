"""The situations of docs/protocol/authorities.md, by their numbers, on a real file and database."""

import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography import x509

from controlplane.ca.authorities import Authorities, Memories
from controlplane.ca.authority_set import AuthoritySet, KeptAuthorities
from controlplane.ca.errors import UnavailableError
from controlplane.ca.file_key_store import FileKeyStore
from controlplane.ca.issuance import Chain, Issuance
from controlplane.ca.journal import StoreJournal
from controlplane.ca.leading import Leading
from controlplane.ca.profile import Profile
from controlplane.ca.rotation import Step, StepKind
from controlplane.ca.rotation_policy import RotationPolicy
from controlplane.ca.ttl import LifetimePolicy
from controlplane.model.certificate import AuthorityStatus, AuthorityTier
from controlplane.store.database import Database
from controlplane.store.errors import StaleLeaderError
from controlplane.store.journal import Journal
from tests.support.authority_stores import CrashError, KillPoint, ToldClock, ToldLeadership
from tests.support.issuing import SHOP, a_csr
from tests.support.ledger import migrated_sqlite, sqlite_database

PAGE = Path(__file__).parents[3] / "docs" / "protocol" / "authorities.md"
ROOT, INTERMEDIATE = AuthorityTier.ROOT, AuthorityTier.INTERMEDIATE


def test_every_situation_of_the_page_has_a_test() -> None:
    listed = re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    sources = [Path(__file__), Path(__file__).with_name("test_plugged_situations.py")]
    tested = [
        number
        for source in sources
        for number in re.findall(
            r"^(?:async )?def test_situation_(\d+)_", source.read_text(), re.MULTILINE
        )
    ]
    assert set(listed) <= set(tested)


class CutKeyStore(FileKeyStore):
    """A file whose writer may end right after a write."""

    def __init__(self, folder: Path, kill: KillPoint) -> None:
        super().__init__(folder)
        self._kill = kill

    async def save(self, content: KeptAuthorities, *, expected: str | None) -> str:
        revision = await super().save(content, expected=expected)
        self._kill.passed()
        return revision


class CutJournal(StoreJournal):
    """A journal whose writer may end right after a write."""

    def __init__(self, journal: Journal, name: str, kill: KillPoint) -> None:
        super().__init__(journal, trust_domain="cluster.local", replica_id=name)
        self._kill = kill

    async def write(
        self, target: AuthoritySet, *, after: int, reason: str, fencing_token: int
    ) -> None:
        await super().write(target, after=after, reason=reason, fencing_token=fencing_token)
        self._kill.passed()


@dataclass
class Mesh:
    """A folder with keys and a database, and the processes that share them."""

    folder: Path
    clock: ToldClock = field(default_factory=ToldClock)
    kill: KillPoint = field(default_factory=KillPoint)
    database: Database = field(init=False)

    def __post_init__(self) -> None:
        self.database = sqlite_database(self.folder)

    @property
    def keys(self) -> CutKeyStore:
        return CutKeyStore(self.folder / "ca", self.kill)

    def journal(self, name: str = "r1") -> CutJournal:
        return CutJournal(Journal(self.database, clock=self.clock), name, self.kill)

    def replica(self, name: str = "r1", *, token: int | None = 1) -> Authorities:
        memories = Memories(
            keys=self.keys, journal=self.journal(name), leadership=ToldLeadership(token)
        )
        return Authorities(
            trust_domain="cluster.local", replica_id=name, memories=memories, clock=self.clock
        )

    async def order(self, **orders: object) -> None:
        kept = await self.keys.load()
        assert kept is not None
        content = kept.content
        changed = replace(content, orders=replace(content.orders, **orders))  # type: ignore[arg-type] # names of orders
        await FileKeyStore(self.folder / "ca").save(changed, expected=kept.revision)

    async def kept(self) -> KeptAuthorities:
        kept = await self.keys.load()
        assert kept is not None
        return kept.content

    async def agreed(self) -> AuthoritySet:
        """Return what both memories hold, which has to be the same."""
        kept, view = await self.kept(), await self.journal().read()
        assert view.authorities is not None
        ours, theirs = kept.authorities, view.authorities
        assert theirs.state.generation == ours.state.generation
        assert theirs.state.active_root == ours.state.active_root
        assert theirs.state.active_intermediate == ours.state.active_intermediate
        assert {(each.authority_id, each.status) for each in theirs.living} == {
            (each.authority_id, each.status) for each in ours.living
        }
        assert theirs.trusted == ours.trusted
        assert kept.keys.keys() == {each.authority_id for each in ours.living}
        return ours


class Meshes:
    """Meshes in folders of their own, closed together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[Mesh] = []

    async def empty(self) -> Mesh:
        folder = self._folder / str(len(self._made))
        folder.mkdir()
        await (await migrated_sqlite(folder)).close()
        return self._noted(Mesh(folder=folder))

    async def begun(self) -> Mesh:
        mesh = await self.empty()
        await mesh.replica().look()
        return mesh

    def copy_of(self, mesh: Mesh) -> Mesh:
        folder = self._folder / str(len(self._made))
        shutil.copytree(mesh.folder, folder)
        return self._noted(Mesh(folder=folder, clock=ToldClock(mesh.clock.time)))

    def _noted(self, mesh: Mesh) -> Mesh:
        self._made.append(mesh)
        return mesh

    async def close(self) -> None:
        for mesh in self._made:
            await mesh.database.close()


@pytest.fixture
async def meshes(tmp_path: Path) -> AsyncIterator[Meshes]:
    made = Meshes(tmp_path)
    yield made
    await made.close()


async def issued(replica: Authorities, mesh: Mesh) -> Chain:
    issuance = Issuance(replica, mesh.clock, LifetimePolicy(), draw=lambda: 0.5)
    return await issuance.sign(issuance.prepare(Profile.for_workload(SHOP), a_csr()))


def confirms(anchors: str, chain: Chain) -> bool:
    """Tell whether a peer that trusts ``anchors`` accepts ``chain``."""
    leaf, issuer = (
        x509.load_pem_x509_certificate(text.encode()) for text in chain.certificates[:2]
    )
    leaf.verify_directly_issued_by(issuer)
    for root in x509.load_pem_x509_certificates(anchors.encode()):
        if root.subject == issuer.issuer:
            issuer.verify_directly_issued_by(root)
            return True
    return False


@pytest.mark.proves("AT-18", "AT-20")
async def test_situation_42_peers_of_both_roots_verify_each_other(meshes: Meshes) -> None:
    mesh = await meshes.begun()
    replica = mesh.replica()
    await replica.look()
    signer = (await mesh.agreed()).state.active_intermediate
    await mesh.order(rotates=frozenset({ROOT}))
    await replica.look()
    assert (await mesh.agreed()).of_tier(ROOT, AuthorityStatus.PUBLISHED)
    early = await issued(replica, mesh)
    assert early.authority_id == signer
    assert early.certificates[-1].count("BEGIN CERTIFICATE") == 2
    # Those with one anchor have ended when the other root signs.
    for _ in range(2):
        mesh.clock.advance(hours=24, minutes=6)
        await replica.look()
    late = await issued(replica, mesh)
    assert late.authority_id != signer
    assert confirms(early.certificates[-1], late)
    assert confirms(late.certificates[-1], early)


async def begin(mesh: Mesh) -> None:
    await mesh.replica().look()


async def taint_root_hard(mesh: Mesh) -> None:
    root = (await mesh.kept()).authorities.state.active_root
    await mesh.order(tainted=frozenset({root}), is_hard=True)
    await mesh.replica().look()


def shape(authorities: AuthoritySet) -> object:
    state = authorities.state
    return (
        state.generation,
        state.bundle_version,
        sorted((each.tier, each.slot, each.status) for each in authorities.authorities),
        tuple((entry.added_version, entry.removed_version) for entry in authorities.trusted),
    )


@pytest.mark.proves("AT-25")
@pytest.mark.parametrize("action", [begin, taint_root_hard])
async def test_situation_43_a_leader_ends_after_any_write(
    meshes: Meshes, action: Callable[[Mesh], Awaitable[None]]
) -> None:
    start = await (meshes.empty() if action is begin else meshes.begun())
    calm = meshes.copy_of(start)
    await action(calm)
    expected = shape(await calm.agreed())
    writes = 0
    is_cut = True
    while is_cut and writes < 40:
        writes += 1
        mesh = meshes.copy_of(start)
        mesh.kill.remaining = writes
        try:
            await action(mesh)
        except CrashError:
            mesh.kill.remaining = -1
            replica = mesh.replica(token=2)
            await replica.look()
            assert (await issued(replica, mesh)).certificates
        else:
            is_cut = False
        assert shape(await mesh.agreed()) == expected, writes
    assert 9 < writes < 40


@pytest.mark.proves("AT-28")
async def test_situation_43_an_older_leader_resumes(meshes: Meshes) -> None:
    mesh = await meshes.begun()
    seen_by_the_old = await mesh.keys.load()
    assert seen_by_the_old is not None
    await mesh.order(rotates=frozenset({INTERMEDIATE}))
    await mesh.replica(token=2).look()
    now = await mesh.agreed()
    old = Leading(
        trust_domain="cluster.local",
        replica_id="old",
        keys=mesh.keys,
        journal=mesh.journal("old"),
        clock=mesh.clock,
        policy=RotationPolicy(),
    )
    signer = seen_by_the_old.content.authorities.state.active_intermediate
    step = Step(kind=StepKind.TAINT, authority_id=signer, reason="resumed")
    with pytest.raises(StaleLeaderError):
        await old.carry_out(step, seen_by_the_old, token=1)
    assert await mesh.agreed() == now


@pytest.mark.proves("AT-33")
async def test_situation_44_a_replica_is_stale_for_more_than_30_seconds(meshes: Meshes) -> None:
    mesh = await meshes.begun()
    frozen = meshes.copy_of(mesh)
    replica = mesh.replica("r2", token=None)
    replica.memories = replace(replica.memories, keys=frozen.keys)
    await replica.look()
    await mesh.order(rotates=frozenset({ROOT}))
    await mesh.replica().look()
    await replica.look()
    mesh.clock.advance(seconds=30)
    assert (await issued(replica, mesh)).certificates
    mesh.clock.advance(seconds=1)
    with pytest.raises(UnavailableError) as caught:
        await issued(replica, mesh)
    assert caught.value.status == "UNAVAILABLE"


@pytest.mark.proves("AT-26")
async def test_situation_46_the_database_is_restored_from_yesterday(
    meshes: Meshes,
) -> None:
    mesh = await meshes.begun()
    # A journal of yesterday that knows an authority whose key nobody has any longer.
    await mesh.order(rotates=frozenset({ROOT}))
    mesh.kill.remaining = 3
    with pytest.raises(CrashError):
        await mesh.replica().look()
    mesh.kill.remaining = -1
    yesterday = meshes.copy_of(mesh)
    (unknown,) = (await yesterday.agreed()).of_tier(ROOT, AuthorityStatus.PREPARED)
    content = await mesh.kept()
    kept = await mesh.keys.load()
    assert kept is not None
    lost = {name: key for name, key in content.keys.items() if name != unknown.authority_id}
    known = tuple(each for each in content.authorities.authorities if each != unknown)
    ahead = replace(
        content.authorities,
        authorities=known,
        state=replace(
            content.authorities.state, generation=content.authorities.state.generation + 4
        ),
    )
    await mesh.keys.save(replace(content, authorities=ahead, keys=lost), expected=kept.revision)
    replica = mesh.replica()
    await replica.look()
    now = await mesh.agreed()
    view = await mesh.journal().read()
    assert view.authorities is not None
    assert unknown.authority_id not in {each.authority_id for each in view.authorities.living}
    assert [each.status for each in now.of_tier(ROOT)] == [AuthorityStatus.ACTIVE]
    assert (await issued(replica, mesh)).certificates[-1].count("BEGIN CERTIFICATE") == 1


@pytest.mark.proves("AT-26")
async def test_situation_46_what_happened_since_the_backup_holds(meshes: Meshes) -> None:
    mesh = await meshes.begun()
    backup = meshes.copy_of(mesh)
    await mesh.order(rotates=frozenset({INTERMEDIATE}))
    await mesh.replica().look()
    mesh.clock.advance(hours=25)
    await mesh.replica().look()
    now = await mesh.agreed()
    shutil.rmtree(backup.folder / "ca")
    shutil.copytree(mesh.folder / "ca", backup.folder / "ca")
    backup.clock.time = mesh.clock.time
    replica = backup.replica()
    await replica.look()
    assert await backup.agreed() == now
    assert (await issued(replica, backup)).authority_id == now.state.active_intermediate
