"""The mesh as the admin side sees it: committed state in, frozen values out, a page at a time.

REST, the page and debug answers all read here, so that they cannot disagree. Every question takes
a ``Viewer`` and answers only what that one may see (docs/protocol/admin.md AM-n). Nothing here
holds up the event loop: lists are kept sorted by differences and looked at in slices.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Final

from controlplane.admin.errors import NotAllowedError
from controlplane.admin.queries import CertificateQuery
from controlplane.admin.reading.certificates import AuthorityReader, Certificates, LedgerReader
from controlplane.admin.reading.commits import CommitReader, Commits, KeptCommitReader
from controlplane.admin.reading.connections import Connections
from controlplane.admin.reading.findings import Findings
from controlplane.admin.reading.fleet import FleetNow, FleetReader, FleetReading
from controlplane.admin.reading.gateways import Gateways
from controlplane.admin.reading.ground import Ground, Origins
from controlplane.admin.reading.machinery import read_graph
from controlplane.admin.reading.nodes import Nodes
from controlplane.admin.reading.policies import Policies
from controlplane.admin.reading.services import Services
from controlplane.admin.reading.workloads import Workloads
from controlplane.admin.values.certificates import AuthoritiesValue, CertificateValue
from controlplane.admin.values.common import Page
from controlplane.admin.values.machinery import GraphValue
from controlplane.admin.viewer import Viewer
from controlplane.clock import Clock
from controlplane.model.connection import Connection
from controlplane.model.names import ServiceName
from controlplane.model.workload import Workload
from controlplane.pipeline.assembly import Pipeline
from controlplane.snapshots.catalog import Catalog

NOBODY: Final[Callable[[], Iterable[Connection]]] = tuple
"""The connections of a process that serves nobody."""


@dataclass(slots=True, kw_only=True)
class Knowledge:
    """What ``MeshView`` reads; parts that a process does not have, or not yet, are None.

    ``connections`` are those of this replica (``Fleet.each``), ``others`` knows those of other
    replicas, ``origins`` where objects were read (``Intake.origin``). ``scopes_to_nodes`` says
    that a node is sent only the policies it needs.
    """

    pipeline: Pipeline
    catalog: Catalog
    origins: Origins
    clock: Clock
    replica: str
    connections: Callable[[], Iterable[Connection]] = NOBODY
    others: FleetReader | None = None
    commits: CommitReader | None = None
    kept_commits: KeptCommitReader | None = None
    ledger: LedgerReader | None = None
    authorities: AuthorityReader | None = None
    scopes_to_nodes: bool = True


@dataclass(slots=True)
class MeshView:
    """Everything the admin side can tell. Construct it before the first commit: it follows all.

    ``instance`` is this process among all that ever had its name: commit numbers and entity tags
    of another are not comparable.
    """

    knowledge: Knowledge
    instance: str = field(default_factory=lambda: token_hex(6))
    workloads: Workloads = field(init=False)
    services: Services = field(init=False)
    policies: Policies = field(init=False)
    gateways: Gateways = field(init=False)
    findings: Findings = field(init=False)
    nodes: Nodes = field(init=False)
    connections: Connections = field(init=False)
    commits: Commits = field(init=False)
    _ground: Ground = field(init=False)
    _certificates: Certificates = field(init=False)

    def __post_init__(self) -> None:
        known = self.knowledge
        ground = self._ground = Ground(
            pipeline=known.pipeline,
            catalog=known.catalog,
            origins=known.origins,
            fleet=FleetReading(self._own, known.clock, others=lambda: known.others),
            scopes_to_nodes=known.scopes_to_nodes,
        )
        self.policies = Policies(ground)
        self.workloads = Workloads(ground, self.policies)
        self.services = Services(ground)
        self.gateways = Gateways(ground)
        self.findings = Findings(ground)
        self.nodes = Nodes(ground, self.workloads, self.services)
        self.connections = Connections(ground, replica=known.replica)
        self.commits = Commits(
            ground,
            self.connections,
            lambda: known.commits,
            replica=known.replica,
            kept=lambda: known.kept_commits,
        )
        self._certificates = Certificates(
            ledger=lambda: known.ledger, authorities=lambda: known.authorities
        )

    @property
    def commit(self) -> int:
        """Return the number of the current commit."""
        return self.knowledge.catalog.commit

    async def fleet(self) -> FleetNow:
        """Return the fleet as it was seen a moment ago; for nobody's eyes, but to see changes."""
        return await self._ground.fleet.now()

    def workloads_of(self, viewer: Viewer, service: ServiceName) -> list[Workload]:
        """Return the workloads of a service that the viewer may see, by uid."""
        workloads = self.knowledge.pipeline.world.workloads
        members = (workloads.get(uid) for uid in sorted(self._ground.residence.behind(service)))
        return [each for each in members if each is not None and viewer.may_see(each.namespace)]

    async def certificates(self, viewer: Viewer, query: CertificateQuery) -> Page[CertificateValue]:
        """Return rows of the ledger, newest first.

        Raises:
            BadCursorError: ``after`` is nothing this list gave out.
            NotKnownHereError: there is no ledger here.
            DatabaseError: the database is away.
        """
        return await self._certificates.page(viewer, query, commit=self.commit)

    async def certificates_on(self, viewer: Viewer, node: str) -> tuple[dict[str, Any], ...]:
        """Return the valid certificates asked for by a node, as a ztunnel's dump shows them.

        Empty where there is no ledger, or the database is away.
        """
        return await self._certificates.on_node(viewer, node, self.knowledge.clock.now())

    async def authorities(self, viewer: Viewer) -> AuthoritiesValue:
        """Return the authorities, for those who see the whole mesh.

        Raises:
            NotAllowedError: the viewer does not.
            NotKnownHereError: they are not kept here.
            DatabaseError: the database is away.
        """
        require_whole_mesh(viewer)
        return await self._certificates.authorities()

    def graph(self, viewer: Viewer) -> GraphValue:
        """Return the state of the graph, for those who see the whole mesh.

        Raises:
            NotAllowedError: the viewer does not.
        """
        require_whole_mesh(viewer)
        return read_graph(self._ground)

    def _own(self) -> Iterable[Connection]:
        # Asked for each time: a process serves nobody at first.
        return self.knowledge.connections()


def require_whole_mesh(viewer: Viewer) -> None:
    """Pass viewers of the whole mesh.

    Raises:
        NotAllowedError: the viewer sees one namespace only.
    """
    if not viewer.sees_all:
        raise NotAllowedError(
            f"this is about the whole mesh, and {viewer.name} may see the namespace "
            f"{viewer.namespace} only: ask as an account of the root namespace"
        )
