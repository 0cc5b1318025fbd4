"""Connections through a real Envoy: where TCPRoutes lead them, and what backends have to show."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from controlplane.lab.envoy import Envoy
from controlplane.lab.hbone import HboneClient, Waypoint
from controlplane.lab.hbone_errors import HboneError
from controlplane.lab.hbone_terminator import Terminator
from controlplane.manifests.connections import (
    AlternativeName,
    AuthorityReference,
    BackendReference,
    BackendTLSPolicy,
    ConnectionRoute,
    ConnectionRule,
    PolicyTarget,
)
from controlplane.manifests.core import ConfigMap
from controlplane.manifests.metadata import Manifest
from controlplane.model.route_parent import ParentReference
from controlplane.snapshots.scope import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE
from tests.e2e.waypoint.hand_written import ALICE, BACKEND, POD, VIP, WAYPOINT, hand_written
from tests.e2e.waypoint.test_data_path import ask
from tests.support.builders import (
    HBONE,
    a_pod,
    a_service,
    a_service_port,
    a_waypoint,
    some_metadata,
)
from tests.support.envoy_bed import GRPC_METHOD, Echo, some_applications
from tests.support.envoy_inline import WaypointResources, inlined
from tests.support.hbone_certificates import held
from tests.support.waypoint_snapshots import ON_ONE_MACHINE, Waypoints

BOUND = {"istio.io/use-waypoint": "waypoint"}
SECURE = "secure.example"
FIRST, SECOND = 9001, 9002
"""Target ports of the two services that bytes can go to."""


class Authority:
    """An authority that signs certificates of backends."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "backends")])
        self.certificate = self._signed(self.name, self.key, x509.BasicConstraints(True, None))

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def server(self, hostname: str, directory: Path) -> ssl.SSLContext:
        """Return what shows a certificate for ``hostname``."""
        file = directory / f"{hostname}.pem"
        file.write_bytes(b"".join(self.pair(hostname)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def pair(self, hostname: str) -> tuple[bytes, bytes]:
        """Return a certificate for ``hostname`` and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(hostname)])
        leaf = self._signed(x509.Name([]), key, names)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return leaf.public_bytes(Encoding.PEM), private

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(extension, critical=True)
            .sign(self.key, hashes.SHA256())
        )


def mesh(*more: Manifest) -> WaypointResources:
    """Return what a waypoint is sent that serves port 80 and two ports of bytes."""
    waypoints = Waypoints(settings=ON_ONE_MACHINE)
    waypoints.apply(
        a_waypoint("waypoint", "app"),
        a_service(
            "backend",
            "app",
            ips=[VIP],
            labels=BOUND,
            selector={"app": "backend"},
            ports=[
                a_service_port(80, name="http", target_port=8443),
                a_service_port(7070, name="grpc", target_port=7443),
                a_service_port(9000, name="tcp", target_port=FIRST),
            ],
        ),
        a_service(
            "other",
            "app",
            ips=["10.96.0.99"],
            labels=BOUND,
            selector={"app": "backend"},
            ports=[a_service_port(9000, name="tcp", target_port=SECOND)],
        ),
        a_pod("backend", "app", labels={"app": "backend"}, annotations=HBONE, ips=[POD]),
        *more,
    )
    (waypoint,) = waypoints.waypoints()
    found = {
        type_url: [
            {key: value for key, value in each.items() if key != "@type"}
            for each in waypoints.documents(type_url, waypoint).values()
        ]
        for type_url in (LISTENER_TYPE, CLUSTER_TYPE, ROUTE_TYPE, ENDPOINT_TYPE)
    }
    return WaypointResources(
        listeners=found[LISTENER_TYPE],
        clusters=found[CLUSTER_TYPE],
        routes=found[ROUTE_TYPE],
        endpoints=found[ENDPOINT_TYPE],
        secrets=hand_written().secrets,
    )


@asynccontextmanager
async def a_client(
    resources: WaypointResources,
    directory: Path,
    server: ssl.SSLContext | None = None,
    *,
    calls: int = 0,
) -> AsyncIterator[tuple[HboneClient, Terminator]]:
    """Run the waypoint in front of a pod whose port 8443 shows what ``server`` says."""
    async with AsyncExitStack() as stack:
        applications = await stack.enter_async_context(some_applications())
        leads_to: dict[str, Any] = {f"{POD}:{port}": applications.tcp for port in (FIRST, SECOND)}
        if calls:
            leads_to[f"{POD}:7443"] = ("127.0.0.1", calls)
        if server is not None:
            leads_to[f"{POD}:8443"] = await stack.enter_async_context(over_tls(server))
        terminator = await stack.enter_async_context(
            Terminator(
                held(BACKEND),
                admits=lambda peer: peer == WAYPOINT,
                application=leads_to.get,
                host=POD,
            )
        )
        bootstrap = inlined(resources, hbone_port=terminator.address[1])
        envoy = await stack.enter_async_context(Envoy(bootstrap, directory))
        host, port = await envoy.address("connect_terminate")
        way = Waypoint(host=host, port=port, identities={WAYPOINT})
        client = await stack.enter_async_context(HboneClient(way, held(ALICE)))
        yield client, terminator


@asynccontextmanager
async def over_tls(context: ssl.SSLContext) -> AsyncIterator[tuple[str, int]]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="checked")

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][:2]
    finally:
        await runner.cleanup()


def a_policy(hostname: str = SECURE, *names: AlternativeName, **options: Any) -> BackendTLSPolicy:
    return BackendTLSPolicy(
        metadata=some_metadata("secure", "app"),
        targets=(PolicyTarget("", "Service", "backend", "http"),),
        hostname=hostname,
        authorities=(AuthorityReference("", "ConfigMap", "roots"),),
        alternative_names=names,
        **options,
    )


def roots(pem: str) -> ConfigMap:
    return ConfigMap(metadata=some_metadata("roots", "app"), data={"ca.crt": pem})


@pytest.mark.proves("BT-1", "BT-10", "BT-11")
@pytest.mark.parametrize(
    "names", [(), (AlternativeName("Hostname", SECURE),)], ids=["hostname", "subjectAltNames"]
)
async def test_a_backend_that_shows_what_is_asked_for_is_spoken_to_over_tls(
    tmp_path: Path, names: tuple[AlternativeName, ...]
) -> None:
    authority = Authority()
    resources = mesh(roots(authority.pem), a_policy(SECURE, *names))
    async with a_client(resources, tmp_path, authority.server(SECURE, tmp_path)) as (client, _):
        answer = await ask(client)
    assert (answer.status_code, answer.text) == (200, "checked")


@pytest.mark.refutes("BT-1", "BT-10", "BT-11")
@pytest.mark.parametrize("wrong", ["authority", "name", "alternative name"])
async def test_a_backend_that_shows_anything_else_gets_nothing(tmp_path: Path, wrong: str) -> None:
    authority = Authority()
    trusted = Authority() if wrong == "authority" else authority
    shown = "other.example" if wrong == "name" else SECURE
    names = (AlternativeName("Hostname", "api.example"),) if wrong == "alternative name" else ()
    resources = mesh(roots(trusted.pem), a_policy(SECURE, *names))
    async with a_client(resources, tmp_path, authority.server(shown, tmp_path)) as (client, _):
        answer = await ask(client)
    assert answer.status_code == 503


@pytest.mark.proves("BT-9")
@pytest.mark.parametrize("found", [(), (roots("nothing"),)], ids=["missing", "unreadable"])
async def test_nothing_is_sent_where_an_authority_cannot_be_found(
    tmp_path: Path, found: tuple[ConfigMap, ...]
) -> None:
    authority = Authority()
    resources = mesh(*found, a_policy())
    async with a_client(resources, tmp_path, authority.server(SECURE, tmp_path)) as (client, node):
        assert (await ask(client)).status_code == 503
        assert list(node.accesses) == []


def a_route(**weights: int) -> ConnectionRoute:
    backends = tuple(
        BackendReference(name=name, port=9000, weight=weight) for name, weight in weights.items()
    )
    return ConnectionRoute(
        metadata=some_metadata("bytes", "app"),
        route_kind="TCPRoute",
        parents=(ParentReference("", "Service", "", "backend", port=9000),),
        rules=(ConnectionRule(backends),),
    )


async def landings(client: HboneClient, node: Terminator, count: int = 1) -> Mapping[int, int]:
    """Return how many of ``count`` connections came to which port; refused ones to 0."""
    for _ in range(count):
        try:
            stream = await client.open(f"{VIP}:9000")
            await stream.write(b"hello")
            await stream.read()
            stream.end()
        except HboneError:
            # It was closed: there is nothing behind it.
            continue
    found = [int(access.authority.rpartition(":")[2]) for access in node.accesses]
    return {FIRST: found.count(FIRST), SECOND: found.count(SECOND), 0: count - len(found)}


@pytest.mark.proves("CR-1", "CR-6")
async def test_connections_go_where_a_tcp_route_says(tmp_path: Path) -> None:
    async with a_client(mesh(a_route(other=1)), tmp_path) as (client, node):
        assert await landings(client, node, 3) == {FIRST: 0, SECOND: 3, 0: 0}


@pytest.mark.refutes("CR-1")
async def test_connections_go_to_the_service_without_a_route(tmp_path: Path) -> None:
    async with a_client(mesh(), tmp_path) as (client, node):
        assert await landings(client, node, 3) == {FIRST: 3, SECOND: 0, 0: 0}


@pytest.mark.proves("CR-7", "CR-8")
@pytest.mark.refutes("CR-6")
async def test_shares_are_kept_those_of_backends_that_cannot_be_too(tmp_path: Path) -> None:
    resources = mesh(a_route(other=50, missing=50, backend=0))
    async with a_client(resources, tmp_path) as (client, node):
        found = await landings(client, node, 60)
    assert found[FIRST] == 0
    assert 10 <= found[SECOND] <= 50
    assert found[SECOND] + found[0] == 60


@pytest.mark.refutes("CR-8")
async def test_without_any_weight_no_connection_is_opened(tmp_path: Path) -> None:
    async with a_client(mesh(a_route(other=0)), tmp_path) as (client, node):
        assert await landings(client, node, 2) == {FIRST: 0, SECOND: 0, 0: 2}


PLAIN = "127.0.1.77"


@pytest.mark.proves("WC-20")
async def test_pods_in_and_out_of_the_mesh_share_a_service(tmp_path: Path) -> None:
    """Both get connections, each the way it can be reached."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(100))
        writer.write(b"plain")
        writer.close()

    server = await asyncio.start_server(answer, PLAIN, FIRST)
    outside = a_pod("outside", "app", labels={"app": "backend"}, ips=[PLAIN])
    async with server, a_client(mesh(outside), tmp_path) as (client, node):
        # Of so many neither gets less than three, by chance, once in a hundred million times.
        found = await landings(client, node, 40)
    assert found[FIRST] + len(seen) == 40
    assert found[FIRST] >= 3
    assert len(seen) >= 3
    assert set(seen) == {b"hello"}


@pytest.mark.proves("BT-10")
async def test_calls_over_grpc_are_spoken_over_tls_too(tmp_path: Path) -> None:
    authority = Authority()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    chain, key = authority.pair(SECURE)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
    await server.start()
    policy = BackendTLSPolicy(
        metadata=some_metadata("calls", "app"),
        targets=(PolicyTarget("", "Service", "backend", "grpc"),),
        hostname=SECURE,
        authorities=(AuthorityReference("", "ConfigMap", "roots"),),
    )
    try:
        async with (
            a_client(mesh(roots(authority.pem), policy), tmp_path, calls=port) as (client, _),
            client.forwarded(f"{VIP}:7070") as way,
            grpc.aio.insecure_channel(
                f"{way.host}:{way.port}", options=[("grpc.enable_http_proxy", 0)]
            ) as channel,
        ):
            method = channel.unary_unary(
                GRPC_METHOD, request_serializer=None, response_deserializer=None
            )
            assert await method(b"said", timeout=5) == b"said"
    finally:
        await server.stop(grace=None)
