"""Requests through a real Envoy: who gets through, what the destination sees, what is refused."""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import grpc.aio
import httpx
import pytest

from controlplane.lab.envoy import EnvoyOptions
from controlplane.lab.hbone import HboneClient
from controlplane.lab.hbone_errors import ConnectRefusedError, HandshakeError, HboneError
from tests.e2e.waypoint.hand_written import ALICE, BACKEND, HOST, NEAR, POD, VIP, WAYPOINT
from tests.support.envoy_bed import GRPC_METHOD, Bed, a_bed
from tests.support.envoy_inline import WaypointResources
from tests.support.hbone_certificates import an_identity, held, of_a_stranger

# No TLS to the tunnel, so no roots: reading those of the machine takes longer than a request.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
BOB = an_identity("bob", "client")
FOREIGN = an_identity("alice", "client", "elsewhere.example")
LOOKALIKES = (
    an_identity("alice2", "client"),
    an_identity("alic", "client"),
    an_identity("alice", "client2"),
    an_identity("alice", "app"),
)


async def ask(
    client: HboneClient,
    path: str = "/",
    *,
    method: str = "GET",
    authority: str = f"{VIP}:80",
    headers: Mapping[str, str] | None = None,
    http2: bool = False,
) -> httpx.Response:
    """Send one request through a tunnel of its own."""
    async with (
        client.forwarded(authority) as way,
        httpx.AsyncClient(
            base_url=way.url,
            verify=PLAIN,
            trust_env=False,
            http1=not http2,
            http2=http2,
            timeout=5.0,
        ) as http,
    ):
        return await http.request(method, path, headers=dict(headers or {}))


@pytest.mark.parametrize("authority", [f"{VIP}:80", f"{HOST}:80"])
@pytest.mark.parametrize("http2", [False, True])
async def test_alice_gets_through_and_the_destination_sees_the_waypoint(
    bed: Bed, authority: str, http2: bool
) -> None:
    async with bed.client(ALICE) as alice:
        answer = await ask(alice, "/hello?x=1", authority=authority, http2=http2)
    assert (answer.status_code, answer.text) == (200, "/hello")
    assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    (access,) = bed.terminator.accesses
    line = access.line()
    assert line["src.identity"] == WAYPOINT
    assert line["dst.hbone_addr"] == f"{POD}:8080"
    assert (line["direction"], line["response_code"]) == ("inbound", 200)
    (request,) = bed.applications.requests
    assert "x-forwarded-client-cert" not in {name.lower() for name in request}


async def test_who_is_not_allowed_is_denied_on_every_path(bed: Bed) -> None:
    for identity in (BOB, *LOOKALIKES):
        async with bed.client(identity) as client:
            for path in ("/", "/hello", "/near"):
                assert (await ask(client, path)).status_code == 403, (identity, path)
    assert bed.applications.requests == []


async def test_deny_wins_and_the_method_counts(bed: Bed) -> None:
    async with bed.client(ALICE) as alice:
        assert (await ask(alice, "/admin/x")).status_code == 403
        assert (await ask(alice, "/x/../admin/x")).status_code == 403
        assert (await ask(alice, "/", method="POST")).status_code == 403
        assert (await ask(alice, "/")).status_code == 200


@pytest.mark.parametrize("name", ["x-forwarded-for", "x-envoy-external-address", "forwarded"])
async def test_the_source_address_is_the_connection_s_and_no_header_changes_it(
    bed: Bed, name: str
) -> None:
    forged = {name: f"for={NEAR}" if name == "forwarded" else NEAR}
    away = {name: "for=192.0.2.1" if name == "forwarded" else "192.0.2.1"}
    async with bed.client(BOB) as far, bed.client(BOB, source=NEAR) as near:
        assert (await ask(far, "/near", headers=forged)).status_code == 403
        assert (await ask(near, "/near")).status_code == 200
        assert (await ask(near, "/near", headers=away)).status_code == 200
        assert (await ask(near, "/")).status_code == 403


async def test_only_certificates_of_the_mesh_get_a_connection(bed: Bed) -> None:
    expired = held(ALICE, begins=timedelta(hours=-1), life=timedelta(minutes=30))
    for who in (FOREIGN, of_a_stranger(ALICE), expired):
        with pytest.raises(HandshakeError):
            async with bed.client(who):
                pass
    with pytest.raises(HandshakeError):
        async with bed.client(ALICE, shows_certificate=False):
            pass
    refused = await bed.envoy.stats("ssl.fail_verify")
    listener = {name.rpartition(".")[2]: value for name, value in refused.items() if value}
    assert listener["fail_verify_san"] == 1  # The right root, the wrong trust domain.
    assert listener["fail_verify_error"] == 2
    assert listener["fail_verify_no_cert"] == 1
    async with bed.client(ALICE) as alice:
        assert (await ask(alice)).status_code == 200


async def test_a_client_turns_away_from_another_waypoint(bed: Bed) -> None:
    bed.waypoint.identities.clear()  # type: ignore[attr-defined] # a set, as the bed made it
    with pytest.raises(HandshakeError, match=f"the waypoint is {WAYPOINT}"):
        async with bed.client(ALICE):
            pass


@pytest.mark.parametrize(
    "authority", ["10.96.0.11:80", f"{VIP}:81", f"{POD}:8080", "other.app.svc.cluster.local:80"]
)
async def test_a_tunnel_to_what_the_waypoint_does_not_serve_is_refused(
    bed: Bed, authority: str
) -> None:
    async with bed.client(ALICE) as alice:
        with pytest.raises(ConnectRefusedError) as refused:
            await alice.open(authority)
        assert refused.value.status == 503
        assert (await ask(alice)).status_code == 200


async def test_what_is_no_connect_finds_nothing(bed: Bed) -> None:
    async with bed.client(ALICE) as alice:
        assert await alice.request("GET", "/") == 404
        assert await alice.request("POST", "/hello", authority=f"{VIP}:80") == 404


async def test_calls_over_grpc(bed: Bed) -> None:
    async def call(identity: str) -> bytes:
        async with bed.client(identity) as client, client.forwarded(f"{VIP}:7070") as way:
            options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
            target = f"{way.host}:{way.port}"
            async with grpc.aio.insecure_channel(target, options=options) as channel:
                method = channel.unary_unary(
                    GRPC_METHOD, request_serializer=None, response_deserializer=None
                )
                answer: bytes = await method(b"hello", timeout=5)
                return answer

    assert await call(ALICE) == b"hello"
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await call(BOB)
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_bytes_go_both_ways_and_an_end_is_an_end(bed: Bed) -> None:
    content = bytes(range(256)) * 4096
    async with bed.client(ALICE) as alice:
        tunnel = await alice.open(f"{VIP}:9000")

        async def everything() -> bytes:
            return b"".join([part async for part in parts()])

        async def parts():  # noqa: ANN202 - bytes until the end
            while part := await tunnel.read():
                yield part

        reading = asyncio.create_task(everything())
        await tunnel.write(content)
        tunnel.end()
        assert await reading == content
    async with bed.client(BOB) as bob:
        with suppress(HboneError):  # Refused, ended or broken: nothing comes through.
            tunnel = await bob.open(f"{VIP}:9000")
            await tunnel.write(b"hello")  # A filter judges a connection by its first byte.
            assert await tunnel.read() == b""


async def test_many_requests_share_one_connection(bed: Bed) -> None:
    async with bed.client(ALICE) as alice:
        answers = await asyncio.gather(*(ask(alice, f"/{number}") for number in range(40)))
        assert alice.connections_made == 1
    assert [answer.text for answer in answers] == [f"/{number}" for number in range(40)]


async def test_a_waypoint_that_drains_keeps_its_tunnels_and_fails_no_request(
    resources: WaypointResources, tmp_path: Path
) -> None:
    at_once = EnvoyOptions(arguments=("--drain-time-s", "60", "--drain-strategy", "immediate"))
    async with (
        a_bed(
            resources,
            tmp_path,
            identity=WAYPOINT,
            pod=POD,
            pod_identity=BACKEND,
            options=at_once,
        ) as bed,
        bed.client(ALICE) as alice,
    ):
        tunnel = await alice.open(f"{VIP}:9000")
        await tunnel.write(b"before")
        assert await tunnel.read() == b"before"
        await bed.envoy.admin("/drain_listeners?graceful&skip_exit", method="POST")
        answers = [(await ask(alice)).status_code for _ in range(5)]
        assert answers == [200] * 5
        assert alice.connections_made > 1
        await tunnel.write(b"after")
        assert await tunnel.read() == b"after"
