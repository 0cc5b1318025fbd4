"""The admin side of a mesh that is there: manifests, connected clients, a ledger, and a client."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from controlplane.admin.access import AccessSettings, AdminAccess
from controlplane.admin.api import AdminParts, admin_application, health_application
from controlplane.admin.limits import AdminLimits
from controlplane.admin.mesh_view import Knowledge, MeshView
from controlplane.admin.reading.certificates import Authorities
from controlplane.authentication.caller import Caller, Metadata
from controlplane.authentication.errors import Reason, UnauthenticatedError
from controlplane.insight.commits import CommitLog
from controlplane.logs import Level, LogLevel
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import Identity, identity_of, read_documents
from controlplane.mesh.settings import MeshSettings
from controlplane.metrics import Metrics
from controlplane.model.certificate import IssuedCertificate, RefusedRequest
from controlplane.model.names import ObjectReference
from controlplane.pipeline.assembly import Pipeline, build_pipeline
from controlplane.pipeline.intake import FoundProblems, input_of
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE
from controlplane.sources.paths import read_paths
from controlplane.sources.source import Origin
from controlplane.store.ledger_queries import LedgerFilter
from controlplane.store.ledger_rows import LedgerRow
from controlplane.xds.fleet import Fleet
from controlplane.xds.session import Origin as StreamOrigin
from controlplane.xds.session import Session
from controlplane.xds.settings import XdsSettings
from tests.support.discovery import FakeClock, a_request, acknowledge, introduced, taken

BOOKINFO = Path(__file__).parent.parent.parent / "examples" / "bookinfo"
ADMIN_TOKEN = "the-admin-token-of-the-tests"
REPLICA = "replica-1"
UNLIMITED = AdminLimits(requests_per_second=1e6, requests_at_once=1_000_000)
_ACCESS = AccessSettings(root_namespaces=lambda: {"istio-system"})


class KnownAccounts:
    """Authenticates ``Bearer NAMESPACE/ACCOUNT`` as that account, and nothing else."""

    async def authenticate(self, metadata: Metadata, peer: str) -> Caller:
        del peer
        values = metadata["authorization"]
        text = (values if isinstance(values, str) else values[0]).removeprefix("Bearer ")
        namespace, slash, account = text.partition("/")
        if not slash:
            raise UnauthenticatedError(Reason.REJECTED)
        return Caller(namespace=namespace, service_account=account, cluster="Kubernetes")


@dataclass
class HeldLedger:
    """A ledger in memory that answers as the one in a database does."""

    issued_rows: list[LedgerRow] = field(default_factory=list)
    refused_rows: list[LedgerRow] = field(default_factory=list)

    async def issued(self, wanted: LedgerFilter) -> Sequence[LedgerRow]:
        return self._newest(self.issued_rows, wanted)

    async def refused(self, wanted: LedgerFilter) -> Sequence[LedgerRow]:
        return self._newest(self.refused_rows, wanted)

    def add(self, *values: IssuedCertificate | RefusedRequest) -> None:
        for value in values:
            rows = self.issued_rows if isinstance(value, IssuedCertificate) else self.refused_rows
            rows.append(LedgerRow(replica_id=REPLICA, sequence=len(rows) + 1, value=value))

    @staticmethod
    def _newest(rows: list[LedgerRow], wanted: LedgerFilter) -> list[LedgerRow]:
        found = [
            row
            for row in reversed(rows)
            if wanted.before is None or row.sequence < wanted.before[1]
            if wanted.node is None or row.value.node == wanted.node
        ]
        return found[: wanted.limit]


@dataclass(frozen=True)
class HeldAuthorities:
    """Authorities in memory."""

    authorities: Authorities

    async def read(self) -> Authorities:
        return self.authorities


class HeldLogLevel(LogLevel):
    """A level that is nobody's: the logs of the tests stay as they are."""

    def __init__(self) -> None:
        self.told: list[tuple[Level, str]] = []

    @property
    def current(self) -> Level:
        return self.told[-1][0] if self.told else "info"

    def change(self, wanted: Level, *, by: str) -> None:
        self.told.append((wanted, by))


@dataclass
class AdminRig:
    """A pipeline, its catalog and commit log, open streams, and the admin side of all that."""

    clock: FakeClock = field(default_factory=FakeClock)
    settings: MeshSettings = field(default_factory=MeshSettings)
    pipeline: Pipeline = field(init=False)
    catalog: Catalog = field(default_factory=Catalog)
    ledger: HeldLedger = field(default_factory=HeldLedger)
    origins: dict[Identity, Origin] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    access: AccessSettings = field(default_factory=lambda: _ACCESS)
    log_level: HeldLogLevel = field(default_factory=HeldLogLevel)

    def __post_init__(self) -> None:
        self.pipeline = build_pipeline(self.settings)
        self.commits = CommitLog(self.catalog, self.clock, replica=REPLICA)
        self.pipeline.publish_to(self.catalog)
        self.pipeline.graph.on_commit(lambda _: self.commits.finished())
        self.fleet = Fleet(self.clock, replica=REPLICA)
        self.fleet.follow(self.commits.behind_since)
        self.commits.follow(self.fleet.followers)
        self.knowledge = Knowledge(
            pipeline=self.pipeline,
            catalog=self.catalog,
            origins=self.origin,
            clock=self.clock,
            replica=REPLICA,
            connections=self.fleet.each,
            commits=self.commits,
            ledger=self.ledger,
        )
        self.view = MeshView(self.knowledge)

    def origin(self, reference: ObjectReference) -> Origin | None:
        return next(
            (
                origin
                for (kind, key), origin in self.origins.items()
                if (kind, *key) == tuple(reference)
            ),
            None,
        )

    def apply(self, *manifests: Manifest | MeshConfig, origin: Origin | None = None) -> None:
        """Put objects in one commit."""
        with self.pipeline.graph.transaction():
            for manifest in manifests:
                identity = identity_of(manifest)
                place = input_of(self.pipeline.inputs, identity)
                assert place is not None, identity
                place[0].put(manifest)
                self.commits.arrived(ObjectReference(identity.kind, *identity.key))
                if origin is not None:
                    self.origins[identity] = origin
            for source in (*self.pipeline.inputs.all(), self.pipeline.found_problems):
                source.mark_synced()
            self.commits.batched()
        self.clock.time += 1

    def apply_text(self, text: str, file: str = "mesh.yaml") -> None:
        """Put what YAML says, and what is wrong with it."""
        reading = read_documents(text, file)
        self.apply(*(each.manifest for each in reading.documents), origin=Origin(file=file, line=1))
        if reading.problems:
            found = FoundProblems(file=file, problems=tuple(reading.problems))
            with self.pipeline.graph.transaction():
                self.pipeline.found_problems.put(found)

    def apply_paths(self, *paths: Path) -> None:
        """Put what files say."""
        loaded = read_paths(paths)
        self.apply(*(manifest for manifest, _ in loaded.objects))
        for manifest, origin in loaded.objects:
            self.origins[identity_of(manifest)] = origin

    def connect(
        self, node: str = "node-1", *, namespace: str = "istio-system", identity: str = ""
    ) -> Session:
        """Open the stream of a ztunnel and have it accept everything."""
        number = len(self.sessions) + 1
        session = Session(
            self.catalog,
            XdsSettings(replica=REPLICA),
            self.clock,
            origin=StreamOrigin(number=number, peer="ipv4:10.0.0.9:5", identity=identity),
        )
        self.sessions.append(session)
        self.fleet.add(session)
        session.receive(
            introduced(
                a_request(ADDRESS_TYPE),
                node_name=node,
                namespace=namespace,
                ISTIO_VERSION="1.30.0",
                CLUSTER_ID="Kubernetes",
            )
        )
        session.receive(a_request(AUTHORIZATION_TYPE))
        self.settle(session)
        return session

    def settle(self, *sessions: Session) -> None:
        """Have clients accept all they are sent."""
        for session in sessions or self.sessions:
            while found := taken(session):
                acknowledge(session, *found)
        self.clock.time += 1

    def refuse(self, session: Session, message: str) -> None:
        """Have a client refuse what it is sent."""
        for response in taken(session):
            request = a_request(response.type_url, nonce=response.nonce, error=message)
            session.receive(request)

    def parts(self, **changes: Any) -> AdminParts:
        parts = AdminParts(
            version="1.2.3",
            waiting_for=list,
            registry=Metrics("1.2.3").registry,
            view=self.view,
            access=AdminAccess(self.access, authenticator=KnownAccounts(), admin_token=ADMIN_TOKEN),
            limits=UNLIMITED,
            clock=self.clock,
            log_level=self.log_level,
        )
        return replace(parts, **changes)

    def application(self, **changes: Any) -> FastAPI:
        return admin_application(self.parts(**changes))

    def health(self, **changes: Any) -> FastAPI:
        return health_application(self.parts(**changes))


@asynccontextmanager
async def a_client(
    application: FastAPI,
    *,
    token: str = "",
    peer: str = "127.0.0.1",
    headers: Mapping[str, str] | None = None,
    base_url: str = "http://localhost:15014",
) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of ``application`` at the address ``peer``."""
    sent = dict(headers or {})
    if token:
        sent["authorization"] = f"Bearer {token}"
    transport = httpx.ASGITransport(application, client=(peer, 4711))
    async with httpx.AsyncClient(transport=transport, base_url=base_url, headers=sent) as client:
        yield client


def bookinfo(*, nodes: Iterable[str] = ("node-1", "node-2")) -> AdminRig:
    """Return the bookinfo mesh with a client on each of its nodes."""
    rig = AdminRig(settings=MeshSettings(expands=True))
    rig.apply_paths(BOOKINFO)
    for node in nodes:
        rig.connect(node)
    return rig
