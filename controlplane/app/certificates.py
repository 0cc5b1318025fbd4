"""The certificate authority put together: who may ask, what signs, what is written down.

In: settings, the committed residents of the mesh, and the metrics. Out: the handlers and the
access rules of the TLS port, its own certificate, and the tasks that keep all of it going.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import structlog

from controlplane.app.certificate_observation import (
    CertificateObservation,
    ReviewObservation,
    StandingObservation,
)
from controlplane.app.errors import StartupError
from controlplane.authentication.accounts import read_accounts
from controlplane.authentication.authenticator import TokenAuthenticator
from controlplane.authentication.clusters import Clusters
from controlplane.authentication.issuer_key import IssuerKeyError, load_issuer_key
from controlplane.authentication.local_issuer import LocalTokenReviews
from controlplane.authentication.token_review import TokenReviewer
from controlplane.ca.authorities import Authorities, Memories
from controlplane.ca.authority import KeyType
from controlplane.ca.bundle import BundleFile
from controlplane.ca.decisions import Decisions
from controlplane.ca.errors import AuthorityError
from controlplane.ca.file_key_store import FileKeyStore, replace_file
from controlplane.ca.given_authority import GivenAuthority
from controlplane.ca.issuance import Issuance
from controlplane.ca.istio_secret import IstioSecretAuthority
from controlplane.ca.journal import StoreJournal
from controlplane.ca.limits import Limits, RateLimits
from controlplane.ca.node_authorization import NodeSettings, ResidentAuthorizer
from controlplane.ca.plugged import PluggedAuthority, plugged_files
from controlplane.ca.requests import CertificateRequests, RequestSettings
from controlplane.ca.rotation_policy import RotationPolicy
from controlplane.ca.service import certificate_handlers
from controlplane.ca.serving import ServingCertificate, istiod_names
from controlplane.ca.ttl import LifetimePolicy
from controlplane.clock import Clock
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.metrics import Metrics
from controlplane.model.names import Name
from controlplane.settings import Settings
from controlplane.snapshots.residents import Residents
from controlplane.sources.paths import read_paths
from controlplane.store.anchors import FileAnchors
from controlplane.store.database import Database, database_url
from controlplane.store.errors import StoreError
from controlplane.store.journal import Journal
from controlplane.store.leadership import StoreLeadership
from controlplane.store.ledger import Ledger, LedgerSettings
from controlplane.store.ledger_key import ledger_key
from controlplane.store.schema import prepare_schema
from controlplane.store.spool import Spool
from controlplane.xds.identity import Access

if TYPE_CHECKING:
    import grpc

    from controlplane.ca.signer import SignerSource

_LOOKS: Final = 20
_HOUR: Final = 3600.0
_WATCH: Final = 5.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of certificates, for commands and the process alike."""

    database: Database
    ledger: Ledger
    leadership: StoreLeadership
    authorities: Authorities


def trust_domain_of(settings: Settings) -> str:
    """Return the trust domain of certificates: the setting's, meshconfig.yaml's, or the default."""
    if settings.trust_domain is not None:
        return settings.trust_domain
    for name in ("meshconfig.yaml", "meshconfig.yml"):
        path = settings.files / name
        if path.is_file():
            for manifest, _ in read_paths([path]).objects:
                if isinstance(manifest, MeshConfig):
                    return manifest.trust_domain
    return MeshConfig().trust_domain


def root_file(data_dir: Path) -> Path:
    """Return where the trusted roots are written, for whoever connects."""
    return data_dir / "root-cert.pem"


def open_kept(settings: Settings, clock: Clock) -> Kept:
    """Return what is kept in the data folder and the database, nothing read yet.

    Raises:
        StoreError: the database's address or the ledger's key cannot be used.
    """
    data_dir = settings.data_dir
    database = Database(database_url(settings.database_url, data_dir=data_dir))
    key = ledger_key(data_dir)
    trust_domain = trust_domain_of(settings)
    leadership = StoreLeadership(database, replica_id=settings.replica_id, clock=clock)
    ledger = Ledger(
        database=database,
        key=key,
        anchors=FileAnchors(data_dir, key),
        spool=Spool(data_dir),
        replica_id=settings.replica_id,
        clock=clock,
        settings=LedgerSettings(mode=settings.ledger),
    )
    journal = StoreJournal(
        Journal(database, clock=clock), trust_domain=trust_domain, replica_id=settings.replica_id
    )
    authorities = Authorities(
        trust_domain=trust_domain,
        replica_id=settings.replica_id,
        memories=Memories(
            keys=FileKeyStore(data_dir / "ca", passphrase_file=settings.key_passphrase_file),
            journal=journal,
            leadership=leadership,
        ),
        clock=clock,
        policy=RotationPolicy(
            key_type=KeyType(settings.authority_key_type),
            max_leaf_lifetime=timedelta(seconds=settings.issued_certificate_ttl),
        ),
        bundle_file=BundleFile(path=root_file(data_dir), replica_id=settings.replica_id),
    )
    return Kept(database=database, ledger=ledger, leadership=leadership, authorities=authorities)


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


class Certificates:
    """Everything about certificates of one process.

    Raises:
        StartupError: a setting, a key or the database cannot be used.
    """

    def __init__(
        self, settings: Settings, clock: Clock, metrics: Metrics, residents: Residents
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics.certificates
        self._observation = CertificateObservation(metrics)
        try:
            self._kept = open_kept(settings, clock)
            issuer = load_issuer_key(settings.data_dir)
            lifetimes = LifetimePolicy(
                default=settings.default_certificate_ttl,
                maximum=settings.max_certificate_ttl,
                cap=settings.issued_certificate_ttl,
            )
        except (StoreError, IssuerKeyError, ValueError) as error:
            raise StartupError(str(error)) from error
        self._given = given_authority(settings, self._kept.authorities.trust_domain, clock)
        self._signers: SignerSource = self._given or self._kept.authorities
        self._issuance = Issuance(self._signers, clock, lifetimes, draw=random.random)
        trusted = read_accounts(settings.trusted_node_accounts)
        for entry in trusted.malformed:
            _log.warning("trusted-node-account.malformed", entry=entry)
        cluster = settings.cluster_id
        authenticator = _authenticator(
            settings,
            clock,
            metrics,
            LocalTokenReviews(issuer.public_key(), clock, _pod_uids(residents)),
        )
        residents.on_gone(lambda uid: authenticator.forget_pod(cluster, uid))
        self.access = Access(
            authenticator=authenticator, trusted=trusted.accounts, residents={cluster: residents}
        )
        control_plane = Name(settings.system_namespace, settings.control_plane_account)
        nodes = ResidentAuthorizer(
            {cluster: residents},
            NodeSettings(trusted=trusted.accounts, control_planes=frozenset({control_plane})),
            clock,
        )
        self._requests = CertificateRequests(
            authenticator=authenticator,
            limits=Limits(RateLimits(), clock),
            decisions=Decisions(
                nodes,
                trust_domain=self.trust_domain,
                node_accounts=trusted.accounts,
                allows_unbound_credentials=settings.allows_unbound_tokens,
            ),
            issuance=self._issuance,
            recorder=self._kept.ledger,
            observer=self._observation,
            clock=clock,
            settings=RequestSettings(is_ledger_strict=settings.ledger == "strict"),
            name_request=lambda: uuid4().hex,
        )

    @property
    def handlers(self) -> "tuple[grpc.GenericRpcHandler[bytes, bytes], ...]":
        """Return the gRPC handlers to add to the TLS port."""
        return (certificate_handlers(self._requests),)

    @property
    def trust_domain(self) -> str:
        """Return the trust domain that certificates are issued for."""
        return self._kept.authorities.trust_domain

    def unfit_reason(self) -> str | None:
        """Return why no certificate can be issued now, in words; None when it can."""
        return None if self._signers.current() is not None else self._signers.unfit_reason()

    async def open(self) -> None:
        """Prepare the database and load or make the authorities.

        Raises:
            StartupError: there will be no authority to sign with.
        """
        kept = self._kept
        try:
            await prepare_schema(kept.database)
            if self._given is not None:
                await asyncio.to_thread(self._write_roots, self._given)
                return
            for _ in range(_LOOKS):
                await kept.leadership.campaign()
                await kept.authorities.look()
                if kept.authorities.current() is not None:
                    return
                await self._clock.sleep(0.1)
        except (StoreError, AuthorityError, OSError) as error:
            raise StartupError(str(error)) from error
        standing = kept.authorities.standing
        raise StartupError(standing.problem or kept.authorities.unfit_reason())

    def serving(self) -> ServingCertificate:
        """Return the keeper of the TLS port's certificate."""
        settings = self._settings
        return ServingCertificate(
            self._issuance,
            self._signers,
            istiod_names(settings.system_namespace, revision=settings.revision),
            self._clock,
        )

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what has to run beside everything else, by name."""
        kept = self._kept
        signing = (
            {"leadership": kept.leadership.run(), "authorities": kept.authorities.run()}
            if self._given is None
            else {"given authority": self._given.run(), "roots": self._publish_roots(self._given)}
        )
        return {
            **signing,
            "ledger": kept.ledger.run(),
            "ledger retention": self._retain(),
            "certificate metrics": self._measure(),
        }

    def notice(self, configured: MeshConfig) -> None:
        """Say so when the mesh is configured for another trust domain than certificates are."""
        if configured.trust_domain != self.trust_domain:
            _log.error(
                "trust-domain.differs",
                configured=configured.trust_domain,
                certificates=self.trust_domain,
            )

    async def close(self) -> None:
        """Write down what waits and let go of the database."""
        await self._kept.ledger.stop()
        await self._kept.database.close()
        self._issuance.close()

    async def _publish_roots(self, given: GivenAuthority) -> None:
        """Keep the root file equal to the given roots."""
        while True:
            await self._clock.sleep(_WATCH)
            try:
                await asyncio.to_thread(self._write_roots, given)
            except OSError as error:
                _log.warning("root-file.unwritten", reason=error.strerror or str(error))

    def _write_roots(self, given: GivenAuthority) -> None:
        snapshot = given.current()
        if snapshot is None:
            return
        path, text = root_file(self._settings.data_dir), snapshot.bundle.encode()
        if not path.exists() or path.read_bytes() != text:
            replace_file(path, text, mode=0o644)

    async def _retain(self) -> None:
        while True:
            before = self._clock.now() - timedelta(days=self._settings.ledger_retention_days)
            try:
                await self._kept.ledger.drop_segments(closed_before=before)
            except StoreError as error:
                _log.warning("ledger.retention_failed", reason=str(error))
            await self._clock.sleep(_HOUR)

    async def _measure(self) -> None:
        standing = StandingObservation(self._metrics, self._settings.replica_id, self._clock)
        while True:
            status = self._kept.ledger.status
            self._metrics.ledger_rows.set(status.queued)
            self._metrics.ledger_spooled.set(status.spooled_bytes)
            self._metrics.ledger_lost.set(status.lost)
            standing.signs(self._signers.current())
            if self._given is None:
                standing.stands(self._kept.authorities.standing)
            await self._clock.sleep(_WATCH)


def _authenticator(
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    reviews: LocalTokenReviews,
) -> TokenAuthenticator:
    audiences = tuple(filter(None, map(str.strip, settings.token_audiences.split(","))))
    cluster = settings.cluster_id
    reviewer = TokenReviewer(
        reviews,
        cluster=cluster,
        audiences=audiences,
        clock=clock,
        observer=ReviewObservation(metrics),
    )
    return TokenAuthenticator(
        {cluster: reviewer}, clusters=Clusters(primary=cluster), audiences=audiences, clock=clock
    )


def _pod_uids(residents: Residents) -> Callable[[Name], str | None]:
    def uid(name: Name) -> str | None:
        pod = residents.pod(name)
        return None if pod is None else pod.uid

    return uid
