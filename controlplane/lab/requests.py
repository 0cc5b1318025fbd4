"""A request in the name of a pod: its node and a URL come in, what it came to goes out."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpcore

from controlplane.lab.errors import LabError
from controlplane.lab.node.access import AccessRecord
from controlplane.lab.node.proxy import Node
from controlplane.lab.node.streams import Backend
from controlplane.lab.ztunnel.workload import Workload

_FAILURES: Final = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    TimeoutError,
    OSError,
    LabError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked. It has a connection of its own and ``seconds`` to be answered."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    http2: bool = False
    seconds: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request came to.

    ``status`` is 0 where there was no answer, and ``failure`` says why. ``records`` are what the
    node proxies tell of connections that began meanwhile. Names of headers are in lower case.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    failure: str = ""
    records: Sequence[AccessRecord] = ()


async def send(node: Node, workload: Workload, request: Request) -> Answer:
    """Return what a request of a pod on ``node`` came to; never raises for what went wrong."""
    backend = Backend(node, workload)
    pool = httpcore.AsyncConnectionPool(
        network_backend=backend,
        http1=not request.http2,
        http2=request.http2,
        max_keepalive_connections=0,
    )
    try:
        async with asyncio.timeout(request.seconds), pool:
            response = await pool.request(
                request.method,
                request.url,
                headers=list(request.headers.items()),
                content=request.content,
            )
    except _FAILURES as error:
        return Answer(failure=backend.failure or str(error) or type(error).__name__)
    finally:
        await backend.close()
    headers = {key.decode().lower(): value.decode("latin-1") for key, value in response.headers}
    return Answer(status=response.status, headers=headers, body=response.content)
