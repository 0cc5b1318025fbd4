"""What a cluster adds to the process: objects, keys, reviews of tokens, an election.

In: where the cluster is, and settings. Out: one opened client and the parts that use it. What is
written to the cluster, ``writers`` puts together.
"""

from collections.abc import Callable
from typing import Final

import structlog

from controlplane.app.errors import StartupError
from controlplane.app.kept import Floor, Memory, Places
from controlplane.app.lost_root import LostRoot
from controlplane.app.observed_client import ObservedClient
from controlplane.authentication.cluster_reviews import ClusterTokenReviews
from controlplane.ca.secret_key_store import SecretKeyStore
from controlplane.clock import Clock
from controlplane.cluster.api_server import ApiServer, ClusterLocation, open_cluster
from controlplane.cluster.client import Answer, ClusterClient
from controlplane.cluster.election_locks import ElectionLocks
from controlplane.cluster.errors import ClusterConfigurationError, ClusterError
from controlplane.cluster.lease import LeaseLeadership, LeaseSettings
from controlplane.cluster.refusal import refusal_in
from controlplane.cluster.write_lead import WriteLead
from controlplane.manifests.decoding import decode_any_object
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.metrics import Metrics
from controlplane.model.problem import Problem
from controlplane.settings import Settings
from controlplane.sources.kubernetes.source import KubernetesSettings, KubernetesSource
from controlplane.store.chain import LedgerKey
from controlplane.store.ledger_key import LedgerKeyAwayError, LedgerKeyError
from controlplane.store.secret_ledger_key import SecretLedgerKey

_MESH_CONFIG: Final = "istio"
_PAUSE: Final = 1.0
_NOT_FOUND: Final = 404

_log = structlog.get_logger()


class Cluster:
    """One cluster, opened. ``location`` says where it was found, ``server`` which it is.

    ``awaits`` says what could not be had of it yet, without which nothing is opened; "" for none.
    """

    def __init__(
        self, server: ApiServer, location: str, settings: Settings, clock: Clock, metrics: Metrics
    ) -> None:
        self.location = location
        self.server = server.url
        self.election = settings.lease_name
        self.awaits = ""
        self.client: ClusterClient = ObservedClient(server, metrics.cluster)
        lost = LostRoot(
            self.client,
            namespace=settings.system_namespace,
            is_replaced=settings.replaces_lost_root,
        )
        self.keys = SecretKeyStore(
            self.client, namespace=settings.system_namespace, why_not_begin=lost.why_not_begin
        )
        self.reviews = ClusterTokenReviews(server)
        self.source = KubernetesSource(
            server,
            settings=KubernetesSettings(system_namespace=settings.system_namespace),
            clock=clock,
            lag=lambda kind, seconds: metrics.cluster.watch_lag.labels(kind=kind).observe(seconds),
        )
        self._server = server
        self._settings = settings
        self._clock = clock
        self._floor = Floor()
        self.leadership = LeaseLeadership(
            server,
            namespace=settings.system_namespace,
            name=settings.lease_name,
            replica_id=settings.replica_id,
            clock=clock,
            settings=_lease_settings(settings),
            floor=self._floor,
        )
        self.lead = WriteLead(self.leadership, self._locks(), clock=clock)

    def memory(self, expected_targets: Callable[[], Places]) -> Memory:
        """Return how this cluster remembers authorities."""
        return Memory(
            keys=self.keys,
            leadership=self.leadership,
            floor=self._floor,
            expected_targets=expected_targets,
        )

    async def trust_domain(self, patience: float) -> str:
        """Return the trust domain of the mesh, waiting ``patience`` seconds to be told.

        Raises:
            StartupError: the mesh configuration cannot be read, so that it is not known.
        """
        if self._settings.trust_domain is not None:
            return self._settings.trust_domain
        until = self._clock.monotonic() + patience
        while True:
            try:
                answer = await self.client.request("GET", self._mesh_config_path)
                refusal = refusal_in(answer)
                if refusal is None or refusal.status == _NOT_FOUND:
                    self.awaits = ""
                    return self._trust_domain_in(answer)
                reason = str(refusal)
            except ClusterError as error:
                reason = str(error)
            await self._pause(
                f"the mesh configuration, {self._mesh_config}, cannot be read from "
                f"{self.server}: {reason}",
                until,
            )

    async def ledger_key(self, patience: float) -> LedgerKey:
        """Return the ledger's key, made in the cluster by the first who asks.

        Raises:
            StartupError: it cannot be had within ``patience`` seconds, or is unusable.
        """
        kept = SecretLedgerKey(self.client, namespace=self._settings.system_namespace)
        until = self._clock.monotonic() + patience
        while True:
            try:
                key = await kept.read_or_make()
            except LedgerKeyAwayError as error:
                await self._pause(str(error), until)
            except LedgerKeyError as error:
                raise StartupError(str(error)) from error
            else:
                self.awaits = ""
                return key

    async def close(self) -> None:
        """Close every connection."""
        await self._server.close()

    async def _pause(self, reason: str, until: float) -> None:
        """Say what is waited for, and wait a little; StartupError when it is too late."""
        if self._clock.monotonic() >= until:
            raise StartupError(f"{reason}; with --files a folder is served without a cluster")
        if reason != self.awaits:
            _log.warning("cluster.awaited", reason=reason)
        self.awaits = reason
        await self._clock.sleep(_PAUSE)

    def _locks(self) -> ElectionLocks | None:
        settings = self._settings
        if not settings.respects_istiod:
            return None
        return ElectionLocks(
            self._server,
            namespace=settings.system_namespace,
            identity="-".join(filter(None, ("istiod-lite", settings.revision))),
            revision=settings.revision,
            clock=self._clock,
        )

    def _trust_domain_in(self, answer: Answer) -> str:
        if answer.status == _NOT_FOUND:
            return MeshConfig().trust_domain
        found = decode_any_object(
            answer.body,
            implied={"apiVersion": "v1", "kind": "ConfigMap"},
            system_namespace=self._settings.system_namespace,
        )
        if isinstance(found, MeshConfig):
            return found.trust_domain
        reason = found.message if isinstance(found, Problem) else "it holds none"
        raise StartupError(
            f"the mesh configuration, {self._mesh_config}, is unusable, and certificates are "
            f"issued for the trust domain that it names: {reason}"
        )

    @property
    def _mesh_config(self) -> str:
        return f"ConfigMap {self._settings.system_namespace}/{_MESH_CONFIG}"

    @property
    def _mesh_config_path(self) -> str:
        return f"/api/v1/namespaces/{self._settings.system_namespace}/configmaps/{_MESH_CONFIG}"


def _lease_settings(settings: Settings) -> LeaseSettings:
    try:
        return LeaseSettings(
            duration=settings.lease_duration,
            deadline=settings.lease_deadline,
            retry=settings.lease_retry,
        )
    except ValueError as error:
        raise StartupError(f"the settings of the Lease are unusable: {error}") from error


async def opened(
    location: ClusterLocation, settings: Settings, clock: Clock, metrics: Metrics
) -> Cluster:
    """Return the cluster at ``location``, nothing asked of it yet; close it in the end.

    Raises:
        StartupError: where it is, or who we are to it, cannot be told.
    """
    try:
        server = await open_cluster(location)
    except ClusterConfigurationError as error:
        raise StartupError(f"the cluster cannot be used: {error}") from error
    where = "the cluster of this pod"
    if not location.is_in_pod:
        where = "the cluster of " + " and ".join(str(path) for path in location.files())
    try:
        return Cluster(server, where, settings, clock, metrics)
    except BaseException:
        await server.close()
        raise
