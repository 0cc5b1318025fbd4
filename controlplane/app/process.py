"""The process put together: sources, graph, discovery server and admin side, in one task group.

In: settings. Out: open ports that serve what the manifests say until ``stop`` is called, then a
clean end: streams first, so that clients come back elsewhere.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog

from controlplane import __version__
from controlplane.admin.api import admin_application
from controlplane.admin.server import AdminServer
from controlplane.app.certificates import Certificates, root_file
from controlplane.app.data_folder import held_data_folder
from controlplane.app.errors import StartupError
from controlplane.app.observation import CommitObservation, ProblemObservation, StreamObservation
from controlplane.ca.errors import AuthorityError
from controlplane.clock import Clock, SystemClock
from controlplane.dataflow import Batcher, Change, tune_collector
from controlplane.manifests.documents import Limits
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.metrics import Metrics
from controlplane.model.names import Name
from controlplane.model.problem import Problem
from controlplane.pipeline.assembly import build_pipeline
from controlplane.pipeline.configuration import mesh_settings
from controlplane.pipeline.intake import Intake
from controlplane.settings import Settings
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.residents import Residents
from controlplane.sources.files import FilesSettings, FilesSource
from controlplane.sources.source import Source
from controlplane.xds.errors import ListenError
from controlplane.xds.server import Listener, XdsServer
from controlplane.xds.settings import XdsSettings
from controlplane.xds.tls import HotCertificate

Upkeep = Callable[[], Coroutine[Any, Any, None]]

log = structlog.get_logger()


class Process:
    """One control plane. Construct it, ``run`` it once, ``stop`` it from anywhere on the loop.

    ``ports`` are known once ``started`` is set; ``root_file`` verifies the TLS port.

    Raises:
        StartupError: the settings cannot be served.
    """

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, source: Source | None = None
    ) -> None:
        self.host = settings.bind_address or "127.0.0.1"
        _require_loopback(self.host)
        self.settings = settings
        self.started = asyncio.Event()
        self.xds_port = 0
        self.plaintext_port: int | None = None
        self.admin_port = 0
        self._clock = clock or SystemClock()
        self._stopping = asyncio.Event()
        self.metrics = Metrics(__version__)
        self.catalog = Catalog()
        try:
            self.pipeline = build_pipeline(mesh_settings(settings, expands=True))
        except ValueError as error:
            raise StartupError(f"a setting is unusable: {error}") from error
        self._batcher = Batcher(
            self.pipeline.graph,
            self._clock,
            quiet=settings.debounce_after,
            maximum=settings.debounce_max,
        )
        self._intake = Intake(self.pipeline.inputs, self.pipeline.found_problems, self._batcher)
        self._problems = ProblemObservation(self.metrics, self._intake.located)
        self.residents = Residents(self._clock)
        self._certificates = Certificates(settings, self._clock, self.metrics, self.residents)
        self._source = source or FilesSource(
            settings.files,
            settings=FilesSettings(
                limits=Limits(bytes=settings.max_file_bytes),
                system_namespace=settings.system_namespace,
            ),
            clock=self._clock,
        )
        self._server = XdsServer(
            self.catalog,
            xds_settings(settings),
            self._clock,
            ready=self._why_not_ready,
            access=self._certificates.access,
            observer=StreamObservation(self.metrics, __version__),
        )
        self._connect()

    @property
    def root_file(self) -> Path:
        """Return the PEM file that clients verify the TLS port with."""
        given = self.settings.tls_root or self.settings.tls_certificate
        return given or root_file(self.settings.data_dir)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return everything found wrong with the configuration."""
        return self._problems.current

    def waiting_for(self) -> list[str]:
        """Return what keeps the process from serving, in sentences; empty when it serves."""
        reasons = []
        if not self.started.is_set():
            reasons.append("the ports are not open yet")
        if self._stopping.is_set():
            reasons.append("the process is shutting down")
        reason = self._why_not_ready()
        if reason is not None:
            reasons.append(reason)
        unfit = self._certificates.unfit_reason()
        if unfit is not None:
            reasons.append(f"no certificate can be issued: {unfit}")
        return reasons

    def stop(self) -> None:
        """Ask ``run`` to end: streams are drained, then everything closes."""
        self._stopping.set()

    async def run(self, announce: Callable[["Process"], None] = lambda _: None) -> None:
        """Serve until ``stop``; ``announce`` is called once the ports are open.

        Raises:
            StartupError: a port cannot be opened, or there is no authority to sign with.
        """
        with held_data_folder(self.settings.data_dir):
            try:
                await self._serve(announce)
            finally:
                await self._server.stop(0)
                await self._certificates.close()
        log.info("process.stopped")

    async def _serve(self, announce: Callable[["Process"], None]) -> None:
        admin, upkeep = await self._open()
        async with asyncio.TaskGroup() as tasks:
            working = [
                tasks.create_task(work, name=name)
                for name, work in {
                    "commits": self._batcher.run(),
                    "source": self._source.run(self._intake),
                    **self._certificates.tasks(),
                    **{name: work() for name, work in upkeep.items()},
                }.items()
            ]
            serving = tasks.create_task(admin.run(), name="admin")
            self.started.set()
            announce(self)
            await self._stopping.wait()
            log.info("process.draining", clients=len(self._server.fleet))
            await self._server.stop(self.settings.drain_timeout)
            for task in working:
                task.cancel()
            admin.stop()
            await serving

    async def _open(self) -> tuple[AdminServer, dict[str, Upkeep]]:
        """Open every port; return the admin server and the task that renews the certificate."""
        settings = self.settings
        host = self.host
        bracketed = f"[{host}]" if ":" in host else host
        await self._certificates.open()
        certificate, upkeep = await self._certificate()
        listeners = [Listener(address=f"{bracketed}:{settings.xds_port}", certificate=certificate)]
        if settings.plaintext:
            listeners.append(Listener(address=f"{bracketed}:{settings.plaintext_port}"))
        try:
            ports = await self._server.start(listeners, self._certificates.handlers)
            admin = AdminServer(
                admin_application(
                    version=__version__,
                    waiting_for=self.waiting_for,
                    registry=self.metrics.registry,
                ),
                host=host,
                port=settings.admin_port,
            )
        except (ListenError, OSError) as error:
            raise StartupError(f"cannot open the ports: {error}") from error
        self.admin_port = admin.port
        self.xds_port = ports[0]
        self.plaintext_port = ports[1] if settings.plaintext else None
        return admin, upkeep

    async def _certificate(self) -> tuple[HotCertificate, dict[str, Upkeep]]:
        """Return what the TLS port serves, and what keeps it fresh unless files do."""
        settings = self.settings
        given = (settings.tls_certificate, settings.tls_key)
        try:
            if given[0] is not None and given[1] is not None:
                return HotCertificate.from_files(given[0], given[1]), {}
            if any(given):
                raise StartupError("a serving certificate needs both its chain and its key")
            serving = self._certificates.serving()
            first = await serving.issue()
            certificate = HotCertificate(first.chain, first.key)
        except (ListenError, AuthorityError) as error:
            raise StartupError(f"no serving certificate: {error}") from error
        return certificate, {"serving certificate": lambda: serving.run(certificate.replace)}

    def _connect(self) -> None:
        graph = self.pipeline.graph
        self.pipeline.publish_to(self.catalog)
        self.pipeline.publish_residents_to(self.residents)
        self.pipeline.inputs.mesh_config.subscribe(self._mesh_configured)
        self.pipeline.found_problems.subscribe(self._problems.found)
        self.pipeline.problems.subscribe(self._problems.judged)
        graph.on_commit(CommitObservation(self.metrics, self.catalog).committed)
        tune_collector(graph)

    def _mesh_configured(self, changes: Sequence[Change[Name, MeshConfig]]) -> None:
        for _, _, new in changes:
            if new is not None:
                self._certificates.notice(new)

    def _why_not_ready(self) -> str | None:
        if self.pipeline.graph.ready:
            return None
        missing = [problem.message for problem in self.problems if problem.object is None]
        waiting = f"the manifests in {self.settings.files} have not been read yet"
        return "; ".join([waiting, *missing])


def xds_settings(settings: Settings) -> XdsSettings:
    """Return the part of the settings that the discovery server reads."""
    return XdsSettings(
        scopes_policies_to_nodes=settings.authorization_scope == "node",
        acknowledgement_timeout=settings.acknowledgement_timeout,
        connection_age=settings.max_connection_age,
        new_streams_per_second=settings.max_new_streams_per_second,
    )


def _require_loopback(address: str) -> None:
    try:
        is_loopback = ipaddress.ip_address(address).is_loopback
    except ValueError as error:
        raise StartupError(f"{address!r} is not an IP address") from error
    if not is_loopback:
        raise StartupError(f"{address} is not a loopback address, and nobody is authenticated yet")
