"""A discovery server that says what a test tells it to, on a real loopback port."""

import asyncio
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from envoy.service.discovery.v3 import discovery_pb2

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


@dataclass(slots=True)
class ScriptedStream:
    """One client stream: requests as they come, responses as the test wants them."""

    metadata: dict[str, str]
    requests: asyncio.Queue[discovery_pb2.DeltaDiscoveryRequest] = field(
        default_factory=asyncio.Queue
    )
    outgoing: asyncio.Queue[bytes | grpc.StatusCode] = field(default_factory=asyncio.Queue)

    async def receive(self, count: int = 1) -> list[discovery_pb2.DeltaDiscoveryRequest]:
        async with asyncio.timeout(15):
            return [await self.requests.get() for _ in range(count)]

    def send(self, *responses: bytes) -> None:
        for response in responses:
            self.outgoing.put_nowait(response)

    def end(self, code: grpc.StatusCode = grpc.StatusCode.OK) -> None:
        self.outgoing.put_nowait(code)


class ScriptedServer:
    """Use it as ``async with ScriptedServer() as server`` and await ``server.stream()``."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.port = 0
        self._credentials = credentials
        self._streams: asyncio.Queue[ScriptedStream] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def stream(self) -> ScriptedStream:
        async with asyncio.timeout(15):
            return await self._streams.get()

    async def __aenter__(self) -> Self:
        self._server = server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"DeltaAggregatedResources": handler}),)
        )
        if self._credentials is None:
            self.port = server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = server.add_secure_port("127.0.0.1:0", self._credentials)
        await server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            await self._server.stop(None)

    async def _serve(self, requests: Any, context: Any) -> None:
        stream = ScriptedStream(metadata=dict(context.invocation_metadata()))
        self._streams.put_nowait(stream)
        reading = asyncio.create_task(self._read(requests, stream))
        try:
            while isinstance(message := await stream.outgoing.get(), bytes):
                await context.write(message)
        finally:
            reading.cancel()
        if message is not grpc.StatusCode.OK:
            await context.abort(message, "as the script says")

    async def _read(self, requests: Any, stream: ScriptedStream) -> None:
        async for data in requests:
            stream.requests.put_nowait(discovery_pb2.DeltaDiscoveryRequest.FromString(data))
