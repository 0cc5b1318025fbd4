"""The certificate service over real connections: TLS, plaintext, sizes, a caller that hangs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.authentication.caller import Caller, Metadata
from controlplane.ca.profile import Profile
from controlplane.ca.requests import RequestSettings
from controlplane.ca.service import METHOD, SERVICE, certificate_handlers
from controlplane.ca.ttl import LifetimePolicy
from tests.support.authorities import a_snapshot
from tests.support.issuing import (
    ZTUNNEL,
    Desk,
    KnownTokens,
    SetClock,
    a_csr,
    a_request,
    chain_of,
)

PATH = f"/{SERVICE}/{METHOD}"
HEADERS = (("authorization", "Bearer ztunnel"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    tls: int
    plaintext: int
    roots: bytes


@asynccontextmanager
async def served(desk: Desk) -> AsyncIterator[Ports]:
    """Serve on a TLS port, with a certificate from the desk's own authority, and in plaintext."""
    key = ec.generate_private_key(ec.SECP256R1())
    profile = Profile.for_serving(("localhost",))
    lifetimes = LifetimePolicy(default=3600, jitter=0)
    ticket = desk.issuance.prepare(profile, a_csr(None, key=key), lifetimes=lifetimes)
    *links, roots = (await desk.issuance.sign(ticket)).certificates
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # As discovery's server has it: the port is shared, its limit is large.
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 * 1024 * 1024)])
    server.add_generic_rpc_handlers((certificate_handlers(desk.requests),))
    credentials = grpc.ssl_server_credentials([(private, "".join(links).encode())])
    tls = server.add_secure_port("localhost:0", credentials)
    plaintext = server.add_insecure_port("localhost:0")
    await server.start()
    try:
        yield Ports(tls=tls, plaintext=plaintext, roots=roots.encode())
    finally:
        await server.stop(0)


async def ask(
    ports: Ports, message: bytes, headers: tuple[tuple[str, str], ...] = HEADERS
) -> bytes:
    credentials = grpc.ssl_channel_credentials(ports.roots)
    async with grpc.aio.secure_channel(f"localhost:{ports.tls}", credentials) as channel:
        answer: bytes = await channel.unary_unary(PATH)(message, metadata=headers)
        return answer


def a_desk(
    *, kind: str = "P-256", settings: RequestSettings | None = None, **known: object
) -> Desk:
    now = datetime.now(UTC)
    return Desk(
        snapshot=a_snapshot(kind, now=now),
        clock=SetClock(now),
        settings=settings,
        authenticator=known.get("authenticator"),
    )


@pytest.mark.proves("CA-3", "CA-2")
@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA-2048"])
async def test_a_chain_over_tls_to_who_knows_the_root_only(kind: str) -> None:
    desk = a_desk(kind=kind)
    async with served(desk) as ports:
        answers = await asyncio.gather(*(ask(ports, a_request()) for _ in range(4)))
    assert [len(chain_of(answer)) for answer in answers] == [3] * 4
    assert desk.ledger.issued[0].peer_address.startswith("ipv")


@pytest.mark.refutes("CA-3")
async def test_situation_39_plaintext_port() -> None:
    desk = a_desk()
    async with (
        served(desk) as ports,
        grpc.aio.insecure_channel(f"localhost:{ports.plaintext}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(PATH)(a_request(), metadata=HEADERS)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert desk.witness.heard == []


@pytest.mark.parametrize(
    ("length", "status"),
    [
        (5 * 1024 * 1024, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (100 * 1024, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_sizes_over_a_connection(length: int, status: grpc.StatusCode) -> None:
    async with served(a_desk()) as ports:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(ports, a_request("A" * length))
    assert caught.value.code() is status


@pytest.mark.proves("CA-4")
@pytest.mark.parametrize("headers", [(), (("authorization", "bearer ztunnel"),)])
async def test_status_and_text_arrive(headers: tuple[tuple[str, str], ...]) -> None:
    async with served(a_desk()) as ports:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(ports, a_request(), headers)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.details() == "request authenticate failure"


async def test_headers_that_come_twice_are_both_seen() -> None:
    async with served(a_desk()) as ports:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(ports, a_request(), HEADERS + HEADERS)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


class Hanging(KnownTokens):
    """Never answers."""

    async def authenticate(self, metadata: Metadata, peer: str) -> Caller:
        await asyncio.Event().wait()
        return ZTUNNEL


@pytest.mark.proves("CA-7")
async def test_a_caller_without_a_deadline_is_answered() -> None:
    desk = a_desk(settings=RequestSettings(timeout=0.05), authenticator=Hanging())
    async with served(desk) as ports:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(ports, a_request())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert desk.ledger.refused[0].reason == "timed-out"
