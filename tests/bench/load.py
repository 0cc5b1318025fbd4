"""Load clients: a process of its own, orders in on stdin, answers out on stdout, JSON lines both.

Each client has its own connection and stream unless told otherwise, subscribes to addresses and
policies as a node proxy does, acknowledges everything and decodes nothing: messages stay bytes.
Orders:

``{"connect": port, "root": file or null, "clients": n, "resume": bool}`` connects all and answers
when each has received both types; ``resume`` sends the versions received before. ``"streams": n``
lets that many clients share a connection, which is cheaper and less like the world.
``{"report": true}`` answers with receipt times by nonce (seconds of the system-wide monotonic
clock) since the last report; where ``"arrivals": true`` was asked for in the order to connect, with
commit number and time of each receipt of each client instead. ``{"disconnect": true}`` and
``{"quit": true}`` end connections.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import grpc.aio
import uvloop
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_CONNECTING_AT_ONCE = 50
_LARGE = 100_000
_TYPES = (ADDRESS_TYPE, AUTHORIZATION_TYPE)
_TAILS = {url: b"\x22" + bytes((len(url),)) + url.encode() + b"\x2a" for url in _TYPES}
_ACKNOWLEDGEMENTS = {url: b"\x12" + bytes((len(url),)) + url.encode() + b"\x32" for url in _TYPES}
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),
]


class Load:
    """All clients of this process and what they have received."""

    def __init__(self) -> None:
        self.receipts: dict[str, list[float]] = {}
        self.received_bytes = 0
        self.messages = 0
        self.large: bytes | None = None
        self.small: list[bytes] = []
        self.arrivals: list[list[tuple[int, float]]] | None = None
        self._known: bytes | None = None
        self._running: list[asyncio.Task[None]] = []

    async def connect(
        self, port: int, root: str | None, clients: int, *, resume: bool, streams: int = 1
    ) -> dict[str, Any]:
        """Connect, wait for both types everywhere; return bytes, messages and resources."""
        self.received_bytes = self.messages = 0
        self.small = []
        # Read before any load starts: nothing else waits for it.
        roots = Path(root).read_bytes() if root is not None else None  # noqa: ASYNC240 - see above
        credentials = None if roots is None else grpc.ssl_channel_credentials(roots)
        if resume and self._known is None:
            self._known = _known_versions(self.large or b"")
        if not resume:
            self.large = None
        channels = [
            _channel(f"127.0.0.1:{port}", credentials) for _ in range(-(-clients // streams))
        ]
        gate = asyncio.Semaphore(_CONNECTING_AT_ONCE)
        started = time.monotonic()
        first = [asyncio.get_running_loop().create_future() for _ in range(clients)]
        for number, synced in enumerate(first):
            channel = channels[number // streams]
            client = self._client(channel, number, gate, synced, resume=resume)
            self._running.append(asyncio.create_task(client))
        await asyncio.gather(*first)
        return {
            "seconds": time.monotonic() - started,
            "bytes": self.received_bytes,
            "messages": self.messages,
            "resources_in_small_messages": sum(map(_resources, self.small)),
        }

    async def disconnect(self) -> None:
        """End every connection."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running = []

    async def _client(
        self,
        channel: grpc.aio.Channel,
        number: int,
        gate: asyncio.Semaphore,
        synced: asyncio.Future[None],
        *,
        resume: bool,
    ) -> None:
        seen: set[str] = set()
        async with channel:
            async with gate:
                await channel.channel_ready()
                stream: Any = channel.stream_stream(METHOD)()
                known = self._known if resume and self._known is not None else b""
                await stream.write(_first_request(number) + known)
                await stream.write(_request(AUTHORIZATION_TYPE))
            while (message := await stream.read()) is not grpc.aio.EOF:
                arrived = time.monotonic()
                url, nonce = _tail(message)
                self._received(message, url, nonce, arrived)
                if self.arrivals is not None and url == ADDRESS_TYPE:
                    self.arrivals[number].append((int(nonce.partition(b".")[0]), arrived))
                await stream.write(_ACKNOWLEDGEMENTS[url] + bytes((len(nonce),)) + nonce)
                if not synced.done():
                    seen.add(url)
                    if len(seen) == len(_TYPES):
                        synced.set_result(None)

    def _received(self, message: bytes, url: str, nonce: bytes, arrived: float) -> None:
        self.messages += 1
        self.received_bytes += len(message)
        if url == ADDRESS_TYPE:
            self.receipts.setdefault(nonce.decode(), []).append(arrived)
            if len(message) > _LARGE:
                self.large = self.large or message
            elif len(self.small) < _LARGE:
                self.small.append(message)


def _channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    return grpc.aio.secure_channel(target, credentials, options=_OPTIONS)


def _tail(message: bytes) -> tuple[str, bytes]:
    """Return type and nonce, which end every response the server makes."""
    for url, tail in _TAILS.items():
        at = message.rfind(tail, max(0, len(message) - 120))
        if at >= 0:
            return url, message[at + len(tail) + 1 :]
    raise AssertionError("a response does not end with its type and nonce")


def _first_request(number: int) -> bytes:
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=ADDRESS_TYPE)
    request.node.id = f"ztunnel~10.0.0.1~ztunnel-{number}.istio-system~istio-system.svc"
    request.node.metadata.update({"NAMESPACE": "istio-system", "NODE_NAME": f"node-{number}"})
    return bytes(request.SerializeToString())


def _request(type_url: str) -> bytes:
    return bytes(discovery_pb2.DeltaDiscoveryRequest(type_url=type_url).SerializeToString())


def _known_versions(body: bytes) -> bytes:
    """Return the initial_resource_versions field for everything in a response."""
    response = discovery_pb2.DeltaDiscoveryResponse.FromString(body)
    request = discovery_pb2.DeltaDiscoveryRequest()
    for each in response.resources:
        request.initial_resource_versions[each.name] = each.version
    return bytes(request.SerializeToString())


def _resources(message: bytes) -> int:
    response = discovery_pb2.DeltaDiscoveryResponse.FromString(message)
    return len(response.resources) + len(response.removed_resources)


def _listen(loop: asyncio.AbstractEventLoop, orders: asyncio.Queue[dict[str, Any]]) -> None:
    """Hand on orders; when nobody is left to give any, end at once, whatever is under way."""
    for line in sys.stdin:
        loop.call_soon_threadsafe(orders.put_nowait, json.loads(line))
    os._exit(0)


async def _obey() -> None:
    load = Load()
    orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    Thread(target=_listen, args=(asyncio.get_running_loop(), orders), daemon=True).start()
    while True:
        order = await orders.get()
        answer: dict[str, Any] = {}
        if "connect" in order:
            if order.get("arrivals"):
                load.arrivals = [[] for _ in range(order["clients"])]
            answer = await load.connect(
                order["connect"],
                order["root"],
                order["clients"],
                resume=order["resume"],
                streams=order.get("streams", 1),
            )
        elif "report" in order:
            if load.arrivals is not None:
                answer, load.arrivals = {"arrivals": load.arrivals}, [[] for _ in load.arrivals]
            else:
                answer, load.receipts = {"receipts": load.receipts}, {}
        else:
            await load.disconnect()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        if "quit" in order:
            return


if __name__ == "__main__":
    uvloop.run(_obey())
