"""What this process writes to the cluster while it leads: one controller for each sort of object.

In: the cluster, the committed mesh, the trusted roots. Out: controllers that run once everything
has been read, each on its own: a fault in one stops no other, and nobody is served less for it
(docs/protocol/replicas.md RP-6, RP-7, RP-11).
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final

import structlog

from controlplane.app.cluster import Cluster
from controlplane.app.kept import Places
from controlplane.app.mesh import Mesh
from controlplane.clock import Clock
from controlplane.controllers.controller import Controller
from controlplane.controllers.root_certificates import KIND, NAME, Reports, RootCertificates, Roots
from controlplane.model.certificate import BundleTarget
from controlplane.settings import Settings

_AFTER_A_FAULT: Final = 5.0

_log = structlog.get_logger()


class Writers:
    """The controllers of one process. ``reports`` is None where nobody waits for roots."""

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        mesh: Mesh,
        cluster: Cluster,
        roots: Callable[[], tuple[str, int] | None],
        reports: Reports | None,
    ) -> None:
        self._clock = clock
        self._mesh = mesh
        self._roots = RootCertificates(
            cluster.client,
            lead=cluster.lead,
            namespaces=lambda: mesh.namespaces,
            roots=lambda: _roots(roots()),
            reports=reports or _Unreported(),
            cluster=settings.cluster_id,
            clock=clock,
            draw=random.random,
        )
        self.controllers: tuple[Controller, ...] = (self._roots,)

    def expected_targets(self) -> Places:
        """Return where roots have to be; see ``RootCertificates``."""
        return self._roots.expected_targets()

    async def run(self) -> None:
        """Run every controller until cancelled, once everything has been read."""
        await self._mesh.complete()
        async with asyncio.TaskGroup() as tasks:
            for controller in self.controllers:
                tasks.create_task(self._kept_running(controller), name=controller.name)

    async def _kept_running(self, controller: Controller) -> None:
        while True:
            try:
                await controller.run()
            except Exception as error:  # noqa: BLE001 - a fault of ours in one stops no other
                _log.error("controller.failed", controller=controller.name, error=repr(error))
            await self._clock.sleep(_AFTER_A_FAULT)


def unknown_places(cluster_id: str) -> Places:
    """Return a place that roots never reach: what a new root waits for until all are known."""
    return frozenset({(cluster_id, KIND, f"*/{NAME}")})


class _Unreported:
    """For roots that are given to us: their owner knows where they have to be."""

    async def targets(self) -> tuple[BundleTarget, ...]:
        return ()

    async def report_target(self, report: BundleTarget) -> None:
        pass

    async def forget_target(self, *, cluster: str, kind: str, name: str) -> None:
        pass


def _roots(found: tuple[str, int] | None) -> Roots | None:
    return None if found is None else Roots(pem=found[0], version=found[1])
