"""The mesh of one process: what a source finds comes in, committed resources and facts go out.

The graph joined with everything that listens to it. Nothing here serves or writes anything.
"""

import asyncio
from collections.abc import Callable, Sequence

from controlplane.app.errors import StartupError
from controlplane.app.observation import CommitObservation, ProblemObservation
from controlplane.clock import Clock
from controlplane.dataflow import Batcher, Change, CommitSummary, tune_collector
from controlplane.insight.commits import CommitLog
from controlplane.manifests.core import Namespace
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.inputs import MESH
from controlplane.metrics import Metrics
from controlplane.model.names import Name
from controlplane.pipeline.assembly import build_pipeline
from controlplane.pipeline.configuration import mesh_settings
from controlplane.pipeline.intake import Intake
from controlplane.settings import Settings
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.residents import Residents


class Mesh:
    """The graph, its source's end and its readers'.

    ``expands`` is for a folder, where no cluster makes pods of Deployments.

    Raises:
        StartupError: a setting cannot be used.
    """

    def __init__(
        self, settings: Settings, clock: Clock, metrics: Metrics, *, expands: bool
    ) -> None:
        try:
            self.pipeline = build_pipeline(mesh_settings(settings, expands=expands))
        except ValueError as error:
            raise StartupError(f"a setting is unusable: {error}") from error
        self.catalog = Catalog()
        self.residents = Residents(clock)
        self.commits = CommitLog(self.catalog, clock, replica=settings.replica_id)
        self.batcher = Batcher(
            self.pipeline.graph,
            clock,
            quiet=settings.debounce_after,
            maximum=settings.debounce_max,
            on_batch=self.commits.batched,
        )
        self.intake = Intake(
            self.pipeline.inputs, self.pipeline.found_problems, self.batcher, self.commits
        )
        self.problems = ProblemObservation(metrics.mesh, self.intake.located)
        self._complete = asyncio.Event()
        self._namespaces: frozenset[str] = frozenset()
        self._configured_root: str | None = None
        self.pipeline.publish_to(self.catalog)
        self.pipeline.publish_residents_to(self.residents)
        self.pipeline.found_problems.subscribe(self.problems.found)
        self.pipeline.problems.subscribe(self.problems.judged)
        self.pipeline.world.namespaces.subscribe(self._namespaces_changed)
        self.pipeline.inputs.mesh_config.subscribe(self._configuration_changed)
        graph = self.pipeline.graph
        observation = CommitObservation(metrics, self.catalog, self.commits.elapsed)
        graph.on_commit(observation.committed)
        graph.on_commit(lambda _: self.commits.finished())
        graph.on_commit(self._committed)
        tune_collector(graph)

    @property
    def is_complete(self) -> bool:
        """Return whether everything there was at the start is committed."""
        return self.pipeline.graph.ready

    async def complete(self) -> None:
        """Wait until everything there was at the start is committed."""
        await self._complete.wait()

    @property
    def namespaces(self) -> frozenset[str]:
        """Return the committed namespaces of the mesh, by name."""
        return self._namespaces

    @property
    def root_namespaces(self) -> frozenset[str]:
        """Return the namespace whose policies are the whole mesh's; none before that is known."""
        if self._configured_root is not None:
            return frozenset({self._configured_root})
        return frozenset({MeshConfig().root_namespace}) if self.is_complete else frozenset()

    @property
    def configured(self) -> MeshConfig:
        """Return the committed mesh configuration, or the defaults."""
        return self.pipeline.inputs.mesh_config.get(MESH) or MeshConfig()

    def on_mesh_config(self, handler: Callable[[MeshConfig], None]) -> None:
        """Call ``handler`` with every mesh configuration that is committed."""

        def configured(changes: Sequence[Change[Name, MeshConfig]]) -> None:
            for _, _, new in changes:
                if new is not None:
                    handler(new)

        self.pipeline.inputs.mesh_config.subscribe(configured)

    def _namespaces_changed(self, changes: Sequence[Change[Name, Namespace]]) -> None:
        gone = {key.name for key, _, new in changes if new is None}
        here = {key.name for key, _, new in changes if new is not None}
        self._namespaces = self._namespaces - gone | here

    def _configuration_changed(self, changes: Sequence[Change[Name, MeshConfig]]) -> None:
        for _, _, new in changes:
            self._configured_root = None if new is None else new.root_namespace

    def _committed(self, _: CommitSummary) -> None:
        if self.is_complete:
            self._complete.set()
