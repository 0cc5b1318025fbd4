"""What is kept of certificates, and where: database, ledger, keys, and who may change them.

In: settings, and the cluster there is or is not. Out: the parts, nothing read yet. Without a
cluster keys are files and the database elects a leader; in one keys are a Secret and a Lease does.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from controlplane.app.errors import StartupError
from controlplane.ca.authorities import Authorities, Memories
from controlplane.ca.authority import KeyType
from controlplane.ca.bundle import BundleFile
from controlplane.ca.errors import AuthorityError, KeyStoreError
from controlplane.ca.file_key_store import FileKeyStore
from controlplane.ca.given_authority import GivenAuthority
from controlplane.ca.istio_secret import IstioSecretAuthority
from controlplane.ca.journal import StoreJournal
from controlplane.ca.key_store import KeyStore
from controlplane.ca.plugged import PluggedAuthority, plugged_files
from controlplane.ca.rotation_policy import RotationPolicy
from controlplane.clock import Clock
from controlplane.leadership import Leadership
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.settings import Settings
from controlplane.sources.paths import read_paths
from controlplane.store.anchors import FileAnchors
from controlplane.store.chain import LedgerKey
from controlplane.store.database import Database, database_url
from controlplane.store.errors import StoreError
from controlplane.store.journal import Journal
from controlplane.store.leadership import StoreLeadership
from controlplane.store.ledger import Ledger, LedgerSettings
from controlplane.store.ledger_key import ledger_key, read_key_file
from controlplane.store.schema import prepare_schema
from controlplane.store.spool import Spool

Places = frozenset[tuple[str, str, str]]
"""Cluster, kind and name of places that the trusted roots are written to."""


class Floor:
    """The highest fencing token seen so far, wherever it was written."""

    def __init__(self) -> None:
        self._seen = 0

    def __call__(self) -> int:
        """Return it."""
        return self._seen

    def see(self, token: int) -> None:
        """Take note of a token."""
        self._seen = max(self._seen, token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Where authorities are remembered: the keys, who leads, and where roots have to be.

    The tokens of ``leadership`` go on above ``floor``.
    """

    keys: KeyStore
    leadership: Leadership
    floor: Floor
    expected_targets: Callable[[], Places]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The parts, of one process."""

    keys: KeyStore
    database: Database
    ledger: Ledger
    journal: Journal
    leadership: Leadership
    floor: Floor
    authorities: Authorities
    migrates: bool

    async def prepare(self) -> None:
        """Make the database ready, and learn how far others have led.

        Until its schema is known to be right nobody else is let into it. May be tried again.

        Raises:
            StoreError: it cannot be used.
        """
        looked_at = Database(self.database.url, connections=1)
        try:
            await prepare_schema(looked_at, migrates=self.migrates)
        except StoreError as error:
            self.database.hold(str(error))
            raise
        finally:
            await looked_at.close()
        self.database.release()
        self.floor.see(await self.journal.highest_token(self.authorities.trust_domain))
        # A database that is empty is behind the keys. Keys that cannot be read are told of later.
        with suppress(KeyStoreError):
            found = await self.keys.load()
            if found is not None:
                self.floor.see(found.content.authorities.state.fencing_token)


def own_ledger_key(settings: Settings) -> LedgerKey:
    """Return the ledger's key of one who is given one, or keeps it in the data folder.

    Raises:
        StartupError: it cannot be used.
    """
    try:
        if settings.ledger_key_file is not None:
            return read_key_file(settings.ledger_key_file)
        return ledger_key(settings.data_dir)
    except StoreError as error:
        raise StartupError(str(error)) from error


def open_kept(
    settings: Settings, clock: Clock, *, trust_domain: str, key: LedgerKey, memory: Memory | None
) -> Kept:
    """Return what is kept in data folder and database, and by ``memory`` or, without one, there.

    ``key`` is the ledger's. Nobody is let into the database before it is prepared.

    Raises:
        StartupError: the database's address cannot be used.
    """
    data_dir = settings.data_dir
    try:
        database = Database(database_url(settings.database_url, data_dir=data_dir))
    except StoreError as error:
        raise StartupError(str(error)) from error
    database.hold("the schema of the database has not been looked at yet")
    ledger = Ledger(
        database=database,
        key=key,
        anchors=FileAnchors(data_dir, key),
        spool=Spool(data_dir),
        replica_id=settings.replica_id,
        clock=clock,
        settings=LedgerSettings(mode=settings.ledger),
    )
    journal = Journal(database, clock=clock)
    if memory is None:
        memory = Memory(
            keys=FileKeyStore(data_dir / "ca", passphrase_file=settings.key_passphrase_file),
            leadership=StoreLeadership(database, replica_id=settings.replica_id, clock=clock),
            floor=Floor(),
            expected_targets=frozenset,
        )
    authorities = Authorities(
        trust_domain=trust_domain,
        replica_id=settings.replica_id,
        memories=Memories(
            keys=memory.keys,
            journal=StoreJournal(
                journal, trust_domain=trust_domain, replica_id=settings.replica_id
            ),
            leadership=memory.leadership,
        ),
        clock=clock,
        policy=RotationPolicy(
            key_type=KeyType(settings.authority_key_type),
            max_leaf_lifetime=timedelta(seconds=settings.issued_certificate_ttl),
        ),
        bundle_file=BundleFile(path=root_file(data_dir), replica_id=settings.replica_id),
        expected_targets=memory.expected_targets,
    )
    return Kept(
        keys=memory.keys,
        database=database,
        ledger=ledger,
        journal=journal,
        leadership=memory.leadership,
        floor=memory.floor,
        authorities=authorities,
        migrates=settings.migrates_database,
    )


def given_authority(settings: Settings, trust_domain: str, clock: Clock) -> GivenAuthority | None:
    """Return the authority that the settings give us; None when we are to have our own.

    Raises:
        StartupError: what is given does not make an authority; the text names the file.
    """
    try:
        if settings.istio_ca_secret is not None:
            return IstioSecretAuthority(
                settings.istio_ca_secret, trust_domain=trust_domain, clock=clock
            )
        if plugged_files(settings.cacerts_dir) is None:
            return None
        return PluggedAuthority(
            settings.cacerts_dir,
            trust_domain=trust_domain,
            clock=clock,
            accepts_more_roots=settings.accepts_more_roots,
        )
    except AuthorityError as error:
        raise StartupError(str(error)) from error


def trust_domain_in(folder: Path) -> str:
    """Return the trust domain that meshconfig.yaml in ``folder`` names, or the default."""
    for name in ("meshconfig.yaml", "meshconfig.yml"):
        path = folder / name
        if path.is_file():
            for manifest, _ in read_paths([path]).objects:
                if isinstance(manifest, MeshConfig):
                    return manifest.trust_domain
    return MeshConfig().trust_domain


def root_file(data_dir: Path) -> Path:
    """Return where the trusted roots are written, for whoever connects."""
    return data_dir / "root-cert.pem"
