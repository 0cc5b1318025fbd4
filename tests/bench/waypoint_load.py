"""Waypoints that only listen: a process of its own, orders in on stdin, answers out on stdout.

Each has a connection and a stream like an Envoy's: clusters first, then what they name, then
listeners, the routes of every HTTP chain and its secrets. Everything is acknowledged, nothing but
names is decoded. Orders:

``{"connect": port, "root": file, "waypoints": [n, ...]}`` answers when each has everything: the
seconds until then and the bytes received. ``{"quit": true}`` ends everything.
"""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.encode.envelope import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    SECRET_TYPE,
)
from controlplane.encode.waypoint_names import IDENTITY_SECRET, ROOTS_SECRET
from tests.bench.load import METHOD
from tests.bench.orders import Order, obey
from tests.bench.waypoint_mesh import namespace_of, proxy_address, proxy_name

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),
]
_SECRETS = {IDENTITY_SECRET, ROOTS_SECRET}


@dataclass(slots=True)
class Listening:
    """What one client asked for and has not got yet, and whether it ever had everything."""

    missing: dict[str, set[str]] = field(default_factory=dict)
    asked: dict[str, set[str]] = field(default_factory=dict)
    has_listeners: bool = False
    received_bytes: int = 0

    def take_in(self, response: Any) -> list[Any]:
        """Return the requests that follow a response."""
        url, names = response.type_url, {each.name for each in response.resources}
        self.missing.get(url, set()).difference_update(names, response.removed_resources)
        found = [_request(url, response_nonce=response.nonce)]
        if url == LISTENER_TYPE:
            self.has_listeners = True
        if url == CLUSTER_TYPE:
            services = {name for name in names if "|" in name}
            wanted = {
                ENDPOINT_TYPE: services,
                SECRET_TYPE: _SECRETS,
                LISTENER_TYPE: set(),
                ROUTE_TYPE: {name for name in services if "|http|" in name},
            }
            for type_url, needed in wanted.items():
                is_new = type_url not in self.asked
                fresh = needed - self.asked.setdefault(type_url, set())
                self.asked[type_url] |= fresh
                self.missing.setdefault(type_url, set()).update(fresh)
                if fresh or is_new:
                    found.append(_request(type_url, resource_names_subscribe=sorted(fresh)))
        return found

    @property
    def is_synced(self) -> bool:
        """Return whether everything is there."""
        return self.has_listeners and not any(self.missing.values())


class Load:
    """All clients of this process."""

    def __init__(self) -> None:
        self._running: list[asyncio.Task[None]] = []

    async def carry_out(self, order: Order) -> dict[str, Any]:
        """Connect everybody and wait until each has everything."""
        roots = Path(order["root"]).read_bytes()  # noqa: ASYNC240 - before any load starts
        started = time.monotonic()
        synced = [asyncio.get_running_loop().create_future() for _ in order["waypoints"]]
        for waypoint, done in zip(order["waypoints"], synced, strict=True):
            client = _client(waypoint, order["connect"], roots, done)
            self._running.append(asyncio.create_task(client))
        received = await asyncio.gather(*synced)
        return {"seconds": time.monotonic() - started, "bytes": sum(received)}


async def _client(waypoint: int, port: int, roots: bytes, synced: asyncio.Future[int]) -> None:
    listening = Listening()
    credentials = grpc.ssl_channel_credentials(roots)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, _OPTIONS) as channel:
        token = (("authorization", f"Bearer {proxy_name(waypoint)}"), ("clusterid", "Kubernetes"))
        stream: Any = channel.stream_stream(METHOD)(metadata=token)
        await stream.write(_introduction(waypoint))
        while (message := await stream.read()) is not grpc.aio.EOF:
            listening.received_bytes += len(message)
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(message)
            for request in listening.take_in(response):
                await stream.write(request.SerializeToString())
            if listening.is_synced and not synced.done():
                synced.set_result(listening.received_bytes)
    if not synced.done():
        synced.set_exception(AssertionError("the server ended the stream"))


def _introduction(waypoint: int) -> bytes:
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER_TYPE)
    namespace, name = namespace_of(waypoint), proxy_name(waypoint).name
    address = proxy_address(waypoint)
    request.node.id = f"waypoint~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"
    request.node.metadata.update({"NAMESPACE": namespace})
    return bytes(request.SerializeToString())


def _request(type_url: str, **fields: Any) -> Any:
    return discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, **fields)


if __name__ == "__main__":
    uvloop.run(obey(Load().carry_out))
