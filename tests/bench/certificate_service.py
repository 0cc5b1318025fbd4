"""The certificate service as a process has it: TLS, reviews over HTTP, residents, a ledger on disk.

Logs are written as JSON at level info, to a file; metrics are left out.
"""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stderr
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.authentication.authenticator import TokenAuthenticator
from controlplane.authentication.clusters import Clusters
from controlplane.authentication.review_client import HttpTokenReviews
from controlplane.authentication.token_review import TokenReviewer
from controlplane.ca.decisions import Decisions
from controlplane.ca.issuance import Issuance
from controlplane.ca.limits import Limits, RateLimits
from controlplane.ca.node_authorization import NodeSettings, ResidentAuthorizer
from controlplane.ca.observer import SilentObserver
from controlplane.ca.profile import Profile
from controlplane.ca.requests import CertificateRequests, RequestSettings
from controlplane.ca.service import certificate_handlers
from controlplane.ca.ttl import LifetimePolicy
from controlplane.clock import SystemClock
from controlplane.dataflow.collector import THRESHOLDS
from controlplane.logs import configure_logs
from controlplane.model.names import Name
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.residents import Residents
from controlplane.store.anchors import FileAnchors
from controlplane.store.ledger import Ledger
from controlplane.store.spool import Spool
from controlplane.xds.server import Listener, XdsServer
from controlplane.xds.settings import XdsSettings
from controlplane.xds.tls import HotCertificate
from tests.bench import certificate_fleet
from tests.support.authentication import AUDIENCES, CLUSTER
from tests.support.authorities import FixedSigner, a_snapshot
from tests.support.issuing import a_csr
from tests.support.ledger import KEY, migrated_sqlite

_PROXIES = Name("istio-system", "ztunnel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is running: its port, the root it is verified with, its parts."""

    port: int
    root_file: Path
    requests: CertificateRequests
    ledger: Ledger


@asynccontextmanager
async def served(
    folder: Path, *, reviews_port: int, nodes: int, limits: RateLimits | None = None
) -> AsyncIterator[Served]:
    """Serve the node proxies of so many nodes until the block is left."""
    clock = SystemClock()
    residents = Residents(clock)
    residents.stage((each.key, each) for each in certificate_fleet.residents(nodes))
    residents.publish()
    issuance = Issuance(
        FixedSigner(a_snapshot(now=clock.now())), clock, LifetimePolicy(), draw=lambda: 0.5
    )
    database = await migrated_sqlite(folder)
    ledger = Ledger(
        database=database,
        key=KEY,
        anchors=FileAnchors(folder, KEY),
        spool=Spool(folder),
        replica_id="replica-1",
        clock=clock,
    )
    reviews = HttpTokenReviews(f"http://127.0.0.1:{reviews_port}")
    reviewer = TokenReviewer(reviews, cluster=CLUSTER, audiences=AUDIENCES, clock=clock)
    numbers = count(1)
    requests = CertificateRequests(
        authenticator=TokenAuthenticator(
            {CLUSTER: reviewer},
            clusters=Clusters(primary=CLUSTER),
            audiences=AUDIENCES,
            clock=clock,
        ),
        limits=Limits(limits or RateLimits(), clock),
        decisions=Decisions(
            ResidentAuthorizer(
                {CLUSTER: residents}, NodeSettings(trusted=frozenset({_PROXIES})), clock
            ),
            trust_domain="cluster.local",
            node_accounts={_PROXIES},
        ),
        issuance=issuance,
        recorder=ledger,
        observer=SilentObserver(),
        clock=clock,
        settings=RequestSettings(),
        name_request=lambda: f"request-{next(numbers)}",
    )
    certificate, roots = await _serving_certificate(issuance)
    (folder / "root.pem").write_text(roots)
    server = XdsServer(Catalog(), XdsSettings(), clock)
    with (folder / "log").open("w") as log:
        with redirect_stderr(log):
            configure_logs(level="info", style="json")
        writing = asyncio.create_task(ledger.run())
        (port,) = await server.start(
            [Listener(address="127.0.0.1:0", certificate=certificate)],
            [certificate_handlers(requests)],
        )
        # As a server does once it is ready (controlplane.dataflow.collector).
        gc.set_threshold(*THRESHOLDS)
        gc.collect()
        gc.freeze()
        try:
            yield Served(port=port, root_file=folder / "root.pem", requests=requests, ledger=ledger)
        finally:
            await server.stop(1)
            await ledger.stop()
            await writing
            await reviews.close()
            await database.close()
            issuance.close()


async def _serving_certificate(issuance: Issuance) -> tuple[HotCertificate, str]:
    """Return a certificate of the service's own authority, and the roots."""
    key = ec.generate_private_key(ec.SECP256R1())
    ticket = issuance.prepare(
        Profile.for_serving(("localhost",)),
        a_csr(None, key=key),
        lifetimes=LifetimePolicy(default=3600, jitter=0),
    )
    *links, roots = (await issuance.sign(ticket)).certificates
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return HotCertificate("".join(links).encode(), private), roots
