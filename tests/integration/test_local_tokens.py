"""A token of our own, from its issuer to a discovery stream and a certificate on one TLS port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.authentication.local_issuer import LocalTokenReviews, TokenRequest, issue_token
from controlplane.ca.decisions import Decisions
from controlplane.ca.node_authorization import NodeSettings, ResidentAuthorizer
from controlplane.ca.profile import Profile
from controlplane.ca.service import METHOD, certificate_handlers
from controlplane.ca.service import SERVICE as CERTIFICATES
from controlplane.ca.ttl import LifetimePolicy
from controlplane.clock import SystemClock
from controlplane.manifests.reading import identity_of, read_documents
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name
from controlplane.pipeline.assembly import build_pipeline
from controlplane.pipeline.intake import input_of
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.residents import Residents
from controlplane.xds.identity import Access
from controlplane.xds.server import SERVICE, Listener, XdsServer
from controlplane.xds.settings import XdsSettings
from controlplane.xds.tls import HotCertificate
from tests.support.authentication import CLUSTER, an_authenticator, headers
from tests.support.authorities import a_snapshot
from tests.support.discovery import a_request as a_discovery_request
from tests.support.discovery import introduced
from tests.support.issuing import Desk, a_csr, a_request, chain_of

KEY = ec.generate_private_key(ec.SECP256R1())
TRUSTED = frozenset({Name("istio-system", "ztunnel")})
MANIFESTS = """
apiVersion: v1
kind: Pod
metadata: {name: ztunnel-a, namespace: istio-system, uid: uid-ztunnel-a}
spec: {nodeName: node-a, serviceAccountName: ztunnel}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop}
spec: {nodeName: node-a, serviceAccountName: cart}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    channel: Any
    mesh: Any
    residents: Residents


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    """Serve discovery and certificates for a mesh of two pods, as a process does."""
    clock = SystemClock()
    pipeline = build_pipeline(MeshSettings(expands=True))
    catalog, residents = Catalog(), Residents(clock)
    pipeline.publish_to(catalog)
    pipeline.publish_residents_to(residents)
    with pipeline.graph.transaction():
        for document in read_documents(MANIFESTS, None).documents:
            place = input_of(pipeline.inputs, identity_of(document.manifest))
            assert place is not None
            place[0].put(document.manifest)
        for source in (*pipeline.inputs.all(), pipeline.found_problems):
            source.mark_synced()

    def pod_uid(name: Name) -> str | None:
        pod = residents.pod(name)
        return None if pod is None else pod.uid

    authenticator = an_authenticator(LocalTokenReviews(KEY.public_key(), clock, pod_uid), clock)
    residents.on_gone(lambda uid: authenticator.forget_pod(CLUSTER, uid))
    desk = Desk(clock=clock, authenticator=authenticator, snapshot=a_snapshot(now=clock.now()))
    nodes = ResidentAuthorizer({CLUSTER: residents}, NodeSettings(trusted=TRUSTED), clock)
    desk.requests._decisions = Decisions(nodes, trust_domain="cluster.local")
    certificate, roots = await serving_certificate(desk)
    server = XdsServer(
        catalog,
        XdsSettings(),
        clock,
        access=Access(authenticator=authenticator, trusted=TRUSTED, residents={CLUSTER: residents}),
    )
    (port,) = await server.start(
        [Listener(address="localhost:0", certificate=certificate)],
        handlers=(certificate_handlers(desk.requests),),
    )
    credentials = grpc.ssl_channel_credentials(roots)
    try:
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            yield Served(channel=channel, mesh=pipeline, residents=residents)
    finally:
        await server.stop(0.1)


async def serving_certificate(desk: Desk) -> tuple[HotCertificate, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    ticket = desk.issuance.prepare(
        Profile.for_serving(("localhost",)),
        a_csr(None, key=key),
        lifetimes=LifetimePolicy(default=3600, jitter=0),
    )
    *links, roots = (await desk.issuance.sign(ticket)).certificates
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return HotCertificate("".join(links).encode(), private), roots.encode()


def metadata(node: str = "node-a", uid: str = "uid-ztunnel-a") -> Any:
    request = TokenRequest(
        account=Name("istio-system", "ztunnel"),
        audiences=("istio-ca",),
        lifetime=timedelta(hours=1),
        pod="ztunnel-a",
        pod_uid=uid,
        node=node,
    )
    token = issue_token(KEY, request, SystemClock())
    return tuple((key, values[0]) for key, values in headers(token).items())


async def certify(at: Served, credentials: Any) -> list[str]:
    call = at.channel.unary_unary(f"/{CERTIFICATES}/{METHOD}")
    return chain_of(await call(a_request(), metadata=credentials))


async def discover(at: Served, credentials: Any, node: str = "node-a") -> bytes:
    stream = at.channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")(metadata=credentials)
    first = introduced(a_discovery_request(), node_name=node)
    await stream.write(first.SerializeToString())
    body: bytes = await stream.read()
    return body


@pytest.mark.proves("AU-42", "AU-50", "AU-52")
@pytest.mark.parametrize("node", ["node-a", ""])
async def test_a_node_proxy_discovers_and_gets_certificates(node: str) -> None:
    async with served() as at:
        assert b"shop/cart-1" in await discover(at, metadata(node))
        assert len(await certify(at, metadata(node))) >= 2


@pytest.mark.refutes("AU-43", "AU-50", "AU-52")
async def test_tokens_of_other_pods_and_nodes_open_nothing() -> None:
    async with served() as at:
        for credentials, expected in (
            ((), grpc.StatusCode.UNAUTHENTICATED),
            (metadata(uid="another"), grpc.StatusCode.UNAUTHENTICATED),
            (metadata("node-b"), grpc.StatusCode.PERMISSION_DENIED),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await discover(at, credentials)
            assert caught.value.code() is expected
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await certify(at, credentials)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.proves("AU-33", "AU-43")
async def test_a_token_ends_with_its_pod() -> None:
    async with served() as at:
        credentials = metadata()
        await certify(at, credentials)
        with at.mesh.graph.transaction():
            at.mesh.inputs.pods.remove(Name("istio-system", "ztunnel-a"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await certify(at, credentials)
        assert caught.value.details() == "request authenticate failure"
