"""The process put together: source, mesh, certificates, ports and, in a cluster, writers.

In: settings. Out: open ports that serve what the objects say until ``stop`` is called, then a
clean end: the lead is given up at once, streams end so that clients come back elsewhere, and what
waits to be written is (docs/protocol/replicas.md).
"""

import asyncio
import math
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from controlplane import __version__
from controlplane.app.admin import AdminSide
from controlplane.app.certificates import Certificates
from controlplane.app.cluster import Cluster, opened
from controlplane.app.cluster_observation import measure
from controlplane.app.commit_tracing import CommitTracing, opened_tracing
from controlplane.app.data_folder import held_data_folder
from controlplane.app.duties import Duties
from controlplane.app.errors import StartupError, startup_error_in
from controlplane.app.fleet import FleetKeeping
from controlplane.app.kept import (
    Places,
    open_kept,
    own_ledger_key,
    root_file,
    trust_domain_in,
)
from controlplane.app.key_sets import KeyFetching
from controlplane.app.lingering import Lingering
from controlplane.app.local import local_reviews, local_source
from controlplane.app.mesh import Mesh
from controlplane.app.observation import StreamObservation
from controlplane.app.ports import admin_servers, open_discovery, xds_settings
from controlplane.app.process_observation import ProcessObservation
from controlplane.app.readiness import Readiness
from controlplane.app.serving import served_certificate
from controlplane.app.surroundings import chosen_cluster, listening_host, require_possible
from controlplane.app.webhook import open_webhook
from controlplane.app.writers import Writers, unknown_places
from controlplane.clock import Clock, SystemClock
from controlplane.metrics import Metrics
from controlplane.model.connection import Connection
from controlplane.model.problem import Problem
from controlplane.pipeline.assembly import Pipeline
from controlplane.settings import Settings
from controlplane.snapshots.residents import Residents
from controlplane.xds.server import XdsServer

if TYPE_CHECKING:
    from controlplane.authentication.review import TokenReviews
    from controlplane.sources.source import Source

_PATIENCE: Final = 2.0
_PATIENCE_IN_CLUSTER: Final = 60.0
_PATIENCE_IN_POD: Final = math.inf
"""Whoever restarts a pod waits longer each time: what comes back is found sooner by waiting."""

log = structlog.get_logger()


class Process:
    """One control plane. Construct it, ``run`` it once, ``stop`` it from anywhere on the loop.

    ``ports`` are known once ``started`` is set; ``root_file`` verifies the TLS port.

    Raises:
        StartupError: the settings cannot be served.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self._location = chosen_cluster(settings)
        in_cluster = self._location is not None
        require_possible(settings, in_cluster=in_cluster)
        self.host = listening_host(settings, in_cluster=in_cluster)
        self.settings = settings
        self.started = asyncio.Event()
        self.xds_port = 0
        self.plaintext_port: int | None = None
        self.admin_port = 0
        self.health_port: int | None = None
        self.webhook_port: int | None = None
        self.metrics = Metrics(__version__)
        self._clock = clock or SystemClock()
        self._stopping = asyncio.Event()
        self._mesh = Mesh(settings, self._clock, self.metrics, expands=not in_cluster)
        self._readiness = Readiness(self._mesh, settings.files, self._clock)
        self._server: XdsServer | None = None
        self._admin: AdminSide | None = None

    @property
    def pipeline(self) -> Pipeline:
        """Return the graph and its ends."""
        return self._mesh.pipeline

    @property
    def residents(self) -> Residents:
        """Return the committed pods."""
        return self._mesh.residents

    @property
    def cluster(self) -> Cluster | None:
        """Return the cluster it runs in; None without one, and before it is opened."""
        return self._readiness.cluster

    @property
    def root_file(self) -> Path:
        """Return the PEM file that clients verify the TLS port with."""
        given = self.settings.tls_root or self.settings.tls_certificate
        return given or root_file(self.settings.data_dir)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Return every client that is connected and has said who it is."""
        return () if self._server is None else self._server.fleet.connections()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return everything found wrong with the configuration."""
        return self._mesh.problems.current

    def waiting_for(self) -> list[str]:
        """Return what keeps the process from serving, in sentences; empty when it serves."""
        return self._readiness.waiting_for()

    def stop(self) -> None:
        """Ask ``run`` to end: the lead is given up, streams are drained, everything closes."""
        self._stopping.set()

    async def run(self, announce: Callable[["Process"], None] = lambda _: None) -> None:
        """Serve until ``stop``; ``announce`` is called once the ports are open.

        Raises:
            StartupError: a port cannot be opened, or there is no authority to sign with.
        """
        failure: StartupError | None = None
        with held_data_folder(self.settings.data_dir):
            try:
                async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
                    await self._live(stack, tasks, announce)
            except* StartupError as errors:
                failure = startup_error_in(errors)
        if failure is not None:
            raise failure
        log.info("process.stopped")

    async def _live(
        self,
        stack: AsyncExitStack,
        tasks: asyncio.TaskGroup,
        announce: Callable[["Process"], None],
    ) -> None:
        duties = Duties(tasks)
        admin_side = self._admin = AdminSide(
            self.settings,
            self._clock,
            version=__version__,
            mesh=self._mesh,
            metrics=self.metrics,
            readiness=self._readiness,
            in_cluster=self._location is not None,
        )
        admins = admin_servers(
            admin_side, self.settings, self.host, in_cluster=self._location is not None
        )
        # From the beginning: whoever waits for us to be ready is told what for.
        serving = [tasks.create_task(admin.run(), name="admin") for admin in admins]
        self.admin_port, *others = (admin.port for admin in admins)
        self.health_port = next(iter(others), None)
        opening = tasks.create_task(self._open(stack, duties), name="opening")
        stopping = tasks.create_task(self._stopping.wait(), name="stopping")
        await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            self._readiness.is_open = True
            self.started.set()
            announce(self)
            await stopping
        self._readiness.is_stopping = True
        await self._end(opening, duties)
        admin_side.end_streams()
        for admin in admins:
            admin.stop()
        await asyncio.gather(*serving)

    async def _end(self, opening: "asyncio.Task[None]", duties: Duties) -> None:
        opening.cancel()
        await asyncio.wait({opening})
        server = self._server
        log.info("process.draining", clients=0 if server is None else len(server.fleet))
        async with asyncio.TaskGroup() as ending:
            ending.create_task(duties.resign())
            if server is not None:
                ending.create_task(server.stop(self.settings.drain_timeout))
        await duties.end()

    async def _open(self, stack: AsyncExitStack, duties: Duties) -> None:
        """Open everything; what runs from then on is among ``duties``, what closes in ``stack``."""
        settings, clock, mesh = self.settings, self._clock, self._mesh
        cluster = None
        if self._location is not None:
            cluster = await opened(self._location, settings, clock, self.metrics)
            stack.push_async_callback(cluster.close)
            # Before anything is asked of it: whoever meant another one still hears of it.
            log.info("cluster.watched", cluster=cluster.location, server=cluster.server)
        self._readiness.cluster = cluster
        source: Source = local_source(settings, clock) if cluster is None else cluster.source
        keys = self._readiness.key_sets = KeyFetching(mesh, settings, clock, self.metrics.mesh)
        duties.keep({"commits": mesh.batcher.run(), "source": source.run(mesh.intake)})
        duties.keep(keys.tasks())
        lingering = Lingering(
            mesh.pipeline, mesh.batcher, clock, seconds=settings.waypoint_lingering
        )
        duties.keep(lingering.tasks())
        certificates = await self._certificates(cluster, stack, duties)
        server = self._server = XdsServer(
            mesh.catalog,
            xds_settings(settings),
            clock,
            ready=self._readiness.why_incomplete,
            access=certificates.access,
            secrets=certificates,
            waypoint_pods=mesh.residents.pods_of,
            observer=StreamObservation(self.metrics.serving, mesh.commits.elapsed),
        )
        stack.push_async_callback(server.stop, 0)
        certificate, upkeep = await served_certificate(settings, certificates)
        self.xds_port, self.plaintext_port = await open_discovery(
            server, certificates.handlers, certificate, settings, self.host
        )
        fleet = FleetKeeping(certificates.database, settings, clock, server=server, mesh=mesh)
        tracing = opened_tracing(settings, stack)
        if tracing is not None:
            traces = CommitTracing(mesh.commits.recent, tracing.export, clock)
            duties.keep({"traces": traces.run()})
        if self._admin is not None:
            self._admin.opened(server, certificates, fleet)
        observation = ProcessObservation(
            self.metrics,
            clock,
            waiting=lambda: mesh.batcher.waiting,
            services=lambda: len(mesh.pipeline.world.services),
            connections=server.fleet.each,
        )
        duties.keep({**certificates.tasks(), **fleet.tasks(), **observation.tasks()})
        duties.keep({name: work() for name, work in upkeep.items()})
        if cluster is not None:
            webhook, works = await open_webhook(
                settings, clock, self.metrics.cluster, mesh, certificates, self.host
            )
            self.webhook_port = webhook.port
            duties.keep(works)

    async def _certificates(
        self, cluster: Cluster | None, stack: AsyncExitStack, duties: Duties
    ) -> Certificates:
        """Open the authorities, and in a cluster start to write where this replica leads."""
        settings, clock, mesh = self.settings, self._clock, self._mesh
        patience = self._patience
        if cluster is None:
            reviews: TokenReviews = local_reviews(settings, clock, mesh.residents)
            trust_domain = settings.trust_domain or trust_domain_in(settings.files)
        else:
            reviews, trust_domain = cluster.reviews, await cluster.trust_domain(patience)
        if cluster is None or settings.ledger_key_file is not None:
            key = own_ledger_key(settings)
        else:
            key = await cluster.ledger_key(patience)
        kept = open_kept(
            settings,
            clock,
            trust_domain=trust_domain,
            key=key,
            memory=None if cluster is None else cluster.memory(self._expected_targets),
        )
        certificates = Certificates(
            settings, clock, self.metrics, mesh.residents, kept=kept, reviews=reviews
        )
        stack.push_async_callback(certificates.close)
        preparation = certificates.preparation
        await preparation.begin(waits=cluster is not None)
        self._readiness.certificates = certificates
        if cluster is not None or certificates.given is None:
            duties.lead({"leadership": preparation.lead(kept.leadership)})
        if cluster is not None:
            writers = self._readiness.writers = Writers(
                settings=settings,
                clock=clock,
                mesh=mesh,
                cluster=cluster,
                roots=certificates.roots,
                reports=kept.journal if certificates.given is None else None,
            )
            duties.write({"election locks": cluster.lead.run(), "writers": writers.run()})
            duties.keep({"cluster metrics": measure(cluster, writers, self.metrics, clock)})
        await certificates.open(patience)
        mesh.on_mesh_config(certificates.notice)
        return certificates

    @property
    def _patience(self) -> float:
        """Return the seconds that what we cannot do without may be away when we start."""
        if self._location is None:
            return _PATIENCE
        return _PATIENCE_IN_POD if self._location.is_in_pod else _PATIENCE_IN_CLUSTER

    def _expected_targets(self) -> Places:
        writers = self._readiness.writers
        if writers is None:
            return unknown_places(self.settings.cluster_id)
        return writers.expected_targets()
