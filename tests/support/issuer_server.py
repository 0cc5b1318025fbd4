"""A server on loopback that publishes key sets, well and badly."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web
from cryptography import x509

from tests.support.self_signed import self_signed
from tests.support.tokens import key_set

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class IssuerServer:
    """Paths answer what is put at them; ``requests`` are those that came."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: dict[str, str | Answer] = {"/keys": key_set()}
        self.requests: list[web.BaseRequest] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer with what was put at the path."""
        self.requests.append(request)
        found = self.answers.get(request.path)
        if found is None:
            return web.Response(status=404)
        if isinstance(found, str):
            return web.Response(text=found, content_type="application/json")
        return await found(request)


@asynccontextmanager
async def an_issuer_server(certificate: Path | None = None) -> AsyncIterator[IssuerServer]:
    """Run one at a port of loopback, over TLS if its certificate is to be put in a file."""
    server = IssuerServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    context = None if certificate is None else _serving(certificate)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    server.url = f"{'http' if context is None else 'https'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def _serving(file: Path) -> ssl.SSLContext:
    certificate, key = self_signed("issuer", x509.IPAddress(ip_address("127.0.0.1")))
    file.write_text(certificate)
    both = file.with_suffix(".both")
    both.write_text(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context


async def never(request: web.Request) -> web.StreamResponse:
    """Answer after a minute."""
    await asyncio.sleep(60)
    return web.Response()


async def drip(request: web.Request) -> web.StreamResponse:
    """Send a byte now and then."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(600):
        await response.write(b" ")
        await asyncio.sleep(0.1)
    return response


async def flood(request: web.Request) -> web.StreamResponse:
    """Send more than anybody wants."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(64):
        await response.write(b" " * 65_536)
    return response
