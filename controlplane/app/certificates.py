"""The certificate authority put together: who may ask, what signs, what is written down.

In: what is kept, who reviews tokens, the committed residents of the mesh, and the metrics. Out:
the handlers and the access rules of the TLS port, its own certificate, and the tasks that keep all
of it going.
"""

import asyncio
import random
from collections.abc import Collection, Coroutine
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import structlog

from controlplane.app.certificate_observation import (
    CertificateObservation,
    ReviewObservation,
    StandingObservation,
)
from controlplane.app.certificate_upkeep import publish_roots, retain, write_roots
from controlplane.app.errors import StartupError
from controlplane.app.kept import Kept, given_authority, root_file
from controlplane.app.preparation import Preparation
from controlplane.authentication.accounts import read_accounts
from controlplane.authentication.authenticator import TokenAuthenticator
from controlplane.authentication.caller import Caller
from controlplane.authentication.clusters import Clusters
from controlplane.authentication.review import TokenReviews
from controlplane.authentication.token_review import TokenReviewer
from controlplane.ca.bundle import bundle_pem
from controlplane.ca.decisions import Decisions
from controlplane.ca.errors import AuthorityError
from controlplane.ca.given_authority import GivenAuthority
from controlplane.ca.issuance import Issuance
from controlplane.ca.keyed_identity import KeyedIdentity
from controlplane.ca.limits import Limits, RateLimits
from controlplane.ca.node_authorization import NodeSettings, ResidentAuthorizer
from controlplane.ca.requests import CertificateRequests, RequestSettings
from controlplane.ca.service import certificate_handlers
from controlplane.ca.serving import ServingCertificate, istiod_names
from controlplane.ca.ttl import LifetimePolicy
from controlplane.clock import Clock
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.metrics import Metrics
from controlplane.model.names import Name
from controlplane.settings import Settings
from controlplane.snapshots.residents import Residents
from controlplane.store.database import Database
from controlplane.store.errors import StoreError
from controlplane.store.journal import Journal
from controlplane.xds.identity import Access

if TYPE_CHECKING:
    import grpc

    from controlplane.ca.signer import SignerSource

_MEASURED: Final = 5.0
_FIRST_LOOKS: Final = 0.05
_LOOKS: Final = 1.0

_log = structlog.get_logger()


class Certificates:
    """Everything about certificates of one process; an ``xds.secret_keeper.SecretIssuer``.

    Raises:
        StartupError: a setting, a key or the database cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        residents: Residents,
        *,
        kept: Kept,
        reviews: TokenReviews,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics.certificates
        self._kept = kept
        self.preparation = Preparation(kept, clock)
        self._root_file = root_file(settings.data_dir)
        self._observation = CertificateObservation(metrics)
        try:
            lifetimes = LifetimePolicy(
                default=settings.default_certificate_ttl,
                maximum=settings.max_certificate_ttl,
                cap=settings.issued_certificate_ttl,
            )
        except ValueError as error:
            raise StartupError(str(error)) from error
        self._given = given_authority(settings, kept.authorities.trust_domain, clock)
        self._signers: SignerSource = self._given or kept.authorities
        self._issuance = Issuance(self._signers, clock, lifetimes, draw=random.random)
        trusted = read_accounts(settings.trusted_node_accounts)
        for entry in trusted.malformed:
            _log.warning("trusted-node-account.malformed", entry=entry)
        cluster = settings.cluster_id
        self._residents = residents
        self._reviews = reviews
        self._review_observation = ReviewObservation(metrics)
        authenticator = self.authenticator_for(
            tuple(filter(None, map(str.strip, settings.token_audiences.split(","))))
        )
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

    def authenticator_for(self, audiences: Collection[str]) -> TokenAuthenticator:
        """Return who tells whose tokens for ``audiences`` are."""
        cluster = self._settings.cluster_id
        reviewer = TokenReviewer(
            self._reviews,
            cluster=cluster,
            audiences=audiences,
            clock=self._clock,
            observer=self._review_observation,
        )
        authenticator = TokenAuthenticator(
            {cluster: reviewer},
            clusters=Clusters(primary=cluster),
            audiences=audiences,
            clock=self._clock,
        )
        self._residents.on_gone(lambda uid: authenticator.forget_pod(cluster, uid))
        return authenticator

    async def issue_identity(self, caller: Caller, peer: str) -> KeyedIdentity:
        """Return a new key and its certificate for the account that ``caller`` is.

        Raises:
            AuthorityError: it may not have one, or there is none to be had now.
        """
        return await self._requests.issue_identity(caller, peer)

    def trusted_roots(self) -> bytes | None:
        """Return every trusted root as PEM; None when they are not known yet."""
        roots = self.roots()
        return None if roots is None else roots[0].encode()

    def authority_id(self) -> str:
        """Return which authority signs now; "" when none does."""
        snapshot = self._signers.current()
        return "" if snapshot is None else snapshot.authority_id

    @property
    def journal(self) -> Journal:
        """Return the journal of the authorities."""
        return self._kept.journal

    @property
    def database(self) -> Database:
        """Return the database, for what else is kept there."""
        return self._kept.database

    @property
    def trust_domain(self) -> str:
        """Return the trust domain that certificates are issued for."""
        return self._kept.authorities.trust_domain

    @property
    def given(self) -> GivenAuthority | None:
        """Return the authority that was given; None where we have our own."""
        return self._given

    def roots(self) -> tuple[str, int] | None:
        """Return the trusted roots as PEM and the version of the bundle; None: not yet."""
        if self._given is not None:
            snapshot = self._given.current()
            return None if snapshot is None else (snapshot.bundle, snapshot.generation)
        kept = self._kept.authorities.standing.kept
        if kept is None or not kept.authorities.trusted:
            return None
        return bundle_pem(kept.authorities), kept.authorities.state.bundle_version

    @property
    def trouble(self) -> str:
        """Return why the authorities cannot be read or moved on just now; "" if all is well."""
        return "" if self._given is not None else self._kept.authorities.standing.problem

    def unfit_reason(self) -> str | None:
        """Return why no certificate can be issued now, in words; None when it can."""
        if self._signers.current() is not None:
            return None
        return "; ".join(filter(None, (self._signers.unfit_reason(), self.trouble)))

    async def open(self, patience: float) -> None:
        """Load the authorities, or wait ``patience`` seconds for whoever leads to make them.

        Raises:
            StartupError: there is no authority to sign with.
        """
        authorities = self._kept.authorities
        began = self._clock.monotonic()
        pause = _FIRST_LOOKS
        try:
            if self._given is not None:
                await asyncio.to_thread(write_roots, self._given, self._root_file)
                return
            while True:
                await authorities.look()
                if authorities.current() is not None:
                    return
                if self._clock.monotonic() - began >= patience:
                    break
                await self._clock.sleep(pause)
                pause = min(_LOOKS, 2 * pause)
        except (StoreError, AuthorityError, OSError) as error:
            raise StartupError(str(error)) from error
        raise StartupError(authorities.standing.problem or authorities.unfit_reason())

    def serving(self) -> ServingCertificate:
        """Return the keeper of the TLS port's certificate."""
        settings = self._settings
        return ServingCertificate(
            self._issuance,
            self._signers,
            istiod_names(
                settings.system_namespace,
                revision=settings.revision,
                custom=(settings.discovery_host,) if settings.discovery_host else (),
            ),
            self._clock,
        )

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what has to run beside everything else, by name."""
        kept = self._kept
        signing = (
            {"authorities": kept.authorities.run()}
            if self._given is None
            else {
                "given authority": self._given.run(),
                "roots": publish_roots(self._given, self._root_file, self._clock),
            }
        )
        days = self._settings.ledger_retention_days
        return {
            **signing,
            "ledger": kept.ledger.run(),
            "ledger retention": retain(kept.ledger, days, self._clock),
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

    async def _measure(self) -> None:
        standing = StandingObservation(self._metrics, self._clock)
        while True:
            status = self._kept.ledger.status
            self._metrics.ledger_rows.set(status.queued)
            self._metrics.ledger_spooled.set(status.spooled_bytes)
            self._metrics.ledger_lost.set(status.lost)
            self._metrics.ledger_written.set(status.written)
            self._metrics.refusals_left_out.set(status.refusals_left_out)
            self._metrics.ledger_failing.set(bool(status.failure))
            standing.signs(self._signers.current())
            if self._given is None:
                found = self._kept.authorities.standing
                standing.stands(found)
                if found.kept is not None:
                    self._kept.floor.see(found.kept.authorities.state.fencing_token)
            await self._clock.sleep(_MEASURED)
