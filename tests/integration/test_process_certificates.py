"""Certificates of the whole process: its own port, a node proxy's, and what must never leak."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpc.aio import AioRpcError, Metadata

from controlplane.app.errors import StartupError
from controlplane.app.process import Process
from controlplane.authentication.issuer_key import load_issuer_key
from controlplane.authentication.local_issuer import TokenRequest, issue_token
from controlplane.clock import SystemClock
from controlplane.lab.certificates import METHOD, RefusedError, fetch_certificate
from controlplane.lab.ztunnel.client import Target
from controlplane.logs import configure_logs
from controlplane.model.names import Name
from controlplane.model.resident import NodeAccount
from controlplane.pb import certificate_pb2
from controlplane.settings import Settings
from tests.support.authorities import a_key, a_root, an_authority

CART = "spiffe://cluster.local/ns/shop/sa/cart"
MANIFESTS = """
apiVersion: v1
kind: Node
metadata: {name: node-1}
---
apiVersion: v1
kind: Pod
metadata: {name: ztunnel-a, namespace: istio-system}
spec: {nodeName: node-1, serviceAccountName: ztunnel}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop}
spec: {nodeName: node-1, serviceAccountName: cart}
"""


@asynccontextmanager
async def running(folder: Path, **settings: str) -> AsyncIterator[Process]:
    (folder / "manifests").mkdir(exist_ok=True)
    (folder / "manifests" / "all.yaml").write_text(MANIFESTS)
    process = Process(
        Settings(
            files=folder / "manifests",
            data_dir=folder / "data",
            xds_port=0,
            admin_port=0,
            **settings,  # type: ignore[arg-type] # settings that are text
        )
    )
    committed = asyncio.Event()
    process.pipeline.graph.on_commit(lambda _: committed.set())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.run())
        await process.started.wait()
        try:
            while process.waiting_for():
                await committed.wait()
                committed.clear()
            yield process
        finally:
            process.stop()


def token_of(process: Process, *, audience: str = "istio-ca") -> str:
    (pod,) = process.residents.at(NodeAccount("node-1", "istio-system", "ztunnel"))
    request = TokenRequest(
        account=Name("istio-system", "ztunnel"),
        audiences=(audience,),
        lifetime=timedelta(hours=1),
        pod=pod.name,
        pod_uid=pod.uid,
        node="node-1",
    )
    return issue_token(load_issuer_key(process.settings.data_dir), request, SystemClock())


def target_of(process: Process) -> Target:
    return Target(
        address=f"localhost:{process.xds_port}",
        root_certificates=process.root_file.read_bytes(),
    )


async def test_a_client_that_knows_only_the_root_file_completes_a_handshake(tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(process.root_file)
        context.set_alpn_protocols(["h2"])
        _, writer = await asyncio.open_connection(
            "127.0.0.1",
            process.xds_port,
            ssl=context,
            server_hostname="istiod.istio-system.svc",
        )
        spoken = writer.get_extra_info("ssl_object")
        assert (spoken.version(), spoken.selected_alpn_protocol()) == ("TLSv1.3", "h2")
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_roots_outlast_a_restart_and_the_loss_of_the_database(tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        before = process.root_file.read_bytes()
    for path in (tmp_path / "data").glob("istiod-lite.db*"):
        path.unlink()
    async with running(tmp_path) as process:
        assert process.root_file.read_bytes() == before
        held = await fetch_certificate(target_of(process), CART, lambda: token_of(process))
        assert len(held.roots) == 1


async def test_both_orders_of_the_ledger_issue(tmp_path: Path) -> None:
    for mode in ("batched", "strict"):
        async with running(tmp_path, ledger=mode) as process:
            held = await fetch_certificate(target_of(process), CART, lambda: token_of(process))
            assert held.identity == CART


async def test_kinds_of_keys_and_a_passphrase_are_settings(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery staple")
    secret.chmod(0o600)
    given = {"authority_key_type": "P-384", "key_passphrase_file": str(secret)}
    async with running(tmp_path, **given) as process:
        held = await fetch_certificate(target_of(process), CART, lambda: token_of(process))
        key = held.chain[1].public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp384r1"
    secret.write_text("another passphrase altogether")
    with pytest.RaisesGroup(pytest.RaisesExc(StartupError, match="another secret")):
        async with running(tmp_path, **given):
            raise AssertionError


async def test_a_plugged_in_authority_signs_and_its_roots_are_written(tmp_path: Path) -> None:
    now = SystemClock().now()
    begins = now.replace(microsecond=0) - timedelta(hours=1)
    root = a_root(number=9, begins=begins)
    signing = an_authority(
        "plugged", key=a_key(number=900), parent=root, not_before=begins, life=timedelta(days=30)
    )
    folder = tmp_path / "cacerts"
    folder.mkdir()
    for name, text in {
        "ca-cert.pem": signing.pem,
        "ca-key.pem": signing.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode(),
        "cert-chain.pem": signing.pem,
        "root-cert.pem": root.pem,
    }.items():
        (folder / name).write_text(text)
    async with running(tmp_path, cacerts_dir=str(folder)) as process:
        assert process.root_file.read_text() == root.pem
        held = await fetch_certificate(target_of(process), CART, lambda: token_of(process))
        assert held.chain[1] == signing.certificate
    (folder / "ca-key.pem").unlink()
    with pytest.RaisesGroup(pytest.RaisesExc(StartupError, match=r"ca-key\.pem")):
        async with running(tmp_path, cacerts_dir=str(folder)):
            raise AssertionError


async def _send(process: Process, csr: str, token: str, identity: str) -> str:
    request = certificate_pb2.IstioCertificateRequest(csr=csr)
    request.metadata["ImpersonatedIdentity"] = identity
    async with target_of(process).channel() as channel:
        call = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        try:
            return repr(
                await call(
                    request.SerializeToString(),
                    metadata=Metadata(("authorization", f"Bearer {token}")),
                )
            )
        except AioRpcError as error:
            return f"{error.code()} {error.details()} {error.trailing_metadata()}"


@pytest.fixture
def _logs_as_they_were() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("_logs_as_they_were")
async def test_no_credential_key_or_csr_is_found_anywhere_afterwards(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logs(level="debug", style="json")
    canaries: set[str] = set()
    replies: list[str] = []
    async with running(tmp_path) as process:
        key = ec.generate_private_key(ec.SECP256R1())
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(CART)]), critical=True
            )
            .sign(key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
            .decode()
        )
        good = token_of(process)
        wrong = token_of(process, audience="api")
        forged = good[:-8] + "canaryAA"
        for token in (good, wrong, forged, "canary-token-without-shape", "a.b.canarysignature"):
            for body in (csr, csr.replace("MII", "canaryMII"), "canary-csr " * 20):
                replies += [
                    await _send(process, body, token, identity)
                    for identity in (CART, "canary-identity-that-is-a-secret", f"{CART}x")
                ]
            canaries.update(part for part in token.split(".") if len(part) > 16)
        canaries.update(line for line in csr.splitlines() if not line.startswith("---"))
        canaries |= {"canary-csr", "canaryMII", "canary-identity", "canarysignature"}
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        canaries.update(line for line in private.splitlines() if not line.startswith("---"))
        issuer = (process.settings.data_dir / "token-issuer.key").read_text()
        canaries.update(line for line in issuer.splitlines() if not line.startswith("---"))
        assert any("BEGIN CERTIFICATE" in reply for reply in replies)
        async with httpx.AsyncClient() as client:
            metrics = await client.get(f"http://127.0.0.1:{process.admin_port}/metrics")
        replies.append(metrics.text)
    said = capfd.readouterr()
    places = {
        "replies": "".join(replies),
        "logs": said.out + said.err,
        **{
            str(path.relative_to(tmp_path)): path.read_bytes().decode("latin-1")
            for path in sorted((tmp_path / "data").rglob("*"))
            if path.is_file() and path.name != "token-issuer.key"
        },
    }
    assert not any("INTERNAL" in reply for reply in replies)
    assert "certificate.issued" in places["logs"]
    assert "certificate.refused" in places["logs"]
    assert "data/istiod-lite.db" in places
    found = [
        f"{canary[:12]}... in {place}"
        for place, text in places.items()
        for canary in canaries
        if canary in text
    ]
    assert found == []
    assert re.search(r"-----BEGIN[A-Z ]*PRIVATE KEY", "".join(places.values())) is None


async def test_an_identity_of_another_node_is_refused_without_a_reason(tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        with pytest.raises(RefusedError) as refused:
            await fetch_certificate(
                target_of(process), CART.replace("cart", "other"), lambda: token_of(process)
            )
    assert str(refused.value) == "UNAUTHENTICATED: request impersonation authentication failure"
