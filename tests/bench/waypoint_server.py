"""A control plane for waypoints under load: everything a process has, without its authority.

Callers show the name of their pod as a token and are believed; keys are made for them as a process
makes them, under a root of the benchmark's own. What is sent and acknowledged is counted.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from controlplane.authentication.caller import Caller, Metadata
from controlplane.authentication.errors import Reason, UnauthenticatedError
from controlplane.ca.keyed_identity import KeyedIdentity, new_key
from controlplane.clock import SystemClock
from controlplane.dataflow.collector import tune_collector
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import identity_of
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name
from controlplane.pipeline.assembly import Pipeline, build_pipeline
from controlplane.pipeline.intake import input_of
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.residents import Residents
from controlplane.xds.identity import Access
from controlplane.xds.observer import SilentObserver
from controlplane.xds.response import Response
from controlplane.xds.server import Listener, XdsServer
from controlplane.xds.settings import XdsSettings
from controlplane.xds.tls import HotCertificate
from tests.bench.serving_certificate import ServingCertificate, make_serving_certificate

_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Built:
    """A pipeline that publishes to a catalog, and who the pods are."""

    pipeline: Pipeline
    catalog: Catalog
    residents: Residents


def build(manifests: Iterable[Manifest], *, shuffle: int | None = None) -> Built:
    """Return ``manifests`` committed in one transaction."""
    return fill(empty(shuffle=shuffle), manifests)


def empty(*, shuffle: int | None = None) -> Built:
    """Return a pipeline without manifests."""
    pipeline = build_pipeline(MeshSettings(waypoints_listen_on_pods=True), shuffle=shuffle)
    built = Built(pipeline, Catalog(), Residents(SystemClock()))
    pipeline.publish_to(built.catalog)
    pipeline.publish_residents_to(built.residents)
    pipeline.graph.time(time.perf_counter)
    tune_collector(pipeline.graph)
    return built


def fill(built: Built, manifests: Iterable[Manifest]) -> Built:
    """Commit ``manifests``; every source has delivered then."""
    inputs = built.pipeline.inputs
    with built.pipeline.graph.transaction():
        _put(built, manifests)
        for source in (*inputs.all(), built.pipeline.found_problems):
            source.mark_synced()
    return built


def put(built: Built, *manifests: Manifest) -> None:
    """Commit a change."""
    with built.pipeline.graph.transaction():
        _put(built, manifests)


def _put(built: Built, manifests: Iterable[Manifest]) -> None:
    for manifest in manifests:
        place = input_of(built.pipeline.inputs, identity_of(manifest))
        if place is None:
            raise AssertionError(f"{manifest.kind} is not read")
        place[0].put(manifest)


class Traffic(SilentObserver):
    """What was sent and acknowledged, by type of resource."""

    def __init__(self) -> None:
        self.sent_bytes: Counter[str] = Counter()
        self.sent_resources: Counter[str] = Counter()
        self.acknowledgements: Counter[str] = Counter()
        self.rejections: list[str] = []
        self.last_acknowledgement = 0.0
        self.heard = asyncio.Event()

    def reset(self) -> None:
        """Start over."""
        self.sent_bytes.clear()
        self.sent_resources.clear()
        self.acknowledgements.clear()

    def sent(self, client: int, response: Response) -> None:
        """Count it."""
        kind = short(response.type_url)
        self.sent_bytes[kind] += len(response.body)
        self.sent_resources[kind] += response.updated

    def acknowledged(self, client: int, type_url: str, commit: int, seconds: float) -> None:
        """Count it."""
        self.acknowledgements[short(type_url)] += 1
        self.last_acknowledgement = time.monotonic()
        self.heard.set()

    def rejected(self, client: int, type_url: str, names: tuple[str, ...], message: str) -> None:
        """Remember it: nothing here may be refused."""
        self.rejections.append(f"{names}: {message}")


def short(type_url: str) -> str:
    """Return a type as people call it: Cluster, ClusterLoadAssignment, ..."""
    return type_url.rpartition(".")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that waypoints can come to."""

    port: int
    certificate: ServingCertificate
    traffic: Traffic
    issuer: "Issuer"
    server: XdsServer


@asynccontextmanager
async def serving(built: Built, folder: Path) -> AsyncIterator[Served]:
    """Serve ``built`` over TLS on loopback until the block ends."""
    names = ("127.0.0.1", "localhost", "istiod.istio-system.svc")
    pair = make_serving_certificate(folder, names=names, now=datetime.now(UTC))
    traffic, issuer = Traffic(), Issuer(folder)
    server = XdsServer(
        built.catalog,
        XdsSettings(new_streams_per_second=10_000, new_streams_at_once=10_000),
        SystemClock(),
        access=Access(
            authenticator=_Believer(built.residents), residents={"Kubernetes": built.residents}
        ),
        secrets=issuer,
        observer=traffic,
    )
    certificate = HotCertificate(pair.chain, pair.key)
    (port,) = await server.start([Listener(address="127.0.0.1:0", certificate=certificate)])
    try:
        yield Served(port=port, certificate=pair, traffic=traffic, issuer=issuer, server=server)
    finally:
        await server.stop(1)


class Issuer:
    """Makes keys and certificates under the root of the server's own certificate."""

    def __init__(self, folder: Path) -> None:
        self._roots = (folder / "root-cert.pem").read_bytes()
        self._root = x509.load_pem_x509_certificate(self._roots)
        key = load_pem_private_key((folder / "root-key.pem").read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the root has another kind of key")
        self._key = key
        self.issued = 0

    async def issue_identity(self, caller: Caller, peer: str) -> KeyedIdentity:
        """Return a new key and its certificate."""
        key, request = new_key()
        now = datetime.now(UTC)
        identity = f"spiffe://cluster.local/ns/{caller.namespace}/sa/{caller.service_account}"
        leaf = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._root.subject)
            .public_key(x509.load_pem_x509_csr(request.encode()).public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=2))
            .not_valid_after(now + _LIFETIME)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]),
                critical=True,
            )
            .sign(self._key, hashes.SHA256())
        )
        self.issued += 1
        return KeyedIdentity(
            chain=leaf.public_bytes(Encoding.PEM),
            key=key,
            not_after=now + _LIFETIME,
            authority_id="bench",
        )

    def trusted_roots(self) -> bytes | None:
        """Return every trusted root."""
        return self._roots

    def authority_id(self) -> str:
        """Return which authority signs."""
        return "bench"

    def trust_another(self) -> None:
        """Trust one root more."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another root")])
        now = datetime.now(UTC)
        root = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=2))
            .not_valid_after(now + timedelta(days=365))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        self._roots += root.public_bytes(Encoding.PEM)


class _Believer:
    """Takes a token for the name of the pod that shows it."""

    def __init__(self, residents: Residents) -> None:
        self._residents = residents

    async def authenticate(self, metadata: Metadata, peer: str) -> Caller:
        """Return the pod."""
        (shown,) = metadata["authorization"]
        namespace, _, name = shown.removeprefix("Bearer ").partition("/")
        pod = self._residents.pod(Name(namespace, name))
        if pod is None:
            raise UnauthenticatedError(Reason.REJECTED)
        return Caller(
            namespace=pod.namespace,
            service_account=pod.service_account,
            cluster="Kubernetes",
            pod_name=pod.name,
            pod_uid=pod.uid,
        )
