"""The admin side put together: what it may look at, who may look, and the applications that show.

It is served from the first moment, so that whoever waits is told what for; what is opened later is
handed over when it is there.
"""

from typing import TYPE_CHECKING, Final

from controlplane.admin.access import AccessSettings, AdminAccess
from controlplane.admin.admin_token import FILE_NAME, AdminTokenError, load_admin_token
from controlplane.admin.api import AdminParts, admin_application, health_application
from controlplane.admin.debug.documents import DebugDocuments
from controlplane.admin.mesh_view import Knowledge, MeshView
from controlplane.admin.page.page import web_page
from controlplane.admin.reading.certificates import StoredAuthorities, StoredLedger
from controlplane.app.debug_answers import StreamAnswers
from controlplane.app.errors import StartupError
from controlplane.app.mesh import Mesh
from controlplane.app.readiness import Readiness
from controlplane.clock import Clock
from controlplane.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from controlplane.app.certificates import Certificates
    from controlplane.app.fleet import FleetKeeping
    from controlplane.metrics import Metrics
    from controlplane.xds.server import XdsServer

_NODE_SCOPE: Final = "node"


class AdminSide:
    """Everything the admin ports show of one process.

    Raises:
        StartupError: the admin token cannot be used.
    """

    def __init__(  # noqa: PLR0913 - what it shows, each a part of its own
        self,
        settings: Settings,
        clock: Clock,
        *,
        version: str,
        mesh: Mesh,
        metrics: "Metrics",
        readiness: Readiness,
        in_cluster: bool,
    ) -> None:
        self._settings = settings
        self._mesh = mesh
        self.knowledge = Knowledge(
            pipeline=mesh.pipeline,
            catalog=mesh.catalog,
            origins=mesh.intake.origin,
            clock=clock,
            replica=settings.replica_id,
            commits=mesh.commits,
            scopes_to_nodes=settings.authorization_scope == _NODE_SCOPE,
        )
        self.view = MeshView(self.knowledge)
        self.debug = DebugDocuments(self.view)
        self.access = AdminAccess(
            AccessSettings(
                root_namespaces=self._root_namespaces,
                trusts_loopback=settings.admin_trusts_loopback,
                hosts=frozenset(_listed(settings.admin_hosts.lower())),
                audiences=audiences_of(settings),
                admin_token_file=None if in_cluster else settings.data_dir / FILE_NAME,
            ),
            admin_token="" if in_cluster else _admin_token(settings),
        )
        self._page = web_page(self.view, version=version, waiting_for=readiness.waiting_for)
        self._parts = AdminParts(
            version=version,
            waiting_for=readiness.waiting_for,
            registry=metrics.registry,
            details=readiness.details,
            view=self.view,
            access=self.access,
            clock=clock,
            pages=(self._page.routes,),
        )

    def application(self) -> "FastAPI":
        """Return what the admin port answers."""
        return admin_application(self._parts)

    def health(self) -> "FastAPI":
        """Return what the health port answers."""
        return health_application(self._parts)

    def end_streams(self) -> None:
        """Let go of whoever listens, for good: servers wait for open answers before they stop."""
        self._page.live.close()
        self.view.commits.end()

    def opened(
        self, server: "XdsServer", certificates: "Certificates", fleet: "FleetKeeping"
    ) -> None:
        """Show what is open now: connections, certificates, and tokens that tell who asks."""
        known = self.knowledge
        known.connections = server.fleet.each
        known.others = fleet.connections
        known.kept_commits = fleet.commits
        known.ledger = StoredLedger(certificates.database)
        if certificates.given is None:
            known.authorities = StoredAuthorities(certificates.journal, certificates.trust_domain)
        server.answer_debug(
            StreamAnswers(
                self.debug,
                known.clock,
                replica=self._settings.replica_id,
                version=self._parts.version,
                root_namespaces=self._root_namespaces,
            )
        )
        self.access.authenticate_with(certificates.authenticator_for(audiences_of(self._settings)))

    def _root_namespaces(self) -> frozenset[str]:
        """Return whose accounts see the whole mesh now: the control plane's, and the mesh's."""
        return frozenset({self._settings.system_namespace, *self._mesh.root_namespaces})


def audiences_of(settings: Settings) -> tuple[str, ...]:
    """Return whom tokens for the admin side are for: those of certificates, unless others are."""
    return tuple(_listed(settings.admin_audiences or settings.token_audiences))


def _listed(text: str) -> list[str]:
    return [entry for entry in map(str.strip, text.split(",")) if entry]


def _admin_token(settings: Settings) -> str:
    try:
        return load_admin_token(settings.data_dir)
    except AdminTokenError as error:
        raise StartupError(str(error)) from error
