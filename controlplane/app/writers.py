"""What this process writes to the cluster while it leads: one controller for each sort of object.

In: the cluster, the committed mesh, the trusted roots. Out: controllers that run once everything
has been read, each on its own: a fault in one stops no other, and nobody is served less for it
(docs/protocol/replicas.md RP-6, RP-7, RP-11).
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from controlplane.app.cluster import Cluster
from controlplane.app.kept import Places
from controlplane.app.mesh import Mesh
from controlplane.app.waypoints import discovery_host, waypoint_settings
from controlplane.authentication.accounts import read_accounts
from controlplane.clock import Clock
from controlplane.controllers.address_allocation import AddressAllocation
from controlplane.controllers.controller import Controller
from controlplane.controllers.gateway_classes import GatewayClasses
from controlplane.controllers.gateway_status import GatewayStatus
from controlplane.controllers.root_certificates import KIND, NAME, Reports, RootCertificates, Roots
from controlplane.controllers.route_statuses import RouteStatuses
from controlplane.controllers.statuses import StatusConditions
from controlplane.controllers.waypoint_deployment import WaypointDeployment
from controlplane.controllers.webhook_configuration import WebhookConfiguration
from controlplane.controllers.webhook_probe import WebhookProbe
from controlplane.controllers.work_in_rounds import WritingTerms
from controlplane.model.certificate import BundleTarget
from controlplane.model.names import Name
from controlplane.settings import Settings

_AFTER_A_FAULT: Final = 5.0
_WEBHOOK_PORT: Final = 443

_log = structlog.get_logger()


class Writers:
    """The controllers of one process, none before everything has been read.

    ``roots`` returns the trusted ones as PEM and the version of the bundle; ``reports`` is None
    where nobody waits for them to be everywhere.
    """

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
        self._settings = settings
        self._clock = clock
        self._mesh = mesh
        self._cluster = cluster
        self._roots = roots
        self._root_certificates: RootCertificates | None = None
        self._reports: Reports = reports or _Unreported()
        self.controllers: tuple[Controller, ...] = ()

    def expected_targets(self) -> Places:
        """Return where roots have to be; before that is known, where they never are."""
        if self._root_certificates is None:
            return unknown_places(self._settings.cluster_id)
        return self._root_certificates.expected_targets()

    async def run(self) -> None:
        """Run every controller until cancelled, once everything has been read."""
        await self._mesh.complete()
        self._root_certificates = self._build_root_certificates()
        self.controllers = (self._root_certificates, *self._build())
        async with asyncio.TaskGroup() as tasks:
            for controller in self.controllers:
                tasks.create_task(kept_running(controller, self._clock), name=controller.name)

    def _build(self) -> Iterator[Controller]:
        settings = self._settings
        terms = WritingTerms(
            client=self._cluster.client,
            lead=self._cluster.lead,
            paths=self._cluster.source.path_of,
            is_ready=lambda: self._mesh.is_complete,
            clock=self._clock,
            draw=random.random,
        )
        if settings.writes_status:
            yield from self._build_told(terms)
        if settings.allocates_addresses:
            yield self._build_allocation(terms)
        if settings.deploys_waypoints:
            yield from self._build_waypoints()
        yield self._build_webhook()

    def _build_root_certificates(self) -> RootCertificates:
        return RootCertificates(
            self._cluster.client,
            lead=self._cluster.lead,
            namespaces=self._namespaces_with_roots,
            roots=self._bundle,
            reports=self._reports,
            cluster=self._settings.cluster_id,
            clock=self._clock,
            draw=random.random,
        )

    def _namespaces_with_roots(self) -> frozenset[str]:
        """Return those of the mesh, and the ones whose pods verify us whatever is selected."""
        settings, existing = self._settings, self._mesh.pipeline.inputs.namespaces
        trusted = read_accounts(settings.trusted_node_accounts).accounts
        own = {settings.system_namespace, *(account.namespace for account in trusted)}
        present = {name for name in own if existing.get(Name("", name)) is not None}
        return self._mesh.namespaces | present

    def _build_told(self, terms: WritingTerms) -> Iterator[Controller]:
        world = self._mesh.pipeline.world
        yield StatusConditions(terms, conditions=world.conditions)
        yield RouteStatuses(
            terms,
            parents=(
                world.http_routes.parents,
                world.connection_routes.parents,
                world.backend_tls.ancestors,
            ),
        )

    def _build_allocation(self, terms: WritingTerms) -> Controller:
        settings, pipeline = self._settings, self._mesh.pipeline
        return AddressAllocation(
            terms,
            entries=pipeline.inputs.service_entries,
            members=pipeline.world.service_entries,
            services=pipeline.inputs.services,
            ranges=(settings.allocated_ipv4_range, settings.allocated_ipv6_range),
        )

    def _build_waypoints(self) -> Iterator[Controller]:
        client, lead, clock = self._cluster.client, self._cluster.lead, self._clock
        inputs, gateways = self._mesh.pipeline.inputs, self._mesh.pipeline.world.gateways
        settings = waypoint_settings(self._settings, self._mesh)
        deployment = WaypointDeployment(
            client,
            lead=lead,
            gateways=gateways,
            gateway_classes=inputs.gateway_classes,
            settings=settings,
            root_namespace=self._mesh.configured.root_namespace,
            clock=clock,
            draw=random.random,
        )

        def configure(_: object) -> None:
            deployment.configure(
                waypoint_settings(self._settings, self._mesh),
                self._mesh.configured.root_namespace,
            )

        # The network of our namespace and the root namespace are the mesh's to change.
        inputs.namespaces.subscribe(configure)
        inputs.mesh_config.subscribe(configure)
        yield GatewayClasses(client, lead=lead, clock=clock, draw=random.random)
        yield deployment
        yield GatewayStatus(
            client,
            lead=lead,
            gateways=gateways,
            gateway_classes=inputs.gateway_classes,
            services=inputs.services,
            endpoint_slices=inputs.endpoint_slices,
            judgements=deployment,
            settings=settings,
            clock=clock,
            draw=random.random,
        )

    def _build_webhook(self) -> Controller:
        settings = self._settings
        service = discovery_host(settings)
        host, _, port = (settings.webhook_address or f"{service}:{_WEBHOOK_PORT}").rpartition(":")
        return WebhookConfiguration(
            self._cluster.client,
            lead=self._cluster.lead,
            configuration=settings.webhook_configuration
            or f"istiod-lite-validator-{settings.system_namespace}",
            roots=self._bundle,
            probe=WebhookProbe(
                host=host.strip("[]"),
                port=int(port),
                server_name=service,
                namespace=settings.system_namespace,
            ),
            clock=self._clock,
            draw=random.random,
        )

    def _bundle(self) -> Roots | None:
        found = self._roots()
        return None if found is None else Roots(pem=found[0], version=found[1])


async def kept_running(controller: Controller, clock: Clock) -> None:
    """Run ``controller`` until cancelled; after a fault of ours, anew."""
    while True:
        try:
            await controller.run()
        except Exception as error:  # noqa: BLE001 - a fault of ours in one stops no other
            _log.error("controller.failed", controller=controller.name, error=repr(error))
        await clock.sleep(_AFTER_A_FAULT)


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
