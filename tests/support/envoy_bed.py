"""A waypoint between real parties: clients with certificates, a real Envoy, pods behind a node.

Who builds the configuration is not said here: whatever speaks of ``PODS`` and their ports runs.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from aiohttp import web

from controlplane.lab.certificates import HeldCertificate
from controlplane.lab.envoy import Envoy, EnvoyOptions
from controlplane.lab.hbone import HboneClient, Waypoint
from controlplane.lab.hbone_terminator import Terminator
from controlplane.lab.plain import Address
from tests.support.envoy_inline import WaypointResources, inlined
from tests.support.hbone_certificates import held

GRPC_METHOD = "/bench.Echo/Say"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applications:
    """Where the applications really listen, and the requests that reached the one for HTTP."""

    http: Address
    grpc: Address
    tcp: Address
    requests: list[Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bed:
    """A running waypoint; ``terminator`` is the node its pods are on."""

    envoy: Envoy
    waypoint: Waypoint
    terminator: Terminator
    applications: Applications

    def client(self, who: str | HeldCertificate, **options: object) -> HboneClient:
        """Return a client that is not connected yet."""
        certificate = held(who) if isinstance(who, str) else who
        return HboneClient(self.waypoint, certificate, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def a_bed(
    resources: WaypointResources,
    directory: Path,
    *,
    identity: str,
    pod: str,
    pod_identity: str,
    options: EnvoyOptions | None = None,
) -> AsyncIterator[Bed]:
    """Run a waypoint that is ``identity`` in front of one pod.

    The pod listens at ports 8080 (HTTP), 7070 (gRPC) and 9000 (bytes) of its address, behind a
    node that lets nobody but the waypoint in.
    """
    async with AsyncExitStack() as stack:
        applications = await stack.enter_async_context(some_applications())
        leads_to = {
            f"{pod}:8080": applications.http,
            f"{pod}:7070": applications.grpc,
            f"{pod}:9000": applications.tcp,
        }
        terminator = await stack.enter_async_context(
            Terminator(
                held(pod_identity),
                admits=lambda peer: peer == identity,
                application=leads_to.get,
                host=pod,
            )
        )
        bootstrap = inlined(resources, hbone_port=terminator.address[1])
        envoy = await stack.enter_async_context(Envoy(bootstrap, directory, options))
        host, port = await envoy.address("connect_terminate")
        yield Bed(
            envoy=envoy,
            waypoint=Waypoint(host=host, port=port, identities={identity}),
            terminator=terminator,
            applications=applications,
        )


@asynccontextmanager
async def some_applications() -> AsyncIterator[Applications]:
    """Run one application of each kind on loopback."""
    requests: list[Mapping[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        requests.append({**request.headers, ":path": request.path, ":method": request.method})
        return web.Response(body=await request.read() or request.path.encode())

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    calls = grpc.aio.server()
    calls.add_generic_rpc_handlers((Echo(),))
    grpc_port = calls.add_insecure_port("127.0.0.1:0")
    await calls.start()
    echo = await asyncio.start_server(_echo, "127.0.0.1", 0)
    try:
        yield Applications(
            http=runner.addresses[0][:2],
            grpc=("127.0.0.1", grpc_port),
            tcp=echo.sockets[0].getsockname()[:2],
            requests=requests,
        )
    finally:
        echo.close()
        await calls.stop(grace=None)
        await runner.cleanup()


class Echo(grpc.GenericRpcHandler):
    """Answers a call with what it was told."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != GRPC_METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(_same)


async def _same(request: bytes, context: object) -> bytes:
    return request


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
