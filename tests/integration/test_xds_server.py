"""The server over real connections: TLS, pings, bursts, drain, slow readers, garbage."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from controlplane.authentication.caller import Caller, Metadata
from controlplane.authentication.errors import Reason, UnauthenticatedError
from controlplane.clock import SystemClock
from controlplane.model.names import Name
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE
from controlplane.xds.debug import DebugQuestion
from controlplane.xds.errors import ListenError
from controlplane.xds.identity import Access
from controlplane.xds.observer import SilentObserver
from controlplane.xds.server import SERVICE, Listener, XdsServer
from controlplane.xds.settings import XdsSettings
from controlplane.xds.tls import HotCertificate
from tests.support.discovery import (
    ModelClient,
    a_catalog,
    a_policy,
    a_request,
    a_workload,
    introduced,
    put,
)
from tests.support.lab_sockets import all_closed
from tests.support.shown_certificate import shown_certificate

EOF: Any = grpc.aio.__dict__["EOF"]  # the type stubs lack it
POD = a_workload("c//Pod/ns/a")
DELTA = f"/{SERVICE}/DeltaAggregatedResources"


@dataclass(frozen=True, slots=True)
class Pair:
    chain: bytes
    key: bytes


def a_certificate(common_name: str = "one") -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


@asynccontextmanager
async def serving(
    catalog: Catalog,
    *,
    pair: Pair | None = None,
    certificate: HotCertificate | None = None,
    settings: XdsSettings | None = None,
    **options: Any,
) -> AsyncIterator[tuple[XdsServer, int]]:
    server = XdsServer(catalog, settings or XdsSettings(), SystemClock(), **options)
    if pair is not None:
        certificate = HotCertificate(pair.chain, pair.key)
    (port,) = await server.start([Listener(address="localhost:0", certificate=certificate)])
    try:
        yield server, port
    finally:
        await server.stop(0.2)


@asynccontextmanager
async def connected(
    port: int, pair: Pair | None = None, *, pings: dict[str, int] | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    arguments = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
        *(pings or {}).items(),
    ]
    target = f"localhost:{port}"
    if pair is None:
        channel = grpc.aio.insecure_channel(target, options=arguments)
    else:
        credentials = grpc.ssl_channel_credentials(pair.chain)
        channel = grpc.aio.secure_channel(target, credentials, options=arguments)
    async with channel:
        yield channel


def stream_of(channel: Any, method: str = DELTA, **metadata: str) -> Any:
    """Open a stream of bytes; the channel is Any because stubs demand serializers."""
    return channel.stream_stream(method)(metadata=tuple(metadata.items()) or None)


class Proxy:
    """A model client on one stream."""

    def __init__(self, channel: grpc.aio.Channel, model: ModelClient | None = None) -> None:
        self.model = model or ModelClient()
        self.stream = stream_of(channel)

    async def open(self, **node: str) -> None:
        for request in self.model.requests(**node):
            await self.stream.write(request.SerializeToString())

    async def step(self) -> Any:
        """Apply and acknowledge one response."""
        body = await self.stream.read()
        assert body is not EOF
        acknowledgement = self.model.apply(body)
        await self.stream.write(acknowledgement.SerializeToString())
        return self.model.responses[-1]

    async def until(self, type_url: str, name: str) -> None:
        while name not in self.model.held[type_url]:
            await self.step()


async def failure(stream: Any) -> tuple[grpc.StatusCode, str]:
    async def read_to_the_end() -> None:
        while await stream.read() is not EOF:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await read_to_the_end()
    return raised.value.code(), raised.value.details() or ""


@pytest.mark.proves("XDS-1")
async def test_a_mesh_arrives_over_tls_and_follows_changes_and_a_reconnect_resumes() -> None:
    catalog = a_catalog(POD, policies=[a_policy("ns/p")])
    pair = a_certificate()
    async with serving(catalog, pair=pair) as (server, port), connected(port, pair) as channel:
        proxy = Proxy(channel)
        await proxy.open()
        assert [(await proxy.step()).type_url for _ in range(2)] == [
            AUTHORIZATION_TYPE,
            ADDRESS_TYPE,
        ]
        put(catalog, a_workload("c//Pod/ns/b"))
        await proxy.until(ADDRESS_TYPE, "c//Pod/ns/b")
        assert [each.kind for each in server.fleet.connections()] == ["ztunnel"]
        proxy.stream.cancel()
        again = Proxy(channel, proxy.model)
        await again.open()
        answers = [await again.step(), await again.step()]
        assert [len(each.resources) + len(each.removed_resources) for each in answers] == [0, 0]


@pytest.mark.refutes("XDS-1")
async def test_state_of_the_world_is_unimplemented_in_words() -> None:
    async with serving(a_catalog()) as (_, port), connected(port) as channel:
        code, text = await failure(stream_of(channel, f"/{SERVICE}/StreamAggregatedResources"))
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert "DeltaAggregatedResources" in text


async def refusal(channel: grpc.aio.Channel, first: bytes, **metadata: str) -> Any:
    stream = stream_of(channel, **metadata)
    await write_if_open(stream, first)
    return await failure(stream)


async def write_if_open(stream: Any, message: bytes) -> None:
    """Write to a stream that the server may have ended before it read anything."""
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await stream.write(message)


@pytest.mark.refutes("XDS-18")
async def test_garbage_ends_its_stream_with_invalid_argument_and_no_other() -> None:
    async with serving(a_catalog(POD)) as (_, port), connected(port) as channel:
        proxy = Proxy(channel)
        await proxy.open()
        for garbage in (b"\xff\xff\xff", b"\x0a\xff", b"\x0a" * 600_000):
            code, _ = await refusal(channel, garbage)
            assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert (await refusal(channel, b""))[1] == "missing node information"
        await proxy.until(ADDRESS_TYPE, POD.name)


@pytest.mark.proves("XDS-18")
async def test_a_request_of_several_megabytes_is_a_request() -> None:
    known = {f"cluster//Pod/namespace/some-pod-{n}": f"{n:016x}" for n in range(100_000)}
    async with serving(a_catalog(POD)) as (_, port), connected(port) as channel:
        stream = stream_of(channel)
        request = introduced(a_request(known=known), kind="waypoint").SerializeToString()
        assert len(request) > 5_000_000
        await stream.write(request)
        response = ModelClient(watches_policies=False)
        response.apply(await stream.read())
        assert len(response.responses[0].removed_resources) == 100_000


class Badge:
    """Lets in whoever names a namespace."""

    async def authenticate(self, metadata: Metadata, peer: str) -> Caller:
        assert peer
        named = metadata.get("authorization", ())
        if not named:
            raise UnauthenticatedError(Reason.NO_CREDENTIALS)
        return Caller(namespace=named[0], service_account="ztunnel", cluster="c", node_name="n")


@pytest.mark.proves("XDS-3")
async def test_authenticated_callers_are_let_in() -> None:
    pair = a_certificate()
    access = Access(authenticator=Badge(), trusted=frozenset({Name("istio-system", "ztunnel")}))
    async with (
        serving(a_catalog(POD), pair=pair, access=access) as (_, port),
        connected(port, pair) as channel,
    ):
        stream = stream_of(channel, authorization="istio-system")
        for type_url in (ADDRESS_TYPE, AUTHORIZATION_TYPE):
            first = introduced(a_request(type_url), node_name="n")
            await stream.write(first.SerializeToString())
        assert await stream.read() is not EOF


@pytest.mark.refutes("XDS-3")
async def test_nobody_and_somebody_else_are_refused() -> None:
    first = introduced(a_request()).SerializeToString()
    pair = a_certificate()
    async with (
        serving(a_catalog(POD), pair=pair, access=Access(authenticator=Badge())) as (_, port),
        connected(port, pair) as channel,
    ):
        assert (await refusal(channel, first)) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "request authenticate failure",
        )
        code, text = await refusal(channel, first, authorization="default")
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert text.startswith("authorization failed")


@pytest.mark.proves("XDS-4")
async def test_streams_are_refused_until_the_mesh_is_loaded() -> None:
    reasons: list[str | None] = ["pods are not loaded"]
    first = introduced(a_request(), kind="waypoint").SerializeToString()
    async with (
        serving(a_catalog(POD), ready=lambda: reasons[0]) as (_, port),
        connected(port) as channel,
    ):
        code, text = await refusal(channel, first)
        assert (code, text) == (grpc.StatusCode.UNAVAILABLE, "not ready: pods are not loaded")


@pytest.mark.refutes("XDS-4")
async def test_streams_are_let_in_once_the_mesh_is_loaded() -> None:
    reasons: list[str | None] = ["pods are not loaded"]
    async with (
        serving(a_catalog(POD), ready=lambda: reasons[0]) as (_, port),
        connected(port) as channel,
    ):
        reasons[0] = None
        proxy = Proxy(channel)
        await proxy.open()
        await proxy.until(ADDRESS_TYPE, POD.name)


@pytest.mark.proves("XDS-5")
@pytest.mark.refutes("XDS-5")
async def test_streams_beyond_the_rate_are_refused_and_those_within_are_not() -> None:
    settings = XdsSettings(new_streams_per_second=0.001, new_streams_at_once=2)
    first = introduced(a_request(), kind="waypoint").SerializeToString()
    async with serving(a_catalog(POD), settings=settings) as (_, port), connected(port) as channel:
        for _ in range(2):
            stream = stream_of(channel)
            await stream.write(first)
            assert await stream.read() is not EOF
        assert (await refusal(channel, first))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


@asynccontextmanager
async def from_another_address(port: int) -> AsyncIterator[int]:
    """Yield a port whose connections reach ``port`` from an address of their own."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    relaying: list[asyncio.Task[None] | None] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relaying.append(asyncio.current_task())
        with closing(writer):
            own = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.66", 0))
            async with asyncio.TaskGroup() as group:
                group.create_task(copy(reader, own[1]))
                group.create_task(copy(own[0], writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        # gRPC closes connections when the last of their calls is forgotten, which may be late: what
        # is open when a loop is closed is a warning in some later test.
        tasks = [task for task in relaying if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await all_closed()


@pytest.mark.proves("XDS-21")
@pytest.mark.parametrize("method", [DELTA, f"/{SERVICE}/StreamAggregatedResources"])
async def test_who_is_refused_at_full_speed_keeps_no_proxy_out(method: str) -> None:
    pair = a_certificate()
    access = Access(authenticator=Badge(), trusted=frozenset({Name("istio-system", "ztunnel")}))
    settings = XdsSettings(new_streams_per_second=1, new_streams_at_once=30)
    async with serving(a_catalog(POD), pair=pair, access=access, settings=settings) as (
        server,
        port,
    ):
        server.answer_debug(NoAnswers())
        async with (
            from_another_address(port) as attacked,
            connected(attacked, pair) as attacking,
            connected(port, pair) as channel,
        ):
            codes = [
                (await failure(stream_of(attacking, method)))[0]
                for _ in range(3 * settings.new_streams_at_once)
            ]
            stream = stream_of(channel, authorization="istio-system")
            for type_url in (ADDRESS_TYPE, AUTHORIZATION_TYPE):
                first = introduced(a_request(type_url), node_name="n")
                await stream.write(first.SerializeToString())
            assert await stream.read() is not EOF
    assert codes[0] is grpc.StatusCode.UNAUTHENTICATED
    assert codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED


class NoAnswers:
    """Knows no answer."""

    identifier = ""

    async def answer(self, question: DebugQuestion, caller: Caller | None) -> Sequence[bytes]:
        raise AssertionError(question, caller)


@pytest.mark.proves("XDS-6")
async def test_a_client_that_pings_an_idle_stream_stays_connected() -> None:
    catalog = a_catalog(POD)
    pings = {
        "grpc.keepalive_time_ms": 1000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 0,
        "grpc.http2.min_time_between_pings_ms": 100,
    }
    async with serving(catalog) as (_, port), connected(port, pings=pings) as channel:
        proxy = Proxy(channel)
        await proxy.open()
        await proxy.until(ADDRESS_TYPE, POD.name)
        # Real time: only the ping clocks of both gRPC cores can show this.
        quiet = asyncio.ensure_future(proxy.stream.read())
        _, pending = await asyncio.wait({quiet}, timeout=5.0)
        assert pending == {quiet}
        put(catalog, a_workload("c//Pod/ns/b"))
        proxy.model.apply(await quiet)
        assert "c//Pod/ns/b" in proxy.model.held[ADDRESS_TYPE]


@pytest.mark.refutes("XDS-6")
async def test_default_options_would_have_ended_that_connection() -> None:
    """Without our options a server answers too many pings with GOAWAY: the trap is real."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])

    async def idle(_: object, context: Any) -> None:
        while await context.read() is not EOF:
            pass

    handler = grpc.stream_stream_rpc_method_handler(idle)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"DeltaAggregatedResources": handler}),)
    )
    port = server.add_insecure_port("localhost:0")
    await server.start()
    pings = {
        "grpc.keepalive_time_ms": 1000,
        "grpc.http2.max_pings_without_data": 0,
        "grpc.http2.min_time_between_pings_ms": 100,
    }
    try:
        async with connected(port, pings=pings) as channel:
            stream = stream_of(channel)
            await stream.write(b"")
            code, text = await failure(stream)
    finally:
        await server.stop(0)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "too_many_pings" in text or "Too many pings" in text


@pytest.mark.timeout(60)
async def test_a_burst_of_new_streams_is_served_whole() -> None:
    settings = XdsSettings(new_streams_at_once=3000)
    first = introduced(a_request(), kind="waypoint").SerializeToString()

    async def open_one(channel: grpc.aio.Channel) -> bool:
        stream = stream_of(channel)
        await stream.write(first)
        return await stream.read() is not EOF

    async with serving(a_catalog(POD), settings=settings) as (_, port), connected(port) as channel:
        answered = await asyncio.gather(*(open_one(channel) for _ in range(1500)))
    assert sum(answered) == 1500


@pytest.mark.proves("XDS-16")
async def test_shutting_down_ends_streams_without_an_error() -> None:
    async with serving(a_catalog(POD)) as (server, port), connected(port) as channel:
        proxy = Proxy(channel)
        await proxy.open()
        await proxy.until(ADDRESS_TYPE, POD.name)
        stopping = asyncio.create_task(server.stop(5))
        assert await proxy.stream.read() is EOF
        assert await proxy.stream.code() is grpc.StatusCode.OK
        await stopping
        assert len(server.fleet) == 0


@pytest.mark.refutes("XDS-16")
async def test_streams_stay_open_while_nobody_shuts_down() -> None:
    catalog = a_catalog(POD)
    async with serving(catalog) as (_, port), connected(port) as channel:
        proxy = Proxy(channel)
        await proxy.open()
        await proxy.until(ADDRESS_TYPE, POD.name)
        reading = asyncio.ensure_future(proxy.stream.read())
        await asyncio.wait({reading}, timeout=0.3)
        assert not reading.done()
        put(catalog, a_workload("c//Pod/ns/b"))
        assert await reading is not EOF


async def test_streams_end_at_their_age_and_the_client_resumes() -> None:
    settings = XdsSettings(connection_age=0.2, tick=0.02)
    async with serving(a_catalog(POD), settings=settings) as (_, port), connected(port) as channel:
        model, is_held = ModelClient(), False
        # A busy machine may take longer for the first answer than a stream lasts here: the client
        # comes again until it holds everything, and once more with that.
        while not is_held:
            is_held = POD.name in model.held[ADDRESS_TYPE]
            told = len(model.responses)
            proxy = Proxy(channel, model)
            for request in model.requests():
                await write_if_open(proxy.stream, request.SerializeToString())
            while (body := await proxy.stream.read()) is not EOF:
                await write_if_open(proxy.stream, model.apply(body).SerializeToString())
            assert await proxy.stream.code() is grpc.StatusCode.OK
        assert not [name for each in model.responses[told:] for name in each.resources]


class Farewells(SilentObserver):
    """Hears the first stream end."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.reason = ""

    def disconnected(self, client: int, reason: str) -> None:
        if not self.heard.is_set():
            self.reason = reason
            self.heard.set()


@pytest.mark.timeout(60)
async def test_a_client_that_never_reads_is_closed_and_others_do_not_notice() -> None:
    pods = [a_workload(f"c//Pod/ns/{n}", padding="x" * 100_000) for n in range(200)]
    catalog = a_catalog(*pods)
    # Long enough for a busy machine to read and acknowledge the 20 MB that everybody is sent.
    settings = XdsSettings(acknowledgement_timeout=4.0, tick=0.05, first_syncs_at_once=1)
    observer = Farewells()
    async with (
        serving(catalog, settings=settings, observer=observer) as (server, port),
        connected(port) as channel,
    ):
        stuck = stream_of(channel)
        await stuck.write(introduced(a_request(), kind="waypoint").SerializeToString())
        async with connected(port) as other:
            proxy = Proxy(other)
            await proxy.open()
            await proxy.until(ADDRESS_TYPE, pods[-1].name)
            put(catalog, POD)
            await proxy.until(ADDRESS_TYPE, POD.name)
            await observer.heard.wait()
            assert observer.reason == "nothing acknowledged for too long"
            assert [each.kind for each in server.fleet.connections()] == ["ztunnel"]
        stuck.cancel()


async def certificate_of(port: int) -> str:
    subject = (await shown_certificate("localhost", port)).subject
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


@pytest.mark.proves("XDS-17")
async def test_a_replaced_certificate_is_served_to_new_connections(tmp_path: Path) -> None:
    one, two = a_certificate("one"), a_certificate("two")
    chain, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    chain.write_bytes(one.chain)
    key.write_bytes(one.key)
    certificate = HotCertificate.from_files(chain, key)
    async with serving(a_catalog(), certificate=certificate) as (_, port):
        assert await certificate_of(port) == "one"
        key.write_bytes(two.key)
        chain.write_bytes(two.chain)
        assert await certificate_of(port) == "two"


@pytest.mark.refutes("XDS-17")
async def test_a_pair_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    one, two = a_certificate("one"), a_certificate("two")
    chain, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    chain.write_bytes(one.chain)
    key.write_bytes(one.key)
    certificate = HotCertificate.from_files(chain, key)
    async with serving(a_catalog(), certificate=certificate) as (_, port):
        chain.write_bytes(two.chain)
        assert await certificate_of(port) == "one"
        key.unlink()
        assert await certificate_of(port) == "one"
        with pytest.raises(ListenError, match="does not belong"):
            certificate.replace(two.chain, one.key)


@pytest.mark.proves("XDS-19")
async def test_unauthenticated_listeners_stay_on_loopback() -> None:
    server = XdsServer(a_catalog(), XdsSettings(), SystemClock())
    for address in ("0.0.0.0:0", "[::]:0", "10.0.0.1:0", "somewhere:0"):
        with pytest.raises(ListenError, match="nobody is authenticated"):
            await server.start([Listener(address=address)])


class Ports:
    """Opens nothing."""

    def add_secure_port(self, address: str, _: object) -> int:
        assert address == "0.0.0.0:15012"
        return 15012


@pytest.mark.refutes("XDS-19")
async def test_authenticated_listeners_may_be_reached_from_outside() -> None:
    access = Access(authenticator=Badge())
    server = XdsServer(a_catalog(), XdsSettings(), SystemClock(), access=access)
    ports: Any = Ports()
    pair = a_certificate()
    certificate = HotCertificate(pair.chain, pair.key)
    listener = Listener(address="0.0.0.0:15012", certificate=certificate)
    assert server._listen(ports, listener) == 15012


@pytest.mark.proves("XDS-19")
@pytest.mark.refutes("AU-54")
async def test_plaintext_listeners_may_not_even_where_others_are_authenticated() -> None:
    access = Access(authenticator=Badge())
    server = XdsServer(a_catalog(), XdsSettings(), SystemClock(), access=access)
    with pytest.raises(ListenError, match="nobody is authenticated"):
        await server.start([Listener(address="0.0.0.0:0")])


@pytest.mark.proves("AU-54")
async def test_callers_of_a_plaintext_port_on_loopback_are_not_authenticated() -> None:
    async with (
        serving(a_catalog(POD), access=Access(authenticator=Badge())) as (_, port),
        connected(port) as channel,
    ):
        stream = stream_of(channel)
        await stream.write(introduced(a_request()).SerializeToString())
        assert await stream.read() is not EOF


async def test_a_port_that_is_taken_is_said_to_be() -> None:
    async with serving(a_catalog()) as (_, port):
        server = XdsServer(a_catalog(), XdsSettings(), SystemClock())
        with pytest.raises(ListenError, match="cannot listen"):
            await server.start([Listener(address=f"localhost:{port}")])
